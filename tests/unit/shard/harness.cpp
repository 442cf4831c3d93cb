#include "tests/unit/shard/harness.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>

namespace atl::shard {

TempDir::TempDir() {
  std::string pattern = (std::filesystem::temp_directory_path() / "atoll-shard-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary directory");
  path_ = pattern;
}

TestNode::TestNode(const std::string& dir, const Options& options, persist::DiskFaults* faults,
                   ReplicationFactory replication)
    : TestNode(
          dir, options,
          [&] {
            NodeOptions node_options;
            node_options.disk_faults = faults;
            node_options.replication = std::move(replication);
            return node_options;
          }(),
          Until::kReady) {}

TestNode::TestNode(const std::string& dir, const Options& options, NodeOptions node_options,
                   Until until) {
  spdlog::set_level(spdlog::level::off);
  std::vector<std::string> args = {"--bind", "127.0.0.1", "--port", "0", "--dir", dir};
  for (const auto& [name, value] : options) {
    args.push_back("--" + name);
    args.push_back(value);
  }
  if (const auto error = config_.load(args)) throw std::runtime_error(error->message());
  node_options.handle_signals = false;
  node_options.any_port = true;
  node_ = std::make_unique<Node>(config_, std::move(node_options));
  if (const auto error = node_->start()) throw std::runtime_error(*error);
  main_ = std::thread([this] { code_ = node_->run(); });
  if (until == Until::kReady) eventually([&] { return !node_->loading(); });
}

int TestNode::stop(const Node::ShutdownOptions& how) {
  if (main_.joinable()) {
    node_->request_shutdown(how);
    main_.join();
  }
  return code_;
}

TestClient::TestClient(int port) {
  fd_ = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    throw std::runtime_error("cannot connect");
  }
  const int on = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

TestClient::~TestClient() {
  close(fd_);
}

void TestClient::send_raw(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

void TestClient::half_close() {
  shutdown(fd_, SHUT_WR);
}

static std::string encode(const Words& command) {
  std::string bytes = "*" + std::to_string(command.size()) + "\r\n";
  for (const std::string& arg : command) {
    bytes += "$" + std::to_string(arg.size()) + "\r\n" + arg + "\r\n";
  }
  return bytes;
}

void TestClient::send(const Words& command) {
  send_raw(encode(command));
}

std::vector<std::string> TestClient::pipeline(const std::vector<Words>& commands) {
  std::string bytes;
  for (const Words& command : commands) bytes += encode(command);
  send_raw(bytes);
  std::vector<std::string> replies;
  for (size_t i = 0; i < commands.size(); ++i) replies.push_back(read());
  return replies;
}

bool TestClient::fill() {
  pollfd ready{fd_, POLLIN, 0};
  if (poll(&ready, 1, timeout_ms_) <= 0) return false;
  char buffer[65536];
  const ssize_t n = recv(fd_, buffer, sizeof buffer, 0);
  if (n <= 0) {
    closed_ = true;
    return false;
  }
  in_.erase(0, at_);
  at_ = 0;
  in_.append(buffer, static_cast<size_t>(n));
  return true;
}

bool TestClient::line(std::string& out) {
  size_t end;
  while ((end = in_.find("\r\n", at_)) == std::string::npos) {
    if (!fill()) return false;
  }
  out = in_.substr(at_, end - at_);
  at_ = end + 2;
  return true;
}

std::string TestClient::read() {
  return value();
}

std::string TestClient::value() {
  std::string head;
  if (!line(head)) return closed_ ? "(closed)" : "(timeout)";
  const std::string rest = head.substr(1);
  switch (head[0]) {
    case '+':
      return rest;
    case ':':
    case '-':
      return head;
    case '_':
      return "(nil)";
    case '$':
    case '=': {
      const long size = std::stol(rest);
      if (size < 0) return "(nil)";
      while (in_.size() - at_ < static_cast<size_t>(size) + 2) {
        if (!fill()) return closed_ ? "(closed)" : "(timeout)";
      }
      std::string text = in_.substr(at_, static_cast<size_t>(size));
      at_ += static_cast<size_t>(size) + 2;
      return text;
    }
    default: {
      long count = std::stol(rest);
      if (count < 0) return "(nil)";
      if (head[0] == '%') count *= 2;
      std::string text = "[";
      for (long i = 0; i < count; ++i) text += (i == 0 ? "" : ", ") + value();
      return text + "]";
    }
  }
}

std::string info_field(TestClient& client, const std::string& section, const std::string& name) {
  const std::string text = client.call({"INFO", section});
  const size_t at = text.find("\r\n" + name + ":");
  if (at == std::string::npos) return {};
  const size_t begin = at + name.size() + 3;
  return text.substr(begin, text.find("\r\n", begin) - begin);
}

bool eventually(const std::function<bool()>& done, double seconds) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (std::chrono::steady_clock::now() < until) {
    if (done()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return done();
}

}  // namespace atl::shard
