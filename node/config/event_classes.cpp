#include "node/config/event_classes.h"

namespace atl::config {
namespace {

constexpr std::string_view kAll = "g$lshzxetd";  // what A stands for, in the order shown
constexpr std::string_view kOthers = "nKEm";     // shown after them

bool has(std::string_view letters, char letter) {
  return letters.find(letter) != std::string_view::npos;
}

}  // namespace

std::optional<std::string> check_event_classes(std::string_view letters) {
  for (const char letter : letters) {
    if (letter == 'A' || has(kAll, letter) || has(kOthers, letter)) continue;
    return "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.";
  }
  return std::nullopt;
}

std::string canonical_event_classes(std::string_view letters) {
  std::string shown;
  for (const char letter : kAll) {
    if (has(letters, 'A') || has(letters, letter)) shown += letter;
  }
  if (shown == kAll) shown.assign(1, 'A');
  for (const char letter : kOthers) {
    if (has(letters, letter)) shown += letter;
  }
  return shown;
}

bool wants_event_class(std::string_view canonical, char letter) {
  return has(canonical, letter) || (has(canonical, 'A') && has(kAll, letter));
}

}  // namespace atl::config
