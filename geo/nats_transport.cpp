#include "geo/nats_transport.h"

#include <nats/nats.h>
#include <pthread.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <random>
#include <thread>

namespace atl::geo {

namespace {

constexpr int64_t kReconnectWaitMs = 250;
constexpr int64_t kPingIntervalMs = 2000;
constexpr int kPingsUnanswered = 2;
constexpr int kPendingBytesMax = 256 * 1024 * 1024;
constexpr size_t kOverheadBytes = 256;  // of a queued message that has no payload of its own

std::string hex(uint64_t v) {
  char buf[17];
  const auto end = std::to_chars(buf, buf + sizeof buf, v, 16).ptr;
  return {buf, end};
}

std::string name_of(const Address& a) {
  return std::to_string(a.region) + '.' + hex(a.node) + '.' + std::to_string(a.shard);
}

// What a message weighs in the queue, before it is encoded.
size_t weight(const Message& m) {
  size_t n = kOverheadBytes;
  if (const auto* b = std::get_if<BatchMessage>(&m.body)) n += b->bytes->size();
  if (const auto* r = std::get_if<PullReply>(&m.body)) {
    for (const auto& b : r->batches) n += b->size();
  }
  if (const auto* r = std::get_if<SlotReply>(&m.body)) {
    for (const auto& s : r->slots) n += s->size();
  }
  return n;
}

}  // namespace

class NatsTransport::Impl {
 public:
  Impl(Options options, Receiver receiver)
      : options_(std::move(options)),
        receiver_(std::move(receiver)),
        echo_(options_.prefix + ".out." + node_name() + '.') {
    std::random_device random;
    next_content_ = static_cast<uint64_t>(random()) << 32 | 1;
  }
  ~Impl() { stop(); }

  std::string start();
  void enqueue(std::string subject, std::shared_ptr<const Message> message);
  void flush(Millis limit_ms);
  Stats stats() const;
  std::string out_subject(const Address& from) const {
    return options_.prefix + ".out." + name_of(from);
  }
  std::string in_subject(const Address& to, const Address& from) const {
    return options_.prefix + ".in." + name_of(to) + '.' + name_of(from);
  }

 private:
  struct Queued {
    std::string subject;
    std::shared_ptr<const Message> message;
    size_t weight;
  };
  struct Inbox {  // one subscription, delivered by one thread of libnats
    Impl* impl;
    bool directed;
    Assembler assembler;
    natsSubscription* subscription = nullptr;
  };

  std::string node_name() const {
    return std::to_string(options_.region) + '.' + hex(options_.node);
  }
  natsStatus connect(natsConnection** connection, const char* role);
  natsStatus subscribe(Inbox& inbox, const std::string& subject);
  void publish_loop();
  void publish(const Queued& queued);
  void stop();
  void report_connection(natsConnection* connection);

  static void on_message(natsConnection*, natsSubscription*, natsMsg* msg, void* closure);
  static void on_error(natsConnection*, natsSubscription*, natsStatus status, void* closure);
  static void on_connection(natsConnection* connection, void* closure);

  const Options options_;
  const Receiver receiver_;
  // What this node's own broadcasts begin with. NATS sends them back, because they leave on another
  // connection than the one that subscribes; nothing of them is decoded.
  const std::string echo_;
  natsConnection* out_ = nullptr;
  natsConnection* in_ = nullptr;
  Inbox broadcasts_{this, false, {}, nullptr};
  Inbox directed_{this, true, {}, nullptr};

  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable idle_;
  std::deque<Queued> queue_;
  size_t queued_bytes_ = 0;
  bool busy_ = false;
  bool stopping_ = false;
  std::thread publisher_;
  uint64_t next_content_;

  std::atomic<uint64_t> messages_out_{0}, bytes_out_{0}, messages_in_{0}, bytes_in_{0};
  std::atomic<uint64_t> dropped_{0}, slow_consumer_{0}, reconnects_{0};
};

natsStatus NatsTransport::Impl::connect(natsConnection** connection, const char* role) {
  natsOptions* o = nullptr;
  natsStatus s = natsOptions_Create(&o);
  std::vector<const char*> urls;
  for (const std::string& url : options_.urls) urls.push_back(url.c_str());
  const std::string name = options_.client_name + ' ' + role;
  const auto then = [&](natsStatus next) {
    if (s == NATS_OK) s = next;
  };
  then(natsOptions_SetServers(o, urls.data(), static_cast<int>(urls.size())));
  then(natsOptions_SetName(o, name.c_str()));
  then(natsOptions_SetAllowReconnect(o, true));
  then(natsOptions_SetMaxReconnect(o, -1));
  then(natsOptions_SetReconnectWait(o, kReconnectWaitMs));
  then(natsOptions_SetReconnectJitter(o, kReconnectWaitMs / 2, kReconnectWaitMs / 2));
  // What is published while there is no server is lost at once, not delivered late in one burst.
  then(natsOptions_SetReconnectBufSize(o, 1));
  then(natsOptions_SetPingInterval(o, kPingIntervalMs));
  then(natsOptions_SetMaxPingsOut(o, kPingsUnanswered));
  then(natsOptions_SetSendAsap(o, true));
  then(natsOptions_SetErrorHandler(o, on_error, this));
  then(natsOptions_SetDisconnectedCB(o, on_connection, this));
  then(natsOptions_SetReconnectedCB(o, on_connection, this));
  then(natsOptions_SetRetryOnFailedConnect(o, true, on_connection, this));
  if (s == NATS_OK) s = natsConnection_Connect(connection, o);
  natsOptions_Destroy(o);
  return s == NATS_NOT_YET_CONNECTED ? NATS_OK : s;
}

natsStatus NatsTransport::Impl::subscribe(Inbox& inbox, const std::string& subject) {
  natsStatus s =
      natsConnection_Subscribe(&inbox.subscription, in_, subject.c_str(), on_message, &inbox);
  if (s == NATS_OK) s = natsSubscription_SetPendingLimits(inbox.subscription, -1, kPendingBytesMax);
  return s;
}

std::string NatsTransport::Impl::start() {
  natsStatus s = connect(&in_, "in");
  if (s == NATS_OK) s = connect(&out_, "out");
  if (s == NATS_OK) s = subscribe(broadcasts_, options_.prefix + ".out.>");
  if (s == NATS_OK) s = subscribe(directed_, options_.prefix + ".in." + node_name() + ".>");
  if (s != NATS_OK) {
    return std::string("cannot use the NATS servers of geo-nats-url: ") + natsStatus_GetText(s);
  }
  publisher_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "atoll-publish");
    publish_loop();
  });
  return {};
}

void NatsTransport::Impl::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  if (publisher_.joinable()) publisher_.join();
  for (Inbox* inbox : {&broadcasts_, &directed_}) {
    if (inbox->subscription != nullptr) natsSubscription_Unsubscribe(inbox->subscription);
  }
  if (in_ != nullptr) natsConnection_Close(in_);
  if (out_ != nullptr) natsConnection_Close(out_);
  // Destroying a subscription waits for its callback to return.
  for (Inbox* inbox : {&broadcasts_, &directed_}) {
    natsSubscription_Destroy(inbox->subscription);
    inbox->subscription = nullptr;
  }
  natsConnection_Destroy(in_);
  natsConnection_Destroy(out_);
  in_ = out_ = nullptr;
}

void NatsTransport::Impl::enqueue(std::string subject, std::shared_ptr<const Message> message) {
  const size_t bytes = weight(*message);
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back({std::move(subject), std::move(message), bytes});
    queued_bytes_ += bytes;
    while (queued_bytes_ > kQueueBytesMax && queue_.size() > 1) {
      queued_bytes_ -= queue_.front().weight;
      queue_.pop_front();
      ++dropped_;
    }
  }
  work_.notify_one();
}

void NatsTransport::Impl::publish_loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    const Queued next = std::move(queue_.front());
    queue_.pop_front();
    queued_bytes_ -= next.weight;
    busy_ = true;
    lock.unlock();
    publish(next);
    lock.lock();
    busy_ = false;
    if (queue_.empty()) idle_.notify_all();
  }
}

void NatsTransport::Impl::publish(const Queued& queued) {
  if (natsConnection_Status(out_) != NATS_CONN_STATUS_CONNECTED) {
    ++dropped_;
    return;
  }
  for (const std::string& payload :
       encode(*queued.message, next_content_++, options_.compression)) {
    const natsStatus s = natsConnection_Publish(out_, queued.subject.c_str(), payload.data(),
                                                static_cast<int>(payload.size()));
    if (s != NATS_OK) {
      ++dropped_;
      return;
    }
    ++messages_out_;
    bytes_out_ += payload.size();
  }
}

void NatsTransport::Impl::flush(Millis limit_ms) {
  {
    std::unique_lock lock(mutex_);
    idle_.wait_for(lock, std::chrono::milliseconds(limit_ms),
                   [&] { return queue_.empty() && !busy_; });
  }
  if (out_ != nullptr && natsConnection_Status(out_) == NATS_CONN_STATUS_CONNECTED) {
    natsConnection_FlushTimeout(out_, limit_ms);
  }
}

void NatsTransport::Impl::on_message(natsConnection*, natsSubscription*, natsMsg* msg,
                                     void* closure) {
  auto* inbox = static_cast<Inbox*>(closure);
  Impl& impl = *inbox->impl;
  const std::string_view subject(natsMsg_GetSubject(msg));
  const std::string_view payload(natsMsg_GetData(msg),
                                 static_cast<size_t>(natsMsg_GetDataLength(msg)));
  ++impl.messages_in_;
  impl.bytes_in_ += payload.size();
  if (!inbox->directed && subject.starts_with(impl.echo_)) {
    natsMsg_Destroy(msg);
    return;
  }
  std::optional<uint16_t> shard;
  if (inbox->directed) {
    // <prefix>.in.<region>.<node>.<shard>.<from...>: the shard is the third of the last six tokens.
    size_t at = subject.size();
    for (int i = 0; i < 4 && at != std::string_view::npos && at != 0; ++i) {
      at = subject.rfind('.', at - 1);
    }
    uint16_t n = 0;
    if (at != std::string_view::npos && at < subject.size()) {
      std::from_chars(subject.data() + at + 1, subject.data() + subject.size(), n);
    }
    shard = n;
  }
  auto message = std::make_shared<Message>();
  std::string error;
  switch (inbox->assembler.add(subject, payload, *message, error)) {
    case Assembler::Result::kMessage:
      impl.receiver_.message(std::move(message), shard);
      break;
    case Assembler::Result::kIncomplete:
      break;
    case Assembler::Result::kError:
      impl.receiver_.malformed(error + " (on " + std::string(subject) + ")");
  }
  natsMsg_Destroy(msg);
}

void NatsTransport::Impl::on_error(natsConnection*, natsSubscription*, natsStatus status,
                                   void* closure) {
  auto* impl = static_cast<Impl*>(closure);
  if (status == NATS_SLOW_CONSUMER) {
    ++impl->slow_consumer_;
    return;
  }
  impl->receiver_.connection(false, natsStatus_GetText(status));
}

void NatsTransport::Impl::on_connection(natsConnection* connection, void* closure) {
  static_cast<Impl*>(closure)->report_connection(connection);
}

void NatsTransport::Impl::report_connection(natsConnection* connection) {
  const bool connected = natsConnection_Status(connection) == NATS_CONN_STATUS_CONNECTED;
  std::string detail = "no NATS server of geo-nats-url answers";
  if (connected) {
    ++reconnects_;
    char url[256] = {};
    natsConnection_GetConnectedUrl(connection, url, sizeof url);
    detail = url;
    // A URL may carry credentials.
    if (const size_t at = detail.find('@'); at != std::string::npos) detail.erase(0, at + 1);
  }
  receiver_.connection(connected, detail);
}

NatsTransport::Stats NatsTransport::Impl::stats() const {
  Stats s;
  s.connected = out_ != nullptr && in_ != nullptr &&
                natsConnection_Status(out_) == NATS_CONN_STATUS_CONNECTED &&
                natsConnection_Status(in_) == NATS_CONN_STATUS_CONNECTED;
  s.messages_out = messages_out_;
  s.bytes_out = bytes_out_;
  s.messages_in = messages_in_;
  s.bytes_in = bytes_in_;
  s.dropped = dropped_;
  s.slow_consumer = slow_consumer_;
  s.reconnects = reconnects_;
  return s;
}

NatsTransport::NatsTransport(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NatsTransport::~NatsTransport() = default;

std::unique_ptr<NatsTransport> NatsTransport::open(Options options, Receiver receiver,
                                                   std::string& error) {
  auto impl = std::make_unique<Impl>(std::move(options), std::move(receiver));
  error = impl->start();
  if (!error.empty()) return nullptr;
  return std::unique_ptr<NatsTransport>(new NatsTransport(std::move(impl)));
}

void NatsTransport::broadcast(std::shared_ptr<const Message> message) {
  std::string subject = impl_->out_subject(message->sender.address);
  impl_->enqueue(std::move(subject), std::move(message));
}

void NatsTransport::send(const Address& to, std::shared_ptr<const Message> message) {
  std::string subject = impl_->in_subject(to, message->sender.address);
  impl_->enqueue(std::move(subject), std::move(message));
}

void NatsTransport::flush(Millis limit_ms) {
  impl_->flush(limit_ms);
}
NatsTransport::Stats NatsTransport::stats() const {
  return impl_->stats();
}

}  // namespace atl::geo
