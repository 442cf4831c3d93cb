// Aim: what a transcript of Redis cannot show of hashes: orders that agree, walks and draws of
// large ones, one delta a command; and that commands of strings refuse collections, and those of
// any key take all four kinds.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "crdt/collection_edit.h"
#include "tests/unit/command/harness.h"

namespace atl::command::testing {
namespace {

constexpr std::string_view kWrongTypeReply =
    "-WRONGTYPE Operation against a key holding the wrong kind of value";

// The strings of a reply, flat.
std::vector<std::string> strings_of(const std::string& reply) {
  std::vector<std::string> words;
  for (size_t at = reply.find('"'); at != std::string::npos; at = reply.find('"', at + 1)) {
    const size_t end = reply.find('"', at + 1);
    words.push_back(reply.substr(at + 1, end - at - 1));
    at = end;
  }
  return words;
}

void fill(Client& client, int fields) {
  std::vector<std::string> words = {"HSET", "h"};
  for (int i = 0; i < fields; ++i) {
    words.push_back("f" + std::to_string(i));
    words.push_back(std::to_string(i));
  }
  ASSERT_EQ(client.run(words), ":" + std::to_string(fields));
}

crdt::CollectionEdit edit_of(Client& client, std::string_view key, crdt::CollectionType type) {
  const crdt::KeyRef ref = crdt::make_ref(client.session().db, key);
  return crdt::CollectionEdit(client.stores().store(ref.slot), ref, type);
}

const crdt::Collection* collection_of(Client& client, std::string_view key) {
  const crdt::KeyRef ref = crdt::make_ref(client.session().db, key);
  const crdt::Entry* e = client.stores().store(ref.slot).peek(ref);
  return e == nullptr ? nullptr : e->collection();
}

// "hash", "set", "zset" and "list", of three elements each.
void make_one_of_each(Client& client) {
  client.run("HSET hash f 1 g 2");
  client.run("HINCRBY hash n 5");
  auto set = edit_of(client, "set", crdt::CollectionType::kSet);
  for (const char* member : {"a", "b", "3"}) set.put(member, {});
  set.finish();
  auto zset = edit_of(client, "zset", crdt::CollectionType::kSortedSet);
  double score = 0;
  zset.put("a", crdt::ScoreBytes(1.5));
  zset.put("b", crdt::ScoreBytes(-2));
  zset.add_score("c", 7, score);
  zset.finish();
  auto list = edit_of(client, "list", crdt::CollectionType::kList);
  for (const char* item : {"x", "y", "x"}) list.push(crdt::Side::kRight, item);
  list.finish();
}

// What readers see, in order where there is one.
std::vector<std::string> contents(const crdt::Collection& c) {
  std::vector<std::string> out;
  if (c.type() == crdt::CollectionType::kList) {
    for (auto at = c.by_position().first(); at; at.next()) out.emplace_back(c.value(**at));
    return out;
  }
  c.for_each([&](const crdt::ElementView& e) {
    std::string line(e.key());
    line.append("=");
    line.append(c.type() == crdt::CollectionType::kSortedSet ? std::to_string(crdt::score_of(e))
                                                             : std::string(c.value(e)));
    out.push_back(line);
  });
  std::sort(out.begin(), out.end());
  return out;
}

constexpr const char* kKinds[] = {"hash", "set", "zset", "list"};

// ---- Hashes ----

// Aim: HKEYS, HVALS and HGETALL name fields in one order.
TEST(Hash, OrdersAgree) {
  Client client;
  fill(client, 3000);
  const auto keys = strings_of(client.run("HKEYS h"));
  const auto values = strings_of(client.run("HVALS h"));
  const auto all = strings_of(client.run("HGETALL h"));
  ASSERT_EQ(keys.size(), 3000u);
  ASSERT_EQ(values.size(), 3000u);
  ASSERT_EQ(all.size(), 6000u);
  for (size_t i = 0; i < keys.size(); ++i) {
    EXPECT_EQ(keys[i], "f" + values[i]);
    EXPECT_EQ(all[2 * i], keys[i]);
    EXPECT_EQ(all[2 * i + 1], values[i]);
  }
}

// Aim: a walk finds every field, with bounded calls; a small hash comes in one.
TEST(Hash, ScanWalks) {
  Client client;
  fill(client, 5000);
  std::map<std::string, std::string> found;
  std::string cursor = "0";
  size_t calls = 0;
  do {
    const auto words = strings_of(client.run("HSCAN h " + cursor + " COUNT 20"));
    ASSERT_FALSE(words.empty());
    EXPECT_LT(words.size(), 200u);
    for (size_t i = 1; i < words.size(); i += 2) found[words[i]] = words[i + 1];
    cursor = words[0];
  } while (cursor != "0" && ++calls < 10000);
  EXPECT_EQ(found.size(), 5000u);
  EXPECT_GT(calls, 100u);
  for (const auto& [field, value] : found) EXPECT_EQ(field, "f" + value);

  client.run("DEL h");
  fill(client, 500);
  EXPECT_EQ(strings_of(client.run("HSCAN h 0 COUNT 1")).size(), 1001u);
  EXPECT_EQ(strings_of(client.run("HSCAN h 0 MATCH f1* NOVALUES")).size(), 1u + 111);
  EXPECT_EQ(client.run("HSCAN h 18446744073709551615").substr(0, 5), "[\"0\",");
  EXPECT_EQ(client.run("SCAN 0 NOVALUES"), "-ERR syntax error");
}

// Aim: draws without repetition are different fields, as many as there are; over many, every field
// comes up.
TEST(Hash, RandomFields) {
  Client client;
  fill(client, 100);
  for (const int count : {1, 10, 50, 99, 100, 1000}) {
    const auto drawn = strings_of(client.run("HRANDFIELD h " + std::to_string(count)));
    const auto expected = static_cast<size_t>(std::min(count, 100));
    EXPECT_EQ(drawn.size(), expected);
    EXPECT_EQ(std::set(drawn.begin(), drawn.end()).size(), expected);
  }
  EXPECT_EQ(strings_of(client.run("HRANDFIELD h -250")).size(), 250u);
  const auto pairs = strings_of(client.run("HRANDFIELD h 20 WITHVALUES"));
  for (size_t i = 0; i < pairs.size(); i += 2) EXPECT_EQ(pairs[i], "f" + pairs[i + 1]);
  std::map<std::string, int> times;
  for (int i = 0; i < 500; ++i) {
    for (const auto& field : strings_of(client.run("HRANDFIELD h 10"))) ++times[field];
    for (const auto& field : strings_of(client.run("HRANDFIELD h 50"))) ++times[field];
  }
  EXPECT_EQ(times.size(), 100u);
  for (const auto& [field, n] : times) EXPECT_TRUE(n > 200 && n < 400) << field << ' ' << n;
  EXPECT_EQ(client.run("HRANDFIELD h -1000001"), "-ERR value is out of range");
}

// Aim: one command is one delta, however many fields it writes.
TEST(Hash, OneDeltaPerCommand) {
  Client client;
  client.take_deltas();
  fill(client, 100);
  EXPECT_EQ(client.take_deltas(), 1u);
  client.run("HINCRBY h f1 3");
  EXPECT_EQ(client.take_deltas(), 1u);
  client.run("HDEL h f1 f2 f3");
  EXPECT_EQ(client.take_deltas(), 1u);
  client.run("HDEL h f1 f2 f3");
  client.run("HSETNX h f5 v");
  client.run("HINCRBY h f5 9223372036854775807");
  client.run("HGETDEL h FIELDS 1 f1");
  EXPECT_EQ(client.take_deltas(), 0u);
}

// Aim: HGETDEL's replies and errors, which redis-server 7.0 does not have.
TEST(Hash, GetAndDelete) {
  Client client;
  client.run("HSET h a 1 b 2 c 3");
  client.run("SET s v");
  EXPECT_EQ(client.run("HGETDEL h FIELDS 3 a none a"), "[\"1\", nil, nil]");
  EXPECT_EQ(client.run("HLEN h"), ":2");
  EXPECT_EQ(client.run("HGETDEL h FIELDS 2 b c"), "[\"2\", \"3\"]");
  EXPECT_EQ(client.run("EXISTS h"), ":0");
  EXPECT_EQ(client.run("HGETDEL h FIELDS 2 b c"), "[nil, nil]");
  EXPECT_EQ(client.run("HGETDEL s FOO 1 b"), kWrongTypeReply);
  EXPECT_EQ(client.run("HGETDEL h FOO 1 b"),
            "-ERR Mandatory argument FIELDS is missing or not at the right position");
  EXPECT_EQ(client.run("HGETDEL h FIELDS 0 b"), "-ERR Number of fields must be a positive integer");
  EXPECT_EQ(client.run("HGETDEL h FIELDS 2 b"),
            "-ERR The `numfields` parameter must match the number of arguments");
}

// Aim: a field that is a counter reads, copies and is set as any other.
TEST(Hash, Counters) {
  Client client;
  EXPECT_EQ(client.run("HINCRBY h n 5"), ":5");
  EXPECT_EQ(client.run("HINCRBY h n -7"), ":-2");
  EXPECT_EQ(client.run("HGET h n"), "\"-2\"");
  EXPECT_EQ(client.run("HSTRLEN h n"), ":2");
  EXPECT_EQ(client.run("HINCRBYFLOAT h n 0.5"), "\"-1.5\"");
  EXPECT_EQ(client.run("HSET h n 1"), ":0");
  EXPECT_EQ(client.run("HINCRBY h n 1"), ":2");
  EXPECT_EQ(client.run("HDEL h n"), ":1");
  EXPECT_EQ(client.run("EXISTS h"), ":0");
  EXPECT_EQ(client.run("HINCRBY h n 1"), ":1");
}

// ---- Commands of strings ----

// Arguments that the row allows, the options left out.
void add_arguments(std::span<const Arg> args, std::vector<std::string>& words) {
  for (const Arg& arg : args) {
    if (arg.optional) continue;
    if (!arg.token.empty()) words.emplace_back(arg.token);
    if (arg.type == ArgType::kBlock) {
      add_arguments(arg.args, words);
    } else if (arg.type == ArgType::kKey) {
      words.emplace_back("h");
    } else {
      words.emplace_back("1");
    }
  }
}

// Aim: every command of strings, the future ones as well, refuses a hash with WRONGTYPE and leaves
// it alone; those named here do not care what is there, or say it in other words.
TEST(WrongType, EveryStringCommand) {
  const std::map<std::string_view, std::string_view> others = {
      {"delex", ":1"},  {"mget", "[nil]"},
      {"mset", "+OK"},  {"msetex", ":1"},
      {"msetnx", ":0"}, {"psetex", "+OK"},
      {"set", "+OK"},   {"setex", "+OK"},
      {"setnx", ":0"},  {"lcs", "-ERR The specified keys must contain string values"}};
  size_t checked = 0;
  for (const CommandSpec* row : all_commands()) {
    if (row->group != "string" || (row->keys.first == 0 && row->keys.count_at == 0)) continue;
    Client client;
    client.run("HSET h f v");
    std::vector<std::string> words{std::string(row->name)};
    add_arguments(row->args, words);
    const auto other = others.find(row->name);
    EXPECT_EQ(client.run(words), other == others.end() ? kWrongTypeReply : other->second)
        << row->name;
    if (other == others.end()) {
      EXPECT_EQ(client.run("HGETALL h"), "[\"f\", \"v\"]") << row->name;
    }
    ++checked;
  }
  EXPECT_GT(checked, 20u);
}

// Aim: options that read the value make it matter, and errors come in Redis' order.
TEST(WrongType, OfOptions) {
  Client client;
  client.run("HSET h f v");
  for (const char* line :
       {"SET h v GET", "SET h v NX GET", "SET h v IFEQ x", "SET h v IFDNE x", "GETEX h EX 0",
        "INCRBYFLOAT h x", "SETRANGE h 0 ''", "DIGEST h", "HSET h f v"}) {
    const bool fits = std::string_view(line).starts_with("HSET");
    EXPECT_EQ(client.run(line), fits ? std::string_view(":0") : kWrongTypeReply) << line;
  }
  EXPECT_EQ(client.run("DELEX h FOO x"),
            "-ERR Key should be of string type if conditions are specified");
  EXPECT_EQ(client.run("INCRBY h x"), "-ERR value is not an integer or out of range");
  EXPECT_EQ(client.run("SET h v GET EX 0"), "-ERR invalid expire time in 'set' command");
  EXPECT_EQ(client.run("LCS h none FOO"), "-ERR The specified keys must contain string values");
  EXPECT_EQ(client.run("SET h v"), "+OK");
  EXPECT_EQ(client.run("HGET h f"), kWrongTypeReply);
}

// Aim: every command of hashes refuses a string, and a set; sorted sets and lists are no hashes
// either.
TEST(WrongType, EveryHashCommand) {
  Client client;
  make_one_of_each(client);
  client.run("SET string v");
  size_t checked = 0;
  for (const CommandSpec* row : all_commands()) {
    if (row->group != "hash") continue;
    for (const std::string key : {"string", "set", "zset", "list"}) {
      std::vector<std::string> words{std::string(row->name)};
      add_arguments(row->args, words);
      words[1] = key;
      EXPECT_EQ(client.run(words), kWrongTypeReply) << row->name << ' ' << key;
    }
    ++checked;
  }
  EXPECT_EQ(checked, 28u);
}

// ---- Commands of any key ----

TEST(AnyKey, Types) {
  Client client(3);
  make_one_of_each(client);
  for (const std::string kind : kKinds) {
    EXPECT_EQ(client.run("TYPE " + kind), "+" + kind);
    EXPECT_EQ(client.run("EXISTS " + kind), ":1");
    EXPECT_EQ(client.run("TOUCH " + kind), ":1");
    EXPECT_EQ(client.run("OBJECT ENCODING " + kind), "\"listpack\"");
    EXPECT_EQ(client.run("OBJECT REFCOUNT " + kind), ":1");
  }
  Client alone;
  make_one_of_each(alone);
  for (const std::string kind : kKinds) {
    EXPECT_EQ(alone.run("SCAN 0 COUNT 100000 TYPE " + kind).find("[\"" + kind + "\"]"), 6u) << kind;
  }
}

// Aim: copies hold what readers see of the source, of all kinds, in the same order, with its
// deadline, whatever was at the target; on one store and between several.
TEST(AnyKey, Copies) {
  for (const size_t stores : {1u, 3u}) {
    for (const std::string kind : kKinds) {
      Client client(stores);
      make_one_of_each(client);
      const auto expected = contents(*collection_of(client, kind));
      ASSERT_EQ(expected.size(), 3u);
      client.run("PEXPIRE " + kind + " 5000");
      client.run("HSET target old v");
      client.run("PEXPIRE target 70000");
      EXPECT_EQ(client.run("COPY " + kind + " target"), ":0");
      EXPECT_EQ(client.run("COPY " + kind + " target REPLACE"), ":1");
      EXPECT_EQ(contents(*collection_of(client, "target")), expected) << kind;
      EXPECT_EQ(client.run("PTTL target"), ":5000");
      EXPECT_EQ(client.run("TYPE target"), "+" + kind);

      client.run("SET other v EX 100");
      client.run("PERSIST target");
      EXPECT_EQ(client.run("RENAMENX target other"), ":0");
      EXPECT_EQ(client.run("RENAME target other"), "+OK");
      EXPECT_EQ(client.run("EXISTS target"), ":0");
      EXPECT_EQ(client.run("TTL other"), ":-1");
      EXPECT_EQ(client.run("MOVE other 3"), ":1");
      EXPECT_EQ(client.run("EXISTS other"), ":0");
      EXPECT_EQ(contents(*collection_of(client, kind)), expected) << "the source";
      client.session().db = 3;
      EXPECT_EQ(contents(*collection_of(client, "other")), expected);
      EXPECT_EQ(client.run("COPY other h"), ":1");
      client.run("SET other v");
      EXPECT_EQ(client.run("RENAME other h"), "+OK");
      EXPECT_EQ(client.run("GET h"), "\"v\"");
    }
  }
}

// Aim: deadlines count for collections as for strings: they hide, they are cleared, and what comes
// after one has none of what was there.
TEST(AnyKey, Deadlines) {
  Client client;
  for (const std::string kind : kKinds) {
    make_one_of_each(client);
    EXPECT_EQ(client.run("EXPIRE " + kind + " 10"), ":1");
    EXPECT_EQ(client.run("TTL " + kind), ":10");
    EXPECT_EQ(client.run("PERSIST " + kind), ":1");
    EXPECT_EQ(client.run("TTL " + kind), ":-1");
    EXPECT_EQ(client.run("PEXPIRE " + kind + " 10"), ":1");
    client.advance(10);
    EXPECT_EQ(client.run("TYPE " + kind), "+none");
    EXPECT_EQ(client.run("EXISTS " + kind), ":0");
    EXPECT_EQ(client.run("HSET " + kind + " new v"), ":1");
    EXPECT_EQ(client.run("HGETALL " + kind), "[\"new\", \"v\"]");
    EXPECT_EQ(client.run("TTL " + kind), ":-1");
    client.run("DEL " + kind);
    make_one_of_each(client);
    EXPECT_EQ(client.run("EXPIRE " + kind + " -1"), ":1");
    EXPECT_EQ(client.run("EXISTS " + kind), ":0");
  }
}

// Aim: DEL and UNLINK take all kinds away, and a SET over one leaves the string alone.
TEST(AnyKey, Deletes) {
  Client client(3);
  make_one_of_each(client);
  EXPECT_EQ(client.run("DEL hash set none"), ":2");
  EXPECT_EQ(client.run("UNLINK zset list"), ":2");
  EXPECT_EQ(client.run("DBSIZE"), ":0");
  make_one_of_each(client);
  EXPECT_EQ(client.run("DBSIZE"), ":4");
  EXPECT_EQ(client.run("SET zset v"), "+OK");
  EXPECT_EQ(client.run("TYPE zset"), "+string");
  EXPECT_EQ(client.run("FLUSHALL"), "+OK");
  EXPECT_EQ(client.run("DBSIZE"), ":0");
}

// Aim: names of encodings turn where Redis' default thresholds are.
TEST(AnyKey, Encodings) {
  Client client;
  const auto encoding = [&](const char* key) {
    return client.run(std::string("OBJECT ENCODING ") + key);
  };
  fill(client, 512);
  EXPECT_EQ(encoding("h"), "\"listpack\"");
  client.run("HSET h more v");
  EXPECT_EQ(encoding("h"), "\"hashtable\"");
  client.run({"HSET", "long", "f", std::string(65, 'v')});
  EXPECT_EQ(encoding("long"), "\"hashtable\"");

  const auto add_members = [&](const char* key, crdt::CollectionType type, int from, int upto) {
    auto edit = edit_of(client, key, type);
    for (int i = from; i < upto; ++i) {
      const std::string name = std::to_string(i);
      if (type == crdt::CollectionType::kList) {
        edit.push(crdt::Side::kRight, name);
      } else {
        edit.put(name, type == crdt::CollectionType::kSet ? std::string_view()
                                                          : std::string_view("12345678"));
      }
    }
  };
  add_members("ints", crdt::CollectionType::kSet, 0, 512);
  EXPECT_EQ(encoding("ints"), "\"intset\"");
  add_members("ints", crdt::CollectionType::kSet, 512, 513);
  EXPECT_EQ(encoding("ints"), "\"hashtable\"");
  edit_of(client, "mixed", crdt::CollectionType::kSet).put("word", {});
  add_members("mixed", crdt::CollectionType::kSet, 0, 127);
  EXPECT_EQ(encoding("mixed"), "\"listpack\"");
  add_members("mixed", crdt::CollectionType::kSet, 127, 128);
  EXPECT_EQ(encoding("mixed"), "\"hashtable\"");
  add_members("zset", crdt::CollectionType::kSortedSet, 0, 128);
  EXPECT_EQ(encoding("zset"), "\"listpack\"");
  add_members("zset", crdt::CollectionType::kSortedSet, 128, 129);
  EXPECT_EQ(encoding("zset"), "\"skiplist\"");
  add_members("list", crdt::CollectionType::kList, 0, 100);
  EXPECT_EQ(encoding("list"), "\"listpack\"");
  add_members("list", crdt::CollectionType::kList, 100, 3000);
  EXPECT_EQ(encoding("list"), "\"quicklist\"");
}

// Aim: MEMORY USAGE tells of the elements, not only of the key.
TEST(AnyKey, MemoryUsage) {
  Client client;
  fill(client, 1000);
  const std::string reply = client.run("MEMORY USAGE h SAMPLES 0");
  ASSERT_EQ(reply[0], ':');
  EXPECT_GT(std::stol(reply.substr(1)), 16 * 1000);
  EXPECT_LT(std::stol(reply.substr(1)), 200 * 1000);
}

}  // namespace
}  // namespace atl::command::testing
