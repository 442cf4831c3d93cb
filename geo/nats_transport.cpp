#include "geo/nats_transport.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

#include "geo/nats_line.h"
#include "geo/send_queue.h"

namespace atl::geo {

namespace {

constexpr std::chrono::milliseconds kTendEvery{500};
constexpr size_t kOverheadBytes = 256;  // of a queued message that has no payload of its own

std::string hex(uint64_t v) {
  char buf[17];
  const auto end = std::to_chars(buf, buf + sizeof buf, v, 16).ptr;
  return {buf, end};
}

std::string name_of(const Address& a) {
  return std::to_string(a.region) + '.' + hex(a.node) + '.' + std::to_string(a.shard);
}

// <prefix>.in.<region>.<node>.<shard>.<from...>: the shard is the third of the last six tokens.
uint16_t shard_of(std::string_view subject) {
  size_t at = subject.size();
  for (int i = 0; i < 4 && at != std::string_view::npos && at != 0; ++i) {
    at = subject.rfind('.', at - 1);
  }
  uint16_t n = 0;
  if (at != std::string_view::npos && at < subject.size()) {
    std::from_chars(subject.data() + at + 1, subject.data() + subject.size(), n);
  }
  return n;
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
  if (const auto* p = std::get_if<Published>(&m.body)) n += p->bytes();
  return n;
}

}  // namespace

class NatsTransport::Impl {
 public:
  Impl(Options options, Receiver receiver)
      : options_(std::move(options)),
        receiver_(std::move(receiver)),
        echo_(options_.prefix + ".out." + node_name() + '.'),
        out_(line_options("out"), line_handlers()),
        in_(line_options("in"), line_handlers()) {
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
  std::string node_name() const {
    return std::to_string(options_.region) + '.' + hex(options_.node);
  }
  NatsLine::Options line_options(const char* role);
  NatsLine::Handlers line_handlers();
  void publish_loop();
  void publish(const SendQueue::Queued& queued);
  size_t part_bytes(int64_t max_payload);
  void complain_about(int64_t max_payload);
  void received(std::string_view subject, std::string_view payload, std::optional<uint16_t> shard,
                Assembler& assembler);
  void stop();

  const Options options_;
  const Receiver receiver_;
  // What this node's own broadcasts begin with. NATS sends them back, because they leave on another
  // connection than the one that subscribes; nothing of them is decoded.
  const std::string echo_;
  Assembler broadcasts_, directed_;  // each used by one subscription, one thread at a time

  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable idle_;
  SendQueue queue_;
  bool stopping_ = false;
  uint64_t flush_wanted_ = 0, flushed_ = 0;
  std::chrono::steady_clock::time_point flush_until_{};
  std::thread publisher_;
  uint64_t next_content_;
  int64_t complained_about_ = 0;  // a max_payload

  std::atomic<uint64_t> messages_out_{0}, bytes_out_{0}, messages_in_{0}, bytes_in_{0};
  std::atomic<uint64_t> dropped_{0};
  NatsLine out_, in_;  // only the publisher uses them from start() to stop(), but for counters
};

NatsLine::Options NatsTransport::Impl::line_options(const char* role) {
  NatsLine::Options o;
  o.urls = options_.urls;
  o.security = options_.security;
  o.name = options_.client_name + ' ' + role;
  o.subjects = options_.prefix + ".>";
  if (std::string_view(role) != "in") return o;
  o.subscriptions.push_back(
      {options_.prefix + ".out.>", [this](std::string_view subject, std::string_view payload) {
         received(subject, payload, std::nullopt, broadcasts_);
       }});
  o.subscriptions.push_back({options_.prefix + ".in." + node_name() + ".>",
                             [this](std::string_view subject, std::string_view payload) {
                               received(subject, payload, shard_of(subject), directed_);
                             }});
  return o;
}

NatsLine::Handlers NatsTransport::Impl::line_handlers() {
  return {receiver_.connection, receiver_.complaint};
}

std::string NatsTransport::Impl::start() {
  natsStatus s = in_.start();
  if (s == NATS_OK) s = out_.start();
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
  in_.stop();
  out_.stop();
}

void NatsTransport::Impl::enqueue(std::string subject, std::shared_ptr<const Message> message) {
  const size_t bytes = weight(*message);
  {
    const std::lock_guard lock(mutex_);
    dropped_ += queue_.push({std::move(subject), std::move(message), bytes});
  }
  work_.notify_one();
}

void NatsTransport::Impl::publish_loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait_for(lock, kTendEvery,
                   [&] { return stopping_ || !queue_.empty() || flushed_ != flush_wanted_; });
    if (stopping_) return;
    std::optional<SendQueue::Queued> next;
    const uint64_t flushing = flush_wanted_;
    const auto flush_until = flush_until_;
    if (!queue_.empty()) next = queue_.pop();
    lock.unlock();
    in_.tend();
    out_.tend();
    if (next) {
      publish(*next);
    } else if (flushed_ != flushing) {
      const auto left = flush_until - std::chrono::steady_clock::now();
      out_.flush(std::chrono::duration_cast<std::chrono::milliseconds>(left).count());
    }
    lock.lock();
    if (next || flushed_ == flushing) continue;
    flushed_ = flushing;
    idle_.notify_all();
  }
}

// It may differ from one server to the next.
size_t NatsTransport::Impl::part_bytes(int64_t max_payload) {
  constexpr auto kLeast = static_cast<int64_t>(kPartBytesMin + kEnvelopeBytesMax);
  if (max_payload <= 0) return kPartBytes;  // not known
  if (max_payload < kLeast) complain_about(max_payload);
  const auto most = static_cast<size_t>(std::max(max_payload, kLeast));
  return std::min(kPartBytes, most - kEnvelopeBytesMax);
}

void NatsTransport::Impl::complain_about(int64_t max_payload) {
  if (std::exchange(complained_about_, max_payload) == max_payload) return;
  receiver_.complaint("max_payload of the NATS server is " + std::to_string(max_payload) +
                      " bytes, which is too little: larger messages are lost. Set it to 1 MB, its "
                      "default, in the configuration of every NATS server");
}

void NatsTransport::Impl::publish(const SendQueue::Queued& queued) {
  if (!out_.up()) {
    ++dropped_;
    return;
  }
  const int64_t max = out_.max_payload();
  for (const std::string& payload :
       encode(*queued.message, next_content_++, options_.compression, part_bytes(max))) {
    const natsStatus s = out_.publish(queued.subject, payload);
    if (s == NATS_MAX_PAYLOAD) complain_about(max);
    if (s != NATS_OK) {
      ++dropped_;
      return;
    }
    ++messages_out_;
    bytes_out_ += payload.size();
  }
}

void NatsTransport::Impl::flush(Millis limit_ms) {
  const std::chrono::milliseconds limit(limit_ms);
  std::unique_lock lock(mutex_);
  const uint64_t mine = ++flush_wanted_;
  flush_until_ = std::chrono::steady_clock::now() + limit;
  work_.notify_all();
  idle_.wait_for(lock, limit, [&] { return flushed_ >= mine; });
}

void NatsTransport::Impl::received(std::string_view subject, std::string_view payload,
                                   std::optional<uint16_t> shard, Assembler& assembler) {
  ++messages_in_;
  bytes_in_ += payload.size();
  if (!shard && subject.starts_with(echo_)) return;
  auto message = std::make_shared<Message>();
  std::string error;
  switch (assembler.add(subject, payload, *message, error)) {
    case Assembler::Result::kMessage:
      receiver_.message(std::move(message), shard);
      break;
    case Assembler::Result::kIncomplete:
      break;
    case Assembler::Result::kError:
      receiver_.malformed(error + " (on " + std::string(subject) + ")");
  }
}

NatsTransport::Stats NatsTransport::Impl::stats() const {
  Stats s;
  s.connected = out_.up() && in_.up();
  s.messages_out = messages_out_;
  s.bytes_out = bytes_out_;
  s.messages_in = messages_in_;
  s.bytes_in = bytes_in_;
  s.dropped = dropped_;
  s.slow_consumer = in_.slow_consumer();
  s.reconnects = out_.reconnects() + in_.reconnects();
  return s;
}

NatsTransport::NatsTransport(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NatsTransport::~NatsTransport() = default;

std::string NatsTransport::check(const Options& options) {
  NatsLine::Options o;
  o.urls = options.urls;
  o.security = options.security;
  return NatsLine(std::move(o), {}).check();
}

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
