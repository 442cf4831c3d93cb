#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "node/config/config.h"
#include "node/config/option.h"

namespace atl::config {
namespace {

using std::chrono::milliseconds;

std::string why(const std::string& option, const std::string& reason) {
  return "CONFIG SET failed (possibly related to argument '" + option + "') - " + reason;
}

struct Trial {
  std::string option;
  std::string value;
  std::string result;  // what CONFIG GET says afterwards, or the reason of the refusal
};

// Aim: a good value of every kind is taken, and printed as Redis prints it.
TEST(ConfigSet, GoodValuesOfEveryKind) {
  const std::vector<Trial> trials = {
      {"appendfsync", "ALWAYS", "always"},
      {"protected-mode", "No", "no"},
      {"timeout", "0", "0"},
      {"slowlog-log-slower-than", "-1", "-1"},
      {"maxmemory", "100mb", "104857600"},
      {"maxmemory-policy", "volatile-ttl", "volatile-ttl"},
      {"save", "", ""},
      {"save", "60 1 10 5", "60 1 10 5"},
      {"requirepass", "a b", "a b"},
      {"geo-batch-bytes", "256kb", "262144"},
      {"geo-flush-interval", "0", "0"},
      {"debug-clock-offset", "-300000", "-300000"},
      {"client-output-buffer-limit", "slave 1kb 1k 1",
       "normal 0 0 0 slave 1024 1000 1 pubsub 33554432 8388608 60"},
      {"notify-keyspace-events", "", ""},
      {"notify-keyspace-events", "xxKEe$", "$xeKE"},
      {"notify-keyspace-events", "Kg$lshzxetd", "AK"},
      {"notify-keyspace-events", "mAEKn", "AnKEm"},
      {"geo-regional-channels", "local: chat:eu:", "local: chat:eu:"},
  };
  for (const Trial& trial : trials) {
    Config config;
    const auto error = config.set({{trial.option, trial.value}});
    ASSERT_FALSE(error) << trial.option << ": " << *error;
    EXPECT_EQ(config.get(trial.option),
              (std::vector<Config::NameValue>{{trial.option, trial.result}}));
  }
}

// Aim: a bad value of every kind is refused in Redis' words and changes nothing.
TEST(ConfigSet, BadValuesOfEveryKind) {
  const std::string range_in = "argument must be between ";
  const std::vector<Trial> trials = {
      {"protected-mode", "maybe", "argument must be 'yes' or 'no'"},
      {"hz", "x", "argument couldn't be parsed into an integer"},
      {"hz", "501", range_in + "1 and 500 inclusive"},
      {"hz", "0", range_in + "1 and 500 inclusive"},
      {"maxmemory", "lots", "argument must be a memory value"},
      {"geo-batch-bytes", "1mb", range_in + "4096 and 262144 inclusive"},
      {"geo-flush-interval", "1001", range_in + "0 and 1000 inclusive"},
      {"appendfsync", "often", "argument(s) must be one of the following: everysec, always, no"},
      {"save", "60", "Invalid save parameters"},
      {"save", "x y", "Invalid save parameters"},
      {"client-output-buffer-limit", "normal 0 0",
       "Wrong number of arguments in buffer limit configuration."},
      {"client-output-buffer-limit", "nobody 0 0 0",
       "Invalid client class specified in buffer limit configuration."},
      {"client-output-buffer-limit", "normal 0 x 0",
       "Error in hard, soft or soft_seconds setting in buffer limit configuration."},
      {"notify-keyspace-events", "KEq", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."},
      {"tls-protocols", "TLSv1.2 SSLv3",
       "Invalid tls-protocols specified. Use a combination of 'TLSv1', 'TLSv1.1', 'TLSv1.2' and "
       "'TLSv1.3'."},
      {"tls-auth-clients", "perhaps",
       "argument(s) must be one of the following: no, yes, optional"},
      {"port", "7000", "can't set immutable config"},
      {"tls-port", "7000", "can't set immutable config"},
      {"region-id", "1", "can't set immutable config"},
      {"geo-compression", "no", "can't set immutable config"},
  };
  for (const Trial& trial : trials) {
    Config config;
    const auto before = config.snapshot();
    EXPECT_EQ(config.set({{trial.option, trial.value}}), why(trial.option, trial.result));
    EXPECT_EQ(config.snapshot(), before);
  }
}

// Aim: who provisions by CONFIG SET may say what is so already.
TEST(ConfigSet, AStartOnlyOptionMayBeSetToWhatItIs) {
  Config config;
  EXPECT_FALSE(config.set({{"port", "6379"}, {"appendonly", "NO"}}));
  EXPECT_TRUE(config.set({{"appendonly", "yes"}}));
  EXPECT_TRUE(config.set({{"port", "6379"}, {"port", "6379"}})) << "twice";
}

// Aim: what can only be set at start is judged by the same rules.
TEST(ConfigSet, StartOnlyOptionsAreJudgedAtLoad) {
  const std::vector<Trial> trials = {
      {"port", "65536", "argument must be between 0 and 65535 inclusive"},
      {"port", "-1", "argument must be between 0 and 65535 inclusive"},
      {"threads", "0", "argument must be between 1 and 64 inclusive"},
      {"region-id", "256", "argument must be between 0 and 255 inclusive"},
      {"region", "EU", "argument must be 1 to 32 characters of a-z, 0-9 and '-'"},
      {"region", std::string(33, 'a'), "argument must be 1 to 32 characters of a-z, 0-9 and '-'"},
      {"unixsocketperm", "9", "argument couldn't be parsed as an octal number"},
      {"unixsocketperm", "1000", "argument must be between 0 and 777 inclusive"},
      {"dbfilename", "a/b", "dbfilename can't be a path, just a filename"},
      {"geo-mode", "none", "argument(s) must be one of the following: active-active"},
  };
  for (const Trial& trial : trials) {
    Config config;
    const auto error = config.load({"--" + trial.option, trial.value});
    ASSERT_TRUE(error) << trial.option;
    EXPECT_EQ(error->reason, trial.result) << trial.option;
  }
  for (const char* url : {"http://a", "nats://", "a:4222"}) {
    EXPECT_TRUE(Config().load({"--region-id", "1", "--geo-nats-url", url})) << url;
  }
  for (const char* subject : {"a.*", "a..b", ".a", "a>", ""}) {
    EXPECT_TRUE(Config().load({"--geo-subject-prefix", subject})) << subject;
  }
}

// Aim: what names a file takes effect whenever it is set, because the file may be another; nothing
// else does.
TEST(ConfigSet, AnOptionThatNamesAFileIsNewAtEverySet) {
  Config config;
  std::vector<std::string_view> heard;
  config.subscribe([&](const Change& change) { heard = change.options; });
  EXPECT_FALSE(config.set({{"tls-cert-file", "a.pem"}, {"timeout", "5"}}));
  EXPECT_EQ(heard, (std::vector<std::string_view>{"timeout", "tls-cert-file"}));
  EXPECT_FALSE(config.set({{"tls-cert-file", "a.pem"}, {"timeout", "5"}}));
  EXPECT_EQ(heard, std::vector<std::string_view>{"tls-cert-file"});
  EXPECT_FALSE(config.set({{"hz", "20"}}));
  EXPECT_EQ(heard, std::vector<std::string_view>{"hz"});
}

// Aim: what the guard refuses changes nothing, in Redis' words; what it lets pass is heard of next.
TEST(ConfigSet, TheGuardIsAskedFirst) {
  Config config;
  std::vector<std::string> heard;
  config.set_guard([&](const Change& change) -> std::optional<Conflict> {
    heard.emplace_back("guard");
    if (change.after->timeout == std::chrono::seconds(5)) return std::nullopt;
    return Conflict{"timeout", "no"};
  });
  config.subscribe([&](const Change&) { heard.emplace_back("listener"); });
  EXPECT_EQ(config.set({{"hz", "20"}, {"timeout", "6"}}), why("timeout", "no"));
  EXPECT_EQ(config.snapshot()->timeout, std::chrono::seconds(0));
  EXPECT_EQ(config.snapshot()->hz, 10);
  EXPECT_FALSE(config.set({{"timeout", "5"}}));
  EXPECT_EQ(config.snapshot()->timeout, std::chrono::seconds(5));
  EXPECT_EQ(heard, (std::vector<std::string>{"guard", "guard", "listener"}));
}

// Aim: several pairs are set together or not at all, and listeners hear of nothing that failed.
TEST(ConfigSet, AllOrNothing) {
  Config config;
  int heard = 0;
  config.subscribe([&](const Change&) { ++heard; });
  EXPECT_EQ(config.set({{"timeout", "5"}, {"hz", "x"}}),
            why("hz", "argument couldn't be parsed into an integer"));
  EXPECT_EQ(config.set({{"timeout", "5"}, {"nope", "1"}}),
            "Unknown option or number of arguments for CONFIG SET - 'nope'");
  EXPECT_EQ(config.set({{"timeout", "5"}, {"TIMEOUT", "6"}}),
            why("TIMEOUT", "duplicate parameter"));
  EXPECT_EQ(config.snapshot()->timeout, std::chrono::seconds(0));
  EXPECT_EQ(heard, 0);
  EXPECT_FALSE(config.set({{"timeout", "5"}, {"hz", "20"}}));
  EXPECT_EQ(config.snapshot()->timeout, std::chrono::seconds(5));
  EXPECT_EQ(config.snapshot()->hz, 20);
  EXPECT_EQ(heard, 1);
}

// Aim: a listener gets exactly the options whose values are different, and both snapshots; the
// new one is already in force.
TEST(ConfigSet, ListenersHearOfChangedOptionsOnly) {
  Config config;
  std::vector<Change> changes;
  config.subscribe([&](const Change& change) {
    EXPECT_EQ(config.snapshot(), change.after);
    changes.push_back(change);
  });
  ASSERT_FALSE(config.set({{"hz", "10"}, {"geo-flush-interval", "7"}}));
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].options, (std::vector<std::string_view>{"geo-flush-interval"}));
  EXPECT_TRUE(changes[0].has("geo-flush-interval"));
  EXPECT_FALSE(changes[0].has("hz"));
  EXPECT_EQ(changes[0].before->geo_flush_interval, milliseconds(2));
  EXPECT_EQ(changes[0].after->geo_flush_interval, milliseconds(7));
  ASSERT_FALSE(config.set({{"hz", "10"}}));
  EXPECT_EQ(changes.size(), 1u) << "nothing changed, nobody is told";
}

// Aim: a snapshot is never half of a change, whoever reads while others set.
TEST(ConfigSet, SnapshotsAreWhole) {
  Config config;
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    while (!stop) {
      const auto s = config.snapshot();
      if (s->hz != 10) {
        EXPECT_EQ(s->hz, s->maxmemory_samples);
      }
    }
  });
  for (int i = 0; i < 2000; ++i) {
    const std::string n = std::to_string(11 + i % 40);
    ASSERT_FALSE(config.set({{"hz", n}, {"maxmemory-samples", n}}));
  }
  stop = true;
  reader.join();
}

// Aim: CONFIG GET takes several patterns, gives each option once, in any case, and hides hidden
// ones from patterns but not from their name.
TEST(ConfigGet, PatternsAndHiddenOptions) {
  Config config;
  const auto found = config.get({"MAXmemory*", "maxmemory", "hz", "nothing"});
  std::vector<std::string> names;
  for (const auto& [name, value] : found) names.push_back(name);
  EXPECT_EQ(names,
            (std::vector<std::string>{"hz", "maxmemory", "maxmemory-policy", "maxmemory-samples"}));
  for (const auto& [name, value] : config.get("*")) EXPECT_NE(name, "debug-clock-offset");
  EXPECT_EQ(config.get("debug-clock-offset").size(), 1u);
  EXPECT_TRUE(config.get("debug-clock-offse?").empty());
}

// Aim: help and the README's table name every option that is not hidden, and no other.
TEST(Help, ListsEveryOption) {
  const std::string help = help_text();
  const std::string table = markdown_table();
  for (const Option& option : options()) {
    const bool shown = option.visibility == Visibility::kShown;
    EXPECT_EQ(help.find("--" + std::string(option.name) +
                        (option.apply == Apply::kAtStart ? "\n" : " *\n")) != std::string::npos,
              shown)
        << option.name;
    EXPECT_EQ(table.find("| `" + std::string(option.name) + "` |") != std::string::npos, shown);
  }
  for (std::size_t from = 0; from < help.size();) {
    const std::size_t to = help.find('\n', from);
    EXPECT_LE(to - from, 100u);
    from = to + 1;
  }
}

}  // namespace
}  // namespace atl::config
