// The transport outlives everything that a NATS server can do to it, and says what it cannot mend.
#include "geo/nats_transport.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <random>

#include "tests/unit/geo/fake_nats.h"

namespace atl::geo {
namespace {

using namespace std::chrono_literals;

// For what must happen at last, however busy the machine is.
template <typename Condition>
bool eventually(Condition condition) {
  const auto until = std::chrono::steady_clock::now() + 60s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(5ms);
  }
  return true;
}

class NatsTransportTest : public testing::Test {
 protected:
  std::unique_ptr<NatsTransport> open(std::vector<std::string> urls) {
    NatsTransport::Receiver r;
    r.message = [this](auto message, auto) { seen(messages_, std::move(message)); };
    r.malformed = [this](std::string reason) { seen(malformed_, std::move(reason)); };
    r.connection = [this](bool connected, std::string) {
      seen(connected ? ups_ : downs_, std::string());
    };
    r.complaint = [this](std::string text) { seen(complaints_, std::move(text)); };
    NatsTransport::Options o;
    o.urls = std::move(urls);
    o.prefix = "t";
    o.client_name = "test";
    o.region = 1;
    o.node = 7;
    o.compression = Compression::kOff;
    std::string error;
    auto transport = NatsTransport::open(std::move(o), std::move(r), error);
    EXPECT_NE(transport, nullptr) << error;
    return transport;
  }

  static std::shared_ptr<const Message> message(size_t size, RegionId from = 1) {
    std::mt19937_64 random(size);
    auto bytes = std::make_shared<std::string>(size, '\0');
    for (char& c : *bytes) c = static_cast<char>(random());
    auto m = std::make_shared<Message>();
    m->sender.address = {from, 7, 0, 1};
    m->sender.region_name = "us";
    m->body = BatchMessage{std::move(bytes)};
    return m;
  }

  template <typename T>
  void seen(std::vector<T>& list, T what) {
    const std::lock_guard lock(mutex_);
    list.push_back(std::move(what));
  }
  template <typename T>
  size_t count(const std::vector<T>& list) {
    const std::lock_guard lock(mutex_);
    return list.size();
  }
  std::vector<std::string> complaints() {
    const std::lock_guard lock(mutex_);
    return complaints_;
  }
  bool complained(const std::string& about) {
    for (const std::string& each : complaints()) {
      if (each.find(about) != std::string::npos) return true;
    }
    return false;
  }

  std::mutex mutex_;
  std::vector<std::shared_ptr<const Message>> messages_;
  std::vector<std::string> malformed_, complaints_, ups_, downs_;
};

TEST_F(NatsTransportTest, AServerThatStandsStillHoldsUpNobodyAndIsLeft) {
  FakeNats a, b;
  const auto transport = open({a.url(), b.url()});
  ASSERT_TRUE(eventually([&] { return a.serves("out") || b.serves("out"); }));
  FakeNats& still = a.serves("out") ? a : b;
  FakeNats& other = a.serves("out") ? b : a;
  still.stall();
  const auto big = message(4 << 20);
  for (int i = 0; i < 12; ++i) transport->broadcast(big);
  const auto goes_on_elsewhere = [&] {
    transport->broadcast(message(10));
    return transport->stats().connected && other.publications() > 0;
  };
  bool goes_on = false, answered = true;
  EXPECT_TRUE(eventually([&] {
    auto asked = std::async(std::launch::async, goes_on_elsewhere);
    answered = asked.wait_for(60s) == std::future_status::ready;
    if (!answered) still.drop_all();  // or this test would wait for ever
    goes_on = asked.get();
    return goes_on || !answered;
  }));
  EXPECT_TRUE(goes_on);
  EXPECT_TRUE(answered) << "stats() waited for the server";
}

TEST_F(NatsTransportTest, EndsWhileTheServerStandsStill) {
  FakeNats server;
  auto transport = open({server.url()});
  ASSERT_TRUE(eventually([&] { return transport->stats().connected; }));
  server.stall();
  const auto big = message(4 << 20);
  for (int i = 0; i < 12; ++i) transport->broadcast(big);
  auto ended = std::async(std::launch::async, [&] {
    transport->flush(500);
    transport.reset();
  });
  const bool in_time = ended.wait_for(60s) == std::future_status::ready;
  if (!in_time) server.drop_all();
  EXPECT_TRUE(in_time);
}

// libnats gives such a connection up.
TEST_F(NatsTransportTest, AConnectionThatWasClosedForGoodIsMadeAnew) {
  FakeNats server;
  const auto transport = open({server.url()});
  ASSERT_TRUE(eventually([&] { return server.subscriptions() == 2 && server.serves("out"); }));
  server.say("-ERR 'maximum lunacy exceeded'\r\n");
  EXPECT_TRUE(eventually([&] {
    return server.connects() >= 4 && server.subscriptions() == 2 && transport->stats().connected;
  }));
  EXPECT_TRUE(complained("maximum lunacy exceeded"));
  transport->broadcast(message(10));
  EXPECT_TRUE(eventually([&] { return server.publications() > 0; }));
  server.deliver("t.out.2.7.0", encode(*message(10, 2), 1, Compression::kOff)[0]);
  EXPECT_TRUE(eventually([&] { return count(messages_) >= 1; }));
}

TEST_F(NatsTransportTest, RefusedCredentialsAreSaidAndTriedAgain) {
  FakeNats server;
  server.refuse("Authorization Violation");
  const auto transport = open({server.url()});
  EXPECT_TRUE(eventually([&] { return complained("check the user and password"); }));
  EXPECT_FALSE(transport->stats().connected);
  server.refuse("");
  EXPECT_TRUE(eventually([&] { return transport->stats().connected; }));
  EXPECT_TRUE(eventually([&] { return server.subscriptions() == 2; }));
}

TEST_F(NatsTransportTest, PartsAreNoLargerThanWhatTheServerTakes) {
  constexpr size_t kMax = 64 * 1024;
  FakeNats server(kMax);
  const auto transport = open({server.url()});
  const auto sent = message(300 * 1024);
  transport->broadcast(sent);
  ASSERT_TRUE(eventually([&] { return server.publications() >= 5; }));
  Assembler assembler;
  Message got;
  std::string error;
  auto result = Assembler::Result::kIncomplete;
  for (const auto& each : server.published()) {
    EXPECT_LE(each.payload.size(), kMax);
    result = assembler.add(each.subject, each.payload, got, error);
  }
  ASSERT_EQ(result, Assembler::Result::kMessage) << error;
  EXPECT_EQ(*std::get<BatchMessage>(got.body).bytes, *std::get<BatchMessage>(sent->body).bytes);
  EXPECT_EQ(transport->stats().dropped, 0u);
  EXPECT_TRUE(complaints().empty());
}

TEST_F(NatsTransportTest, AServerThatTakesAlmostNothingIsComplainedAboutOnce) {
  FakeNats server(1000);
  const auto transport = open({server.url()});
  for (int i = 0; i < 5; ++i) transport->broadcast(message(10'000));
  transport->broadcast(message(10));
  EXPECT_TRUE(eventually([&] { return server.publications() == 1; })) << "the small one goes on";
  EXPECT_EQ(transport->stats().dropped, 5u);
  EXPECT_TRUE(complained("max_payload"));
  EXPECT_EQ(complaints().size(), 1u);
}

TEST_F(NatsTransportTest, AMissingPermissionIsSaidOnceWithItsSubject) {
  FakeNats server;
  server.answer("-ERR 'Permissions Violation for Publish to \"t.out.1.7.0\"'\r\n");
  const auto transport = open({server.url()});
  const auto begun = std::chrono::steady_clock::now();
  for (int i = 0; i < 200; ++i) transport->broadcast(message(10));
  ASSERT_TRUE(eventually([&] { return server.publications() == 200; }));
  ASSERT_TRUE(eventually([&] { return !complaints().empty(); }));
  server.drop_all();  // events come in order: this one after all the errors
  ASSERT_TRUE(eventually([&] { return count(downs_) >= 2; }));
  const auto took = std::chrono::steady_clock::now() - begun;
  EXPECT_LE(complaints().size(), 1 + static_cast<size_t>(took / 10s));
  EXPECT_TRUE(complained("Publish to \"t.out.1.7.0\"")) << complaints().at(0);
  EXPECT_TRUE(complained("must be permitted to publish and to subscribe to 't.>'"));
}

TEST_F(NatsTransportTest, NothingIsReceivedAfterTheEnd) {
  FakeNats server;
  std::promise<void> received, go_on;
  std::atomic<bool> ended{false}, late{false};
  std::atomic<int> calls{0};
  NatsTransport::Receiver r;
  r.message = [&](auto, auto) {
    if (++calls == 1) {
      received.set_value();
      go_on.get_future().wait();
    }
    if (ended) late = true;
  };
  r.malformed = [](auto) {};
  r.connection = [&](bool, auto) {
    if (ended) late = true;
  };
  r.complaint = [](auto) {};
  NatsTransport::Options o;
  o.urls = {server.url()};
  o.prefix = "t";
  std::string error;
  auto transport = NatsTransport::open(std::move(o), std::move(r), error);
  ASSERT_NE(transport, nullptr) << error;
  ASSERT_TRUE(eventually([&] { return server.subscriptions() == 2; }));
  const std::string payload = encode(*message(10, 2), 1, Compression::kOff)[0];
  for (int i = 0; i < 100; ++i) server.deliver("t.out.2.7.0", payload);
  received.get_future().wait();
  auto end = std::async(std::launch::async, [&] {
    transport.reset();
    ended = true;
  });
  EXPECT_EQ(end.wait_for(200ms), std::future_status::timeout) << "a handler was still running";
  go_on.set_value();
  end.get();
  server.drop_all();
  std::this_thread::sleep_for(50ms);
  EXPECT_FALSE(late);
}

}  // namespace
}  // namespace atl::geo
