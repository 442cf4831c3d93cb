// paced_load: requests at a fixed rate, and how long each took from when it was due.
//
// redis-benchmark sends its next request when the last one was answered: while a server stands
// still it asks nothing, and its quantiles leave out whoever would have waited (G. Tene's
// "coordinated omission"). Here the schedule goes on, as users do.
//
// One thread, one epoll, `--connections` sockets in turn. What is due is sent at once, however many
// replies are outstanding. Prints one line of JSON; times in microseconds.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr const char* kUsage =
    "usage: paced_load --port N [--rate 10000] [--seconds 10] [--connections 50]\n"
    "                  [--keys 1000000] [--value 64] [--sets 50]\n"
    "--sets: how many of 100 requests are SETs, the others are GETs\n";

struct Options {
  uint16_t port = 0;
  double rate = 10'000;
  double seconds = 10;
  size_t connections = 50;
  uint64_t keys = 1'000'000;
  size_t value = 64;
  uint32_t sets = 50;
};

[[noreturn]] void fail(const std::string& reason) {
  std::fprintf(stderr, "paced_load: %s\n", reason.c_str());
  std::exit(1);
}

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    char* end = nullptr;
    const double n = i + 1 < argc ? std::strtod(argv[++i], &end) : -1;
    if (end == nullptr || *end != '\0' || n < 0) {
      std::fputs(kUsage, stderr);
      std::exit(2);
    }
    if (name == "--port") {
      o.port = static_cast<uint16_t>(n);
    } else if (name == "--rate") {
      o.rate = n;
    } else if (name == "--seconds") {
      o.seconds = n;
    } else if (name == "--connections") {
      o.connections = static_cast<size_t>(n);
    } else if (name == "--keys") {
      o.keys = static_cast<uint64_t>(n);
    } else if (name == "--value") {
      o.value = static_cast<size_t>(n);
    } else if (name == "--sets") {
      o.sets = static_cast<uint32_t>(n);
    } else {
      fail("no option " + std::string(name) + "\n" + kUsage);
    }
  }
  if (o.port == 0 || o.rate <= 0 || o.rate * o.seconds < 1 || o.connections == 0 || o.keys == 0)
    fail(kUsage);
  return o;
}

double now_us() {
  using namespace std::chrono;
  return duration<double, std::micro>(steady_clock::now().time_since_epoch()).count();
}

class Connection {
 public:
  Connection(uint16_t port, int epoll, size_t index) : epoll_(epoll), index_(index) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) {
      fail("no server on port " + std::to_string(port) + ": " + std::strerror(errno));
    }
    const int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    watch(EPOLL_CTL_ADD, EPOLLIN);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { close(fd_); }

  void request(const std::string& bytes, double due) {
    out_ += bytes;
    due_.push_back(due);
  }
  bool waits() const { return !due_.empty(); }

  void send_all() {
    while (sent_ < out_.size()) {
      const ssize_t n =
          send(fd_, out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && errno != EAGAIN && errno != EINTR) fail("the server closed a connection");
      if (n < 0) break;
      sent_ += static_cast<size_t>(n);
    }
    const bool blocked = sent_ < out_.size();
    if (!blocked) {
      out_.clear();
      sent_ = 0;
    }
    if (blocked != blocked_) watch(EPOLL_CTL_MOD, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
    blocked_ = blocked;
  }

  void receive(std::vector<float>& took) {
    char buffer[65536];
    ssize_t n = 0;
    while ((n = recv(fd_, buffer, sizeof buffer, MSG_DONTWAIT)) > 0) {
      in_.append(buffer, static_cast<size_t>(n));
      const double at = now_us();
      size_t used = 0;
      while (const size_t size = reply_size(std::string_view(in_).substr(used))) {
        if (in_[used] == '-') fail("the server refused: " + in_.substr(used, size - 2));
        used += size;
        if (due_.empty()) fail("a reply that nobody asked for");
        took.push_back(static_cast<float>(at - due_.front()));
        due_.pop_front();
      }
      in_.erase(0, used);
      if (static_cast<size_t>(n) < sizeof buffer) return;
    }
    if (n == 0) fail("the server closed a connection");
  }

 private:
  // The first reply's bytes, 0 while it is not all there. Simple strings, errors and bulk strings.
  static size_t reply_size(std::string_view in) {
    const size_t line = in.find("\r\n");
    if (line == std::string_view::npos) return 0;
    if (in[0] != '$' || in[1] == '-') return line + 2;
    const size_t all = line + 4 + std::strtoul(in.data() + 1, nullptr, 10);
    return in.size() < all ? 0 : all;
  }
  void watch(int how, uint32_t events) {
    epoll_event e{};
    e.events = events;
    e.data.u64 = index_;
    epoll_ctl(epoll_, how, fd_, &e);
  }

  int epoll_;
  size_t index_;
  int fd_;
  std::string out_, in_;
  size_t sent_ = 0;
  bool blocked_ = false;
  std::deque<double> due_;  // of what has no reply yet, in order
};

class Load {
 public:
  explicit Load(const Options& o) : options_(o), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    for (size_t i = 0; i < o.connections; ++i) connections_.emplace_back(o.port, epoll_, i);
    took_.reserve(static_cast<size_t>(o.rate * o.seconds));
    value_.assign(o.value, 'v');
  }

  void run() {
    const double begin = now_us(), each = 1e6 / options_.rate;
    const auto all = static_cast<uint64_t>(options_.rate * options_.seconds);
    constexpr double kPatienceUs = 60e6;
    const double end = begin + options_.seconds * 1e6 + kPatienceUs;
    for (uint64_t next = 0; took_.size() < all;) {
      const double now = now_us();
      if (now > end) fail("a minute after the last request replies are still missing");
      const size_t first = next % connections_.size();
      size_t touched = 0;
      for (; next < all && begin + static_cast<double>(next) * each <= now; ++next, ++touched) {
        connections_[next % connections_.size()].request(random_request(),
                                                         begin + static_cast<double>(next) * each);
      }
      for (size_t i = 0; i < std::min(touched, connections_.size()); ++i) {
        connections_[(first + i) % connections_.size()].send_all();
      }
      wait(next < all ? begin + static_cast<double>(next) * each - now_us() : 1000);
    }
    seconds_ = (now_us() - begin) / 1e6;
  }

  void print() {
    std::sort(took_.begin(), took_.end());
    const auto quantile = [&](double q) {
      const auto n = static_cast<size_t>(q * static_cast<double>(took_.size()));
      return static_cast<double>(took_[std::min(n, took_.size() - 1)]);
    };
    std::printf(
        "{\"requests\": %zu, \"per_second\": %.0f, \"p50\": %.0f, \"p99\": %.0f, \"p999\": %.0f, "
        "\"max\": %.0f}\n",
        took_.size(), static_cast<double>(took_.size()) / seconds_, quantile(0.5), quantile(0.99),
        quantile(0.999), quantile(1));
  }

 private:
  const std::string& random_request() {
    char key[32];
    std::snprintf(key, sizeof key, "$16\r\nkey:%012llu\r\n",
                  static_cast<unsigned long long>(random_() % options_.keys));
    const bool set = random_() % 100 < options_.sets;
    request_ = set ? "*3\r\n$3\r\nSET\r\n" : "*2\r\n$3\r\nGET\r\n";
    request_ += key;
    if (set) request_ += "$" + std::to_string(value_.size()) + "\r\n" + value_ + "\r\n";
    return request_;
  }
  // For a reply, or until the next request is due. The last moments pass awake.
  void wait(double us) {
    constexpr double kWakesLateUs = 60;
    const auto ns = static_cast<long>(std::clamp(us - kWakesLateUs, 0.0, 1000.0) * 1000);
    const timespec patience{0, ns};
    epoll_event events[64];
    const int n = epoll_pwait2(epoll_, events, 64, &patience, nullptr);
    for (int i = 0; i < n; ++i) {
      Connection& c = connections_[events[i].data.u64];
      if (events[i].events & EPOLLOUT) c.send_all();
      if (events[i].events & ~static_cast<uint32_t>(EPOLLOUT)) c.receive(took_);
    }
  }

  Options options_;
  int epoll_;
  std::deque<Connection> connections_;
  std::vector<float> took_;
  std::string value_, request_;
  std::mt19937_64 random_{42};
  double seconds_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  Load load(parse(argc, argv));
  load.run();
  load.print();
}
