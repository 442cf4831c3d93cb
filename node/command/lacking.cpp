#include "node/command/lacking.h"

#include <string>

#include "node/command/args.h"

namespace atl::command {
namespace {

constexpr std::string_view kStreams[] = {"xack",   "xadd",       "xautoclaim", "xclaim",   "xdel",
                                         "xgroup", "xinfo",      "xlen",       "xpending", "xrange",
                                         "xread",  "xreadgroup", "xrevrange",  "xsetid",   "xtrim"};
constexpr std::string_view kBitmaps[] = {"bitcount", "bitfield", "bitfield_ro", "bitop",
                                         "bitpos",   "getbit",   "setbit"};
constexpr std::string_view kPlaces[] = {
    "geoadd",    "geodist",       "geohash",           "geopos",
    "georadius", "georadius_ro",  "georadiusbymember", "georadiusbymember_ro",
    "geosearch", "geosearchstore"};
constexpr std::string_view kHyperLogLogs[] = {"pfadd", "pfcount", "pfdebug", "pfmerge",
                                              "pfselftest"};
constexpr std::string_view kFunctions[] = {"fcall", "fcall_ro", "function"};
constexpr std::string_view kRdb[] = {"dump", "migrate", "restore", "restore-asking"};
constexpr std::string_view kReplicas[] = {"failover", "psync", "replconf", "sync"};
constexpr std::string_view kSyncs[] = {"waitaof"};
constexpr std::string_view kClusters[] = {"asking"};
constexpr std::string_view kModules[] = {"module|load", "module|loadex", "module|unload"};
constexpr std::string_view kGraphs[] = {"latency|graph"};

constexpr Lacking kLacking[] = {
    {"streams are not in Atoll yet", kStreams},
    {"bitmaps are not in Atoll yet", kBitmaps},
    {"geospatial indexes are not in Atoll yet", kPlaces},
    {"HyperLogLogs are not in Atoll yet", kHyperLogLogs},
    {"functions are not in Atoll yet, scripts (EVAL) are", kFunctions},
    {"Atoll neither writes nor reads Redis' RDB format, which has no room for what merging needs",
     kRdb},
    {"an Atoll node is no replica and has none: regions replicate over NATS, see GEO STATUS",
     kReplicas},
    {"Atoll waits for the disk before every reply with appendfsync always, and not for one command",
     kSyncs},
    {"an Atoll node is no cluster yet", kClusters},
    {"Atoll cannot load Redis' modules", kModules},
    {"Atoll draws no graphs, LATENCY HISTORY has the numbers", kGraphs},
};

}  // namespace

std::span<const Lacking> lacking_commands() {
  return kLacking;
}

std::string_view why_lacking(std::string_view name) {
  for (const Lacking& lacking : kLacking) {
    for (const std::string_view lacked : lacking.names) {
      if (is_word(name, lacked)) return lacking.reason;
    }
  }
  return {};
}

std::string_view why_lacking(std::string_view container, std::string_view name) {
  std::string whole(container);
  whole.append("|").append(name);
  return why_lacking(whole);
}

}  // namespace atl::command
