#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstdlib>

#include "node/command/args.h"
#include "node/command/check.h"
#include "node/command/families.h"

namespace atl::command {
namespace {

// Other folders' families, gathered before the table is first asked.
struct Registrations {
  std::vector<std::span<const CommandSpec>> families;
  bool closed = false;
};
Registrations& registrations() {
  static Registrations instance;
  return instance;
}

constexpr char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

uint64_t hash_name(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a over the name in lower case
  for (const char c : name) {
    hash = (hash ^ static_cast<unsigned char>(lower(c))) * 0x100000001b3;
  }
  return hash ^ (hash >> 29);
}

// All rows, sorted by name, with a hash index beside them. Immutable once built.
class Index {
 public:
  Index() {
    registrations().closed = true;
    for (const auto family :
         {string_commands(), substring_commands(), compare_commands(), counter_commands(),
          hash_commands(), hash_field_commands(), list_commands(), set_commands(),
          set_algebra_commands(), sorted_set_commands(), sorted_set_range_commands(),
          sorted_set_pop_commands(), sorted_set_algebra_commands(), key_commands(),
          expire_commands(), scan_commands(), object_commands(), command_commands()}) {
      add(family);
    }
    for (const auto family : registrations().families) add(family);
    std::sort(rows_.begin(), rows_.end(),
              [](const CommandSpec* a, const CommandSpec* b) { return a->name < b->name; });
    cells_.resize(std::bit_ceil(rows_.size() * 4));
    for (const CommandSpec* row : rows_) {
      size_t cell = hash_name(row->name) & (cells_.size() - 1);
      while (cells_[cell] != nullptr) {
        if (cells_[cell]->name == row->name) std::abort();  // two rows for one command
        cell = (cell + 1) & (cells_.size() - 1);
      }
      cells_[cell] = row;
    }
  }

  const CommandSpec* find(std::string_view name) const {
    for (size_t cell = hash_name(name) & (cells_.size() - 1); cells_[cell] != nullptr;
         cell = (cell + 1) & (cells_.size() - 1)) {
      if (is_word(name, cells_[cell]->name)) return cells_[cell];
    }
    return nullptr;
  }
  std::span<const CommandSpec* const> rows() const { return rows_; }

 private:
  void add(std::span<const CommandSpec> family) {
    for (const CommandSpec& row : family) rows_.push_back(&row);
  }

  std::vector<const CommandSpec*> rows_;
  std::vector<const CommandSpec*> cells_;
};

const Index& index() {
  static const Index instance;
  return instance;
}

struct Named {
  uint32_t bit;
  std::string_view name;
};

// In Redis' order.
constexpr Named kFlagNames[] = {
    {kWrite, "write"},
    {kReadOnly, "readonly"},
    {kDenyOom, "denyoom"},
    {kAdmin, "admin"},
    {kPubSub, "pubsub"},
    {kNoScript, "noscript"},
    {kBlocking, "blocking"},
    {kLoading, "loading"},
    {kStale, "stale"},
    {kSkipMonitor, "skip_monitor"},
    {kSkipSlowlog, "skip_slowlog"},
    {kFast, "fast"},
    {kNoAuth, "no_auth"},
    {kMayReplicate, "may_replicate"},
    {kNoMandatoryKeys, "no_mandatory_keys"},
    {kNoMulti, "no_multi"},
    {kMovableKeys, "movablekeys"},
    {kAllowBusy, "allow_busy"},
};

std::string upper(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
  }
  return result;
}

constexpr size_t kErrorNameChars = 128;

}  // namespace

void register_commands(std::span<const CommandSpec> family) {
  assert(!registrations().closed && "families register before the first look-up");
  registrations().families.push_back(family);
}

const CommandSpec* find_command(std::string_view name) {
  return index().find(name);
}
std::span<const CommandSpec* const> all_commands() {
  return index().rows();
}

const CommandSpec* resolve(const CommandSpec& spec, Args args) {
  if (spec.subcommands.empty() || args.size() < 2) return &spec;
  const size_t prefix = spec.name.size() + 1;
  for (const CommandSpec& sub : spec.subcommands) {
    if (is_word(args[1], sub.name.substr(prefix))) return &sub;
  }
  return nullptr;
}

bool arity_ok(const CommandSpec& spec, size_t argc) {
  const auto count = static_cast<int64_t>(argc);
  return spec.arity >= 0 ? count == spec.arity : count >= -spec.arity;
}

bool for_each_key(const CommandSpec& spec, Args args, const std::function<void(size_t)>& visit) {
  const KeySpec& keys = spec.keys;
  const auto argc = static_cast<int64_t>(args.size());
  const int64_t step = keys.step;
  int64_t first = keys.first, last = keys.last;
  if (keys.count_at != 0) {
    if (keys.count_at >= argc) return false;
    const std::optional<int64_t> count =
        crdt::parse_integer(args[static_cast<size_t>(keys.count_at)]);
    if (count && *count == 0 && (spec.flags & kNoMandatoryKeys) != 0) return true;
    if (!count || *count < 1 || *count > argc) return false;
    first = keys.count_at + 1;
    last = first + (*count - 1) * step;
  } else if (first == 0) {
    return true;
  } else if (last < 0) {
    last += argc;
  }
  if (first >= argc || last >= argc || last < first) return false;
  if (keys.count_at != 0 && keys.first != 0) visit(static_cast<size_t>(keys.first));
  for (int64_t at = first; at <= last; at += step) visit(static_cast<size_t>(at));
  return true;
}

uint8_t key_use(const CommandSpec& spec, Args args, size_t at) {
  if (spec.key_use_of != nullptr) return spec.key_use_of(args);
  const bool is_first = at == static_cast<size_t>(spec.keys.first);
  const bool is_last = at == static_cast<size_t>(spec.keys.last);
  if (spec.first_key_use != 0 && is_first) return spec.first_key_use;
  if (spec.last_key_use != 0 && is_last) return spec.last_key_use;
  if (spec.key_use != 0) return spec.key_use;
  switch (spec.access) {
    case Access::kNone:
      return 0;
    case Access::kRead:
      return kKeyReads;
    case Access::kWrite:
      return kKeyUpdates;
    case Access::kReadWrite:
      break;
  }
  return kKeyReads | kKeyUpdates;
}

std::string unknown_command_error(Args args) {
  std::string shown;
  for (size_t i = 1; i < args.size() && shown.size() < kErrorNameChars; ++i) {
    shown += '\'';
    shown += args[i].substr(0, kErrorNameChars - (shown.size() - 1));
    shown += "' ";
  }
  return "ERR unknown command '" + std::string(args[0].substr(0, kErrorNameChars)) +
         "', with args beginning with: " + shown;
}

std::string unknown_subcommand_error(Args args) {
  const CommandSpec* const spec = find_command(args[0]);
  return "ERR unknown subcommand '" + std::string(args[1].substr(0, kErrorNameChars)) + "'. Try " +
         upper(spec != nullptr ? spec->name : args[0]) + " HELP.";
}

std::string arity_error(const CommandSpec& spec) {
  return "ERR wrong number of arguments for '" + std::string(spec.name) + "' command";
}

std::vector<std::string_view> flag_names(const CommandSpec& spec) {
  std::vector<std::string_view> names;
  for (const Named& flag : kFlagNames) {
    if ((spec.flags & flag.bit) != 0) names.push_back(flag.name);
  }
  return names;
}

std::vector<std::string> category_names(const CommandSpec& spec) {
  const bool dangerous = (spec.categories & kCatDangerous) != 0 || (spec.flags & kAdmin) != 0;
  const struct {
    bool in;
    std::string_view name;
  } kAll[] = {
      // in Redis' order
      {(spec.categories & kCatKeyspace) != 0, "@keyspace"},
      {(spec.flags & kReadOnly) != 0 && (spec.categories & kCatScripting) == 0, "@read"},
      {(spec.flags & kWrite) != 0, "@write"},
      {(spec.categories & kCatString) != 0, "@string"},
      {(spec.categories & kCatHash) != 0, "@hash"},
      {(spec.categories & kCatSet) != 0, "@set"},
      {(spec.categories & kCatSortedSet) != 0, "@sortedset"},
      {(spec.categories & kCatList) != 0, "@list"},
      {(spec.categories & kCatGeo) != 0, "@geo"},
      {(spec.flags & kPubSub) != 0, "@pubsub"},
      {((spec.flags & kAdmin) | (spec.categories & kCatAdmin)) != 0, "@admin"},
      {(spec.flags & kFast) != 0, "@fast"},
      {(spec.flags & kFast) == 0, "@slow"},
      {(spec.flags & kBlocking) != 0, "@blocking"},
      {dangerous, "@dangerous"},
      {(spec.categories & kCatConnection) != 0, "@connection"},
      {(spec.categories & kCatTransaction) != 0, "@transaction"},
      {(spec.categories & kCatScripting) != 0, "@scripting"},
  };
  std::vector<std::string> names;
  for (const auto& category : kAll) {
    if (category.in) names.emplace_back(category.name);
  }
  return names;
}

}  // namespace atl::command
