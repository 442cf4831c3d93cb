// The command table as access rules see it: a number for every command and subcommand, and the
// sets that categories name.
//
// Built once from command::all_commands(), which stays the only list. A container's number is its
// own: what is executed is a subcommand, so the number only says what a later subcommand may do.
// As in Redis, a category that holds a container holds its subcommands too when it is granted or
// taken away, though ACL CAT does not list them.
//
// *Threads*: immutable after construction. *Bounds*: kIdsMax commands, checked at construction.
#pragma once

#include <bitset>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "node/command/command.h"

namespace atl::acl {

using CommandId = uint16_t;
inline constexpr size_t kIdsMax = 1024;
using CommandBits = std::bitset<kIdsMax>;

// Set in what +@all gives and by nothing else: rules that begin with it mean commands of later
// versions, too.
inline constexpr size_t kFutureBit = kIdsMax - 1;

class Catalog {
 public:
  struct Entry {
    const command::CommandSpec* spec = nullptr;
    CommandId id = 0;
    bool is_subcommand = false;
    std::string name;    // "config|get", lower case
    CommandBits covers;  // itself and its subcommands
  };

  Catalog();

  // "get", "config|get", in any case; null when there is none.
  const Entry* find(std::string_view name) const;
  // Requires: a row of the table.
  CommandId id_of(const command::CommandSpec& spec) const { return ids_.at(&spec); }

  // What +@name grants, `name` in any case and without the '@'; null when there is none.
  const CommandBits* category(std::string_view name) const;
  // The names that ACL CAT lists; empty when there is no such category.
  std::vector<std::string_view> members(std::string_view category) const;
  const CommandBits& all() const { return all_; }

 private:
  struct Category {
    CommandBits listed;
    CommandBits granted;
  };

  void add(const command::CommandSpec& spec, bool is_subcommand);

  std::vector<Entry> entries_;  // by id
  std::unordered_map<std::string, CommandId> by_name_;
  std::unordered_map<const command::CommandSpec*, CommandId> ids_;
  std::vector<Category> categories_;  // as category_names() has them
  CommandBits all_;
};

// Redis' categories, in its order. Atoll has no commands of some of them yet.
std::span<const std::string_view> category_names();

// The table's. The families of all folders must have registered before the first call.
const Catalog& catalog();

std::string lower_case(std::string_view text);

}  // namespace atl::acl
