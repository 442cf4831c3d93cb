#include "node/acl/catalog.h"

#include <algorithm>
#include <cstdlib>

namespace atl::acl {
namespace {

constexpr std::string_view kCategoryNames[] = {
    "keyspace", "read",   "write",       "set",       "sortedset",  "list",        "hash",
    "string",   "bitmap", "hyperloglog", "geo",       "stream",     "pubsub",      "admin",
    "fast",     "slow",   "blocking",    "dangerous", "connection", "transaction", "scripting"};

size_t index_of(std::string_view category) {
  return static_cast<size_t>(
      std::find(std::begin(kCategoryNames), std::end(kCategoryNames), category) -
      std::begin(kCategoryNames));
}

}  // namespace

std::span<const std::string_view> category_names() {
  return kCategoryNames;
}

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

Catalog::Catalog() : categories_(std::size(kCategoryNames)) {
  for (const command::CommandSpec* spec : command::all_commands()) {
    add(*spec, false);
    const size_t container = entries_.size() - 1;
    for (const command::CommandSpec& sub : spec->subcommands) {
      add(sub, true);
      entries_[container].covers |= entries_.back().covers;
    }
  }
  for (const Entry& entry : entries_) {
    for (const std::string& name : command::category_names(*entry.spec)) {
      const size_t i = index_of(std::string_view(name).substr(1));
      if (i == categories_.size()) std::abort();  // a category that Redis does not have
      categories_[i].listed.set(entry.id);
      categories_[i].granted |= entry.covers;
    }
  }
}

void Catalog::add(const command::CommandSpec& spec, bool is_subcommand) {
  const auto id = static_cast<CommandId>(entries_.size());
  if (id >= kFutureBit) std::abort();  // raise kIdsMax
  Entry& entry = entries_.emplace_back();
  entry.spec = &spec;
  entry.id = id;
  entry.is_subcommand = is_subcommand;
  entry.name = std::string(spec.name);
  entry.covers.set(id);
  by_name_.emplace(entry.name, id);
  ids_.emplace(&spec, id);
  all_.set(id);
}

const Catalog::Entry* Catalog::find(std::string_view name) const {
  const auto found = by_name_.find(lower_case(name));
  return found == by_name_.end() ? nullptr : &entries_[found->second];
}

const CommandBits* Catalog::category(std::string_view name) const {
  const size_t i = index_of(lower_case(name));
  return i == categories_.size() ? nullptr : &categories_[i].granted;
}

std::vector<std::string_view> Catalog::members(std::string_view name) const {
  std::vector<std::string_view> names;
  const size_t i = index_of(lower_case(name));
  if (i == categories_.size()) return names;
  for (const Entry& entry : entries_) {
    if (categories_[i].listed[entry.id]) names.push_back(entry.name);
  }
  return names;
}

const Catalog& catalog() {
  static const Catalog instance;
  return instance;
}

}  // namespace atl::acl
