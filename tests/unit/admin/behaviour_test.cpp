// What the commands ask of the node and change in the session.
#include <gtest/gtest.h>

#include "crdt/collection_edit.h"
#include "fake_node.h"
#include "node/admin/client_text.h"
#include "node/admin/explain.h"
#include "node/admin/stamp_text.h"

namespace atl::admin {
namespace {

// Aim: HELLO logs in, names and switches the protocol in one step, and only if all of it is sound.
TEST(Hello, TakesEffectAsAWhole) {
  Client client;
  client.node.users.set_default_password("s3");
  client.session.authenticated = false;
  EXPECT_TRUE(client("HELLO 3").starts_with("-NOAUTH HELLO must be called"));
  EXPECT_TRUE(client("HELLO 3 AUTH default no SETNAME x").starts_with("-WRONGPASS"));
  EXPECT_FALSE(client.session.authenticated);
  EXPECT_EQ(client.session.name, "");
  EXPECT_TRUE(client("HELLO 3 AUTH default s3 SETNAME x").starts_with("%7\r\n"));
  EXPECT_TRUE(client.session.authenticated);
  EXPECT_EQ(client.session.name, "x");
  EXPECT_TRUE(client("HELLO 2").starts_with("*14\r\n"));
}

TEST(Connection, NamesWithBlanksAreRefused) {
  const std::string refused =
      "-ERR Client names cannot contain spaces, newlines or special characters.\r\n";
  Client client;
  EXPECT_EQ(client.run({"CLIENT", "SETNAME", "a b"}), refused);
  EXPECT_EQ(client.run({"HELLO", "2", "SETNAME", "a\nb"}), refused);
  EXPECT_EQ(client.run({"CLIENT", "SETINFO", "lib-ver", "a b"}),
            "-ERR lib-ver cannot contain spaces, newlines or special characters.\r\n");
  EXPECT_EQ(client.session.name, "");
}

// Aim: RESET gives the connection back as if it were new, a required password included.
TEST(Connection, ResetForgetsEverything) {
  Client client(resp::Protocol::kResp3);
  client.node.users.set_default_password("s3");
  client("SELECT 5");
  client("CLIENT SETNAME me");
  client("CLIENT NO-TOUCH on");
  EXPECT_TRUE(client.session.no_touch);
  EXPECT_EQ(client("RESET"), "+RESET\r\n");
  EXPECT_EQ(client.node.asked, "reset");
  EXPECT_EQ(client.session.db, 0);
  EXPECT_EQ(client.session.name, "");
  EXPECT_FALSE(client.session.no_touch);
  EXPECT_FALSE(client.session.authenticated);
  EXPECT_EQ(client("CLIENT GETNAME"), "$-1\r\n");  // RESP2 again
}

TEST(ClientCommand, ListPrintsRedisLine) {
  command::ClientInfo info;
  info.id = 3;
  info.address = "127.0.0.1:50978";
  info.local_address = "127.0.0.1:17999";
  info.fd = 8;
  info.age_ms = 3999;
  info.db = 3;
  info.query_buffer = 26;
  info.query_buffer_free = 20448;
  info.argv_bytes = 10;
  info.reply_buffer = 1024;
  info.reply_buffer_peak = 127;
  info.total_bytes = 22298;
  info.last_command = "client|info";
  info.lib_name = "redis-py";
  const std::string line =
      "id=3 addr=127.0.0.1:50978 laddr=127.0.0.1:17999 fd=8 name= age=3 idle=0 flags=N db=3 sub=0 "
      "psub=0 ssub=0 multi=-1 qbuf=26 qbuf-free=20448 argv-mem=10 multi-mem=0 rbs=1024 rbp=127 "
      "obl=0 oll=0 omem=0 tot-mem=22298 events=r cmd=client|info user=default redir=-1 resp=2 "
      "lib-name=redis-py lib-ver=";
  EXPECT_EQ(client_line(info), line);
  Client client;
  client.node.connected = {info};
  EXPECT_EQ(client("CLIENT INFO"),
            "$" + std::to_string(line.size() + 1) + "\r\n" + line + "\n\r\n");
  EXPECT_EQ(client("CLIENT LIST"), client("CLIENT INFO"));
  EXPECT_FALSE(client.node.last_filter.skip_me);  // LIST shows the caller
}

// Aim: LIST ID answers in the order of the ids and passes over unknown ones.
TEST(ClientCommand, ListByIdKeepsOrder) {
  Client client;
  client.node.connected.resize(2);
  client.node.connected[0].id = 7;
  client.node.connected[1].id = 8;
  const std::string reply = client("CLIENT LIST ID 8 99 7");
  EXPECT_LT(reply.find("id=8 "), reply.find("id=7 "));
  EXPECT_NE(reply.find("id=7 "), std::string::npos);
}

TEST(ClientCommand, KillPassesEveryFilter) {
  Client client;
  client.node.kill_result = 2;
  EXPECT_EQ(client("CLIENT KILL ID 5 ADDR 1.2.3.4:5 LADDR 6.7.8.9:1 USER default TYPE slave "
                   "SKIPME no MAXAGE 9"),
            ":2\r\n");
  const command::ClientFilter& filter = client.node.last_filter;
  EXPECT_EQ(filter.id, 5u);
  EXPECT_EQ(filter.address, "1.2.3.4:5");
  EXPECT_EQ(filter.local_address, "6.7.8.9:1");
  EXPECT_EQ(filter.user, "default");
  EXPECT_EQ(filter.type, "replica");
  EXPECT_FALSE(filter.skip_me);
  EXPECT_EQ(filter.max_age_s, 9);
  // The old form may kill the caller, the new one does not unless asked.
  EXPECT_EQ(client("CLIENT KILL 1.2.3.4:5"), "+OK\r\n");
  EXPECT_FALSE(client.node.last_filter.skip_me);
  client("CLIENT KILL ID 5");
  EXPECT_TRUE(client.node.last_filter.skip_me);
}

TEST(ClientCommand, PauseAndReplyModes) {
  Client client;
  client("CLIENT PAUSE 100 WRITE");
  EXPECT_EQ(client.node.asked, "pause 100 write");
  client("CLIENT PAUSE 100");
  EXPECT_EQ(client.node.asked, "pause 100 all");
  EXPECT_EQ(client("CLIENT REPLY SKIP"), "");
  EXPECT_EQ(client.node.asked,
            "reply " + std::to_string(static_cast<int>(command::ReplyMode::kSkip)));
}

TEST(Server, SnapshotsOneAtATime) {
  Client client;
  client.node.error = "disk full";
  EXPECT_EQ(client("SAVE"), "-ERR disk full\r\n");
  EXPECT_EQ(client("BGSAVE"), "+Background saving started\r\n");
  EXPECT_EQ(client.node.snapshots, 2);
  client.node.running = true;
  EXPECT_EQ(client("SAVE"), "-ERR Background save already in progress\r\n");
  EXPECT_EQ(client("BGSAVE"), "-ERR Background save already in progress\r\n");
  EXPECT_EQ(client.node.snapshots, 2);
}

TEST(Server, ShutdownOptions) {
  Client client;
  EXPECT_EQ(client("SHUTDOWN nosave now force"), "");
  EXPECT_TRUE(client.node.shutdown_options.no_save && client.node.shutdown_options.now &&
              client.node.shutdown_options.force);
  EXPECT_EQ(client("SHUTDOWN ABORT"), "+OK\r\n");
  client.node.error = "No shutdown in progress.";
  EXPECT_EQ(client("SHUTDOWN ABORT"), "-ERR No shutdown in progress.\r\n");
}

TEST(Server, InfoSectionsAndDeferral) {
  Client client;
  client("INFO");
  EXPECT_EQ(client.node.asked, "info default");
  client("INFO CPU Memory");
  EXPECT_EQ(client.node.asked, "info cpu memory");
  EXPECT_EQ(client.node.deferred, 2);
}

TEST(Server, ConfigErrorsCarryTheirCode) {
  Client client;
  client.node.error = "Unknown option or number of arguments for CONFIG SET - 'nope'";
  EXPECT_EQ(client("CONFIG SET nope 1"),
            "-ERR Unknown option or number of arguments for CONFIG SET - 'nope'\r\n");
  client.node.error = "The server is running without a config file";
  EXPECT_EQ(client("CONFIG REWRITE"), "-ERR The server is running without a config file\r\n");
}

// Aim: what waits for an answer of other threads is kept out of transactions, since defer() may
// not be called there.
TEST(Server, AsynchronousRowsAreNoMulti) {
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"info"},
                                             {"save"},
                                             {"client", "list"},
                                             {"client", "kill"},
                                             {"geo", "status"},
                                             {"geo", "digest"},
                                             {"geo", "conflicts"},
                                             {"geo", "await"},
                                             {"geo", "token"},
                                             {"waitregions"}}) {
    EXPECT_NE(row_of(words).flags & command::kNoMulti, 0u) << words[0];
  }
  Client client;
  client.in_transaction = true;
  EXPECT_EQ(client("MONITOR"), "-ERR MONITOR isn't allowed for DENY BLOCKING client\r\n");
}

// Aim: every family is in the one table, and ACL CAT answers from it.
TEST(Table, HoldsTheFamilies) {
  register_families();
  for (const char* name :
       {"ping", "client", "info", "config", "slowlog", "debug", "acl", "geo", "waitregions"}) {
    EXPECT_NE(command::find_command(name), nullptr) << name;
  }
  Client client;
  const std::string admin = client("ACL CAT admin");
  EXPECT_NE(admin.find("\r\nconfig|set\r\n"), std::string::npos) << admin;
  EXPECT_EQ(admin.find("\r\nping\r\n"), std::string::npos) << admin;
}

TEST(Debug, IsGatedByItsSetting) {
  Client client;
  client.node.connected.resize(1);
  client.node.settings["enable-debug-command"] = "local";
  client.node.connected[0].address = "10.0.0.1:4";
  EXPECT_TRUE(client("DEBUG SLEEP 0").starts_with("-ERR DEBUG command not allowed."));
  client.node.connected[0].address = "127.0.0.1:4";
  EXPECT_EQ(client("DEBUG SLEEP 0"), "+OK\r\n");
  EXPECT_EQ(client("DEBUG SLEEP -1"), "-ERR value is not a valid float\r\n");
  EXPECT_EQ(client("DEBUG SET-ACTIVE-EXPIRE 0"), "+OK\r\n");
  EXPECT_FALSE(client.node.active_expire);
  client.node.settings["enable-debug-command"] = "no";
  EXPECT_TRUE(client("DEBUG PROTOCOL map").starts_with("-ERR DEBUG command not allowed."));
}

TEST(Latency, DoctorTellsTheThreeStates) {
  Client client;
  client.node.settings["latency-monitor-threshold"] = "0";
  EXPECT_NE(client("LATENCY DOCTOR").find("disabled"), std::string::npos);
  client.node.settings["latency-monitor-threshold"] = "10";
  EXPECT_NE(client("LATENCY DOCTOR").find("No latency spike"), std::string::npos);
  client.node.spikes = {{"command", {{100, 10}, {104, 30}}}};
  EXPECT_NE(client("LATENCY DOCTOR")
                .find("1. command: 2 latency spikes (average 20ms, mean deviation 10ms, period "
                      "2.00 sec). Worst event 30ms."),
            std::string::npos);
}

TEST(Stamps, ReadAsTimeCounterAndRegion) {
  EXPECT_EQ(format_time(1795225599247), "2026-11-21T01:46:39.247Z");
  EXPECT_EQ(format_time(0), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(format_time(crdt::kNoDeadline), "9223372036854775807ms");
  const crdt::Stamp stamp = crdt::Stamp::make(1795225599247, 7, 2);
  EXPECT_EQ(format_stamp(stamp), "2026-11-21T01:46:39.247Z/7@2");
  EXPECT_EQ(format_stamp(stamp, "eu"), "2026-11-21T01:46:39.247Z/7@eu(2)");
  EXPECT_EQ(format_stamp({}), "never");
}

TEST(Geo, Replies) {
  Client two;
  Client three(resp::Protocol::kResp3);
  EXPECT_EQ(two("GEO STATUS"),
            "*1\r\n*4\r\n$6\r\nregion\r\n$2\r\neu\r\n$5\r\nstate\r\n$9\r\nconnected\r\n");
  EXPECT_EQ(three("GEO STATUS"),
            "*1\r\n%2\r\n$6\r\nregion\r\n$2\r\neu\r\n$5\r\nstate\r\n$9\r\nconnected\r\n");
  EXPECT_EQ(two("GEO DIGEST"), "$4\r\n00ff\r\n");
  EXPECT_EQ(two("GEO DIGEST 16383"), "$9\r\nslot16383\r\n");
  EXPECT_EQ(two("GEO DIGEST 16384"), "-ERR Invalid or out of range slot\r\n");
  EXPECT_EQ(two("GEO DIGEST x"), "-ERR Invalid or out of range slot\r\n");
  EXPECT_EQ(two("GEO TOKEN"), "$5\r\ntoken\r\n");
  EXPECT_EQ(two("GEO AWAIT token 100"), ":1\r\n");
  EXPECT_EQ(two("GEO AWAIT token 1"), ":0\r\n");
  EXPECT_EQ(two("GEO AWAIT bad 100"), "-ERR malformed token\r\n");
  EXPECT_EQ(two("GEO AWAIT token x"), "-ERR timeout is not an integer or out of range\r\n");
  EXPECT_EQ(two("WAITREGIONS 2 50"), ":2\r\n");
  EXPECT_EQ(two.node.asked, "2 50");
  EXPECT_EQ(two("WAITREGIONS 99 50"), "-ERR too many wait\r\n");
  EXPECT_EQ(two("WAITREGIONS x 50"), "-ERR value is not an integer or out of range\r\n");
  EXPECT_EQ(two("WAITREGIONS 2 -1"), "-ERR timeout is negative\r\n");
}

TEST(Geo, PeerAndConflicts) {
  Client client(resp::Protocol::kResp3);
  EXPECT_EQ(client("GEO PEER eu PAUSE"), "+OK\r\n");
  EXPECT_EQ(client.node.asked, "eu pause");
  EXPECT_EQ(client("GEO PEER eu stop"), "-ERR GEO PEER action must be PAUSE, RESUME or FORGET\r\n");
  client.node.error = "no such region";
  EXPECT_EQ(client("GEO PEER xx RESUME"), "-ERR no such region\r\n");
  EXPECT_EQ(client("GEO CONFLICTS 5"),
            "*1\r\n%7\r\n$2\r\ndb\r\n:0\r\n$3\r\nkey\r\n$1\r\nk\r\n$4\r\nrule\r\n$10\r\nSET || "
            "SET\r\n$6\r\nwinner\r\n$32\r\n1970-01-01T00:00:01.000Z/7@eu(2)\r\n$5\r\nloser\r\n"
            "$28\r\n1970-01-01T00:00:00.999Z/0@3\r\n$11\r\nloser-value\r\n$3\r\nold\r\n$4\r\ntime"
            "\r\n$24\r\n1970-01-01T00:00:02.000Z\r\n");
  EXPECT_EQ(client.node.conflicts_asked, 5u);
  client("GEO CONFLICTS -1");
  EXPECT_EQ(client.node.conflicts_asked, SIZE_MAX);
  EXPECT_EQ(client("GEO CONFLICTS -2"), "-ERR count should be greater than or equal to -1\r\n");
}

std::string explained_text(const Explained& explained) {
  resp::OutBuffer out;
  resp::Writer writer(out, resp::Protocol::kResp3);
  write_explained(writer, explained, [](crdt::RegionId region) { return region == 2 ? "eu" : ""; });
  return out.flatten();
}

bool has(const std::string& text, const std::string& name, const std::string& value) {
  const auto bulk = [](const std::string& s) {
    return "$" + std::to_string(s.size()) + "\r\n" + s + "\r\n";
  };
  return text.find(bulk(name) + bulk(value)) != std::string::npos;
}

// Aim: of a collection its type and size are told, its value is none, and its base says what began
// it.
TEST(Explain, ACollection) {
  crdt::Store store(crdt::Store::Options{});
  const crdt::KeyRef ref = crdt::make_ref(0, "k");
  crdt::CollectionEdit(store, ref, crdt::CollectionType::kHash).put("f", "v");
  Explained explained;
  explained.ref = ref;
  ASSERT_TRUE(store.state(ref, explained.state));
  explained.collection = store.peek(ref)->collection();
  const std::string text = explained_text(explained);
  EXPECT_TRUE(has(text, "type", "hash"));
  EXPECT_TRUE(has(text, "kind", "collection"));
  EXPECT_TRUE(has(text, "value", "hash")) << "the base's";
  EXPECT_NE(text.find("$8\r\nelements\r\n:1\r\n"), std::string::npos);
  EXPECT_NE(text.find("$5\r\nvalue\r\n_\r\n"), std::string::npos);
  EXPECT_NE(text.find("$7\r\nvisible\r\n#t\r\n"), std::string::npos);
}

// Aim: base plus what the base had not seen is what a reader gets, and each part is shown.
TEST(Explain, ShowsHowTheValueComesAbout) {
  Explained explained;
  explained.ref.key = "k";
  explained.ref.slot = 12;
  explained.now = 5000;
  explained.slot_vector.raise(2, crdt::Stamp::make(4000, 0, 2));
  explained.state.kind = crdt::BaseKind::kValue;
  explained.state.base = crdt::Stamp::make(1000, 0, 2);
  explained.state.value = "100";
  crdt::Contribution contribution;
  contribution.birth = crdt::Stamp::make(500, 0, 3);
  contribution.last = crdt::Stamp::make(2000, 1, 3);
  contribution.total.integer = 15;
  contribution.seen_last = crdt::Stamp::make(900, 0, 3);
  contribution.seen_total.integer = 10;
  explained.state.contributions = {contribution};
  const std::string text = explained_text(explained);
  EXPECT_TRUE(text.starts_with("%11\r\n")) << text;
  EXPECT_TRUE(has(text, "value", "105")) << text;
  EXPECT_TRUE(has(text, "stamp", "1970-01-01T00:00:01.000Z/0@eu(2)")) << text;
  EXPECT_TRUE(has(text, "last", "1970-01-01T00:00:02.000Z/1@3")) << text;
  EXPECT_TRUE(has(text, "total", "15")) << text;
  EXPECT_TRUE(has(text, "base-saw-total", "10")) << text;
  EXPECT_TRUE(has(text, "deadline", "none")) << text;
  EXPECT_NE(text.find("visible\r\n#t"), std::string::npos) << text;
}

TEST(Explain, TombstonesAndExpiredKeysAreHidden) {
  Explained explained;
  explained.ref.key = "k";
  explained.now = 5000;
  explained.state.kind = crdt::BaseKind::kDeleted;
  explained.state.base = crdt::Stamp::make(1000, 0, 2);
  const std::string deleted = explained_text(explained);
  EXPECT_NE(deleted.find("tombstone\r\n#t"), std::string::npos) << deleted;
  EXPECT_NE(deleted.find("value\r\n_"), std::string::npos) << deleted;

  explained.state.kind = crdt::BaseKind::kValue;
  explained.state.value = std::string(1000, 'x');
  explained.state.ttl = {{explained.state.base, 4000, explained.state.base}};
  const std::string expired = explained_text(explained);
  EXPECT_NE(expired.find("visible\r\n#f"), std::string::npos) << expired;
  EXPECT_TRUE(has(expired, "set-on", "1970-01-01T00:00:01.000Z/0@eu(2)")) << expired;
  EXPECT_TRUE(has(expired, "deadline", "1970-01-01T00:00:04.000Z")) << expired;
  EXPECT_NE(expired.find("... (1000 bytes)"), std::string::npos) << expired;
}

}  // namespace
}  // namespace atl::admin
