#include "node/net/listener.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace atl::net {
namespace {

// Out of descriptors: a listening socket stays readable, so wait instead of spinning.
constexpr std::chrono::milliseconds kRetryAfter{100};

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

bool parse_address(const std::string& text, int port, Address& address) {
  const auto number = htons(static_cast<std::uint16_t>(port));
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (text == "*" || ::inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = number;
    address.size = sizeof(*v4);
    return true;
  }
  const bool any = text == "::*";
  if (any || ::inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
    if (any) {
      v6->sin6_addr = in6addr_any;
    }
    v6->sin6_family = AF_INET6;
    v6->sin6_port = number;
    address.size = sizeof(*v6);
    return true;
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_family = AF_INET;
  addrinfo* found = nullptr;
  if (::getaddrinfo(text.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return false;
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  address.size = found->ai_addrlen;
  ::freeaddrinfo(found);
  return true;
}

int port_of(const Address& address) {
  if (address.storage.ss_family == AF_INET) {
    return ntohs(reinterpret_cast<const sockaddr_in*>(&address.storage)->sin_port);
  }
  return ntohs(reinterpret_cast<const sockaddr_in6*>(&address.storage)->sin6_port);
}

std::string text_of(const Address& address) {
  char text[INET6_ADDRSTRLEN] = "?";
  if (address.storage.ss_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address.storage);
    ::inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text));
    return std::string(text) + ":" + std::to_string(port_of(address));
  }
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address.storage);
  ::inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text));
  return "[" + std::string(text) + "]:" + std::to_string(port_of(address));
}

std::string local_address(int fd) {
  Address address;
  address.size = sizeof(address.storage);
  if (::getsockname(fd, address.get(), &address.size) != 0) {
    return "?:0";
  }
  return text_of(address);
}

constexpr std::string_view kFull = "-ERR max number of clients reached\r\n";
constexpr std::string_view kProtected =
    "-DENIED Atoll is running in protected mode because protected mode is enabled and no password "
    "is set for the default user. In this mode connections are only accepted from the loopback "
    "interface. If you want to connect from other machines you may do one of these: 1) Set a "
    "password for the default user, with 'CONFIG SET requirepass' or ACL SETUSER from the machine "
    "the server runs on, or in the configuration file. 2) Where nobody else can reach this port, "
    "disable protected mode by 'CONFIG SET protected-mode no' from the machine the server runs on, "
    "and make it permanent by CONFIG REWRITE. 3) Set 'protected-mode no' in the configuration file "
    "or on the command line, and restart the server.\r\n";

// The socket is new and its buffer empty; if even this fails the client sees the close.
void turn_away(int fd, std::string_view why) {
  [[maybe_unused]] const ssize_t sent = ::send(fd, why.data(), why.size(), MSG_NOSIGNAL);
  ::close(fd);
}

std::string reason(const char* call, int error) {
  return std::string(call) + ": " + std::strerror(error);
}

}  // namespace

bool is_loopback(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    return ntohl(v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
  }
  const in6_addr& v6 = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&v6)) return v6.s6_addr[12] == IN_LOOPBACKNET;
  return IN6_IS_ADDR_LOOPBACK(&v6);
}

Listener::Listener(std::vector<Reactor*> reactors, ClientGate& gate,
                   std::function<void(std::string_view)> log)
    : reactors_(std::move(reactors)), gate_(gate), log_(std::move(log)) {}

Listener::~Listener() {
  close();
}

std::optional<std::string> Listener::open(const ListenOptions& options) {
  close();
  is_local_ = options.is_local;
  set_tls(options.tls);
  std::optional<std::string> error = open_all(options);
  if (error) {
    close();
    return error;
  }
  for (const auto& door : doors_) {
    if (const int failed = reactor().watch(door->fd, *door, EPOLLIN); failed != 0) {
      error = "Cannot watch a listening socket: " + reason("epoll_ctl", failed);
      close();
      return error;
    }
  }
  return std::nullopt;
}

std::optional<std::string> Listener::open_all(const ListenOptions& options) {
  const bool plain = options.port > 0 || options.any_port;
  const bool tls = options.tls_port > 0 || options.any_tls_port;
  for (const std::string& address : options.bind) {
    std::optional<std::string> error;
    if (plain) error = open_tcp(DoorKind::kTcp, address, options);
    if (tls && !error) error = open_tcp(DoorKind::kTls, address, options);
    if (error) return error;
  }
  if ((plain || tls) && doors_.empty() && !options.bind.empty()) {
    return "Configured to not listen anywhere: none of the bind addresses is available";
  }
  return options.unixsocket.empty() ? std::nullopt : open_unix(options);
}

void Listener::set_tls(std::shared_ptr<const TlsContext> tls) {
  const std::lock_guard lock(tls_mutex_);
  tls_ = std::move(tls);
}

std::shared_ptr<const TlsContext> Listener::tls() {
  const std::lock_guard lock(tls_mutex_);
  return tls_;
}

void Listener::close() {
  for (const auto& door : doors_) {
    reactor().unwatch(door->fd, *door);
    ::close(std::exchange(door->fd, -1));
    door->retry.cancel();
    if (!door->path.empty()) {
      ::unlink(door->path.c_str());
    }
  }
  doors_.clear();
  port_ = 0;
  tls_port_ = 0;
}

std::optional<std::string> Listener::open_tcp(DoorKind kind, const std::string& address,
                                              const ListenOptions& options) {
  const bool may_be_absent = address.starts_with('-');
  const std::string name = may_be_absent ? address.substr(1) : address;
  const int asked = kind == DoorKind::kTls ? options.tls_port : options.port;
  int& bound = kind == DoorKind::kTls ? tls_port_ : port_;
  const int wanted = asked > 0 ? asked : bound;
  const std::string failed =
      "Could not create server TCP listening socket " + name + ":" + std::to_string(wanted) + ": ";
  Address target;
  if (!parse_address(name, wanted, target)) {
    return failed + "neither an address nor the name of one";
  }
  const int fd = ::socket(target.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    if (may_be_absent && (errno == EAFNOSUPPORT || errno == EPROTONOSUPPORT)) {
      return std::nullopt;
    }
    return failed + reason("socket", errno);
  }
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (target.storage.ss_family == AF_INET6) {
    ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
  }
  const char* call = "bind";
  int result = ::bind(fd, target.get(), target.size);
  if (result == 0) {
    call = "listen";
    result = ::listen(fd, options.backlog);
  }
  if (result != 0) {
    const int error = errno;
    ::close(fd);
    if (may_be_absent && error == EADDRNOTAVAIL) {
      return std::nullopt;
    }
    return failed + reason(call, error);
  }
  if (bound == 0) {
    ::getsockname(fd, target.get(), &target.size);
    bound = port_of(target);
  }
  add_door(kind, fd, "");
  return std::nullopt;
}

std::optional<std::string> Listener::open_unix(const ListenOptions& options) {
  const std::string failed = "Failed opening Unix socket " + options.unixsocket + ": ";
  sockaddr_un target{};
  if (options.unixsocket.size() >= sizeof(target.sun_path)) {
    return failed + "the path is too long";
  }
  target.sun_family = AF_UNIX;
  std::memcpy(target.sun_path, options.unixsocket.data(), options.unixsocket.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return failed + reason("socket", errno);
  }
  // A socket left behind by a process that died is in the way; any other file is not ours.
  struct stat found {};
  if (::lstat(options.unixsocket.c_str(), &found) == 0 && S_ISSOCK(found.st_mode)) {
    ::unlink(options.unixsocket.c_str());
  }
  const char* call = "bind";
  int result = ::bind(fd, reinterpret_cast<const sockaddr*>(&target), sizeof(target));
  if (result == 0 && options.unixsocket_mode != 0) {
    call = "chmod";
    result = ::chmod(options.unixsocket.c_str(), options.unixsocket_mode);
  }
  if (result == 0) {
    call = "listen";
    result = ::listen(fd, options.backlog);
  }
  if (result != 0) {
    const int error = errno;
    ::close(fd);
    return failed + reason(call, error);
  }
  add_door(DoorKind::kUnix, fd, options.unixsocket);
  return std::nullopt;
}

Listener::Door::Door(Listener& owner, DoorKind what, int socket, std::string where)
    : listener(owner),
      kind(what),
      fd(socket),
      retry(owner.reactor().timers()),
      path(std::move(where)) {}

// A door may be closed while something of it is still posted.
void Listener::Door::on_events(std::uint32_t) {
  if (fd >= 0) {
    listener.accept_some(shared_from_this());
  }
}

void Listener::add_door(DoorKind kind, int fd, std::string path) {
  doors_.push_back(std::make_shared<Door>(*this, kind, fd, std::move(path)));
}

// A door reports new clients once: whoever stops before the last of them sees to the rest.
void Listener::accept_some(const std::shared_ptr<Door>& door) {
  for (int i = 0; i < kAcceptsPerWake; ++i) {
    if (!accept_one(*door)) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return;
      }
      if (errno == ECONNABORTED || errno == EINTR || errno == EPROTO) {
        continue;
      }
      log_(std::string("Accepting client connection: ") + reason("accept", errno));
      pause(door);
      return;
    }
  }
  reactor().post([door] { door->on_events(EPOLLIN); });
}

// Returns false with errno set if nothing was accepted.
bool Listener::accept_one(Door& door) {
  Address peer;
  peer.size = sizeof(peer.storage);
  const int fd = ::accept4(door.fd, peer.get(), &peer.size, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) {
    return false;
  }
  const bool stranger =
      door.kind != DoorKind::kUnix && gate_.local_only() && !is_local_(*peer.get());
  const bool plain = door.kind != DoorKind::kTls;
  if (stranger && plain) {
    ++refused_;
    turn_away(fd, kProtected);
    return true;
  }
  if (!gate_.try_enter()) {
    ++refused_;
    turn_away(fd, plain ? kFull : "");  // too many, and no handshake for them either
    return true;
  }
  ++(stranger ? refused_ : accepted_);
  AcceptedSocket socket;
  socket.fd = fd;
  socket.id = gate_.next_id();
  socket.unix_domain = door.kind == DoorKind::kUnix;
  socket.tls = plain ? nullptr : tls();
  socket.refusal = stranger ? kProtected : "";
  socket.peer = socket.unix_domain ? door.path + ":0" : text_of(peer);
  socket.local = socket.unix_domain ? door.path + ":0" : local_address(fd);
  socket.gate = &gate_;
  deal(std::move(socket));
  return true;
}

void Listener::pause(const std::shared_ptr<Door>& door) {
  reactor().arm(door->retry, kRetryAfter, [door](const boost::system::error_code& error) {
    if (!error) {
      door->on_events(EPOLLIN);
    }
  });
}

void Listener::deal(AcceptedSocket socket) {
  Reactor* const reactor = reactors_[next_];
  next_ = next_ + 1 < reactors_.size() ? next_ + 1 : 0;
  if (reactor == reactors_.front()) {
    reactor->adopt(std::move(socket));
    return;
  }
  reactor->hand_over(std::move(socket));
}

}  // namespace atl::net
