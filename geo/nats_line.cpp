#include "geo/nats_line.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <unordered_map>

namespace atl::geo {

namespace {

constexpr int64_t kReconnectWaitMs = 250;
constexpr int64_t kPingIntervalMs = 2000;
constexpr int kPingsUnanswered = 2;
constexpr int64_t kWriteDeadlineMs = 2000;
constexpr int kPendingBytesMax = 256 * 1024 * 1024;
constexpr std::chrono::seconds kMakeAnewEvery{2};
constexpr std::chrono::seconds kComplainEvery{10};
constexpr size_t kErrorTextMax = 255;  // libnats' buffer without its final zero

// Why the connection is in trouble, in the server's words where it gave some.
std::string last_error(natsConnection* connection, natsStatus& status) {
  const char* text = nullptr;
  const natsStatus last = natsConnection_GetLastError(connection, &text);
  if (status == NATS_OK) status = last;
  if (last != NATS_OK && text != nullptr && *text != '\0') {
    return {text, strnlen(text, kErrorTextMax)};
  }
  return natsStatus_GetText(status == NATS_OK ? NATS_CONNECTION_CLOSED : status);
}

}  // namespace

// What a call of libnats is about.
struct NatsLine::Target {
  std::mutex mutex;            // held while a handler runs
  NatsLine* line;              // null once the line has let go
  const Subscription* source;  // null: the connection itself
};

class NatsLine::Targets {
 public:
  // Never destroyed: libnats' threads may outlive main().
  static Targets& all() {
    static auto* const targets = new Targets;
    return *targets;
  }
  void* add(std::shared_ptr<Target> target) {
    const std::lock_guard lock(mutex_);
    targets_.emplace(++last_, std::move(target));
    return reinterpret_cast<void*>(last_);
  }
  std::shared_ptr<Target> find(void* number) {
    const std::lock_guard lock(mutex_);
    const auto it = targets_.find(reinterpret_cast<uintptr_t>(number));
    return it == targets_.end() ? nullptr : it->second;
  }
  // Afterwards no handler runs for it, and none will.
  void remove(void* number) {
    const auto target = find(number);
    {
      const std::lock_guard lock(mutex_);
      targets_.erase(reinterpret_cast<uintptr_t>(number));
    }
    if (target == nullptr) return;
    const std::lock_guard lock(target->mutex);
    target->line = nullptr;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<uintptr_t, std::shared_ptr<Target>> targets_;
  uintptr_t last_ = 0;
};

struct NatsLine::Callbacks {
  template <typename Action>
  static void with(void* number, Action action) {
    const auto target = Targets::all().find(number);
    if (target == nullptr) return;
    const std::lock_guard lock(target->mutex);
    if (target->line != nullptr) action(*target->line, target->source);
  }

  static void on_message(natsConnection*, natsSubscription*, natsMsg* msg, void* number) {
    with(number, [&](NatsLine&, const Subscription* source) {
      source->message(natsMsg_GetSubject(msg),
                      {natsMsg_GetData(msg), static_cast<size_t>(natsMsg_GetDataLength(msg))});
    });
    natsMsg_Destroy(msg);
  }
  static void on_error(natsConnection* connection, natsSubscription*, natsStatus status,
                       void* number) {
    with(number, [&](NatsLine& line, const Subscription*) {
      if (status == NATS_SLOW_CONSUMER) {
        ++line.slow_consumer_;
        return;
      }
      const std::string text = last_error(connection, status);
      line.complain("the server says '" + text + "': " + line.advice(status, text));
    });
  }
  static void on_connected(natsConnection* connection, void* number) {
    with(number, [&](NatsLine& line, const Subscription*) {
      line.set_up(true);
      ++line.reconnects_;
      line.report_connected(connection);
    });
  }
  static void on_disconnected(natsConnection*, void* number) {
    with(number, [&](NatsLine& line, const Subscription*) {
      line.set_up(false);
      line.handlers_.connection(false, "no NATS server of geo-nats-url answers");
    });
  }
  static void on_closed(natsConnection* connection, void* number) {
    with(number, [&](NatsLine& line, const Subscription*) {
      line.set_up(false);
      natsStatus status = NATS_OK;
      const std::string text = last_error(connection, status);
      line.complain("the connection was closed with '" + text + "': " + line.advice(status, text) +
                    "; a new one is tried every " + std::to_string(kMakeAnewEvery.count()) + " s");
      line.closed_ = true;
    });
  }
};

NatsLine::NatsLine(Options options, Handlers handlers)
    : options_(std::move(options)), handlers_(std::move(handlers)) {}

bool NatsLine::wants_tls() const {
  return std::any_of(options_.urls.begin(), options_.urls.end(),
                     [](const std::string& url) { return url.starts_with("tls://"); });
}

std::string NatsLine::advice(natsStatus status, std::string_view text) const {
  // A server that refuses the credentials at the first attempt, or with which there is no TLS, is
  // struck from libnats' list; why, libnats does not say.
  if (status == NATS_NO_SERVER || status == NATS_CONNECTION_AUTH_FAILED ||
      text.starts_with("Auth")) {
    std::string what = options_.security.credentials_file.empty()
                           ? "the user and password in geo-nats-url"
                           : "geo-nats-credentials-file";
    if (!wants_tls()) return "check " + what;
    return "check that the server's certificate is of the host that geo-nats-url names and signed "
           "as geo-nats-tls-ca-cert-file says, that the server takes this node's "
           "geo-nats-tls-cert-file (or wants none), and " +
           what;
  }
  if (status == NATS_NOT_PERMITTED) {
    return "the user of geo-nats-url must be permitted to publish and to subscribe to '" +
           options_.subjects + "'";
  }
  return "see the log of the NATS server";
}

void* NatsLine::add_target(const Subscription* subscription) {
  auto target = std::make_shared<Target>();
  target->line = this;
  target->source = subscription;
  targets_.push_back(Targets::all().add(std::move(target)));
  return targets_.back();
}

std::string NatsLine::check() const {
  natsStatus status = NATS_OK;
  std::string wrong;
  prepare(status, &wrong);
  return status != NATS_OK && wrong.empty() ? natsStatus_GetText(status) : wrong;
}

// All but the calls back. Certificates are read here, so anew for every connection that is made,
// but not where libnats reconnects by itself.
NatsLine::NatsOptions NatsLine::prepare(natsStatus& s, std::string* wrong) const {
  natsOptions* o = nullptr;
  s = natsOptions_Create(&o);
  NatsOptions options(o, natsOptions_Destroy);
  const auto then = [&](natsStatus next) {
    if (s == NATS_OK) s = next;
  };
  const auto takes = [&](const char* option, const std::string& file, auto load) {
    if (s != NATS_OK) return;
    std::string why;
    if (!std::ifstream(file).good()) {
      s = NATS_INVALID_ARG;
      why = std::strerror(errno);
    } else if (s = load(file.c_str()); s != NATS_OK) {
      const char* text = nats_GetLastError(nullptr);
      why = text == nullptr || *text == '\0' ? natsStatus_GetText(s) : text;
    }
    if (s != NATS_OK && wrong != nullptr) *wrong = std::string(option) + " '" + file + "': " + why;
  };
  std::vector<const char*> urls;
  for (const std::string& url : options_.urls) urls.push_back(url.c_str());
  then(natsOptions_SetServers(o, urls.data(), static_cast<int>(urls.size())));
  then(natsOptions_SetName(o, options_.name.c_str()));
  then(natsOptions_SetAllowReconnect(o, true));
  then(natsOptions_SetMaxReconnect(o, -1));
  then(natsOptions_SetReconnectWait(o, kReconnectWaitMs));
  then(natsOptions_SetReconnectJitter(o, kReconnectWaitMs / 2, kReconnectWaitMs / 2));
  // What is published while there is no server is lost at once, not delivered late in one burst.
  then(natsOptions_SetReconnectBufSize(o, 1));
  then(natsOptions_SetPingInterval(o, kPingIntervalMs));
  then(natsOptions_SetMaxPingsOut(o, kPingsUnanswered));
  // Without it a server that stopped reading blocks the publisher and, through the connection's
  // lock, the thread of libnats that would notice.
  then(natsOptions_SetWriteDeadline(o, kWriteDeadlineMs));
  then(natsOptions_SetSendAsap(o, true));
  const NatsSecurity& security = options_.security;
  if (wants_tls()) then(natsOptions_SetSecure(o, true));
  if (!security.ca_file.empty()) {
    takes("geo-nats-tls-ca-cert-file", security.ca_file,
          [&](const char* file) { return natsOptions_LoadCATrustedCertificates(o, file); });
  }
  if (!security.cert_file.empty()) {
    takes("geo-nats-tls-key-file", security.key_file, [](const char*) { return NATS_OK; });
    takes("geo-nats-tls-cert-file", security.cert_file, [&](const char* file) {
      return natsOptions_LoadCertificatesChain(o, file, security.key_file.c_str());
    });
  }
  if (!security.credentials_file.empty()) {
    takes("geo-nats-credentials-file", security.credentials_file, [&](const char* file) {
      return natsOptions_SetUserCredentialsFromFiles(o, file, nullptr);
    });
  }
  return options;
}

natsStatus NatsLine::connect() {
  natsStatus s = NATS_OK;
  const NatsOptions options = prepare(s);
  natsOptions* const o = options.get();
  void* const number = add_target(nullptr);
  const auto then = [&](natsStatus next) {
    if (s == NATS_OK) s = next;
  };
  then(natsOptions_SetErrorHandler(o, Callbacks::on_error, number));
  then(natsOptions_SetDisconnectedCB(o, Callbacks::on_disconnected, number));
  then(natsOptions_SetReconnectedCB(o, Callbacks::on_connected, number));
  then(natsOptions_SetClosedCB(o, Callbacks::on_closed, number));
  then(natsOptions_SetRetryOnFailedConnect(o, true, Callbacks::on_connected, number));
  if (s == NATS_OK) s = natsConnection_Connect(&connection_, o);
  return s;
}

natsStatus NatsLine::make() {
  heard_ = false;  // let_go() has ended all calls of an earlier connection
  closed_ = false;
  next_try_ = std::chrono::steady_clock::now() + kMakeAnewEvery;
  const natsStatus s = connect();
  if (s != NATS_OK && s != NATS_NOT_YET_CONNECTED) return s;
  for (const Subscription& each : options_.subscriptions) {
    natsSubscription* subscription = nullptr;
    natsStatus subscribed = natsConnection_Subscribe(
        &subscription, connection_, each.subject.c_str(), Callbacks::on_message, add_target(&each));
    if (subscribed == NATS_OK) {
      subscriptions_.push_back(subscription);
      subscribed = natsSubscription_SetPendingLimits(subscription, -1, kPendingBytesMax);
    }
    if (subscribed != NATS_OK) closed_ = true;  // it was closed meanwhile
  }
  if (s == NATS_OK) {  // libnats calls on_connected only when connecting took longer
    {
      const std::lock_guard lock(mutex_);
      if (!heard_) up_ = true;
    }
    report_connected(connection_);
  }
  return s;
}

natsStatus NatsLine::start() {
  const natsStatus s = make();
  if (s != NATS_NOT_YET_CONNECTED) return s;
  handlers_.connection(false, "no NATS server of geo-nats-url has let this node in yet");
  return NATS_OK;
}

void NatsLine::tend() {
  if (!closed_ || std::chrono::steady_clock::now() < next_try_) return;
  let_go();
  const natsStatus s = make();
  if (s == NATS_OK) ++reconnects_;
  if (s != NATS_OK && s != NATS_NOT_YET_CONNECTED) {
    closed_ = true;
    complain(std::string("cannot connect: ") + natsStatus_GetText(s));
  }
}

natsStatus NatsLine::publish(const std::string& subject, std::string_view payload) {
  return natsConnection_Publish(connection_, subject.c_str(), payload.data(),
                                static_cast<int>(payload.size()));
}

void NatsLine::flush(int64_t limit_ms) {
  if (up_ && limit_ms > 0) natsConnection_FlushTimeout(connection_, limit_ms);
}

void NatsLine::let_go() {
  for (void* const number : targets_) Targets::all().remove(number);
  targets_.clear();
  if (connection_ != nullptr) natsConnection_Close(connection_);
  for (natsSubscription* each : subscriptions_) natsSubscription_Destroy(each);
  subscriptions_.clear();
  natsConnection_Destroy(connection_);
  connection_ = nullptr;
  up_ = false;
}

void NatsLine::set_up(bool up) {
  const std::lock_guard lock(mutex_);
  heard_ = true;
  up_ = up;
}

void NatsLine::complain(std::string text) {
  {
    const std::lock_guard lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    if (now < next_complaint_) return;
    next_complaint_ = now + kComplainEvery;
  }
  handlers_.complaint(std::move(text));
}

void NatsLine::report_connected(natsConnection* connection) {
  char url[256] = {};
  natsConnection_GetConnectedUrl(connection, url, sizeof url);
  std::string detail = url;
  // A URL may carry credentials.
  if (const size_t at = detail.find('@'); at != std::string::npos) detail.erase(0, at + 1);
  handlers_.connection(true, detail);
}

}  // namespace atl::geo
