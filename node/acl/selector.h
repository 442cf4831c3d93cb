// One set of permissions: commands, keys and channels that may be used together. A user has a root
// selector and any number of others; a command passes if one selector alone allows all of it.
//
// The rule language is Redis 7.2's (https://redis.io/docs/management/security/acl/):
//
//     +get -get +config|get -config|get +select|0 +@read -@read allcommands nocommands
//     ~pattern %R~pattern %W~pattern %RW~pattern allkeys resetkeys
//     &pattern allchannels resetchannels
//
// Rules about commands are kept as they were given, beside the bits that they set, because no
// reading of the bits gives them back: a category that gains a command in a later version has to
// grant it. A rule that covers an earlier one replaces it, so the list stays short.
//
// Invariants, which tests/unit/acl holds against a model:
//  (1) describe() applied to an empty selector gives an equal selector, and describes itself.
//  (2) `allowed_` is what the rules set, in their order, from nothing (or all, after +@all).
//
// Differences from Redis, all towards refusing: %~ without R or W and %R without ~ are syntax
// errors (Redis 7.0 takes them for patterns that match nothing); a command whose number of keys
// cannot be read is denied to who may not use all keys, where Redis leaves it to the handler.
//
// *Threads*: a value; immutable once published in a User.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "node/acl/catalog.h"

namespace atl::acl {

// What is wrong with a rule.
enum class Fault : uint8_t {
  kNone,
  kSyntax,
  kUnknownName,          // of a command or category
  kKeyAfterAll,          // ~pattern after ~*
  kChannelAfterAll,      // &pattern after &*
  kNoSuchPassword,       // <password and !hash
  kBadHash,              // #hash and !hash
  kArgumentOfSubcommand  // +config|get|x
};
std::string_view fault_text(Fault fault);  // as Redis words it

// Why a command is refused, the weightier the later: of several selectors' reasons the weightiest
// is reported.
enum class Reason : uint8_t { kNone, kCommand, kKey, kChannel, kAuth };

struct Verdict {
  Reason reason = Reason::kNone;
  size_t at = 0;  // the argument that was refused: a key or a channel
  bool allowed() const { return reason == Reason::kNone; }
};

enum class ChannelUse : uint8_t { kChannel, kPattern };  // PSUBSCRIBE names patterns

// A command about to run, with its keys looked up once for all selectors.
class Request {
 public:
  struct Key {
    size_t at = 0;
    bool reads = false;
    bool writes = false;
  };

  Request(CommandId id, const command::CommandSpec& spec, command::Args args)
      : id_(id), spec_(spec), args_(args) {}

  CommandId id() const { return id_; }
  const command::CommandSpec& spec() const { return spec_; }
  command::Args args() const { return args_; }
  // Whether keys() holds all of them.
  bool keys_sound() const;
  const std::vector<Key>& keys() const;

 private:
  void find_keys() const;

  CommandId id_;
  const command::CommandSpec& spec_;
  command::Args args_;
  mutable bool looked_ = false;
  mutable bool sound_ = true;
  mutable std::vector<Key> keys_;
};

class Selector {
 public:
  explicit Selector(bool all_channels) : all_channels_(all_channels) {}

  // Leaves the selector as it was if there is a fault.
  Fault apply(std::string_view rule);

  Verdict check(const Request& request) const;
  bool may_use_channel(std::string_view channel, ChannelUse use) const;
  bool may_read_any_key() const;
  // Allows everything that there is.
  bool unlimited() const;

  // All of it as rules, in the order of an ACL file; its parts as ACL GETUSER shows them.
  std::string describe() const;
  std::string describe_commands() const;
  std::string describe_keys() const;
  std::string describe_channels() const;
  const CommandBits& allowed() const { return allowed_; }

 private:
  struct KeyPattern {
    bool reads = false;
    bool writes = false;
    std::string glob;
    std::string text() const;
  };

  Fault apply_command(std::string_view rule);
  Fault apply_category(std::string_view rule);
  Fault apply_key_pattern(std::string_view rule);
  Fault apply_channel_pattern(std::string_view rule);
  void set_all_commands(bool allowed);
  void set_commands(const CommandBits& bits, bool allowed);
  // Appends the rule and drops those before it that it covers.
  void note_rule(char sign, std::string_view name);
  bool allows_command(const Request& request) const;
  bool allows_key(std::string_view key, bool reads, bool writes) const;

  CommandBits allowed_;
  // Arguments that alone may follow a command that is not allowed otherwise: +select|0.
  std::map<CommandId, std::vector<std::string>> first_args_;
  std::vector<std::string> command_rules_;  // "+get", "-@write"
  bool all_keys_ = false;
  bool all_channels_ = false;
  std::vector<KeyPattern> keys_;
  std::vector<std::string> channels_;
};

}  // namespace atl::acl
