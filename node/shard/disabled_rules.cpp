#include "node/shard/disabled_rules.h"

#include <algorithm>
#include <string_view>

namespace atl::shard {

namespace {

template <class Canary>
struct Rule {
  std::string_view name;
  bool Canary::*off;
};

using StoreCanary = crdt::Store::Canary;
using GeoCanary = geo::Replicator::Canary;

constexpr Rule<StoreCanary> kStoreRules[] = {
    {"tombstones", &StoreCanary::ignore_tombstones},
    {"prev-chain", &StoreCanary::ignore_prev},
    {"incarnation", &StoreCanary::ignore_incarnation},
    {"gap", &StoreCanary::ignore_gap},
};

constexpr Rule<GeoCanary> kGeoRules[] = {
    {"replay", &GeoCanary::no_pull},
    {"slot-repair", &GeoCanary::no_slot_heal},
    {"heal-after-crash", &GeoCanary::no_gap},
    {"stability", &GeoCanary::hasty_stability},
    {"digest-repair", &GeoCanary::no_digest_repair},
};

bool named(const std::vector<std::string>& names, std::string_view rule) {
  return std::find(names.begin(), names.end(), rule) != names.end();
}

}  // namespace

std::optional<std::string> check_rules(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const auto same = [&](const auto& rule) { return rule.name == name; };
    if (std::any_of(std::begin(kStoreRules), std::end(kStoreRules), same)) continue;
    if (std::any_of(std::begin(kGeoRules), std::end(kGeoRules), same)) continue;
    return "debug-disable-rule: there is no rule '" + name + "'";
  }
  return std::nullopt;
}

void disable_rules(const std::vector<std::string>& names, StoreCanary& canary) {
  for (const auto& rule : kStoreRules) canary.*rule.off = named(names, rule.name);
}

void disable_rules(const std::vector<std::string>& names, GeoCanary& canary) {
  for (const auto& rule : kGeoRules) canary.*rule.off = named(names, rule.name);
}

}  // namespace atl::shard
