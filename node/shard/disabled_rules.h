// Rules of replication that a test may switch off, by name: `debug-disable-rule`.
//
// A scenario proves something only if it fails without the rule that it guards. The option is
// hidden and counts at the start only; a node that runs with it says so in its log.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "crdt/store.h"
#include "geo/replicator.h"

namespace atl::shard {

// Why the names cannot be used, for people.
std::optional<std::string> check_rules(const std::vector<std::string>& names);

// *Requires*: check_rules(names) found nothing. A name that belongs elsewhere changes nothing.
void disable_rules(const std::vector<std::string>& names, crdt::Store::Canary& canary);
void disable_rules(const std::vector<std::string>& names, geo::Replicator::Canary& canary);

}  // namespace atl::shard
