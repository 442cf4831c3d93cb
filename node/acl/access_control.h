// The node's users: who there is, what changes them, and what was refused.
//
// Users are read by every command of a user with limits and changed once in a blue moon. So all of
// them form one immutable snapshot (Users); a change copies it, gives it the next generation and
// swaps the pointer. A connection holds its User; a thread holds the snapshot that its connections
// were last brought in line with, and compares generations, one relaxed load, before every batch
// of input. No command takes a lock, and none sees half of a change. The rejected alternatives:
// a lock that readers take, even a shared one, is a cache line that all threads write; a message
// to every thread alone would leave batches in between that run under rules already revoked.
//
//     ACL SETUSER on thread 1                          thread 2
//     ------------------------                         ------------------------------
//     copy, apply, generation 8                        batch under generation 7
//     swap the snapshot, then                          generation() is 8: fetch users(),
//     generation_ = 8, then call the listener  ----->  rebind or end its connections
//     +OK                                              batch under generation 8
//
// What a client may rely on: a batch of input (at most 32 requests that were read together) that
// another thread begins after +OK runs under the new rules; one that had begun before may still be
// under the old ones. An EXEC is judged command by command when it runs.
//
// *Threads*: any, after begin(). *Owns*: the snapshot, the log of denials. The listener runs on the
// thread that makes the change, one change at a time, and must not change users itself.
// *Errors*: texts for people, "" for success; a change that fails changes nothing.
// *Durability*: save() returns when the file is on disk under its name.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "node/acl/denial_log.h"
#include "node/acl/user.h"

namespace atl::acl {

// What was refused since the last CONFIG RESETSTAT, by Reason.
struct DenialCounts {
  std::atomic<uint64_t> command{0}, key{0}, channel{0}, auth{0};
  void add(Reason reason);
  void reset();
};

// A `user` line of the configuration.
struct ConfiguredUser {
  std::vector<std::string> words;  // the name, then rules
  std::string place;               // where it stands, for errors
};

class AccessControl {
 public:
  struct Setup {
    std::string password;  // requirepass
    std::string file;      // aclfile, absolute; empty for none
    std::vector<ConfiguredUser> users;
    ChannelDefault channels = ChannelDefault::kNone;
  };

  AccessControl();  // one user, 'default', who may do everything

  // Once, before other threads. Either a file or users, not both. Returns why not, naming the line.
  std::string begin(const Setup& setup);
  // What begin() let pass and somebody should know; one line each.
  const std::vector<std::string>& warnings() const { return warnings_; }
  void set_listener(std::function<void()> changed) { changed_ = std::move(changed); }
  void set_channel_default(ChannelDefault channels) { channels_ = channels; }

  // ---- Reading ----
  std::shared_ptr<const Users> users() const;
  uint64_t generation() const { return generation_.load(std::memory_order_acquire); }

  // ---- Changing ----
  // ACL SETUSER: all rules or none.
  std::string set_user(std::string_view name, std::span<const std::string_view> rules);
  // ACL DELUSER. Requires: 'default' is not among them. Returns how many there were.
  size_t delete_users(std::span<const std::string_view> names);
  // requirepass: the one password of 'default', empty for none needed.
  void set_default_password(std::string_view password);
  bool has_file() const { return !file_.empty(); }
  // Both block on the disk: not for a thread that serves.
  std::string load();
  std::string save() const;
  // As `user` lines would have it; none if 'default' alone is as begin() and requirepass made it.
  std::vector<std::string> describe_for_config() const;

  DenialLog& log() { return log_; }
  DenialCounts& counts() { return counts_; }

 private:
  using Map = decltype(Users::by_name);

  std::string read_configured(const std::vector<ConfiguredUser>& configured, Map& into);
  std::string read_file(Map& into);
  void add_user(User user, Map& into);
  void publish(Map by_name);

  std::mutex change_mutex_;            // serialises changes, held while the listener runs
  mutable std::mutex snapshot_mutex_;  // guards the pointer only
  std::shared_ptr<const Users> users_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<ChannelDefault> channels_{ChannelDefault::kNone};
  std::atomic<bool> configured_{false};  // more than requirepass has shaped the users
  uint64_t next_incarnation_ = 1;
  std::string file_;
  std::vector<std::string> warnings_;
  std::function<void()> changed_;
  DenialLog log_;
  DenialCounts counts_;
};

// The users of an ACL file's text. Every fault of every line is reported, as "path:line: what. ".
struct ParsedUsers {
  std::vector<User> users;
  std::string errors;
};
ParsedUsers parse_users(std::string_view text, std::string_view path, ChannelDefault channels);

}  // namespace atl::acl
