#include "node/net/connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <utility>

#include "node/net/reactor.h"
#include "node/net/tls_session.h"

namespace atl::net {
namespace {

// Chunks per gathered write.
constexpr std::size_t kViewsPerWrite = 32;
// The first byte of a TLS client's greeting, which begins no request.
constexpr char kTlsGreeting = 0x16;
// How long a client that is being closed may take to read its last replies.
constexpr std::chrono::seconds kLingerMax{30};
// An idle connection gives its buffers back after this time.
constexpr std::chrono::seconds kShrinkAfter{2};

}  // namespace

std::string_view name_of(CloseReason reason) {
  switch (reason) {
    case CloseReason::kNone:
      return "open";
    case CloseReason::kPeerClosed:
      return "closed by the client";
    case CloseReason::kError:
      return "connection error";
    case CloseReason::kAsked:
      return "closed by the server";
    case CloseReason::kIdle:
      return "idle timeout";
    case CloseReason::kQueryLimit:
      return "query buffer limit";
    case CloseReason::kOutputLimit:
      return "output buffer limit";
    case CloseReason::kHandshake:
      return "no TLS handshake in time";
    case CloseReason::kShutdown:
      return "shutdown";
  }
  return "unknown";
}

void ConnectionHandler::on_peer_closed(Connection& connection) {
  connection.close_after_reply();
}

void Connection::InputBuffer::reserve(std::size_t room) {
  if (capacity - end >= room) {
    return;
  }
  if (capacity - size() >= room && begin >= size()) {
    std::memcpy(data.get(), data.get() + begin, size());
  } else {
    capacity = std::max(size() + room, kReadRoom);
    auto larger = std::make_unique_for_overwrite<char[]>(capacity);
    if (size() > 0) {
      std::memcpy(larger.get(), data.get() + begin, size());
    }
    data = std::move(larger);
  }
  end = size();
  begin = 0;
}

void Connection::InputBuffer::assign(std::span<char> bytes, std::size_t room) {
  begin = 0;
  end = 0;
  reserve(bytes.size() + room);
  std::memcpy(data.get(), bytes.data(), bytes.size());
  end = bytes.size();
}

void Connection::InputBuffer::drop(std::size_t bytes) {
  assert(bytes <= size());
  begin += bytes;
  if (begin == end) {
    begin = 0;
    end = 0;
  }
}

void Connection::InputBuffer::release() {
  data.reset();
  begin = 0;
  end = 0;
  capacity = 0;
}

Connection::Connection(Reactor& reactor, AcceptedSocket socket)
    : reactor_(reactor),
      fd_(socket.fd),
      id_(socket.id),
      tls_(socket.tls ? std::make_unique<TlsSession>(*socket.tls, socket.fd) : nullptr),
      wire_(tls_ ? Wire::kTls : Wire::kUnknown),
      unix_domain_(socket.unix_domain),
      output_limits_(reactor.settings_.output_limits),
      created_(reactor.now_),
      active_(reactor.now_),
      peer_(std::move(socket.peer)),
      local_(std::move(socket.local)),
      gate_(socket.gate) {}

Connection::~Connection() {
  if (tls_ != nullptr) {
    tls_->say_goodbye();
  }
  ::close(fd_);
  if (gate_ != nullptr) {
    gate_->leave();
  }
}

void Connection::touch() {
  if (!touched_) {
    touched_ = true;
    reactor_.touched_.push_back(this);
  }
}

void Connection::schedule() {
  if (!scheduled_) {
    scheduled_ = true;
    reactor_.continuing_.push_back(this);
  }
}

void Connection::suspend() {
  suspended_ = true;
  end_told_ = false;
  if (hung_up_) {
    schedule();  // the peer's end came before: the handler is yet to hear of it
  }
}

void Connection::resume() {
  suspended_ = false;
  if (unserved_ || readable_ || ended_) {
    schedule();
  }
}

void Connection::hold_output() {
  if (may_leave_ == kNoHold) {
    may_leave_ = bytes_out_;
  }
}

void Connection::release_output() {
  may_leave_ = kNoHold;
  touch();
}

void Connection::release_output(std::uint64_t position) {
  if (may_leave_ == kNoHold) {
    return;
  }
  may_leave_ = std::max(may_leave_, position);
  if (may_leave_ >= output_position()) {
    may_leave_ = kNoHold;
  }
  touch();
}

void Connection::uncork() {
  corked_ = false;
  touch();
}

void Connection::close_after_reply() {
  close_after_reply_ = true;
  touch();
}

void Connection::close_now(CloseReason reason) {
  if (close_reason_ == CloseReason::kNone) {
    close_reason_ = reason;
    reactor_.doomed_.push_back(this);
  }
}

void Connection::on_events(std::uint32_t events) {
  if ((events & EPOLLOUT) != 0 && !writable_) {
    writable_ = true;
    touch();
  }
  if ((events & EPOLLIN) != 0) {
    readable_ = true;
  }
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
    readable_ = true;
    hung_up_ = true;
  }
  if (!scheduled_ && (readable_ || unserved_)) {
    serve();
  }
}

void Connection::serve() {
  scheduled_ = false;
  if (closing()) {
    // Nobody reads any more; a peer that has gone shows when its last replies are sent.
    shake_hands_only();
    return;
  }
  if (suspended_) {
    if (hung_up_ && !std::exchange(end_told_, true)) {
      handler_->on_peer_closed(*this);
    }
    return;
  }
  if (unserved_) {
    unserved_ = false;
    process(in_.view(), true);
  } else if (readable_) {
    read_some();
  }
  if (closing() || suspended_) {
    return;
  }
  if (unserved_ || readable_) {
    schedule();
  } else if (ended_) {
    close_after_reply();  // the peer may still read (half close)
  }
}

void Connection::read_some() {
  const bool own = in_.size() > 0;
  std::span<char> room{reactor_.scratch_.get(), Reactor::kScratchBytes};
  if (own) {
    // What a client merely announced is given room in steps that what it sent has earned.
    in_.reserve(std::clamp(missing_, kReadRoom, std::max(kClaimRoom, in_.size())));
    room = {in_.data.get() + in_.end, std::min(in_.capacity - in_.end, kReadBytesPerTurn)};
  }
  const ssize_t count =
      wire_ == Wire::kPlain ? ::recv(fd_, room.data(), room.size(), 0) : receive(room);
  ++reactor_.totals_.reads;
  if (count < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      readable_ = false;
    } else if (errno != EINTR) {
      close_now(CloseReason::kError);
    }
    return;
  }
  if (count == 0) {
    readable_ = false;
    ended_ = true;
    return;
  }
  const auto size = static_cast<std::size_t>(count);
  if (size < room.size() && !hung_up_) {
    readable_ = false;  // drained: what comes later makes a new edge, saving the fruitless recv()
  }
  active_ = reactor_.now_;
  bytes_in_ += size;
  reactor_.totals_.bytes_in += size;
  if (!own) {
    process(room.first(size), false);
    return;
  }
  in_.end += size;
  if (size < missing_ && in_.size() <= reactor_.settings_.query_buffer_max) {
    missing_ -= size;  // the handler said that it can do nothing with less
    return;
  }
  process(in_.view(), true);
}

// What recv() does, on a connection that is not known to be plain.
ssize_t Connection::receive(std::span<char> room) {
  if (wire_ == Wire::kTls) {
    return receive_sealed(room);
  }
  const ssize_t count = ::recv(fd_, room.data(), room.size(), 0);
  if (count <= 0) {
    return count;
  }
  wire_ = Wire::kPlain;
  if (room[0] != kTlsGreeting) {
    return count;
  }
  reactor_.complain("A client speaks TLS to a port without TLS (addr=" + peer_ +
                    " laddr=" + local_ + ")");
  errno = EPROTO;
  return -1;
}

ssize_t Connection::receive_sealed(std::span<char> room) {
  const bool established = tls_->established();
  if (!established && !reactor_.may_shake_hands()) {
    errno = EINTR;  // in a later turn, without being told again
    return -1;
  }
  const ssize_t count = tls_->read(room, reactor_.sealed_scratch());
  const int error = errno;
  if (tls_->blocked()) {
    writable_ = false;
  }
  if (tls_->over()) {
    hung_up_ = true;
  }
  if (!established && tls_->established()) {
    touch();  // for replies that could not leave before
  }
  if (!established && count < 0 && tls_->over()) {
    reactor_.complain("Error accepting a client connection: " + tls_->fault() + " (addr=" + peer_ +
                      " laddr=" + local_ + ")");
  }
  errno = error;
  return count;
}

// A client that is turned away can be told why only when it has shaken hands.
void Connection::shake_hands_only() {
  if (tls_ == nullptr || tls_->established() || !readable_ || close_reason_ != CloseReason::kNone) {
    return;
  }
  const ssize_t count = receive_sealed({reactor_.scratch_.get(), Reactor::kScratchBytes});
  if (count < 0 && errno == EAGAIN) {
    readable_ = false;
  } else if (count < 0 && errno == EINTR) {
    schedule();
  } else if (count <= 0) {
    close_now(CloseReason::kError);
  }
}

void Connection::process(std::span<char> input, bool own) {
  yield_at_ = out_.size() + kYieldBytes;
  const InputProgress progress = handler_->on_input(*this, input);
  assert(progress.consumed <= input.size());
  if (close_reason_ != CloseReason::kNone || close_after_reply_) {
    return;
  }
  const std::size_t left = input.size() - progress.consumed;
  missing_ = progress.missing;
  unserved_ = left > 0 && progress.missing == 0;
  assert(!unserved_ || suspended_ || progress.consumed > 0 || should_yield());
  if (own) {
    in_.drop(progress.consumed);
  } else if (left > 0) {
    in_.assign(input.last(left), std::min(missing_, kClaimRoom));
  }
  if (in_.size() > reactor_.settings_.query_buffer_max) {
    ++reactor_.totals_.query_limit_closes;
    reactor_.settings_.log(
        "Closing client id=" + std::to_string(id_) + " addr=" + peer_ +
        " that reached max query buffer length (qbuf=" + std::to_string(in_.size()) + ")");
    close_now(CloseReason::kQueryLimit);
  }
}

bool Connection::over_output_limit() {
  if (output_limits_.hard_bytes == 0 && output_limits_.soft_bytes == 0) {
    soft_since_ = {};
    return false;
  }
  const std::size_t pending = out_.size() + handler_->owed_bytes();
  const bool hard = output_limits_.hard_bytes > 0 && pending > output_limits_.hard_bytes;
  bool soft = output_limits_.soft_bytes > 0 && pending > output_limits_.soft_bytes;
  if (!soft) {
    soft_since_ = {};
  } else if (soft_since_ == std::chrono::steady_clock::time_point{}) {
    soft_since_ = reactor_.now_;
    soft = output_limits_.soft_time.count() == 0;
  } else {
    soft = reactor_.now_ - soft_since_ > output_limits_.soft_time;
  }
  if (!hard && !soft) {
    return false;
  }
  ++reactor_.totals_.output_limit_closes;
  reactor_.settings_.log("Client id=" + std::to_string(id_) + " addr=" + peer_ +
                         " closed for overcoming of output buffer limits (omem=" +
                         std::to_string(out_.memory()) + ")");
  close_now(CloseReason::kOutputLimit);
  return true;
}

void Connection::flush() {
  touched_ = false;
  if (corked_ || close_reason_ != CloseReason::kNone || over_output_limit()) {
    return;
  }
  std::size_t allowed = out_.size();
  if (may_leave_ != kNoHold) {
    allowed = std::min<std::uint64_t>(allowed, may_leave_ - std::min(may_leave_, bytes_out_));
  }
  const bool more = tls_ == nullptr ? send_plain(allowed) : send_sealed(allowed);
  if (close_reason_ != CloseReason::kNone) {
    return;
  }
  if (more) {
    touch();
  }
  if (close_after_reply_ && all_sent() && !handler_->owes_replies()) {
    close_now(hung_up_ || ended_ ? CloseReason::kPeerClosed : CloseReason::kAsked);
  }
}

bool Connection::all_sent() const {
  return out_.empty() && (tls_ == nullptr || !tls_->blocked());
}

// Returns whether more could leave now, but for what a turn may take.
bool Connection::send_plain(std::size_t allowed) {
  std::size_t budget = kWriteBytesPerTurn;
  while (allowed > 0 && writable_ && budget > 0) {
    std::size_t sent = 0;
    if (!send_some(std::min(allowed, budget), sent)) {
      break;
    }
    allowed -= sent;
    budget -= sent;
  }
  return allowed > 0 && writable_;
}

// The same, sealed.
bool Connection::send_sealed(std::size_t allowed) {
  if (!writable_) {
    return false;
  }
  if (!tls_->flush()) {
    close_now(CloseReason::kError);
    return false;
  }
  std::size_t budget = tls_->established() ? std::min(allowed, kWriteBytesPerTurn) : 0;
  while (budget > 0 && !tls_->blocked()) {
    const ssize_t sealed = seal_some(budget);
    if (sealed < 0) {
      close_now(CloseReason::kError);
      return false;
    }
    budget -= static_cast<std::size_t>(sealed);
    allowed -= static_cast<std::size_t>(sealed);
  }
  writable_ = !tls_->blocked();
  return allowed > 0 && writable_ && tls_->established();
}

// One record: a large value's next part as it stands, or small replies put together.
ssize_t Connection::seal_some(std::size_t allowed) {
  std::array<std::string_view, kViewsPerWrite> views;
  const std::size_t count = out_.gather(views);
  allowed = std::min(allowed, TlsSession::kRecordBytes);
  std::string_view record = views[0].substr(0, allowed);
  std::array<char, TlsSession::kRecordBytes> together;
  if (record.size() < allowed) {
    std::size_t size = 0;
    for (std::size_t i = 0; i < count && size < allowed; ++i) {
      size += views[i].copy(together.data() + size, allowed - size);
    }
    record = {together.data(), size};
  }
  const ssize_t sealed = tls_->write(record);
  ++reactor_.totals_.writes;
  if (sealed > 0) {
    count_sent(static_cast<std::size_t>(sealed));
  }
  return sealed;
}

void Connection::count_sent(std::size_t bytes) {
  out_.consume(bytes);
  bytes_out_ += bytes;
  reactor_.totals_.bytes_out += bytes;
  active_ = reactor_.now_;
}

// Returns false if the socket takes no more now. A short write is followed by another try, whose
// EAGAIN makes the kernel report when there is room again.
bool Connection::send_some(std::size_t allowed, std::size_t& sent) {
  std::array<std::string_view, kViewsPerWrite> views;
  std::size_t count = out_.gather(views);
  std::array<iovec, kViewsPerWrite> parts;
  std::size_t total = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t size = std::min(views[i].size(), allowed - total);
    parts[i] = {const_cast<char*>(views[i].data()), size};
    total += size;
    if (total == allowed) {
      count = i + 1;
    }
  }
  ssize_t written = 0;
  if (count == 1) {
    written = ::send(fd_, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL);
  } else {
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = count;
    written = ::sendmsg(fd_, &message, MSG_NOSIGNAL);
  }
  ++reactor_.totals_.writes;
  if (written < 0) {
    if (errno == EINTR) {
      return true;
    }
    writable_ = false;
    if (errno != EAGAIN && errno != EWOULDBLOCK) {
      close_now(CloseReason::kError);
    }
    return false;
  }
  sent = static_cast<std::size_t>(written);
  count_sent(sent);
  return true;
}

// Called now and then by the reactor: what only the passing of time decides.
void Connection::tick() {
  if (close_reason_ != CloseReason::kNone || over_output_limit()) {
    return;
  }
  if (handshake_overdue()) {
    reactor_.complain("Error accepting a client connection: no TLS handshake in time (addr=" +
                      peer_ + " laddr=" + local_ + ")");
    close_now(CloseReason::kHandshake);
    return;
  }
  const auto idle = reactor_.now_ - active_;
  if (close_after_reply_ && idle > kLingerMax && !holding_output()) {
    close_now();
    return;
  }
  const auto timeout = reactor_.settings_.idle_timeout;
  if (timeout.count() > 0 && idle > timeout && !idle_exempt_ && !suspended_) {
    close_now(CloseReason::kIdle);
    return;
  }
  if (idle > kShrinkAfter) {
    out_.shrink();
    if (in_.size() == 0) {
      in_.release();
    }
  }
}

bool Connection::handshake_overdue() const {
  return tls_ != nullptr && !tls_->established() &&
         reactor_.now_ - created_ > reactor_.settings_.handshake_timeout;
}

ConnectionStats Connection::stats() const {
  ConnectionStats stats;
  const auto now = std::chrono::steady_clock::now();
  stats.age = now - created_;
  stats.idle = now - active_;
  stats.query_bytes = in_.size();
  stats.query_free = in_.capacity - in_.size();
  stats.output_tail_bytes = out_.tail_size();
  stats.output_chunks = out_.sealed_chunks();
  stats.output_memory = out_.sealed_chunks() > 0 ? out_.memory() : 0;
  stats.total_memory = sizeof(*this) + in_.capacity + out_.memory();
  if (tls_ != nullptr) {
    stats.total_memory += tls_->memory();
  }
  stats.bytes_in = bytes_in_;
  stats.bytes_out = bytes_out_;
  return stats;
}

}  // namespace atl::net
