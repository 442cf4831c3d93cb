// What people read about the options: --help, the README's table and "did you mean".
#include <algorithm>
#include <array>

#include "node/config/config.h"
#include "node/config/option.h"
#include "node/config/text.h"

namespace atl::config {
namespace {

constexpr std::size_t kHelpWidth = 96;

// Options of redis.conf that Atoll does not have: a file that was written for Redis gets a reason
// instead of a riddle. Only consulted for words of an error; what is accepted is the table alone.
constexpr std::array<std::string_view, 56> kOnlyInRedis = {"activedefrag",
                                                           "activerehashing",
                                                           "always-show-logo",
                                                           "aof-load-truncated",
                                                           "aof-rewrite-incremental-fsync",
                                                           "aof-timestamp-enabled",
                                                           "aof-use-rdb-preamble",
                                                           "aof_rewrite_cpulist",
                                                           "appenddirname",
                                                           "appendfilename",
                                                           "bind-source-addr",
                                                           "busy-reply-threshold",
                                                           "cluster-enabled",
                                                           "cluster-config-file",
                                                           "cluster-node-timeout",
                                                           "crash-log-enabled",
                                                           "crash-memcheck-enabled",
                                                           "disable-thp",
                                                           "dynamic-hz",
                                                           "enable-module-command",
                                                           "enable-protected-configs",
                                                           "hash-max-listpack-entries",
                                                           "hash-max-listpack-value",
                                                           "hash-max-ziplist-entries",
                                                           "hash-max-ziplist-value",
                                                           "hll-sparse-max-bytes",
                                                           "io-threads",
                                                           "io-threads-do-reads",
                                                           "jemalloc-bg-thread",
                                                           "list-compress-depth",
                                                           "list-max-listpack-size",
                                                           "list-max-ziplist-size",
                                                           "loadmodule",
                                                           "lua-time-limit",
                                                           "masterauth",
                                                           "masteruser",
                                                           "no-appendfsync-on-rewrite",
                                                           "oom-score-adj",
                                                           "oom-score-adj-values",
                                                           "proc-title-template",
                                                           "rdb-del-sync-files",
                                                           "rdb-save-incremental-fsync",
                                                           "rdbchecksum",
                                                           "rdbcompression",
                                                           "rename-command",
                                                           "replicaof",
                                                           "sanitize-dump-payload",
                                                           "set-max-intset-entries",
                                                           "set-proc-title",
                                                           "stream-node-max-bytes",
                                                           "stream-node-max-entries",
                                                           "supervised",
                                                           "syslog-enabled",
                                                           "tracking-table-max-keys",
                                                           "zset-max-listpack-entries",
                                                           "zset-max-listpack-value"};

bool is_of_redis(std::string_view name) {
  if (name.starts_with("repl-") || name.starts_with("replica-") || name.starts_with("tls-") ||
      name.starts_with("cluster-") || name.starts_with("syslog-") ||
      name.starts_with("active-defrag-")) {
    return true;
  }
  return std::find(kOnlyInRedis.begin(), kOnlyInRedis.end(), name) != kOnlyInRedis.end();
}

std::string range_text(const Option& option) {
  const auto bound = [&](std::int64_t value) {
    if (option.kind == Kind::kMemory) return memory_text(value);
    if (option.kind == Kind::kOctal) return std::string("777");
    return std::to_string(value);
  };
  const bool open = option.max >= std::numeric_limits<int>::max();
  const std::string low = option.min == 0 ? "0" : bound(option.min);
  return open ? low + " or more" : low + " to " + bound(option.max);
}

std::string values_text(const Option& option) {
  switch (option.kind) {
    case Kind::kYesNo:
      return "yes, no";
    case Kind::kEnum: {
      std::vector<std::string> names;
      for (const EnumValue& value : option.values) names.emplace_back(value.name);
      return joined(names, ", ");
    }
    case Kind::kMemory:
      return "memory, " + range_text(option);
    case Kind::kNumber:
      return range_text(option) + (option.unit.empty() ? "" : " " + std::string(option.unit));
    case Kind::kOctal:
      return "octal, " + range_text(option);
    case Kind::kUrls:
      return "URLs";
    case Kind::kList:
      return "words";
    case Kind::kSave:
      return "pairs of seconds and changes";
    case Kind::kBufferLimits:
      return "class, hard, soft, seconds";
    case Kind::kUsers:
      return "a name and rules";
    case Kind::kText:
      break;
  }
  return "text";
}

std::string standard_text(const Option& option) {
  return option.standard.empty() ? "\"\"" : std::string(option.standard);
}

// `text` in lines of kHelpWidth at most, each indented by `indent`.
std::string wrapped(const std::string& text, std::size_t indent) {
  std::string out;
  std::string line;
  for (const std::string& word : split_at(text, " ")) {
    if (!line.empty() && indent + line.size() + 1 + word.size() > kHelpWidth) {
      out += std::string(indent, ' ') + line + '\n';
      line.clear();
    }
    if (!line.empty()) line += ' ';
    line += word;
  }
  return out + std::string(indent, ' ') + line + '\n';
}

}  // namespace

std::string hint_for_unknown(std::string_view name) {
  const std::string wanted = lower(name);
  if (is_of_redis(wanted)) return " (an option of Redis that Atoll does not have: remove the line)";
  const Option* nearest = nullptr;
  std::size_t best = std::max<std::size_t>(1, wanted.size() / 3) + 1;
  for (const Option& option : options()) {
    if (option.visibility == Visibility::kHidden) continue;
    const std::size_t distance = edit_distance(wanted, option.name);
    if (distance < best) {
      best = distance;
      nearest = &option;
    }
  }
  return nullptr == nearest ? "" : "; did you mean '" + std::string(nearest->name) + "'?";
}

std::string help_text() {
  std::string out =
      "Usage: atoll server [file | -] [--name value ...]\n\n"
      "The file has the syntax of redis.conf; '-' reads it from standard input. Options on the\n"
      "command line win over the file. Sizes may end in k, kb, m, mb, g or gb. Options marked *\n"
      "can be changed while the server runs, with CONFIG SET.\n";
  std::string_view section;
  for (const Option& option : options()) {
    if (option.visibility == Visibility::kHidden) continue;
    if (option.section != section) {
      section = option.section;
      out += "\n" + std::string(section) + ":\n";
    }
    out += "  --" + std::string(option.name);
    out += option.apply == Apply::kAtStart ? "\n" : " *\n";
    out += wrapped(std::string(option.help) + " (" + values_text(option) + "; default " +
                       standard_text(option) + ")",
                   6);
  }
  return out;
}

std::string markdown_table() {
  std::string out =
      "| Option | From | Default | Values | At run time | What it does |\n"
      "|---|---|---|---|---|---|\n";
  for (const Option& option : options()) {
    if (option.visibility == Visibility::kHidden) continue;
    out += "| `" + std::string(option.name) + "` | ";
    out += option.origin == Origin::kRedis ? "Redis" : "Atoll";
    out += " | `" + standard_text(option) + "` | " + values_text(option) + " | ";
    out += option.apply == Apply::kAtStart ? "no" : "yes";
    out += " | " + std::string(option.help) + " |\n";
  }
  return out;
}

}  // namespace atl::config
