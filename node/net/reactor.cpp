#include "node/net/reactor.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace atl::net {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kTick{100};
constexpr std::chrono::seconds kComplaintPause{1};
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

Reactor::Alarm::Alarm() : fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (fd < 0) {
    throw std::system_error(errno, std::generic_category(), "eventfd");
  }
}

Reactor::Alarm::~Alarm() {
  ::close(fd);
}

Reactor::Reactor(boost::asio::io_context& io)
    : io_(io),
      work_(io.get_executor()),
      epoll_fd_(open_epoll()),
      ticker_(io),
      now_(Clock::now()),
      scratch_(std::make_unique_for_overwrite<char[]>(kScratchBytes)) {
  if (const int error = watch(alarm_.fd, alarm_, EPOLLIN); error != 0) {
    ::close(epoll_fd_);
    throw std::system_error(error, std::generic_category(), "epoll_ctl");
  }
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
  ::close(epoll_fd_);
}

void Reactor::run() {
  while (!stopped_.load(std::memory_order_relaxed)) {
    turn();
  }
}

void Reactor::stop() {
  stopped_.store(true, std::memory_order_relaxed);
  post([] {});
}

void Reactor::post(std::function<void()> task) {
  {
    const std::lock_guard lock(posts_mutex_);
    posts_.push_back(std::move(task));
  }
  posted_.store(true);
  if (asleep_.load()) {
    wake();
  }
}

void Reactor::hand_over(AcceptedSocket socket) {
  {
    const std::lock_guard lock(posts_mutex_);
    arrivals_.push_back(std::move(socket));
  }
  posted_.store(true);
  if (asleep_.load()) {
    wake();
  }
}

void Reactor::adopt_arrivals() {
  std::vector<AcceptedSocket> arrived;
  {
    const std::lock_guard lock(posts_mutex_);
    arrived.swap(arrivals_);
  }
  for (AcceptedSocket& socket : arrived) {
    adopt(std::move(socket));
  }
}

void Reactor::serve_sockets(std::chrono::milliseconds patience) {
  if (!inner_) {
    inner_ = std::make_unique<Inner>();
  }
  scratch_.swap(inner_->scratch);  // what the outer turn reads stays as it is
  adopt_arrivals();
  serve_working();
  serve_events();
  working_.swap(continuing_);
  serve_working();
  const auto timeout = static_cast<int>(continuing_.empty() ? patience.count() : 0);
  const int ready = ::epoll_wait(epoll_fd_, inner_->events.data(), kEventsPerTurn, timeout);
  now_ = Clock::now();
  for (int i = 0; i < ready; ++i) {
    const epoll_event& event = inner_->events[static_cast<std::size_t>(i)];
    if (event.data.ptr != nullptr) {
      static_cast<EventSource*>(event.data.ptr)->on_events(event.events);
    }
  }
  std::vector<Connection*> touched;
  touched.swap(touched_);
  for (Connection* connection : touched) {
    connection->flush();
  }
  scratch_.swap(inner_->scratch);
}

void Reactor::wake() {
  ::eventfd_write(alarm_.fd, 1);  // fails only where the sum of all overflows: after centuries
}

void Reactor::turn() {
  continue_left();
  await_events();
  serve_events();
  serve_posts();
  if (now_ >= next_deadline_) {
    serve_timers();
  }
  finish_turn();
}

void Reactor::continue_left() {
  ++totals_.turns;
  handshakes_left_ = kHandshakesPerTurn;
  working_.swap(continuing_);
  continued_ = !working_.empty();
  serve_working();
}

// By an index that a turn within the turn sees: it goes on where this one is, for what a socket has
// reported once is not reported again.
void Reactor::serve_working() {
  while (next_working_ < working_.size()) {
    working_[next_working_++]->serve();
  }
  working_.clear();
  next_working_ = 0;
}

void Reactor::serve_events() {
  while (next_event_ < ready_events_) {
    const epoll_event& event = events_[static_cast<std::size_t>(next_event_++)];
    if (event.data.ptr != nullptr) {
      static_cast<EventSource*>(event.data.ptr)->on_events(event.events);
    }
  }
}

void Reactor::await_events() {
  std::chrono::nanoseconds patience{0};
  if (!continued_ && continuing_.empty() && touched_.empty() && doomed_.empty()) {
    patience = sleep_allowed();
  }
  if (nanoseconds_) {
    const timespec timeout{0, std::min<long>(patience.count(), 999'999'999)};
    ready_events_ = ::epoll_pwait2(epoll_fd_, events_.data(), kEventsPerTurn, &timeout, nullptr);
    nanoseconds_ = ready_events_ >= 0 || errno == EINTR;
  }
  if (!nanoseconds_) {  // a kernel before 5.11; too late is better than awake too early, again
    const auto whole = std::chrono::ceil<std::chrono::milliseconds>(patience);
    ready_events_ =
        ::epoll_wait(epoll_fd_, events_.data(), kEventsPerTurn, static_cast<int>(whole.count()));
  }
  ready_events_ = std::max(0, ready_events_);
  next_event_ = 0;
  asleep_.store(false, std::memory_order_relaxed);
  now_ = Clock::now();
}

std::chrono::nanoseconds Reactor::sleep_allowed() {
  asleep_.store(true);
  if (posted_.load()) {
    return {};
  }
  return std::clamp<std::chrono::nanoseconds>(next_deadline_ - Clock::now(), {}, kTick);
}

void Reactor::serve_posts() {
  if (!posted_.load(std::memory_order_relaxed)) {
    return;
  }
  posted_.store(false);
  adopt_arrivals();
  {
    const std::lock_guard lock(posts_mutex_);
    taken_posts_.swap(posts_);
  }
  for (const auto& task : taken_posts_) {
    task();
  }
  taken_posts_.clear();
}

void Reactor::serve_timers() {
  while (io_.poll_one() > 0) {
  }
}

void Reactor::expect(Clock::time_point at) {
  deadlines_.push_back(at);
  next_deadline_ = std::min(next_deadline_, at);
}

void Reactor::forget(Clock::time_point at) {
  deadlines_.erase(std::find(deadlines_.begin(), deadlines_.end(), at));
  next_deadline_ = Clock::time_point::max();
  for (const Clock::time_point each : deadlines_) {
    next_deadline_ = std::min(next_deadline_, each);
  }
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

Connection* Reactor::adopt(AcceptedSocket socket) {
  tune(socket, settings_.tcp_keepalive);
  const int fd = socket.fd;
  const std::string_view refusal = socket.refusal;
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
  if (!refusal.empty()) {
    raw->output().append(refusal);
    raw->close_after_reply();
  }
  return raw;
}

std::span<char> Reactor::sealed_scratch() {
  if (sealed_scratch_ == nullptr) {
    sealed_scratch_ = std::make_unique_for_overwrite<char[]>(kScratchBytes);
  }
  return {sealed_scratch_.get(), kScratchBytes};
}

void Reactor::complain(const std::string& line) {
  if (now_ - complained_at_ < kComplaintPause) {
    ++not_complained_;
    return;
  }
  complained_at_ = now_;
  const std::uint64_t others = std::exchange(not_complained_, 0);
  settings_.log(others == 0 ? line : line + "; " + std::to_string(others) + " more before it");
}

Connection* Reactor::find(std::uint64_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

void Reactor::for_each(const std::function<void(Connection&)>& visit) const {
  for (std::size_t i = 0; i < connections_.size(); ++i) {  // a visit may make more of them
    visit(*connections_[i]);
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
  arm(ticker_, kTick, [this](const boost::system::error_code& error) {
    if (!error) {
      tick();
      schedule_tick();
    }
  });
}

void Reactor::tick() {
  const std::size_t count = connections_.size();
  const std::size_t share = (count + kTicksPerRound - 1) / kTicksPerRound;
  for (std::size_t i = 0; i < share; ++i) {
    tick_cursor_ = tick_cursor_ + 1 < count ? tick_cursor_ + 1 : 0;
    connections_[tick_cursor_]->tick();
  }
}

}  // namespace atl::net
