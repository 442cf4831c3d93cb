// Whom a listener lets in, where it listens, and what it says when it cannot.
#include "tests/unit/net/harness.h"

namespace atl::net {
namespace {

TEST_F(NetTest, RefusesClientsAboveTheLimit) {
  gate_.set_limit(2);
  start();
  Client first(port_);
  Client second(port_);
  Client third(port_);
  EXPECT_EQ(third.receive(100), "-ERR max number of clients reached\r\n");
  first.close();
  ASSERT_TRUE(eventually([&] { return gate_.open() == 1; }));
  Client fourth(port_);
  fourth.send("in\n");
  EXPECT_EQ(fourth.receive(3), "in\n");
}

TEST(Listener, KnowsTheAddressesOfItsOwnMachine) {
  const auto local = [](const char* text) {
    sockaddr_storage address{};
    auto* v4 = reinterpret_cast<sockaddr_in*>(&address);
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&address);
    const bool is_v4 = ::inet_pton(AF_INET, text, &v4->sin_addr) == 1;
    if (!is_v4 && ::inet_pton(AF_INET6, text, &v6->sin6_addr) != 1) ADD_FAILURE() << text;
    address.ss_family = is_v4 ? AF_INET : AF_INET6;
    return is_loopback(reinterpret_cast<const sockaddr&>(address));
  };
  for (const char* own : {"127.0.0.1", "127.9.8.7", "::1", "::ffff:127.0.0.1"}) {
    EXPECT_TRUE(local(own)) << own;
  }
  for (const char* other : {"10.0.0.1", "128.0.0.1", "0.0.0.0", "::", "fe80::1", "2001:db8::1",
                            "::ffff:10.0.0.1", "7f00::1"}) {
    EXPECT_FALSE(local(other)) << other;
  }
}

// As if loopback were another machine: not every machine has a network to come from.
TEST_F(NetTest, ALocalGateTurnsOtherMachinesAway) {
  start();
  const auto nobody = [](const sockaddr&) { return false; };
  Listener wide({&loops_[0]->reactor}, gate_, [](std::string_view) {});
  on_thread([&](Reactor&) {
    ASSERT_FALSE(
        wide.open({.bind = {"127.0.0.1"}, .port = 0, .any_port = true, .is_local = nobody}));
  });
  gate_.set_local_only(true);
  Client local(port_);
  local.send("ping\n");
  EXPECT_EQ(local.receive(5), "ping\n");
  Client outside(wide.port());
  const std::string refusal = outside.receive(2000);
  EXPECT_TRUE(refusal.starts_with("-DENIED Atoll is running in protected mode because "));
  EXPECT_TRUE(refusal.ends_with("\r\n"));
  EXPECT_TRUE(outside.ended());
  EXPECT_EQ(wide.refused(), 1u);
  gate_.set_local_only(false);
  Client admitted(wide.port());
  admitted.send("ping\n");
  EXPECT_EQ(admitted.receive(5), "ping\n");
  on_thread([&](Reactor&) { wide.close(); });
}

TEST_F(NetTest, ListenerResolvesNames) {
  start();
  Listener named({&loops_[0]->reactor}, gate_, [](std::string_view) {});
  on_thread([&](Reactor&) {
    ASSERT_FALSE(named.open({.bind = {"localhost"}, .port = 0, .any_port = true}));
  });
  Client client(named.port());
  client.send("ping\n");
  EXPECT_EQ(client.receive(5), "ping\n");
  on_thread([&](Reactor&) { named.close(); });
}

TEST_F(NetTest, ListenerSaysWhyItCannotBind) {
  start();
  Listener second({&loops_[0]->reactor}, gate_, [](std::string_view) {});
  const std::string port = std::to_string(port_);
  EXPECT_EQ(second.open({.bind = {"127.0.0.1"}, .port = port_}),
            "Could not create server TCP listening socket 127.0.0.1:" + port +
                ": bind: Address already in use");
  EXPECT_EQ(second.open({.bind = {"nowhere.invalid"}, .port = port_}),
            "Could not create server TCP listening socket nowhere.invalid:" + port +
                ": neither an address nor the name of one");
  EXPECT_EQ(second.open({.bind = {"203.0.113.77"}, .port = port_}),
            "Could not create server TCP listening socket 203.0.113.77:" + port +
                ": bind: Cannot assign requested address");
  EXPECT_TRUE(second.open({.bind = {"-203.0.113.77"}, .port = port_}));
  EXPECT_TRUE(second.open({.port = 0, .unixsocket = "/nonexistent/dir/sock"}));
}

TEST(Listener, ServesUnixSocketsAndSeveralAddresses) {
  Journal journal;
  ClientGate gate(10);
  Loop loop;
  loop.reactor.set_session_factory(
      [&](Connection&) { return std::make_unique<LineHandler>(journal); });
  Listener listener({&loop.reactor}, gate, [](std::string_view) {});
  const std::string path = testing::TempDir() + "net_test_" + std::to_string(::getpid()) + ".sock";
  const ListenOptions options{.bind = {"127.0.0.1", "-::1"},
                              .port = 0,
                              .any_port = true,
                              .unixsocket = path,
                              .unixsocket_mode = 0700};
  ASSERT_FALSE(listener.open(options));
  ASSERT_FALSE(listener.open(options)) << "a socket left behind is replaced";
  loop.start();
  Client local(path);
  local.send("via unix\n");
  EXPECT_EQ(local.receive(9), "via unix\n");
  Client tcp(listener.port());
  tcp.send("via tcp\n");
  EXPECT_EQ(tcp.receive(8), "via tcp\n");
  local.send("last\n");
  local.half_close();
  EXPECT_EQ(local.receive(5), "last\n");
  loop.stop();
  listener.close();
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
}

}  // namespace
}  // namespace atl::net
