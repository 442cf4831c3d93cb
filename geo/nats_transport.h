// Carries messages between regions over NATS.
//
// NATS is only the wire: it may lose, repeat and delay what it likes (the protocol repairs that),
// so there is no JetStream and no acknowledgement here. Subjects, under a prefix:
//
//     <prefix>.out.<region id>.<node>.<shard>                 a producer's batches, beacons
//                                                             and what its clients published
//     <prefix>.in.<region id>.<node>.<shard>.<from region>.<node>.<shard>        to one shard
//
// Two connections, one that publishes and one that subscribes: libnats 3.4 with both on one
// connection at full rate deadlocks until the server's write deadline. Parts of large messages are
// no larger than what the server takes. Encoding, compression and publishing happen on a thread of
// the transport, decoding on libnats' own, never on a shard's.
//
// *Threads*: every method may be called from any thread, and none but open(), flush() and the
// destructor waits for the network; the receiver is called on libnats' threads and the transport's
// own. *Owns*: connections and its thread; the destructor stops both, after which the receiver is
// not called again; what is still queued is lost. *Bounds*: kQueueBytesMax of messages waiting to
// be published and one larger one (send_queue.h), the oldest are dropped (counted; repaired by
// pulls); pending limits on subscriptions likewise. *Errors*: open() fails only on a malformed URL;
// a server that is not there, stands still or refuses this node is retried for ever.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "geo/envelope.h"
#include "geo/message.h"
#include "geo/nats_security.h"

namespace atl::geo {

class NatsTransport {
 public:
  struct Options {
    std::vector<std::string> urls;
    NatsSecurity security;
    std::string prefix;
    std::string client_name;
    RegionId region = 0;
    uint64_t node = 0;
    Compression compression = Compression::kLz4;
  };
  struct Receiver {
    // `shard` is the addressee's, or none: for every shard that the sender's slots concern.
    std::function<void(std::shared_ptr<const Message>, std::optional<uint16_t> shard)> message;
    std::function<void(std::string reason)> malformed;
    std::function<void(bool connected, std::string detail)> connection;
    // What somebody has to mend: credentials, permissions, limits of the NATS server.
    std::function<void(std::string text)> complaint;
  };
  struct Stats {
    bool connected = false;
    uint64_t messages_out = 0, bytes_out = 0, messages_in = 0, bytes_in = 0;
    uint64_t dropped = 0;        // from our queue, or refused by an absent connection
    uint64_t slow_consumer = 0;  // dropped by libnats on the way in
    uint64_t reconnects = 0;
  };

  // What of the options is no good, "" if nothing is. Connects to nobody.
  static std::string check(const Options& options);
  // Null and `error` when the options are no good.
  static std::unique_ptr<NatsTransport> open(Options options, Receiver receiver,
                                             std::string& error);
  ~NatsTransport();
  NatsTransport(const NatsTransport&) = delete;
  NatsTransport& operator=(const NatsTransport&) = delete;

  void broadcast(std::shared_ptr<const Message> message);
  void send(const Address& to, std::shared_ptr<const Message> message);
  // Waits until what is queued has been handed to NATS, at most `limit_ms`.
  void flush(Millis limit_ms);
  Stats stats() const;

 private:
  class Impl;
  explicit NatsTransport(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace atl::geo
