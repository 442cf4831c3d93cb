// One connection to NATS, made anew whatever ended it.
//
// libnats reconnects by itself after most failures, but closes a connection for good after some:
// credentials that are refused twice, an error of the server that it does not know. tend() then
// makes a new one, with its subscriptions.
//
// What libnats is given as closures are numbers, looked up when it calls. A pointer would have no
// safe end: a subscription's handler may run once more after the subscription was closed, and
// events of a connection are delivered by a thread that nobody waits for.
//
// *Threads*: start(), tend(), publish(), flush(), max_payload() and stop() from one thread at a
// time; the rest from any, and without a lock of libnats, which holds them while it writes to a
// socket. Handlers are called on libnats' threads and inside start() and tend(); never after stop()
// has returned, which waits for those that run. *Bounds*: a server that takes nothing for
// kWriteDeadlineMs is left; one complaint in kComplainEvery, of what may be one for every message.
#pragma once

#include <nats/nats.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "geo/nats_security.h"

namespace atl::geo {

class NatsLine {
 public:
  struct Subscription {
    std::string subject;
    std::function<void(std::string_view subject, std::string_view payload)> message;
  };
  struct Options {
    std::vector<std::string> urls;
    NatsSecurity security;
    std::string name;
    std::string subjects;  // what the user of the URL must be permitted, for the log
    std::vector<Subscription> subscriptions;
  };
  struct Handlers {
    std::function<void(bool connected, std::string detail)> connection;
    std::function<void(std::string text)> complaint;
  };

  NatsLine(Options options, Handlers handlers);
  ~NatsLine() { stop(); }
  NatsLine(const NatsLine&) = delete;
  NatsLine& operator=(const NatsLine&) = delete;

  // What of the options is no good (a file that cannot be read, ...), "" if nothing is.
  std::string check() const;
  // NATS_OK also when no server answers yet; an error only when the options are no good.
  natsStatus start();
  // Makes a new connection if the last one was closed for good. To be called now and then.
  void tend();
  natsStatus publish(const std::string& subject, std::string_view payload);
  void flush(int64_t limit_ms);
  int64_t max_payload() const { return natsConnection_GetMaxPayload(connection_); }
  void stop() { let_go(); }

  bool up() const { return up_; }
  uint64_t reconnects() const { return reconnects_; }
  uint64_t slow_consumer() const { return slow_consumer_; }

 private:
  struct Target;
  class Targets;
  struct Callbacks;

  void* add_target(const Subscription* subscription);
  using NatsOptions = std::unique_ptr<natsOptions, decltype(&natsOptions_Destroy)>;
  // `wrong` (may be null): which file, and why.
  NatsOptions prepare(natsStatus& status, std::string* wrong = nullptr) const;
  natsStatus make();
  natsStatus connect();
  void let_go();
  void set_up(bool up);
  void report_connected(natsConnection* connection);
  void complain(std::string text);
  bool wants_tls() const;
  std::string advice(natsStatus status, std::string_view text) const;

  const Options options_;
  const Handlers handlers_;
  natsConnection* connection_ = nullptr;
  std::vector<natsSubscription*> subscriptions_;
  std::vector<void*> targets_;
  std::chrono::steady_clock::time_point next_try_{};

  std::mutex mutex_;
  bool heard_ = false;  // an event of this connection
  std::chrono::steady_clock::time_point next_complaint_{};
  std::atomic<bool> up_{false};
  std::atomic<bool> closed_{false};
  std::atomic<uint64_t> reconnects_{0}, slow_consumer_{0};
};

}  // namespace atl::geo
