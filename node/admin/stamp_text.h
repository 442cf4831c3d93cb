// Stamps and times as people read them in GEO EXPLAIN, GEO CONFLICTS and logs.
#pragma once

#include <string>
#include <string_view>

#include "crdt/stamp.h"

namespace atl::admin {

// "2026-11-21T01:40:12.345Z"; a time outside the years 1970 to 9999 is printed as "<n>ms".
std::string format_time(crdt::Millis unix_ms);

// Time, logical counter and region: "2026-11-21T01:40:12.345Z/7@2"; "never" for the zero stamp.
std::string format_stamp(crdt::Stamp stamp);
// The same with the region's name where it has one: "...Z/7@eu(2)".
std::string format_stamp(crdt::Stamp stamp, std::string_view region_name);

}  // namespace atl::admin
