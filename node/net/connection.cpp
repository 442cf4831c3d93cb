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

namespace atl::net {
namespace {

// Chunks per gathered write.
constexpr std::size_t kViewsPerWrite = 32;
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
      unix_domain_(socket.unix_domain),
      output_limits_(reactor.settings_.output_limits),
      created_(reactor.now_),
      active_(reactor.now_),
      peer_(std::move(socket.peer)),
      local_(std::move(socket.local)),
      gate_(socket.gate) {}

Connection::~Connection() {
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
  const ssize_t count = ::recv(fd_, room.data(), room.size(), 0);
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
  if (close_reason_ != CloseReason::kNone || over_output_limit()) {
    return;
  }
  std::size_t allowed = out_.size();
  if (may_leave_ != kNoHold) {
    allowed = std::min<std::uint64_t>(allowed, may_leave_ - std::min(may_leave_, bytes_out_));
  }
  std::size_t budget = kWriteBytesPerTurn;
  while (allowed > 0 && writable_ && budget > 0) {
    std::size_t sent = 0;
    if (!send_some(std::min(allowed, budget), sent)) {
      break;
    }
    allowed -= sent;
    budget -= sent;
  }
  if (close_reason_ != CloseReason::kNone) {
    return;
  }
  if (allowed > 0 && writable_) {
    touch();
  }
  if (close_after_reply_ && out_.empty() && !handler_->owes_replies()) {
    close_now(hung_up_ || ended_ ? CloseReason::kPeerClosed : CloseReason::kAsked);
  }
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
  out_.consume(sent);
  bytes_out_ += sent;
  reactor_.totals_.bytes_out += sent;
  active_ = reactor_.now_;
  return true;
}

// Called now and then by the reactor: what only the passing of time decides.
void Connection::tick() {
  if (close_reason_ != CloseReason::kNone || over_output_limit()) {
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
  stats.bytes_in = bytes_in_;
  stats.bytes_out = bytes_out_;
  return stats;
}

}  // namespace atl::net
