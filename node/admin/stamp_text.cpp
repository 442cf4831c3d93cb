#include "node/admin/stamp_text.h"

#include <chrono>
#include <cstdio>

namespace atl::admin {

std::string format_time(crdt::Millis unix_ms) {
  using std::chrono::days;
  using std::chrono::milliseconds;
  using std::chrono::sys_time;
  constexpr crdt::Millis kYear10000 = 253402300800000;
  if (unix_ms < 0 || unix_ms >= kYear10000) return std::to_string(unix_ms) + "ms";
  const sys_time<milliseconds> at{milliseconds(unix_ms)};
  const auto day = std::chrono::floor<days>(at);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss time(at - day);
  char text[64];
  const int length = std::snprintf(
      text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ", static_cast<int>(date.year()),
      static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
      static_cast<int>(time.hours().count()), static_cast<int>(time.minutes().count()),
      static_cast<int>(time.seconds().count()), static_cast<int>(time.subseconds().count()));
  return std::string(text, static_cast<size_t>(length));
}

std::string format_stamp(crdt::Stamp stamp) {
  return format_stamp(stamp, {});
}

std::string format_stamp(crdt::Stamp stamp, std::string_view region_name) {
  if (!stamp) return "never";
  std::string text = format_time(stamp.ms()) + "/" + std::to_string(stamp.logical()) + "@";
  if (region_name.empty()) return text + std::to_string(stamp.region());
  return text + std::string(region_name) + "(" + std::to_string(stamp.region()) + ")";
}

}  // namespace atl::admin
