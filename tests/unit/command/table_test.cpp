// Aim: the table is whole (sorted, unique, documented), rows that contradict themselves are caught
// by rows_sound(), and what is derived from rows (keys, names, Markdown) is right.
#include <gtest/gtest.h>

#include <set>

#include "node/command/check.h"
#include "node/command/lacking.h"
#include "node/command/markdown.h"
#include "tests/unit/command/harness.h"

namespace atl::command::testing {
namespace {

void nothing(Context&) {}

constexpr CommandSpec kSoundRow = {.name = "sample",
                                   .arity = -3,
                                   .keys = {.first = 1, .last = -1, .step = 1},
                                   .access = Access::kReadWrite,
                                   .route = Route::kKeys,
                                   .flags = kWrite,
                                   .group = "string",
                                   .since = "1.0.0",
                                   .complexity = "O(1)",
                                   .summary = "A row",
                                   .conflict = "Last writer wins.",
                                   .handler = nothing};

TEST(Rows, AreSortedUniqueAndSound) {
  std::set<std::string_view> names;
  std::string_view before;
  size_t rows = 0;
  for (const CommandSpec* spec : all_commands()) {
    EXPECT_LT(before, spec->name);
    before = spec->name;
    EXPECT_TRUE(row_sound(*spec)) << spec->name;
    EXPECT_TRUE(names.insert(spec->name).second) << spec->name;
    EXPECT_EQ(find_command(spec->name), spec);
    ++rows;
    for (const CommandSpec& sub : spec->subcommands) {
      EXPECT_TRUE(row_sound(sub)) << sub.name;
      EXPECT_TRUE(names.insert(sub.name).second) << sub.name;
    }
  }
  EXPECT_GE(rows, 50u);
}

TEST(Rows, DocumentTheirKeysFirst) {
  for (const CommandSpec* spec : all_commands()) {
    if (spec->keys.first != 1 || spec->args.empty()) continue;
    const Arg& first = spec->args.front();
    const bool names_key = first.type == ArgType::kKey ||
                           (!first.args.empty() && first.args.front().type == ArgType::kKey);
    EXPECT_TRUE(names_key) << spec->name;
  }
}

// One counter-example for every rule of check.h.
TEST(Rows, ThatContradictThemselvesAreCaught) {
  EXPECT_TRUE(row_sound(kSoundRow));
  const auto broken = [](auto&& change) {
    CommandSpec row = kSoundRow;
    change(row);
    return !row_sound(row);
  };
  EXPECT_TRUE(broken([](CommandSpec& r) { r.name = "Sample"; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.name = ""; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.arity = 0; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.summary = ""; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.complexity = ""; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.since = ""; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.group = ""; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.handler = nullptr; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.access = Access::kNone; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.access = Access::kRead; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.flags = kReadOnly; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.flags |= kReadOnly; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.flags |= kMovableKeys; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.conflict = ""; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.arity = -1; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.keys.last = 3; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.keys.step = 0; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.keys = {}; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.keys.count_at = 1; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.route = Route::kEveryShard; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.subcommands = {&kSoundRow, 1}; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.keys.last = 1, r.last_key_use = kKeyUpdates; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.keys.last = 1, r.first_key_use = kKeyUpdates; }));
  EXPECT_TRUE(broken([](CommandSpec& r) { r.reads_unnamed = [](Args) { return true; }; }));
  EXPECT_TRUE(broken(
      [](CommandSpec& r) { r.keys.last = 1, r.optional_keys = [](Args, const VisitPlace&) {}; }));
  EXPECT_TRUE(broken([](CommandSpec& r) {
    r.last_key_use = kKeyUpdates, r.optional_keys = [](Args, const VisitPlace&) {};
  }));
  EXPECT_TRUE(broken([](CommandSpec& r) {
    r.keys = {.first = 1, .last = 1, .count_at = 1}, r.flags |= kMovableKeys;
  }));
  EXPECT_TRUE(broken([](CommandSpec& r) {
    r.flags = kReadOnly, r.access = Access::kRead, r.key_use = kKeyDeletes;
  }));
  EXPECT_TRUE(broken([](CommandSpec& r) {
    r.keys = {}, r.access = Access::kNone, r.route = Route::kConnection, r.key_use = kKeyLooks;
  }));
  const CommandSpec twice[] = {kSoundRow, kSoundRow};
  EXPECT_FALSE(rows_sound(twice));
}

TEST(Find, IgnoresCase) {
  ASSERT_NE(find_command("get"), nullptr);
  EXPECT_EQ(find_command("GeT"), find_command("get"));
  EXPECT_EQ(find_command("nosuch"), nullptr);
  EXPECT_EQ(find_command(""), nullptr);
  EXPECT_EQ(find_command(std::string(100000, 'x')), nullptr);
}

TEST(Resolve, FindsSubcommands) {
  const CommandSpec* object = find_command("object");
  ASSERT_NE(object, nullptr);
  const std::vector<std::string_view> freq = {"OBJECT", "Freq", "k"}, bad = {"OBJECT", "x"},
                                      bare = {"OBJECT"};
  ASSERT_NE(resolve(*object, freq), nullptr);
  EXPECT_EQ(resolve(*object, freq)->name, "object|freq");
  EXPECT_EQ(resolve(*object, bad), nullptr);
  EXPECT_EQ(resolve(*object, bare), object);
}

std::vector<size_t> keys_of(std::string_view line) {
  const std::vector<std::string> words = split_words(line);
  const std::vector<std::string_view> args(words.begin(), words.end());
  std::vector<size_t> places;
  const CommandSpec* spec = resolve(*find_command(args[0]), args);
  if (!for_each_key(*spec, args, [&](size_t at) { places.push_back(at); })) places = {999};
  return places;
}

TEST(Keys, StandWhereTheSpecSays) {
  using Places = std::vector<size_t>;
  EXPECT_EQ(keys_of("GET k"), Places({1}));
  EXPECT_EQ(keys_of("MGET a b c"), Places({1, 2, 3}));
  EXPECT_EQ(keys_of("MSET a 1 b 2"), Places({1, 3}));
  EXPECT_EQ(keys_of("RENAME a b"), Places({1, 2}));
  EXPECT_EQ(keys_of("OBJECT ENCODING k"), Places({2}));
  EXPECT_EQ(keys_of("MSETEX 2 a 1 b 2 EX 5"), Places({2, 4}));
  EXPECT_EQ(keys_of("MSETEX 2 a 1"), Places({999}));
  EXPECT_EQ(keys_of("MSETEX 0 a 1"), Places({999}));
  EXPECT_EQ(keys_of("MSETEX 9223372036854775807 a 1"), Places({999}));
  EXPECT_EQ(keys_of("DBSIZE"), Places({}));
}

// What ACL key patterns ask: reading, writing, or only looking.
TEST(Keys, AreUsedAsRedisSays) {
  Client client;
  const auto flags = [&](const std::string& line) {
    return client.run("COMMAND GETKEYSANDFLAGS " + line);
  };
  EXPECT_EQ(flags("GET k"), R"([["k", [+RO, +access]]])");
  EXPECT_EQ(flags("EXISTS k"), R"([["k", [+RO]]])");
  EXPECT_EQ(flags("APPEND k v"), R"([["k", [+RW, +insert]]])");
  EXPECT_EQ(flags("SET k v"), R"([["k", [+OW, +update]]])");
  EXPECT_EQ(flags("SET k v EX 10 get"), R"([["k", [+RW, +access, +update]]])");
  EXPECT_EQ(flags("DEL k"), R"([["k", [+RM, +delete]]])");
  EXPECT_EQ(flags("COPY a b"), R"([["a", [+RO, +access]], ["b", [+OW, +update]]])");
}

// Every command with several keys, asked the way a cluster client asks.
TEST(Keys, OfEveryCommandWithSeveralAreFound) {
  Client client;
  size_t asked = 0;
  for (const CommandSpec* spec : all_commands()) {
    if (spec->keys.first != 1 || spec->keys.last == 1) continue;
    const bool pairs = spec->keys.step == 2;
    std::string line = std::string(spec->name) + (pairs ? " k1 v k2 v" : " k1 k2");
    if (spec->keys.last == -2) line.append(" x");
    for (int argc = pairs ? 5 : 3; argc < std::abs(spec->arity); ++argc) line.append(" x");
    EXPECT_EQ(client.run("COMMAND GETKEYS " + line), "[\"k1\", \"k2\"]") << line;
    ++asked;
  }
  EXPECT_GE(asked, 10u);
}

// Keys behind options: SORT's destination, which is the last STORE's.
TEST(Keys, StandBehindOptions) {
  using Places = std::vector<size_t>;
  EXPECT_EQ(keys_of("SORT k"), Places({1}));
  EXPECT_EQ(keys_of("SORT k STORE d"), Places({1, 3}));
  EXPECT_EQ(keys_of("SORT k store d LIMIT 1 2 Store e"), Places({1, 8}));
  EXPECT_EQ(keys_of("SORT k BY store GET store"), Places({1}));
  EXPECT_EQ(keys_of("SORT k STORE"), Places({1}));
  EXPECT_EQ(keys_of("SORT_RO k STORE d"), Places({1}));
  Client client;
  EXPECT_EQ(client.run("COMMAND GETKEYSANDFLAGS SORT a STORE b"),
            R"([["a", [+RO, +access]], ["b", [+OW, +update]]])");
}

// What reads keys that it does not name says so, and wrongly only to the safe side.
TEST(Keys, ThatAreNotNamedAreAnnounced) {
  const auto unnamed = [](std::string_view line) {
    const std::vector<std::string> words = split_words(line);
    const std::vector<std::string_view> args(words.begin(), words.end());
    return reads_unnamed(*find_command(args[0]), args);
  };
  EXPECT_TRUE(unnamed("SORT k BY w_*"));
  EXPECT_TRUE(unnamed("SORT_RO k DESC get #"));
  EXPECT_TRUE(unnamed("SORT k BY nosort BY w_*"));
  EXPECT_FALSE(unnamed("SORT k"));
  EXPECT_FALSE(unnamed("SORT k BY nosort STORE d"));
  EXPECT_FALSE(unnamed("SORT by GET"));
  EXPECT_FALSE(unnamed("GET k*"));
}

// A name is in the table or lacking, never both; the error begins as that of an unknown command.
TEST(Lacking, CommandsSayWhy) {
  std::set<std::string_view> names;
  for (const Lacking& lacking : lacking_commands()) {
    EXPECT_NE(lacking.reason.find("Atoll"), std::string_view::npos) << lacking.reason;
    for (const std::string_view name : lacking.names) {
      EXPECT_TRUE(names.insert(name).second) << name;
      const size_t bar = name.find('|');
      const CommandSpec* spec = find_command(name.substr(0, bar));
      if (bar == std::string_view::npos) {
        EXPECT_EQ(spec, nullptr) << name;
      } else if (spec != nullptr) {
        const std::string_view args[] = {name.substr(0, bar), name.substr(bar + 1)};
        EXPECT_EQ(resolve(*spec, args), nullptr) << name;
      }
    }
  }
  const std::string_view args[] = {"XAdd", "s", "*"};
  EXPECT_EQ(unknown_command_error(args),
            "ERR unknown command 'XAdd': streams are not in Atoll yet");
  const std::string_view module[] = {"module", "LOAD", "x"};
  EXPECT_EQ(unknown_subcommand_error(module),
            "ERR unknown subcommand 'LOAD': Atoll cannot load Redis' modules");
  EXPECT_EQ(why_lacking("get"), "");
}

TEST(Errors, AreCutAndCleaned) {
  Client client;
  const std::string big(1000, 'x');
  EXPECT_EQ(client.run(std::vector<std::string>{big}),
            "-ERR unknown command '" + big.substr(0, 128) + "', with args beginning with: ");
  EXPECT_EQ(client.run({"FOO", big, "never shown"}),
            "-ERR unknown command 'FOO', with args beginning with: '" + big.substr(0, 128) + "' ");
  EXPECT_EQ(client.run(std::vector<std::string>{"a\r\n+OK"}),
            "-ERR unknown command 'a  +OK', with args beginning with: ");
}

TEST(CommandCommand, HasTheShapesOfRedis) {
  Client client;
  const std::string count = std::to_string(all_commands().size());
  EXPECT_EQ(client.run("COMMAND COUNT"), ":" + count);
  EXPECT_EQ(client.run("COMMAND"), client.run("COMMAND INFO"));
  EXPECT_TRUE(client.run("COMMAND").starts_with("[[\"append\", :3, [+write, +denyoom, +fast], :1,"))
      << client.run("COMMAND").substr(0, 100);
  client.use_resp3();
  EXPECT_EQ(client.run("COMMAND DOCS ttl"),
            "{\"ttl\": {\"summary\": \"Get the time to live for a key in seconds\", \"since\": "
            "\"1.0.0\", \"group\": \"generic\", \"complexity\": \"O(1)\", \"arguments\": "
            "[{\"name\": \"key\", \"type\": \"key\", \"display_text\": \"key\", "
            "\"key_spec_index\": :0}]}}");
  EXPECT_NE(client.run("COMMAND DOCS object").find("\"subcommands\": {\"object|encoding\": {"),
            std::string::npos);
  EXPECT_NE(client.run("COMMAND DOCS set").find("\"flags\": ~[+optional]"), std::string::npos);
  EXPECT_EQ(client.run("COMMAND DOCS get nosuch ttl").find("nosuch"), std::string::npos);
  EXPECT_NE(client.run("COMMAND LIST FILTERBY ACLCAT String").find("\"getex\""), std::string::npos);
  EXPECT_EQ(client.run("COMMAND LIST FILTERBY ACLCAT string").find("\"expire\""),
            std::string::npos);
  EXPECT_NE(client.run("COMMAND LIST").find("\"object|freq\""), std::string::npos);
  EXPECT_NE(client.run("COMMAND INFO object").find("[\"object|encoding\", :3"), std::string::npos);
  EXPECT_NE(client.run("COMMAND INFO msetex").find("\"keynum\", \"spec\": {\"keynumidx\": :0"),
            std::string::npos);
}

TEST(Markdown, HoldsEveryCommandAndRule) {
  const std::string table = command_table_markdown();
  for (const CommandSpec* spec : all_commands()) {
    if (spec->handler == nullptr) continue;  // a mere container
    EXPECT_NE(table.find(spec->summary.substr(0, 20)), std::string::npos) << spec->name;
    if (!spec->conflict.empty()) {
      EXPECT_NE(table.find(spec->conflict), std::string::npos);
    }
  }
  EXPECT_NE(table.find("### String\n\n| Command |"), std::string::npos);
  EXPECT_NE(table.find("| `GETEX key [EX seconds \\| PX milliseconds \\| "), std::string::npos);
  EXPECT_NE(table.find("`MSET key value [key value ...]`"), std::string::npos) << table;
  EXPECT_NE(table.find("`OBJECT ENCODING key`"), std::string::npos);
}

}  // namespace
}  // namespace atl::command::testing
