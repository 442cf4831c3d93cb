// Aim: a SCAN walk finds every key that stays, over any number of stores; its cursors lead routing
// to the right store, stay below 2^53, and end at 0 in a bounded number of calls.
#include <gtest/gtest.h>

#include <set>

#include "tests/unit/command/harness.h"

namespace atl::command::testing {
namespace {

struct Walk {
  std::set<std::string> keys;
  size_t calls = 0;
  size_t most_per_call = 0;
};

// Follows cursors from 0 to 0. The reply is ["cursor", ["key", ...]].
Walk walk(Client& client, const std::string& options) {
  Walk result;
  std::string cursor = "0";
  do {
    const std::string reply = client.run("SCAN " + cursor + options);
    std::vector<std::string> words;
    for (size_t at = reply.find('"'); at != std::string::npos; at = reply.find('"', at + 1)) {
      const size_t end = reply.find('"', at + 1);
      words.push_back(reply.substr(at + 1, end - at - 1));
      at = end;
    }
    if (words.empty()) {
      ADD_FAILURE() << reply;
      return result;
    }
    cursor = words[0];
    EXPECT_LT(std::stoull(cursor), 1ull << 53);
    result.keys.insert(words.begin() + 1, words.end());
    result.most_per_call = std::max(result.most_per_call, words.size() - 1);
  } while (cursor != "0" && ++result.calls < 100000);
  return result;
}

class ScanTest : public ::testing::TestWithParam<size_t> {};

TEST_P(ScanTest, FindsEveryKey) {
  Client client(GetParam());
  std::set<std::string> all;
  for (int i = 0; i < 3000; ++i) {
    const std::string key = "key:" + std::to_string(i);
    ASSERT_EQ(client.run({"SET", key, "v"}), "+OK");
    all.insert(key);
  }
  client.session().db = 3;
  client.run("SET elsewhere v");
  client.session().db = 0;

  EXPECT_EQ(walk(client, "").keys, all);
  EXPECT_EQ(walk(client, " COUNT 1").keys, all);
  EXPECT_EQ(walk(client, " COUNT 100000").keys, all);
  EXPECT_LE(walk(client, " COUNT 100000").calls, GetParam() * 16);
  EXPECT_EQ(walk(client, " MATCH key:1?").keys.size(), 10u);
  EXPECT_TRUE(walk(client, " TYPE hash").keys.empty());
  EXPECT_LT(walk(client, " COUNT 10").most_per_call, 100u);
  client.session().db = 3;
  EXPECT_EQ(walk(client, "").keys, std::set<std::string>{"elsewhere"});
  EXPECT_EQ(client.run("KEYS *"), "[\"elsewhere\"]");
}

TEST_P(ScanTest, FindsEveryKeyOfOneSlot) {
  Client client(GetParam());
  std::set<std::string> all;
  for (int i = 0; i < 500; ++i) {
    const std::string key = "{tag}" + std::to_string(i);
    client.run({"SET", key, "v"});
    all.insert(key);
  }
  EXPECT_EQ(walk(client, " COUNT 7").keys, all);
}

TEST_P(ScanTest, AnEmptyKeyspaceTakesOneCallAStore) {
  Client client(GetParam());
  EXPECT_EQ(walk(client, "").calls, GetParam() - 1);
}

TEST_P(ScanTest, HidesWhatExpired) {
  Client client(GetParam());
  client.run("SET gone v PX 10");
  client.run("SET stays v");
  client.advance(11);
  EXPECT_EQ(walk(client, "").keys, std::set<std::string>{"stays"});
  EXPECT_EQ(client.run("KEYS *"), "[\"stays\"]");
}

// Keys that are there from begin to end are found although others come and go meanwhile.
TEST_P(ScanTest, FindsWhatStaysWhileTablesGrow) {
  Client client(GetParam());
  for (int i = 0; i < 50; ++i) client.run({"SET", "{t}stays" + std::to_string(i), "v"});
  std::set<std::string> found;
  std::string cursor = "0";
  int step = 0;
  do {
    const std::string reply = client.run("SCAN " + cursor + " COUNT 3");
    const std::vector<std::string> words = split_words(reply.substr(1, reply.size() - 2));
    cursor = words[0];
    for (size_t at = reply.find("{t}stays"); at != std::string::npos;
         at = reply.find("{t}stays", at + 1)) {
      found.insert(reply.substr(at, reply.find('"', at) - at));
    }
    for (int i = 0; i < 20 && step < 400; ++i) {
      client.run({"SET", "{t}new" + std::to_string(step++), "v"});
    }
  } while (cursor != "0");
  EXPECT_EQ(found.size(), 50u);
}

INSTANTIATE_TEST_SUITE_P(Stores, ScanTest, ::testing::Values(1, 3, 16));

TEST(ScanCursor, NamesItsSlot) {
  EXPECT_EQ(scan_cursor_slot("0"), 0);
  EXPECT_EQ(scan_cursor_slot("5461"), 5461);
  EXPECT_EQ(scan_cursor_slot(std::to_string((77ull << 14) | 16383)), 16383);
  EXPECT_EQ(scan_cursor_slot("nonsense"), 0);
  EXPECT_EQ(scan_cursor_slot(""), 0);
}

}  // namespace
}  // namespace atl::command::testing
