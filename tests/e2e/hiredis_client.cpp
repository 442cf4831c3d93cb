// hiredis, unmodified, in its three ways: a call that waits, a pipeline, an event loop. Run by
// hiredis_test.py against the node on $ATOLL_PORT.
#include <event2/event.h>
#include <gtest/gtest.h>
#include <hiredis/adapters/libevent.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr timeval kPatience{10, 0};

int port() {
  const char* given = std::getenv("ATOLL_PORT");
  return given == nullptr ? 6379 : std::atoi(given);
}

struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Reply = std::unique_ptr<redisReply, FreeReply>;
using Words = std::vector<std::string>;

/** The pointers and lengths of words as hiredis takes them. Lifetime: that of the words. */
struct Argv {
  explicit Argv(const Words& from) {
    for (const std::string& word : from) {
      words.push_back(word.data());
      sizes.push_back(word.size());
    }
  }
  int count() const { return static_cast<int>(words.size()); }

  std::vector<const char*> words;
  std::vector<size_t> sizes;
};

/** A reply in words: +OK, $text, $- for nil, :1, -error, [a b]. */
std::string said(const redisReply* reply) {
  if (reply == nullptr) return "nothing";
  const std::string text = reply->str == nullptr ? "" : std::string(reply->str, reply->len);
  switch (reply->type) {
    case REDIS_REPLY_STATUS:
      return "+" + text;
    case REDIS_REPLY_STRING:
      return "$" + text;
    case REDIS_REPLY_ERROR:
      return "-" + text;
    case REDIS_REPLY_INTEGER:
      return ":" + std::to_string(reply->integer);
    case REDIS_REPLY_NIL:
      return "$-";
    default:
      break;
  }
  std::string all = "[";
  for (size_t i = 0; i < reply->elements; ++i) {
    if (i > 0) all += ' ';
    all += said(reply->element[i]);
  }
  return all + "]";
}

class Client {
 public:
  Client() : context_(redisConnectWithTimeout("127.0.0.1", port(), kPatience), &redisFree) {
    redisSetTimeout(context_.get(), kPatience);
  }

  std::string call(const Words& words) {
    Argv argv(words);
    const Reply reply(static_cast<redisReply*>(
        redisCommandArgv(context_.get(), argv.count(), argv.words.data(), argv.sizes.data())));
    return said(reply.get());
  }

  void append(const Words& words) {
    Argv argv(words);
    redisAppendCommandArgv(context_.get(), argv.count(), argv.words.data(), argv.sizes.data());
  }

  std::string next() {
    void* reply = nullptr;
    if (redisGetReply(context_.get(), &reply) != REDIS_OK) return context_->errstr;
    return said(Reply(static_cast<redisReply*>(reply)).get());
  }

  redisContext* context() { return context_.get(); }

 private:
  std::unique_ptr<redisContext, decltype(&redisFree)> context_;
};

class Hiredis : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(client.call({"FLUSHALL"}), "+OK"); }

  Client client;
};

// Every type of reply, bytes of every kind, and errors behind which the connection lives on.
TEST_F(Hiredis, CallsThatWait) {
  EXPECT_EQ(client.call({"SET", "k", "v"}), "+OK");
  EXPECT_EQ(client.call({"GET", "k"}), "$v");
  EXPECT_EQ(client.call({"GET", "none"}), "$-");
  EXPECT_EQ(client.call({"INCRBY", "n", "-7"}), ":-7");
  EXPECT_EQ(client.call({"MGET", "k", "none", "n"}), "[$v $- $-7]");
  EXPECT_EQ(client.call({"INCR", "k"}), "-ERR value is not an integer or out of range");
  EXPECT_EQ(client.call({"RPUSH", "k", "x"}),
            "-WRONGTYPE Operation against a key holding the wrong kind of value");
  EXPECT_EQ(client.call({"EVAL", "return {1, {2, {}}, false, redis.status_reply('fine')}", "0"}),
            "[:1 [:2 []] $- +fine]");
  const std::string bytes("\0\r\n\xff$5\r\n", 8);
  EXPECT_EQ(client.call({"SET", bytes, bytes}), "+OK");
  std::string expected = "$";
  expected.append(bytes);
  EXPECT_EQ(client.call({"GET", bytes}), expected);
}

// hiredis' own formats, as most C programs use them.
TEST_F(Hiredis, Formats) {
  const std::string bytes("a\0b", 3);
  freeReplyObject(redisCommand(client.context(), "SET key:%d %b EX %lld", 7, bytes.data(),
                               bytes.size(), 100LL));
  const Reply reply(static_cast<redisReply*>(redisCommand(client.context(), "GET %s", "key:7")));
  ASSERT_EQ(reply->type, REDIS_REPLY_STRING);
  EXPECT_EQ(std::string(reply->str, reply->len), bytes);
  EXPECT_EQ(client.call({"TTL", "key:7"}).substr(0, 1), ":");
}

TEST_F(Hiredis, LargeValues) {
  const std::string large(20 << 20, 'x');
  EXPECT_EQ(client.call({"SET", "large", large}), "+OK");
  EXPECT_EQ(client.call({"GET", "large"}).size(), large.size() + 1);
  EXPECT_EQ(client.call({"STRLEN", "large"}), ":20971520");
}

TEST_F(Hiredis, Pipelines) {
  for (int i = 0; i < 20000; ++i) {
    const std::string name = "key:" + std::to_string(i % 1000);
    client.append({"SET", name, std::to_string(i)});
    client.append({"GET", name});
  }
  for (int i = 0; i < 20000; ++i) {
    ASSERT_EQ(client.next(), "+OK");
    ASSERT_EQ(client.next(), "$" + std::to_string(i));
  }
}

TEST_F(Hiredis, TransactionsInAPipeline) {
  for (const Words& words : {Words{"MULTI"},
                             {"SET", "a", "1"},
                             {"HSET", "h", "f", "v"},
                             {"INCR", "h"},
                             {"HGETALL", "h"},
                             {"EXEC"},
                             {"GET", "a"}}) {
    client.append(words);
  }
  EXPECT_EQ(client.next(), "+OK");
  for (int i = 0; i < 4; ++i) EXPECT_EQ(client.next(), "+QUEUED");
  EXPECT_EQ(client.next(),
            "[+OK :1 -WRONGTYPE Operation against a key holding the wrong kind of value [$f $v]]");
  EXPECT_EQ(client.next(), "$1");
}

// One that waits holds its own pipeline up, and nobody else's.
TEST_F(Hiredis, OneThatWaitsInAPipeline) {
  Client waits;
  waits.append({"SET", "before", "1"});
  waits.append({"BLPOP", "queue", "10"});
  waits.append({"GET", "before"});
  int written = 0;
  while (written == 0) ASSERT_EQ(redisBufferWrite(waits.context(), &written), REDIS_OK);
  EXPECT_EQ(waits.next(), "+OK");
  EXPECT_EQ(client.call({"DEL", "before"}), ":1");
  EXPECT_EQ(client.call({"RPUSH", "queue", "x"}), ":1");
  EXPECT_EQ(waits.next(), "[$queue $x]");
  EXPECT_EQ(waits.next(), "$-");
}

// A client that loses patience takes nothing away, and the same context connects again.
TEST_F(Hiredis, TimeoutAndReconnect) {
  Client impatient;
  redisSetTimeout(impatient.context(), timeval{0, 50'000});
  EXPECT_EQ(impatient.call({"BLPOP", "queue", "0"}), "nothing");
  EXPECT_EQ(impatient.context()->err, REDIS_ERR_IO);
  EXPECT_EQ(redisReconnect(impatient.context()), REDIS_OK);
  EXPECT_EQ(impatient.call({"PING"}), "+PONG");
  EXPECT_EQ(client.call({"RPUSH", "queue", "x"}), ":1");
  EXPECT_EQ(client.call({"LPOP", "queue"}), "$x");
}

/** An event loop with connections. Owns both. Bounds: it runs for ten seconds at most. */
class Loop {
 public:
  using Heard = std::function<void(const std::string&)>;

  Loop() : base_(event_base_new(), &event_base_free) {
    const auto nothing = [](evutil_socket_t, short, void*) {};
    beat_.reset(event_new(base_.get(), -1, EV_PERSIST, nothing, nullptr));
    const timeval often{0, 50'000};
    event_add(beat_.get(), &often);
  }
  ~Loop() {
    for (redisAsyncContext* context : std::exchange(open_, {})) redisAsyncFree(context);
  }

  redisAsyncContext* connect() {
    redisAsyncContext* context = redisAsyncConnect("127.0.0.1", port());
    context->data = this;
    redisLibeventAttach(context, base_.get());
    redisAsyncSetDisconnectCallback(context, [](const redisAsyncContext* gone, int status) {
      static_cast<Loop*>(gone->data)->forget(gone, status);
    });
    open_.insert(context);
    return context;
  }

  /** heard() gets every reply: of SUBSCRIBE and MONITOR one for each message, else one. */
  void send(redisAsyncContext* context, const Words& words, Heard heard) {
    listeners_.push_back(std::make_unique<Heard>(std::move(heard)));
    Argv argv(words);
    const auto callback = [](redisAsyncContext*, void* reply, void* listener) {
      if (reply != nullptr) {
        (*static_cast<Heard*>(listener))(said(static_cast<redisReply*>(reply)));
      }
    };
    redisAsyncCommandArgv(context, callback, listeners_.back().get(), argv.count(),
                          argv.words.data(), argv.sizes.data());
  }

  /** Returns whether done() held in time. */
  bool run(const std::function<bool()>& done) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(kPatience.tv_sec);
    while (!done() && std::chrono::steady_clock::now() < end) {
      event_base_loop(base_.get(), EVLOOP_ONCE);
    }
    return done();
  }

  const std::vector<int>& ended() const { return ended_; }

 private:
  void forget(const redisAsyncContext* gone, int status) {
    open_.erase(const_cast<redisAsyncContext*>(gone));
    ended_.push_back(status);
  }

  std::unique_ptr<event_base, decltype(&event_base_free)> base_;
  std::unique_ptr<event, decltype(&event_free)> beat_{nullptr, &event_free};  // ends each wait
  std::set<redisAsyncContext*> open_;
  std::vector<int> ended_;
  std::vector<std::unique_ptr<Heard>> listeners_;
};

TEST_F(Hiredis, EventLoop) {
  Loop loop;
  std::vector<std::vector<std::string>> replies(5);
  for (size_t c = 0; c < replies.size(); ++c) {
    redisAsyncContext* context = loop.connect();
    const std::string key = "n" + std::to_string(c);
    for (int i = 0; i < 2000; ++i) {
      loop.send(context, {"INCR", i % 2 == 0 ? key : "shared"},
                [&replies, c](const std::string& reply) { replies[c].push_back(reply); });
    }
  }
  ASSERT_TRUE(loop.run([&] {
    return std::all_of(replies.begin(), replies.end(),
                       [](const auto& each) { return each.size() == 2000; });
  }));
  for (const auto& each : replies) {
    for (int i = 0; i < 1000; ++i) {
      ASSERT_EQ(each[static_cast<size_t>(i) * 2], ":" + std::to_string(i + 1));
    }
  }
  EXPECT_EQ(client.call({"GET", "shared"}), "$5000");
}

TEST_F(Hiredis, EventLoopHearsMessages) {
  Loop loop;
  std::vector<std::string> heard;
  redisAsyncContext* listener = loop.connect();
  const auto hears = [&heard](const std::string& reply) { heard.push_back(reply); };
  loop.send(listener, {"SUBSCRIBE", "news"}, hears);
  loop.send(listener, {"PSUBSCRIBE", "n*"}, hears);
  ASSERT_TRUE(loop.run([&] { return heard.size() == 2; }));
  EXPECT_EQ(client.call({"PUBLISH", "news", "x"}), ":2");
  ASSERT_TRUE(loop.run([&] { return heard.size() == 4; }));
  EXPECT_EQ(heard, (std::vector<std::string>{"[$subscribe $news :1]", "[$psubscribe $n* :2]",
                                             "[$message $news $x]", "[$pmessage $n* $news $x]"}));
}

// This hiredis speaks RESP2: invalidations go to a connection that listens for them.
TEST_F(Hiredis, EventLoopHearsInvalidations) {
  Loop loop;
  std::vector<std::string> heard;
  std::string id;
  redisAsyncContext* listener = loop.connect();
  loop.send(listener, {"CLIENT", "ID"}, [&id](const std::string& reply) { id = reply.substr(1); });
  loop.send(listener, {"SUBSCRIBE", "__redis__:invalidate"},
            [&heard](const std::string& reply) { heard.push_back(reply); });
  ASSERT_TRUE(loop.run([&] { return heard.size() == 1; }));
  EXPECT_EQ(client.call({"CLIENT", "TRACKING", "ON", "REDIRECT", id}), "+OK");
  for (const Words& write : {Words{"SET", "k", "1"}, {"APPEND", "k", "2"}, {"DEL", "k"}}) {
    client.call({"GET", "k"});
    const size_t before = heard.size();
    Client().call(write);
    ASSERT_TRUE(loop.run([&] { return heard.size() > before; })) << write[0];
    EXPECT_EQ(heard.back(), "[$message $__redis__:invalidate [$k]]");
  }
  Client().call({"FLUSHALL"});
  ASSERT_TRUE(loop.run([&] { return heard.size() == 5; }));
  EXPECT_EQ(heard.back(), "[$message $__redis__:invalidate $-]");
}

TEST_F(Hiredis, EventLoopThatWaits) {
  Loop loop;
  std::vector<std::string> taken;
  for (int i = 0; i < 20; ++i) {
    loop.send(loop.connect(), {"BLPOP", "a", "b", "c", "10"},
              [&taken](const std::string& reply) { taken.push_back(reply); });
  }
  redisAsyncContext* producer = loop.connect();
  size_t pushed = 0;
  for (int i = 0; i < 20; ++i) {
    loop.send(producer, {"RPUSH", std::string(1, "abc"[i % 3]), std::to_string(i)},
              [&pushed](const std::string&) { ++pushed; });
  }
  ASSERT_TRUE(loop.run([&] { return taken.size() == 20 && pushed == 20; }));
  std::sort(taken.begin(), taken.end());
  EXPECT_EQ(std::unique(taken.begin(), taken.end()), taken.end());
  EXPECT_EQ(client.call({"EXISTS", "a", "b", "c"}), ":0");
}

TEST_F(Hiredis, EventLoopHearsThatItWasKilled) {
  Loop loop;
  std::string id;
  loop.send(loop.connect(), {"CLIENT", "ID"},
            [&id](const std::string& reply) { id = reply.substr(1); });
  ASSERT_TRUE(loop.run([&] { return !id.empty(); }));
  EXPECT_EQ(client.call({"CLIENT", "KILL", "ID", id}), ":1");
  ASSERT_TRUE(loop.run([&] { return !loop.ended().empty(); }));
  EXPECT_EQ(loop.ended(), std::vector<int>{REDIS_ERR});
  redisAsyncContext* leaves = loop.connect();
  loop.send(leaves, {"PING"}, [leaves](const std::string&) { redisAsyncDisconnect(leaves); });
  ASSERT_TRUE(loop.run([&] { return loop.ended().size() == 2; }));
  EXPECT_EQ(loop.ended().back(), REDIS_OK);
}

TEST_F(Hiredis, EventLoopMonitors) {
  Loop loop;
  std::vector<std::string> heard;
  loop.send(loop.connect(), {"MONITOR"},
            [&heard](const std::string& reply) { heard.push_back(reply); });
  ASSERT_TRUE(loop.run([&] { return heard.size() == 1; }));
  client.call({"SET", "seen", "1"});
  ASSERT_TRUE(loop.run([&] { return heard.size() == 2; }));
  EXPECT_NE(heard[1].find("\"SET\" \"seen\" \"1\""), std::string::npos) << heard[1];
}

}  // namespace
