#include "node/net/reactor.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <system_error>
#include <utility>

namespace atl::net {
namespace {

constexpr std::chrono::milliseconds kTick{100};
// Every connection is looked at once in this many ticks.
constexpr std::size_t kTicksPerRound = 10;

int open_epoll() {
  const int fd = ::epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) {
    throw std::system_error(errno, std::generic_category(), "epoll_create1");
  }
  return fd;
}

// Failures are harmless here: the socket works without, if less well.
void set_option(int fd, int level, int name, int value) {
  ::setsockopt(fd, level, name, &value, sizeof(value));
}

void tune(const AcceptedSocket& socket, std::chrono::seconds keepalive) {
  if (socket.unix_domain) {
    return;
  }
  set_option(socket.fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (keepalive.count() > 0) {
    const int idle = static_cast<int>(keepalive.count());
    set_option(socket.fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(socket.fd, IPPROTO_TCP, TCP_KEEPIDLE, idle);
    set_option(socket.fd, IPPROTO_TCP, TCP_KEEPINTVL, std::max(1, idle / 3));
    set_option(socket.fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
  }
}

}  // namespace

Reactor::Reactor(boost::asio::io_context& io)
    : io_(io),
      work_(io.get_executor()),
      epoll_fd_(open_epoll()),
      epoll_wait_(io, epoll_fd_),
      ticker_(io),
      now_(std::chrono::steady_clock::now()),
      scratch_(std::make_unique_for_overwrite<char[]>(kScratchBytes)) {
  schedule_tick();
}

Reactor::~Reactor() {
  for (auto& connection : connections_) {
    connection->close_now(CloseReason::kShutdown);
  }
  while (!doomed_.empty()) {
    Connection* const connection = doomed_.back();
    doomed_.pop_back();
    bury(*connection);
  }
}

void Reactor::run() {
  while (!stopped_.load(std::memory_order_relaxed) && !io_.stopped()) {
    serve_sockets();
    const bool busy = ready_events_ >= kBusyEvents;
    if (busy) {
      serve_asio();
    }
    finish_turn();
    if (busy) {
      continue;
    }
    if (continuing_.empty() && touched_.empty()) {
      sleep();
    } else {
      serve_asio();
    }
  }
}

void Reactor::stop() {
  stopped_.store(true, std::memory_order_relaxed);
  boost::asio::post(io_, [] {});
}

bool Reactor::turn() {
  const bool served = serve_sockets();
  const bool posted = serve_asio();
  finish_turn();
  return served || posted || !continuing_.empty() || !touched_.empty();
}

bool Reactor::serve_sockets() {
  now_ = std::chrono::steady_clock::now();
  ++totals_.turns;
  working_.swap(continuing_);
  const bool continued = !working_.empty();
  for (Connection* connection : working_) {
    connection->serve();
  }
  working_.clear();
  ready_events_ = std::max(0, ::epoll_wait(epoll_fd_, events_.data(), kEventsPerTurn, 0));
  for (int i = 0; i < ready_events_; ++i) {
    const epoll_event& event = events_[static_cast<std::size_t>(i)];
    if (event.data.ptr != nullptr) {
      static_cast<EventSource*>(event.data.ptr)->on_events(event.events);
    }
  }
  return continued || ready_events_ > 0;
}

bool Reactor::serve_asio() {
  int count = 0;
  while (count < kPostsPerTurn && io_.poll_one() > 0) {
    ++count;
  }
  return count > 0;
}

void Reactor::finish_turn() {
  if (turn_end_) {
    turn_end_();
  }
  working_.swap(touched_);
  for (Connection* connection : working_) {
    connection->flush();
  }
  working_.clear();
  while (!doomed_.empty()) {
    Connection* const connection = doomed_.back();
    doomed_.pop_back();
    bury(*connection);
  }
}

// Arming makes Asio look at our descriptor afresh, so an event that came since the last
// epoll_wait() ends the sleep at once.
void Reactor::sleep() {
  if (!armed_) {
    armed_ = true;
    epoll_wait_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                           [this](const boost::system::error_code& error) {
                             if (error != boost::asio::error::operation_aborted) {
                               armed_ = false;
                             }
                           });
  }
  io_.run_one();
  now_ = std::chrono::steady_clock::now();
  if (armed_) {
    serve_asio();  // woken by something else, so more of it may be waiting
  }
}

Connection* Reactor::adopt(AcceptedSocket socket) {
  tune(socket, settings_.tcp_keepalive);
  const int fd = socket.fd;
  auto connection = std::make_unique<Connection>(*this, std::move(socket));
  Connection* const raw = connection.get();
  raw->handler_ = factory_(*raw);
  raw->index_ = connections_.size();
  connections_.push_back(std::move(connection));
  by_id_[raw->id_] = raw;
  ++totals_.accepted;
  if (watch(fd, *raw, EPOLLIN | EPOLLOUT | EPOLLRDHUP) != 0) {
    raw->close_now(CloseReason::kError);
    return nullptr;
  }
  return raw;
}

Connection* Reactor::find(std::uint64_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

void Reactor::for_each(const std::function<void(Connection&)>& visit) const {
  for (const auto& connection : connections_) {
    visit(*connection);
  }
}

int Reactor::watch(int fd, EventSource& source, std::uint32_t events) {
  epoll_event event{};
  event.events = events | EPOLLET;
  event.data.ptr = &source;
  return ::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

void Reactor::unwatch(int fd, EventSource& source) {
  ::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
  for (epoll_event& event : std::span(events_).first(static_cast<std::size_t>(ready_events_))) {
    if (event.data.ptr == &source) {
      event.data.ptr = nullptr;
    }
  }
}

void Reactor::bury(Connection& connection) {
  connection.handler_->on_close(connection, connection.close_reason_);
  if (connection.touched_) {
    std::erase(touched_, &connection);
  }
  if (connection.scheduled_) {
    std::erase(continuing_, &connection);
  }
  by_id_.erase(connection.id_);
  const std::size_t index = connection.index_;
  std::swap(connections_[index], connections_.back());
  connections_[index]->index_ = index;
  connections_.pop_back();
}

void Reactor::schedule_tick() {
  ticker_.expires_after(kTick);
  ticker_.async_wait([this](const boost::system::error_code& error) {
    if (!error) {
      tick();
      schedule_tick();
    }
  });
}

void Reactor::tick() {
  now_ = std::chrono::steady_clock::now();
  const std::size_t count = connections_.size();
  const std::size_t share = (count + kTicksPerRound - 1) / kTicksPerRound;
  for (std::size_t i = 0; i < share; ++i) {
    tick_cursor_ = tick_cursor_ + 1 < count ? tick_cursor_ + 1 : 0;
    connections_[tick_cursor_]->tick();
  }
}

}  // namespace atl::net
