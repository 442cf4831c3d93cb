#include "node/shard/command_index.h"

#include <cassert>
#include <cstring>
#include <thread>

#include "node/shard/cycle_clock.h"
#include "node/shard/transaction_commands.h"

namespace atl::shard {

double cycles_per_us() {
  static const double rate = [] {
    const auto begin = std::chrono::steady_clock::now();
    const uint64_t from = cycles_now();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const uint64_t to = cycles_now();
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
    return static_cast<double>(to - from) / took.count();
  }();
  return rate;
}

namespace {

// Folds upper case to lower; returns a hash of the folded name.
inline uint64_t fold(std::string_view name, char* out) {
  uint64_t hash = 0x9e3779b97f4a7c15ULL ^ name.size();
  for (size_t i = 0; i < name.size(); ++i) {
    char c = name[i];
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
    out[i] = c;
    hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3ULL;
  }
  return hash ^ (hash >> 29);
}

constexpr size_t kWordMax = sizeof(uint64_t);

// Of 1 to 8 bytes, the first lowest. Pieces may overlap: the same byte falls on itself.
inline uint64_t word_of(std::string_view name) {
  const size_t n = name.size();
  if (n >= 4) {
    uint32_t head = 0;
    uint32_t tail = 0;
    std::memcpy(&head, name.data(), sizeof head);
    std::memcpy(&tail, name.data() + n - sizeof tail, sizeof tail);
    return head | static_cast<uint64_t>(tail) << 8 * (n - sizeof tail);
  }
  const auto byte = [&](size_t i) {
    return static_cast<uint64_t>(static_cast<uint8_t>(name[i])) << 8 * i;
  };
  return byte(0) | byte(n / 2) | byte(n - 1);
}

// A to Z to lower case in all eight bytes, and nothing else changed.
inline uint64_t fold_word(uint64_t word) {
  constexpr uint64_t kOnes = 0x0101010101010101;
  const uint64_t low = word & (kOnes * 0x7f);
  const uint64_t from_a = low + kOnes * (0x80 - 'A');
  const uint64_t beyond_z = low + kOnes * (0x7f - 'Z');
  const uint64_t upper = (from_a ^ beyond_z) & ~word & (kOnes << 7);
  return word | upper >> 2;
}

inline size_t cell_of(uint64_t word, size_t cells) {
  return static_cast<size_t>((word * 0x9e3779b97f4a7c15ULL) >> 32) % cells;
}

bool names_keys(const command::CommandSpec& spec) {
  return spec.keys.first != 0 || spec.keys.count_at != 0;
}

bool is_for_subscribers(std::string_view name) {
  return name.ends_with("subscribe") || name == "ping" || name == "quit" || name == "reset";
}

Special special_of(std::string_view name) {
  if (name == "exec") return Special::kExec;
  if (name == "watch") return Special::kWatch;
  if (name == "multi") return Special::kMulti;
  if (name == "discard") return Special::kDiscard;
  if (name == "quit") return Special::kQuit;
  if (name == "reset") return Special::kReset;
  return Special::kNone;
}

}  // namespace

CommandIndex::CommandIndex() {
  for (const command::CommandSpec* spec : command::all_commands()) add(*spec, {});
}

void CommandIndex::add(const command::CommandSpec& spec, std::string_view container) {
  auto command = std::make_unique<Command>();
  command->spec = &spec;
  command->id = static_cast<uint16_t>(commands_.size());
  command->access_id = acl::catalog().id_of(spec);
  command->name = spec.name;
  if (!container.empty() && spec.name.find('|') == std::string_view::npos) {
    command->name = std::string(container) + "|" + std::string(spec.name);
  }
  const bool fixed = spec.keys.count_at == 0 && spec.reads_unnamed == nullptr;
  if (fixed && spec.keys.first > 0 && spec.keys.first == spec.keys.last) {
    command->key_at = static_cast<uint16_t>(spec.keys.first);
    command->element_at = static_cast<uint16_t>(spec.element_at);
  }
  const bool by_key = spec.route == command::Route::kKeys || spec.route == command::Route::kSum ||
                      spec.route == command::Route::kGather;
  command->waits_for_keys = by_key && names_keys(spec) && (spec.flags & command::kBlocking) != 0;
  command->plain = by_key && names_keys(spec) && !command->waits_for_keys;
  if (container.empty()) command->special = special_of(spec.name);
  command->immediate = command->special != Special::kNone;
  if (command->special != Special::kNone) command->plain = false;
  command->direct =
      command->plain && command->key_at != 0 && spec.subcommands.empty() && spec.handler != nullptr;
  command->asks_writes = command->name == "waitregions" || command->name == "geo|token";
  command->for_subscribers = container.empty() && is_for_subscribers(spec.name);
  by_spec_[&spec] = command.get();
  if (container.empty() && spec.name.size() <= kWordMax) {
    const uint64_t word = fold_word(word_of(spec.name));
    size_t cell = cell_of(word, kCells);
    while (short_names_[cell].command != nullptr) cell = (cell + 1) % kCells;
    short_names_[cell] = {word, command.get()};
  } else if (container.empty() && spec.name.size() <= kNameMax) {
    char folded[kNameMax];
    size_t cell = fold(spec.name, folded) % kCells;
    while (long_names_[cell] != nullptr) cell = (cell + 1) % kCells;
    long_names_[cell] = command.get();
  }
  commands_.push_back(std::move(command));
  assert(commands_.size() < kCells / 2);
  for (const command::CommandSpec& sub : spec.subcommands) add(sub, spec.name);
}

const Command* CommandIndex::find(std::string_view name) const {
  if (name.size() > kWordMax) return find_long(name);
  if (name.empty()) return nullptr;
  const uint64_t word = fold_word(word_of(name));
  for (size_t cell = cell_of(word, kCells);; cell = (cell + 1) % kCells) {
    const ShortName& found = short_names_[cell];
    if (found.command == nullptr || found.word == word) return found.command;
  }
}

const Command* CommandIndex::find_long(std::string_view name) const {
  if (name.size() > kNameMax) return nullptr;
  char folded[kNameMax];
  size_t cell = fold(name, folded) % kCells;
  while (const Command* command = long_names_[cell]) {
    if (command->name.size() == name.size() &&
        std::memcmp(command->name.data(), folded, name.size()) == 0) {
      return command;
    }
    cell = (cell + 1) % kCells;
  }
  return nullptr;
}

const Command* CommandIndex::resolve(const Command& command, command::Args args) const {
  if (command.spec->subcommands.empty()) return &command;
  const command::CommandSpec* spec = command::resolve(*command.spec, args);
  if (spec == nullptr) return nullptr;
  if (spec == command.spec) return &command;
  return by_spec_.at(spec);
}

}  // namespace atl::shard
