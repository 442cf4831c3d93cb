// The letters of notify-keyspace-events: which keyspace notifications a node sends.
//
// The letters are the values: everything that deals in classes of events names them by Redis'
// letters, so there is no second list of them.
//
// Source: keyspaceEventsStringToFlags and keyspaceEventsFlagsToString of Redis 7.
// All functions are pure and may be called from any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace atl::config {

// Redis' complaint about an unknown letter.
std::optional<std::string> check_event_classes(std::string_view letters);

// As CONFIG GET prints it: each letter once, in Redis' order, A for all of its classes.
// Requires: check_event_classes() lets it through.
std::string canonical_event_classes(std::string_view letters);

// Whether events of this class are wanted, or with 'K' and 'E' channels of this kind.
bool wants_event_class(std::string_view canonical, char letter);

}  // namespace atl::config
