// Replies byte for byte as redis-server 7.0.15 gave them for the same request (7.2's where that
// release added something), in both protocols; errors are part of the contract with clients.
#include <gtest/gtest.h>

#include "fake_node.h"

namespace atl::admin {
namespace {

struct Golden {
  const char* request;
  const char* resp2;
  const char* resp3 = nullptr;  // null: the same
};

const Golden kGolden[] = {
    {"PING", "+PONG\r\n"},
    {"PING a", "$1\r\na\r\n"},
    {"PING a b", "-ERR wrong number of arguments for 'ping' command\r\n"},
    {"ECHO x", "$1\r\nx\r\n"},
    {"AUTH x",
     "-ERR AUTH <password> called without any password configured for the default user. Are you "
     "sure your configuration is correct?\r\n"},
    {"AUTH u p", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"},
    {"AUTH default p", "+OK\r\n"},
    {"AUTH a b c", "-ERR syntax error\r\n"},
    {"HELLO 1", "-NOPROTO unsupported protocol version\r\n"},
    {"HELLO x", "-ERR Protocol version is not an integer or out of range\r\n"},
    {"HELLO 3 AUTH", "-ERR Syntax error in HELLO option 'AUTH'\r\n"},
    {"HELLO 3 AUTH a b", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"},
    {"HELLO 2 SETNAME", "-ERR Syntax error in HELLO option 'SETNAME'\r\n"},
    {"HELLO 2 FOO", "-ERR Syntax error in HELLO option 'FOO'\r\n"},
    {"HELLO",
     "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.0\r\n$5\r\nproto\r\n:2\r\n"
     "$2\r\nid\r\n:3\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
     "$7\r\nmodules\r\n*0\r\n",
     "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.0\r\n$5\r\nproto\r\n:3\r\n"
     "$2\r\nid\r\n:3\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
     "$7\r\nmodules\r\n*0\r\n"},
    {"SELECT a", "-ERR value is not an integer or out of range\r\n"},
    {"SELECT 16", "-ERR DB index is out of range\r\n"},
    {"SELECT -1", "-ERR DB index is out of range\r\n"},
    {"SELECT 2147483648",
     "-ERR value is out of range, value must between -2147483648 and 2147483647\r\n"},
    {"SELECT 3", "+OK\r\n"},
    {"CLIENT ID", ":3\r\n"},
    {"CLIENT LIST TYPE", "-ERR syntax error\r\n"},
    {"CLIENT LIST TYPE foo", "-ERR Unknown client type 'foo'\r\n"},
    {"CLIENT LIST TYPE pubsub", "$0\r\n\r\n", "=4\r\ntxt:\r\n"},
    {"CLIENT LIST ID", "-ERR syntax error\r\n"},
    {"CLIENT LIST ID a", "-ERR Invalid client ID\r\n"},
    {"CLIENT LIST FOO", "-ERR syntax error\r\n"},
    {"CLIENT LIST TYPE normal x", "-ERR syntax error\r\n"},
    {"CLIENT GETNAME", "$-1\r\n", "_\r\n"},
    {"CLIENT SETNAME foo", "+OK\r\n"},
    {"CLIENT SETINFO lib-name a", "+OK\r\n"},
    {"CLIENT SETINFO lib-foo a", "-ERR Unrecognized option 'lib-foo'\r\n"},
    {"CLIENT REPLY foo", "-ERR syntax error\r\n"},
    {"CLIENT REPLY on", "+OK\r\n"},
    {"CLIENT REPLY off", ""},
    {"CLIENT KILL 1.2.3.4:5", "-ERR No such client\r\n"},
    {"CLIENT KILL ID", "-ERR No such client\r\n"},
    {"CLIENT KILL ID a", "-ERR client-id should be greater than 0\r\n"},
    {"CLIENT KILL ID 0", "-ERR client-id should be greater than 0\r\n"},
    {"CLIENT KILL ID 99999", ":0\r\n"},
    {"CLIENT KILL TYPE foo", "-ERR Unknown client type 'foo'\r\n"},
    {"CLIENT KILL USER foo", "-ERR No such user 'foo'\r\n"},
    {"CLIENT KILL SKIPME foo", "-ERR syntax error\r\n"},
    {"CLIENT KILL FOO bar", "-ERR syntax error\r\n"},
    {"CLIENT KILL ID 1 ADDR", "-ERR syntax error\r\n"},
    {"CLIENT KILL a b c", "-ERR syntax error\r\n"},
    {"CLIENT KILL MAXAGE 0", "-ERR maxage should be greater than 0\r\n"},
    {"CLIENT NO-EVICT foo", "-ERR syntax error\r\n"},
    {"CLIENT NO-EVICT on", "+OK\r\n"},
    {"CLIENT NO-TOUCH on", "+OK\r\n"},
    {"CLIENT PAUSE a", "-ERR timeout is not an integer or out of range\r\n"},
    {"CLIENT PAUSE -1", "-ERR timeout is negative\r\n"},
    {"CLIENT PAUSE 1 foo", "-ERR CLIENT PAUSE mode must be WRITE or ALL\r\n"},
    {"CLIENT PAUSE 1 write x",
     "-ERR unknown subcommand or wrong number of arguments for 'PAUSE'. Try CLIENT HELP.\r\n"},
    {"CLIENT PAUSE 1", "+OK\r\n"},
    {"CLIENT UNPAUSE", "+OK\r\n"},
    {"CLIENT GETREDIR", ":-1\r\n"},
    {"CLIENT TRACKINGINFO",
     "*6\r\n$5\r\nflags\r\n*1\r\n$3\r\noff\r\n$8\r\nredirect\r\n:-1\r\n$8\r\nprefixes\r\n*0\r\n",
     "%3\r\n$5\r\nflags\r\n~1\r\n$3\r\noff\r\n$8\r\nredirect\r\n:-1\r\n$8\r\nprefixes\r\n*0\r\n"},
    {"RESET", "+RESET\r\n"},
    {"CONFIG GET port", "*2\r\n$4\r\nport\r\n$5\r\n17999\r\n",
     "%1\r\n$4\r\nport\r\n$5\r\n17999\r\n"},
    {"CONFIG GET nope", "*0\r\n", "%0\r\n"},
    {"CONFIG SET maxmemory 0 maxmemory", "-ERR syntax error\r\n"},
    {"CONFIG SET maxmemory 0", "+OK\r\n"},
    {"CONFIG REWRITE", "+OK\r\n"},
    {"CONFIG RESETSTAT", "+OK\r\n"},
    {"CONFIG HELP",
     "*11\r\n+CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n+GET <pattern>\r\n"
     "+    Return parameters matching the glob-like <pattern> and their values.\r\n"
     "+SET <directive> <value>\r\n+    Set the configuration <directive> to <value>.\r\n"
     "+RESETSTAT\r\n+    Reset statistics reported by the INFO command.\r\n+REWRITE\r\n"
     "+    Rewrite the configuration file.\r\n+HELP\r\n+    Prints this help.\r\n"},
    {"INFO server", "$31\r\n# Server\r\nredis_version:7.2.0\r\n\r\n",
     "=35\r\ntxt:# Server\r\nredis_version:7.2.0\r\n\r\n"},
    {"TIME", "*2\r\n$10\r\n1795225599\r\n$6\r\n247731\r\n"},
    {"LASTSAVE", ":1795225586\r\n"},
    {"SAVE", "+OK\r\n"},
    {"BGSAVE foo", "-ERR syntax error\r\n"},
    {"BGSAVE", "+Background saving started\r\n"},
    {"BGSAVE SCHEDULE", "+Background saving started\r\n"},
    {"BGREWRITEAOF", "+Background append only file rewriting started\r\n"},
    {"SLOWLOG GET a", "-ERR count should be greater than or equal to -1\r\n"},
    {"SLOWLOG GET -2", "-ERR count should be greater than or equal to -1\r\n"},
    {"SLOWLOG GET 1 2",
     "-ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.\r\n"},
    {"SLOWLOG GET",
     "*1\r\n*6\r\n:0\r\n:1795225603\r\n:20100\r\n*3\r\n$5\r\nDEBUG\r\n$5\r\nSLEEP\r\n$4\r\n0.02\r\n"
     "$15\r\n127.0.0.1:48266\r\n$0\r\n\r\n"},
    {"SLOWLOG LEN", ":1\r\n"},
    {"SLOWLOG RESET", "+OK\r\n"},
    {"SLOWLOG HELP",
     "*12\r\n+SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n"
     "+GET [<count>]\r\n"
     "+    Return top <count> entries from the slowlog (default: 10, -1 mean all).\r\n"
     "+    Entries are made of:\r\n"
     "+    id, timestamp, time in microseconds, arguments array, client IP and port,\r\n"
     "+    client name\r\n+LEN\r\n+    Return the length of the slowlog.\r\n+RESET\r\n"
     "+    Reset the slowlog.\r\n+HELP\r\n+    Prints this help.\r\n"},
    {"LATENCY LATEST", "*1\r\n*4\r\n$7\r\ncommand\r\n:1795225603\r\n:20\r\n:20\r\n"},
    {"LATENCY HISTORY command", "*1\r\n*2\r\n:1795225603\r\n:20\r\n"},
    {"LATENCY HISTORY foo", "*0\r\n"},
    {"LATENCY RESET", ":0\r\n"},
    {"LATENCY HISTOGRAM foo", "*0\r\n", "%0\r\n"},
    {"LATENCY HISTOGRAM set",
     "*2\r\n$3\r\nset\r\n*4\r\n$5\r\ncalls\r\n:3\r\n$14\r\nhistogram_usec\r\n*4\r\n:8\r\n:1\r\n"
     ":16\r\n:3\r\n",
     "%1\r\n$3\r\nset\r\n%2\r\n$5\r\ncalls\r\n:3\r\n$14\r\nhistogram_usec\r\n%2\r\n:8\r\n:1\r\n"
     ":16\r\n:3\r\n"},
    {"MONITOR", "+OK\r\n"},
    {"SHUTDOWN FOO", "-ERR syntax error\r\n"},
    {"SHUTDOWN SAVE NOSAVE", "-ERR syntax error\r\n"},
    {"SHUTDOWN ABORT NOW", "-ERR syntax error\r\n"},
    {"SHUTDOWN NOSAVE", ""},
    {"DEBUG SLEEP 0", "+OK\r\n"},
    {"DEBUG SET-ACTIVE-EXPIRE 1", "+OK\r\n"},
    {"DEBUG PROTOCOL string", "$11\r\nHello World\r\n"},
    {"DEBUG PROTOCOL integer", ":12345\r\n"},
    {"DEBUG PROTOCOL double", "$5\r\n3.141\r\n", ",3.141\r\n"},
    {"DEBUG PROTOCOL bignum", "$37\r\n1234567999999999999999999999999999999\r\n",
     "(1234567999999999999999999999999999999\r\n"},
    {"DEBUG PROTOCOL null", "$-1\r\n", "_\r\n"},
    {"DEBUG PROTOCOL set", "*3\r\n:0\r\n:1\r\n:2\r\n", "~3\r\n:0\r\n:1\r\n:2\r\n"},
    {"DEBUG PROTOCOL map", "*6\r\n:0\r\n:0\r\n:1\r\n:1\r\n:2\r\n:0\r\n",
     "%3\r\n:0\r\n#f\r\n:1\r\n#t\r\n:2\r\n#f\r\n"},
    {"DEBUG PROTOCOL verbatim", "$25\r\nThis is a verbatim\nstring\r\n",
     "=29\r\ntxt:This is a verbatim\nstring\r\n"},
    {"DEBUG PROTOCOL true", ":1\r\n", "#t\r\n"},
    {"ROLE", "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"},
    {"WAIT a 1", "-ERR value is not an integer or out of range\r\n"},
    {"WAIT 1 a", "-ERR timeout is not an integer or out of range\r\n"},
    {"WAIT 1 -1", "-ERR timeout is negative\r\n"},
    {"WAIT 1 10", ":0\r\n"},
    {"LOLWUT", "$17\r\nRedis ver. 7.2.0\n\r\n", "=21\r\ntxt:Redis ver. 7.2.0\n\r\n"},
    {"REPLICAOF no one", "+OK\r\n"},
    {"CLUSTER INFO", "-ERR This instance has cluster support disabled\r\n"},
    {"READONLY", "-ERR This instance has cluster support disabled\r\n"},
    {"READWRITE", "-ERR This instance has cluster support disabled\r\n"},
    {"ACL WHOAMI", "$7\r\ndefault\r\n"},
    {"ACL USERS", "*1\r\n$7\r\ndefault\r\n"},
    {"ACL GETUSER default",
     "*12\r\n$5\r\nflags\r\n*3\r\n$2\r\non\r\n$6\r\nnopass\r\n$16\r\nsanitize-payload\r\n$9\r\n"
     "passwords\r\n*0\r\n$8\r\ncommands\r\n$5\r\n+@all\r\n$4\r\nkeys\r\n$2\r\n~*\r\n$8\r\nchannels"
     "\r\n$2\r\n&*\r\n$9\r\nselectors\r\n*0\r\n",
     "%6\r\n$5\r\nflags\r\n~3\r\n$2\r\non\r\n$6\r\nnopass\r\n$16\r\nsanitize-payload\r\n$9\r\n"
     "passwords\r\n*0\r\n$8\r\ncommands\r\n$5\r\n+@all\r\n$4\r\nkeys\r\n$2\r\n~*\r\n$8\r\nchannels"
     "\r\n$2\r\n&*\r\n$9\r\nselectors\r\n*0\r\n"},
    {"ACL GETUSER nosuch", "$-1\r\n", "_\r\n"},
    {"ACL DRYRUN default get k", "+OK\r\n"},
    {"ACL DELUSER nosuch default", "-ERR The 'default' user cannot be removed\r\n"},
    {"ACL LOG", "*0\r\n"},
    {"ACL CAT foo", "-ERR Unknown category 'foo'\r\n"},
    {"ACL CAT a b",
     "-ERR unknown subcommand or wrong number of arguments for 'CAT'. Try ACL HELP.\r\n"},
    {"ACL CAT",
     "*21\r\n$8\r\nkeyspace\r\n$4\r\nread\r\n$5\r\nwrite\r\n$3\r\nset\r\n$9\r\nsortedset\r\n"
     "$4\r\nlist\r\n$4\r\nhash\r\n$6\r\nstring\r\n$6\r\nbitmap\r\n$11\r\nhyperloglog\r\n$3\r\ngeo"
     "\r\n$6\r\nstream\r\n$6\r\npubsub\r\n$5\r\nadmin\r\n$4\r\nfast\r\n$4\r\nslow\r\n$8\r\n"
     "blocking\r\n$9\r\ndangerous\r\n$10\r\nconnection\r\n$11\r\ntransaction\r\n$9\r\nscripting"
     "\r\n"},
    {"MODULE LIST", "*0\r\n"},
    {"QUIT", "+OK\r\n"},
};

void set_up(Client& client) {
  client.node.settings = {{"port", "17999"}, {"enable-debug-command", "yes"}};
  client.node.slow = {{.id = 0,
                       .unix_time_s = 1795225603,
                       .micros = 20100,
                       .args = {"DEBUG", "SLEEP", "0.02"},
                       .address = "127.0.0.1:48266",
                       .client_name = ""}};
  client.node.spikes = {{"command", {{1795225603, 20}}}};
}

class GoldenReplies : public ::testing::TestWithParam<Golden> {};

// Aim: the bytes on the wire are Redis' in RESP2 and RESP3.
TEST_P(GoldenReplies, AreRedisBytes) {
  const Golden& golden = GetParam();
  Client old_client;
  set_up(old_client);
  EXPECT_EQ(old_client(golden.request), golden.resp2);
  Client new_client(resp::Protocol::kResp3);
  set_up(new_client);
  EXPECT_EQ(new_client(golden.request), golden.resp3 != nullptr ? golden.resp3 : golden.resp2);
}

INSTANTIATE_TEST_SUITE_P(Admin, GoldenReplies, ::testing::ValuesIn(kGolden));

}  // namespace
}  // namespace atl::admin
