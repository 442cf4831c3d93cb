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

bool names_keys(const command::CommandSpec& spec) {
  return spec.keys.first != 0 || spec.keys.count_at != 0;
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
  command->name = spec.name;
  if (!container.empty() && spec.name.find('|') == std::string_view::npos) {
    command->name = std::string(container) + "|" + std::string(spec.name);
  }
  if (spec.keys.count_at == 0 && spec.keys.first > 0 && spec.keys.first == spec.keys.last) {
    command->key_at = static_cast<uint16_t>(spec.keys.first);
  }
  const bool by_key = spec.route == command::Route::kKeys || spec.route == command::Route::kSum ||
                      spec.route == command::Route::kGather;
  command->plain = by_key && names_keys(spec) && (spec.flags & command::kBlocking) == 0;
  if (container.empty()) command->special = special_of(spec.name);
  command->immediate = command->special != Special::kNone;
  if (command->special != Special::kNone) command->plain = false;
  command->asks_writes = command->name == "waitregions" || command->name == "geo|token";
  by_spec_[&spec] = command.get();
  if (container.empty() && spec.name.size() <= kNameMax) {
    char folded[kNameMax];
    size_t cell = fold(spec.name, folded) % kCells;
    while (cells_[cell] != nullptr) cell = (cell + 1) % kCells;
    cells_[cell] = command.get();
  }
  commands_.push_back(std::move(command));
  assert(commands_.size() < kCells / 2);
  for (const command::CommandSpec& sub : spec.subcommands) add(sub, spec.name);
}

const Command* CommandIndex::find(std::string_view name) const {
  if (name.size() > kNameMax || name.empty()) return nullptr;
  char folded[kNameMax];
  size_t cell = fold(name, folded) % kCells;
  while (const Command* command = cells_[cell]) {
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
