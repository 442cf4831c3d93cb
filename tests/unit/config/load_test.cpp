#include <gtest/gtest.h>

#include <iostream>
#include <sstream>

#include "node/config/config.h"
#include "tests/unit/config/scratch_dir.h"

namespace atl::config {
namespace {

using Words = std::vector<std::string>;
using std::chrono::seconds;

std::string value_of(const Config& config, const std::string& option) {
  const auto found = config.get(option);
  return found.size() == 1 ? found[0].second : "<" + std::to_string(found.size()) + " matches>";
}

// Aim: without any configuration every option has Redis 7.0's default, or ours.
TEST(Load, DefaultsAreRedis) {
  Config config;
  ASSERT_FALSE(config.load({}));
  const auto s = config.snapshot();
  EXPECT_EQ(s->port, 6379);
  EXPECT_EQ(s->bind, (Words{"127.0.0.1", "-::1"}));
  EXPECT_EQ(s->tcp_keepalive, seconds(300));
  EXPECT_EQ(s->maxclients, 10000u);
  EXPECT_EQ(s->maxmemory_policy, EvictionPolicy::kNoeviction);
  EXPECT_EQ(s->output_limit(ClientClass::kPubsub), (BufferLimit{32 << 20, 8 << 20, seconds(60)}));
  EXPECT_EQ(s->save.size(), 3u);
  EXPECT_EQ(s->region, "local");
  EXPECT_EQ(s->geo_batch_bytes, 128 << 10);
  EXPECT_FALSE(s->geo_enabled());
  EXPECT_EQ(value_of(config, "save"), "3600 1 300 100 60 10000");
  EXPECT_EQ(value_of(config, "proto-max-bulk-len"), "536870912");
  EXPECT_EQ(value_of(config, "client-output-buffer-limit"),
            "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60");
  EXPECT_EQ(value_of(config, "dir"), std::filesystem::current_path().string());
}

// Aim: the syntax of redis.conf: comments, blank lines, case, quotes, units, several words.
TEST(Load, ReadsRedisConfSyntax) {
  const ScratchDir dir;
  const auto file =
      dir.write("a.conf",
                "# a comment\r\n\n  PORT 7001\r\nbind 10.0.0.1 -::1\n"
                "requirepass \"two words \\x41\"\nmaxmemory 1gb\n"
                "appendonly YES\nmaxmemory-policy allkeys-lfu\nunixsocketperm 700\n"
                "client-output-buffer-limit replica 1mb 512kb 5\n"
                "region eu\nregion-id 2\ngeo-nats-url nats://a:1,nats://b:2 tls://c:3\n"
                "timeout 5");  // no newline at the end
  Config config;
  const auto error = config.load({file});
  ASSERT_FALSE(error) << error->message();
  const auto s = config.snapshot();
  EXPECT_EQ(s->port, 7001);
  EXPECT_EQ(s->bind, (Words{"10.0.0.1", "-::1"}));
  EXPECT_EQ(s->requirepass, "two words A");
  EXPECT_EQ(s->maxmemory, 1 << 30);
  EXPECT_TRUE(s->appendonly);
  EXPECT_EQ(s->maxmemory_policy, EvictionPolicy::kAllkeysLfu);
  EXPECT_EQ(s->unixsocketperm, 0700u);
  EXPECT_EQ(value_of(config, "unixsocketperm"), "700");
  EXPECT_EQ(s->output_limit(ClientClass::kReplica), (BufferLimit{1 << 20, 512 << 10, seconds(5)}));
  EXPECT_EQ(s->output_limit(ClientClass::kPubsub).soft_bytes, 8 << 20) << "other classes stay";
  EXPECT_EQ(s->geo_nats_url, (Words{"nats://a:1", "nats://b:2", "tls://c:3"}));
  EXPECT_TRUE(s->geo_enabled());
  EXPECT_EQ(s->timeout, seconds(5));
  EXPECT_EQ(config.file(), file);
}

// Aim: save lines of a file replace the default and add up; "" clears them; the command line's
// replace the file's.
TEST(Load, SaveLinesAddUpWithinOneSource) {
  const ScratchDir dir;
  Config config;
  ASSERT_FALSE(config.load({dir.write("a.conf", "save 900 1\nsave 300 10 60 5\n")}));
  EXPECT_EQ(value_of(config, "save"), "900 1 300 10 60 5");
  ASSERT_FALSE(config.load({dir.write("b.conf", "save 900 1\nsave \"\"\nsave 5 5\n")}));
  EXPECT_EQ(value_of(config, "save"), "5 5");
  ASSERT_FALSE(config.load({dir.path("a.conf"), "--save", "1", "2", "--save", "3", "4"}));
  EXPECT_EQ(value_of(config, "save"), "1 2 3 4");
  ASSERT_FALSE(config.load({dir.path("a.conf"), "--save", ""}));
  EXPECT_EQ(value_of(config, "save"), "");
  ASSERT_FALSE(config.load({"--save", "--port", "1"}));
  EXPECT_EQ(value_of(config, "save"), "");
  EXPECT_EQ(config.snapshot()->port, 1);
}

// Aim: the command line wins over the file, and its later options over earlier ones.
TEST(Load, CommandLineWins) {
  const ScratchDir dir;
  const auto file = dir.write("a.conf", "port 1\ntimeout 7\n");
  Config config;
  ASSERT_FALSE(config.load({file, "--port", "2", "--bind", "127.0.0.1", "::1", "--port", "3"}));
  const auto s = config.snapshot();
  EXPECT_EQ(s->port, 3);
  EXPECT_EQ(s->timeout, seconds(7));
  EXPECT_EQ(s->bind, (Words{"127.0.0.1", "::1"}));
}

// Aim: '-' reads the configuration from standard input; such a server has no file to rewrite.
TEST(Load, StandardInput) {
  std::istringstream input("port 4\nsave x\n");
  auto* const before = std::cin.rdbuf(input.rdbuf());
  Config config;
  const auto error = config.load({"-"});
  input.str("port 4\n");
  input.clear();
  const auto good = config.load({"-"});
  std::cin.rdbuf(before);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->file, "standard input");
  EXPECT_EQ(error->line, 2);
  ASSERT_FALSE(good);
  EXPECT_EQ(config.snapshot()->port, 4);
  EXPECT_EQ(config.rewrite(), "The server is running without a config file");
}

// Aim: include works where it stands, with patterns; a pattern that matches nothing is no error.
TEST(Load, IncludeInPlace) {
  const ScratchDir dir;
  dir.write("x1.inc", "port 11\ntimeout 1\n");
  dir.write("x2.inc", "port 12\n");
  const auto file = dir.write("a.conf", "timeout 9\ninclude " + dir.path("x*.inc") + "\ninclude " +
                                            dir.path("none*.inc") + "\nhz 20\n");
  Config config;
  const auto error = config.load({file});
  ASSERT_FALSE(error) << error->message();
  EXPECT_EQ(config.snapshot()->port, 12);
  EXPECT_EQ(config.snapshot()->timeout, seconds(1));
  EXPECT_EQ(config.snapshot()->hz, 20);
}

// Aim: an error in an included file names that file; a missing or circular include names the line
// that asks for it.
TEST(Load, IncludeErrorsHaveAPlace) {
  const ScratchDir dir;
  const auto inner = dir.write("inner.conf", "\nport x\n");
  Config config;
  auto error = config.load({dir.write("a.conf", "include " + inner + "\n")});
  ASSERT_TRUE(error);
  EXPECT_EQ(error->file, inner);
  EXPECT_EQ(error->line, 2);

  const auto missing = dir.write("b.conf", "hz 10\ninclude " + dir.path("gone.conf") + "\n");
  error = config.load({missing});
  ASSERT_TRUE(error);
  EXPECT_EQ(error->file, missing);
  EXPECT_EQ(error->line, 2);
  EXPECT_NE(error->reason.find("No such file"), std::string::npos) << error->reason;

  const auto circle = dir.write("c.conf", "include " + dir.path("c.conf") + "\n");
  error = config.load({circle});
  ASSERT_TRUE(error);
  EXPECT_NE(error->reason.find("include itself"), std::string::npos) << error->reason;
}

// Aim: what is wrong is refused with file, line, the line itself, the reason and the nearest name,
// and nothing of it is taken over.
TEST(Load, ErrorsCarryFileLineAndReason) {
  const ScratchDir dir;
  const auto file = dir.write("a.conf", "# x\nport 1\nmaxmemroy 1gb\n");
  Config config;
  const auto error = config.load({file});
  ASSERT_TRUE(error);
  EXPECT_EQ(
      error->message(),
      "*** FATAL CONFIG FILE ERROR (Atoll) ***\n"
      "Reading the configuration file '" +
          file +
          "', at line 3\n"
          ">>> 'maxmemroy 1gb'\n"
          "Bad directive or wrong number of arguments: unknown option 'maxmemroy'; did you mean "
          "'maxmemory'?\n");
  EXPECT_EQ(config.snapshot()->port, 6379);
  EXPECT_EQ(config.file(), "");
}

// A redis.conf has dozens of lines for what Atoll does not have: one start names them all.
TEST(Load, AllUnknownOptionsAreNamedAtOnce) {
  const ScratchDir dir;
  const auto file = dir.write("a.conf", "port 1\nrdbcompression yes\nhz 10\nio-threads 5\n");
  Config config;
  const auto error = config.load({file, "--qqqqq", "1"});
  ASSERT_TRUE(error);
  EXPECT_EQ(error->line, 2);
  EXPECT_TRUE(error->reason.ends_with("\nUnknown too: io-threads (line 4), qqqqq"))
      << error->reason;
}

TEST(Load, CommandLineErrorsShowTheOption) {
  Config config;
  auto error = config.load({"--hz", "ten"});
  ASSERT_TRUE(error);
  EXPECT_EQ(error->message(),
            "*** FATAL CONFIG FILE ERROR (Atoll) ***\nReading the command line\n>>> '--hz ten'\n"
            "argument couldn't be parsed into an integer\n");
  error = config.load({"/nowhere/atoll.conf"});
  ASSERT_TRUE(error);
  EXPECT_EQ(error->reason,
            "can't open config file '/nowhere/atoll.conf': No such file or directory");
  EXPECT_TRUE(config.load({"/"})) << "a directory is no file";
  EXPECT_TRUE(config.load({"--port"}));
  error = config.load({"--databases", "256"});  // a delta has a byte for it, and 255 is "all"
  ASSERT_TRUE(error);
  EXPECT_EQ(error->reason, "argument must be between 1 and 255 inclusive");
  EXPECT_TRUE(config.load({"--port", "1", "2"}));
  EXPECT_TRUE(config.load({"-", "port"}));
}

// Aim: every kind of line that Redis refuses at start is refused, with its reason.
TEST(Load, MalformedLines) {
  const std::vector<std::pair<std::string, std::string>> lines = {
      {"requirepass \"x", "Unbalanced quotes in configuration line"},
      {"port", "Bad directive or wrong number of arguments: 'port' needs a value"},
      {"port 1 2", "wrong number of arguments"},
      {"save 60", "Invalid save parameters"},
      {"save 0 1", "Invalid save parameters"},
      {"rdbcompression yes",
       "Bad directive or wrong number of arguments: unknown option "
       "'rdbcompression' (an option of Redis that Atoll does not have: "
       "remove the line)"},
      {"qqqqq 1", "Bad directive or wrong number of arguments: unknown option 'qqqqq'"},
      {"geo-nats-url nats://a:1",
       "geo-nats-url needs region-id: set it to a number from 1 to 255 "
       "that no other region uses"},
      {"tls-port 6379", "tls-port and port must differ: set port to 0 to serve TLS alone"},
      {"geo-nats-tls-cert-file a.pem",
       "geo-nats-tls-cert-file and geo-nats-tls-key-file need each other"},
      {"geo-nats-tls-key-file a.pem",
       "geo-nats-tls-cert-file and geo-nats-tls-key-file need each other"},
  };
  const ScratchDir dir;
  for (const auto& [line, reason] : lines) {
    Config config;
    const auto error = config.load({dir.write("a.conf", "hz 10\n" + line + "\n")});
    ASSERT_TRUE(error) << line;
    EXPECT_EQ(error->reason, reason);
    EXPECT_EQ(error->line, 2) << line;
  }
}

// Aim: a password never reaches the terminal or the log through an error.
TEST(Load, SecretsStayOutOfErrors) {
  Config config;
  const auto error = config.load({"--requirepass", "hush", "hush2"});
  ASSERT_TRUE(error);
  EXPECT_EQ(error->message().find("hush"), std::string::npos) << error->message();
  EXPECT_TRUE(is_secret("RequirePass"));
  EXPECT_FALSE(is_secret("port"));
}

}  // namespace
}  // namespace atl::config
