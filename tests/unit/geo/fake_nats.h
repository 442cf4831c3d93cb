// What a client of ours needs of a NATS server, on a free loopback port, misbehaving on demand.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace atl::geo {

class FakeNats {
 public:
  struct Published {
    std::string subject, payload;
  };

  explicit FakeNats(int64_t max_payload = 1 << 20) : max_payload_(max_payload) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int small = 64 * 1024;  // so that a server which does not read is noticed
    ::setsockopt(listener_, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&at), size) != 0 ||
        ::listen(listener_, 16) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size) != 0) {
      std::abort();
    }
    port_ = ntohs(at.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~FakeNats() {
    stopping_ = true;
    thread_.join();
    drop_all();
    ::close(listener_);
  }
  FakeNats(const FakeNats&) = delete;
  FakeNats& operator=(const FakeNats&) = delete;

  std::string url() const { return "nats://127.0.0.1:" + std::to_string(port_); }

  // What CONNECT is answered with before the connection ends; "": welcome.
  void refuse(std::string error) {
    const std::lock_guard lock(mutex_);
    refusal_ = std::move(error);
  }
  // Reads and accepts nothing any more, as if stopped by a signal.
  void stall() { stalled_ = true; }
  // What every PUB is answered with.
  void answer(std::string text) {
    const std::lock_guard lock(mutex_);
    answer_ = std::move(text);
  }
  void say(const std::string& text) {
    const std::lock_guard lock(mutex_);
    for (Client& client : clients_) send_to(client, text);
  }
  void deliver(const std::string& subject, const std::string& payload) {
    const std::lock_guard lock(mutex_);
    for (Client& client : clients_) {
      for (const std::string& sid : client.sids) {
        send_to(client, "MSG " + subject + ' ' + sid + ' ' + std::to_string(payload.size()) +
                            "\r\n" + payload + "\r\n");
      }
    }
  }
  void drop_all() {
    const std::lock_guard lock(mutex_);
    for (Client& client : clients_) ::close(client.fd);
    clients_.clear();
  }
  // Has a connection whose name ends in `role`.
  bool serves(const std::string& role) const {
    const std::lock_guard lock(mutex_);
    for (const Client& client : clients_) {
      if (client.hello.find(' ' + role + '"') != std::string::npos) return true;
    }
    return false;
  }
  size_t subscriptions() const {  // that are there now
    const std::lock_guard lock(mutex_);
    size_t n = 0;
    for (const Client& client : clients_) n += client.sids.size();
    return n;
  }
  size_t connects() const { return connects_; }  // so far
  size_t publications() const {
    const std::lock_guard lock(mutex_);
    return published_.size();
  }
  std::vector<Published> published() const {
    const std::lock_guard lock(mutex_);
    return published_;
  }

 private:
  struct Client {
    int fd;
    std::string in;
    std::string hello;
    std::vector<std::string> sids;
  };

  static void send_to(Client& client, const std::string& text) {
    (void)!::send(client.fd, text.data(), text.size(), MSG_NOSIGNAL);
  }

  void serve() {
    while (!stopping_) {
      std::vector<pollfd> polled;
      if (!stalled_) {
        polled.push_back({listener_, POLLIN, 0});
        const std::lock_guard lock(mutex_);
        for (const Client& client : clients_) polled.push_back({client.fd, POLLIN, 0});
      }
      if (::poll(polled.data(), polled.size(), 20) <= 0 || stalled_) continue;
      if (polled[0].revents != 0) accept_one();
      const std::lock_guard lock(mutex_);
      for (auto it = clients_.begin(); it != clients_.end();) {
        if (read_from(*it)) {
          ++it;
        } else {
          ::close(it->fd);
          it = clients_.erase(it);
        }
      }
    }
  }

  void accept_one() {
    const std::lock_guard lock(mutex_);
    Client client{::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC), {}, {}, {}};
    if (client.fd < 0) return;
    send_to(client,
            "INFO {\"server_id\":\"fake\",\"version\":\"2.9.10\",\"host\":\"127.0.0.1\","
            "\"port\":" +
                std::to_string(port_) +
                ",\"proto\":1,\"max_payload\":" + std::to_string(max_payload_) + "}\r\n");
    ++connects_;
    clients_.push_back(std::move(client));
  }

  // False when the connection is to end.
  bool read_from(Client& client) {
    char buf[64 * 1024];
    const ssize_t n = ::recv(client.fd, buf, sizeof buf, MSG_DONTWAIT);
    if (n == 0) return false;
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    client.in.append(buf, static_cast<size_t>(n));
    size_t at = 0;
    for (size_t end; (end = client.in.find("\r\n", at)) != std::string::npos;) {
      const std::string line = client.in.substr(at, end - at);
      const std::string last = line.substr(line.rfind(' ') + 1);
      size_t next = end + 2;
      if (line.starts_with("PUB ")) {
        const size_t size = std::stoul(last);
        if (client.in.size() < next + size + 2) break;
        published_.push_back({line.substr(4, line.find(' ', 4) - 4), client.in.substr(next, size)});
        next += size + 2;
        send_to(client, answer_);
      } else if (line.starts_with("SUB ")) {
        client.sids.push_back(last);
      } else if (line.starts_with("CONNECT ")) {
        client.hello = line;
        if (!refusal_.empty()) {
          send_to(client, "-ERR '" + refusal_ + "'\r\n");
          return false;
        }
      } else if (line == "PING") {
        send_to(client, "PONG\r\n");
      }
      at = next;
    }
    client.in.erase(0, at);
    return true;
  }

  const int64_t max_payload_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> stopping_{false}, stalled_{false};
  std::atomic<size_t> connects_{0};
  mutable std::mutex mutex_;
  std::deque<Client> clients_;
  std::string refusal_, answer_;
  std::vector<Published> published_;
  std::thread thread_;
};

}  // namespace atl::geo
