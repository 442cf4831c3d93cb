// Accepts clients on TCP addresses, with and without TLS, and a Unix socket and deals them out to
// the threads.
//
// One thread accepts and hands sockets round-robin to all reactors. The alternative, an acceptor
// per thread with SO_REUSEPORT, lets the kernel choose by a hash of the addresses: with the few
// connections of a connection pool one thread easily gets twice another's share, and connections
// queued at a thread that is busy wait though others are free. Accepting is rare next to serving.
#pragma once

#include <sys/socket.h>

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "node/net/reactor.h"

namespace atl::net {

// Of an IPv4 or IPv6 address.
bool is_loopback(const sockaddr& address);

struct ListenOptions {
  // IPv4 or IPv6 addresses or names of IPv4 ones; "*" and "::*" for any; a leading '-' lets an
  // address be absent.
  std::vector<std::string> bind = {"*", "-::*"};
  int port = 6379;        // 0: no TCP (unless any_port)
  bool any_port = false;  // the system chooses; see Listener::port()
  int tls_port = 0;       // 0: no TLS (unless any_tls_port)
  bool any_tls_port = false;
  std::shared_ptr<const TlsContext> tls = {};  // of new TLS clients
  int backlog = 511;
  std::string unixsocket = {};   // path; empty: none
  unsigned unixsocket_mode = 0;  // unixsocketperm; 0: as the umask says
  // Whom a gate for local clients lets in.
  bool (*is_local)(const sockaddr& peer) = is_loopback;
};

// Threads: the one of reactors.front(), which accepts. Owns: the listening sockets. The reactors
// and the gate outlive it. Destroy it on its thread or after the threads have ended.
class Listener {
 public:
  static constexpr int kAcceptsPerWake = 128;

  // `log` gets a line for what goes wrong while accepting.
  Listener(std::vector<Reactor*> reactors, ClientGate& gate,
           std::function<void(std::string_view)> log);
  ~Listener();

  // Binds all or nothing, in place of what was bound before. Returns why it failed, for people:
  // "Could not create server TCP listening socket 127.0.0.1:7001: bind: Address already in use".
  std::optional<std::string> open(const ListenOptions& options);
  // Stops accepting; connections live on.
  void close();

  // Of TLS clients from now on. Any thread: who connects after the call is shown the new one.
  void set_tls(std::shared_ptr<const TlsContext> tls);

  // The port bound by the first TCP address, 0 if none.
  int port() const { return port_; }
  int tls_port() const { return tls_port_; }
  std::uint64_t accepted() const { return accepted_; }
  // Clients turned away: too many, or of another machine while the gate is for local ones.
  std::uint64_t refused() const { return refused_; }

 private:
  enum class DoorKind : std::uint8_t { kTcp, kTls, kUnix };

  // A listening socket.
  struct Door : EventSource, std::enable_shared_from_this<Door> {
    Door(Listener& owner, DoorKind kind, int socket, std::string path);
    void on_events(std::uint32_t events) override;

    Listener& listener;
    const DoorKind kind;
    int fd;  // -1: closed
    boost::asio::steady_timer retry;
    std::string path;  // of a Unix socket, else empty
  };

  std::optional<std::string> open_all(const ListenOptions& options);
  std::optional<std::string> open_tcp(DoorKind kind, const std::string& address,
                                      const ListenOptions& options);
  std::optional<std::string> open_unix(const ListenOptions& options);
  void add_door(DoorKind kind, int fd, std::string path);
  Reactor& reactor() { return *reactors_.front(); }
  void accept_some(const std::shared_ptr<Door>& door);
  bool accept_one(Door& door);
  void pause(const std::shared_ptr<Door>& door);
  void deal(AcceptedSocket socket);
  std::shared_ptr<const TlsContext> tls();

  std::vector<Reactor*> reactors_;
  ClientGate& gate_;
  std::function<void(std::string_view)> log_;
  std::vector<std::shared_ptr<Door>> doors_;
  bool (*is_local_)(const sockaddr& peer) = is_loopback;
  std::size_t next_ = 0;
  std::uint64_t accepted_ = 0;
  std::uint64_t refused_ = 0;
  int port_ = 0;
  int tls_port_ = 0;
  std::mutex tls_mutex_;  // guards the pointer only
  std::shared_ptr<const TlsContext> tls_;
};

}  // namespace atl::net
