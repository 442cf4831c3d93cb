// The configuration of one node: read from a redis.conf-style file and the command line, asked
// and changed by CONFIG GET / SET / REWRITE, and handed to the rest of the node as snapshots.
//
// Everything comes from the one table of options in options.cpp: names, types, defaults, limits,
// help. Adding an option is one field in settings.h and one row there.
//
// Typical use:
//   Config config;
//   if (auto error = config.load({argv + 2, argv + argc})) { print error->message(); exit 1 }
//   auto settings = config.snapshot();              // std::shared_ptr<const Settings>
//   config.subscribe([&](const Change& change) { post change.after to every shard });
//
// The texts of errors are Redis 7's, without the "ERR " that the edge puts in front.
//
// Source: the behaviour of redis-server 7.0's config.c as users see it. Differences: a file that
// would read back differently after CONFIG REWRITE is refused instead of written (for Redis an
// `include` below a changed line silently wins at the next start), `--save` on the command line
// replaces the file's save points instead of adding to them, and load errors name the file.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "node/config/settings.h"

namespace atl::config {

// Why a start is refused.
struct LoadError {
  std::string file;    // "" when the fault is on the command line or between several options
  int line = 0;        // from 1; 0: the file as a whole
  std::string text;    // the offending line
  std::string reason;  // e.g. "argument must be 'yes' or 'no'"

  // The lines to print on stderr, in the form of Redis' "*** FATAL CONFIG FILE ERROR ***".
  std::string message() const;
};

// What one CONFIG SET changed: options whose value is now different, and those that take effect at
// every set.
struct Change {
  std::vector<std::string_view> options;  // canonical names, valid for the program's life
  std::shared_ptr<const Settings> before;
  std::shared_ptr<const Settings> after;

  bool has(std::string_view option) const;
};

// Threads: load() before others use it; every other function from any thread.
// Owns: the current snapshot; old ones live while somebody holds them.
// Bounds: includes nest at most kIncludeDepthMax deep; a file has at most kFileBytesMax bytes.
class Config {
 public:
  static constexpr int kIncludeDepthMax = 16;
  static constexpr std::size_t kFileBytesMax = 16u << 20;

  using Listener = std::function<void(const Change&)>;
  using Guard = std::function<std::optional<Conflict>(const Change&)>;
  using NameValue = std::pair<std::string, std::string>;

  Config();                            // the defaults, no file
  explicit Config(Settings settings);  // for tests and tools
  Config(const Config&) = delete;
  Config& operator=(const Config&) = delete;

  // Reads the arguments that follow `atoll server`: [file | -] [--name value...]...
  // "-" reads standard input; later settings win over earlier ones. On error nothing changes.
  std::optional<LoadError> load(const std::vector<std::string>& args);

  // The settings in force. Cheap (one short lock), but a shard keeps its own copy of the pointer.
  std::shared_ptr<const Settings> snapshot() const;

  // The file that load() read, absolute; empty without one or when it was standard input.
  const std::string& file() const { return file_; }

  // CONFIG GET: every option that a pattern (glob, case-insensitive) matches, once, in the table's
  // order, values as Redis prints them. Hidden options answer to their exact name only.
  std::vector<NameValue> get(const std::vector<std::string>& patterns) const;
  std::vector<NameValue> get(const std::string& pattern) const;

  // CONFIG SET: all pairs or none. Returns the error's text, or nothing on success.
  // Listeners have run when it returns.
  std::optional<std::string> set(const std::vector<NameValue>& pairs);

  // CONFIG REWRITE: writes the settings in force into file(), keeping its comments and order, and
  // `users` in place of its `user` lines if there are any.
  // Durability: the new content is on disk under the old name on success; on failure the old file
  // is untouched. Blocks on the disk: not for a shard's thread.
  // Returns the error's text, or nothing on success.
  std::optional<std::string> rewrite(const std::vector<std::string>& users = {}) const;

  // Calls `listener` after every change, on the thread that called set(), one change at a time.
  // A listener may read this Config but must not call set() or subscribe(); it lives as long as
  // the Config. Options that may not change at run time never appear.
  void subscribe(Listener listener);

  // Asks `guard` before a change takes effect; what it returns refuses the change. On the thread
  // that called set(); where it lets the change pass, listeners follow before the next is asked.
  void set_guard(Guard guard);

 private:
  mutable std::mutex change_mutex_;    // serialises set() and rewrite(), held while listeners run
  mutable std::mutex snapshot_mutex_;  // guards the pointer only
  std::shared_ptr<const Settings> settings_;
  std::vector<Listener> listeners_;
  Guard guard_;
  std::string file_;
};

// True for options whose values must not reach logs, SLOWLOG or MONITOR (passwords).
bool is_secret(std::string_view option);

// The options as `atoll server --help` prints them, and as the README's table in Markdown.
std::string help_text();
std::string markdown_table();

}  // namespace atl::config
