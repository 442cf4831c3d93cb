// The command table prepared for dispatch: what the hot path asks of a row, answered beforehand.
//
// Built once from command::all_commands() (which stays the only list) and then read by every
// shard. A name of up to eight letters, as nearly all that is hot, is one word: it is folded,
// hashed and compared as such.
//
// *Threads*: immutable after construction. *Lifetime*: pointers to Command live as long as the
// index.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "node/acl/catalog.h"
#include "node/command/command.h"

namespace atl::shard {

// Commands that the dispatcher itself takes part in.
enum class Special : uint8_t { kNone, kExec, kWatch, kMulti, kDiscard, kQuit, kReset };

struct Command {
  const command::CommandSpec* spec = nullptr;
  uint16_t id = 0;  // dense: index into statistics
  acl::CommandId access_id = 0;
  uint16_t key_at = 0;      // argument of the only key; 0: none, or several
  uint16_t element_at = 0;  // argument that may be fetched ahead as an element of that key; 0: none
  bool plain = false;       // touches only the keys it names: may be parsed ahead and prefetched
  bool direct = false;      // plain, with one key and no subcommands
  bool immediate = false;   // never queued by MULTI
  bool waits_for_keys = false;   // BLPOP and its kin
  bool asks_writes = false;      // about the connection's writes: after those under way
  bool for_subscribers = false;  // allowed to those who have subscribed, in RESP2
  Special special = Special::kNone;
  std::string name;  // "config|get"
};

class CommandIndex {
 public:
  CommandIndex();

  // Null when there is no such command.
  const Command* find(std::string_view name) const;
  // The row that runs: of a container the subcommand; null when it has no such subcommand.
  const Command* resolve(const Command& command, command::Args args) const;
  size_t size() const { return commands_.size(); }
  const Command& at(size_t id) const { return *commands_[id]; }

 private:
  static constexpr size_t kNameMax = 32;
  static constexpr size_t kCells = 2048;

  struct ShortName {
    uint64_t word = 0;  // folded
    const Command* command = nullptr;
  };

  const Command* find_long(std::string_view name) const;
  void add(const command::CommandSpec& spec, std::string_view container);

  std::vector<std::unique_ptr<Command>> commands_;
  std::unordered_map<const command::CommandSpec*, const Command*> by_spec_;
  std::array<ShortName, kCells> short_names_{};
  std::array<const Command*, kCells> long_names_{};
};

}  // namespace atl::shard
