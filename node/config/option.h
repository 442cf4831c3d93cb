// One row per option, and how a row's value is parsed, printed and written back.
//
// The table in options.cpp is the only list of options: the file parser, the command line, CONFIG
// GET / SET / REWRITE, --help and the README's table all walk it. A row points at the field of
// Settings that it fills, so that no value is kept twice.
//
// All functions are pure; the table is constant and may be read from any thread.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "node/config/settings.h"

namespace atl::config {

enum class Kind : std::uint8_t {
  kYesNo,
  kNumber,
  kOctal,
  kMemory,
  kEnum,
  kText,
  kList,  // words, separated by spaces (kUrls: or commas)
  kUrls,
  kSave,          // pairs of seconds and changes; repeated lines add up
  kBufferLimits,  // class hard soft seconds; repeated lines change one class each
  kUsers,  // a name and rules; repeated lines add up; in files only, not in CONFIG GET or SET
};

// kAtEverySet: at run time, and again when it is set to what it is: the value names a file, and the
// file has changed.
enum class Apply : std::uint8_t { kAtStart, kAtRunTime, kAtEverySet };
enum class Origin : std::uint8_t { kRedis, kAtoll };
enum class Visibility : std::uint8_t { kShown, kHidden };  // hidden: exact name only, no help
enum class Secrecy : std::uint8_t { kPublic, kSecret };

// A field that holds a number, whatever its C++ type: integer, enum, bool or duration.
struct NumberField {
  void (*store)(Settings&, std::int64_t);
  std::int64_t (*load)(const Settings&);
};

template <typename T>
concept Duration = requires {
  typename T::period;
};

template <auto kMember>
constexpr NumberField number_field() {
  using T = std::remove_cvref_t<decltype(std::declval<Settings>().*kMember)>;
  return {[](Settings& s, std::int64_t value) {
            if constexpr (Duration<T>) {
              s.*kMember = T{value};
            } else {
              s.*kMember = static_cast<T>(value);
            }
          },
          [](const Settings& s) {
            if constexpr (Duration<T>) {
              return static_cast<std::int64_t>((s.*kMember).count());
            } else {
              return static_cast<std::int64_t>(s.*kMember);
            }
          }};
}

using BufferLimits = std::array<BufferLimit, kClientClasses>;
using Field = std::variant<NumberField, std::string Settings::*,
                           std::vector<std::string> Settings::*, std::vector<SavePoint> Settings::*,
                           std::vector<UserLine> Settings::*, BufferLimits Settings::*>;

struct EnumValue {
  std::string_view name;
  std::int64_t value;
};

// Judges one text, or one element of a list; returns why it is refused.
using Check = std::optional<std::string> (*)(std::string_view);

// How a text is kept and shown, where several texts mean the same.
using Canonical = std::string (*)(std::string_view);

struct Option {
  std::string_view section;  // heading in the help
  std::string_view name;
  Kind kind = Kind::kText;
  Field field;
  std::string_view standard = {};  // the default, as a file would write it
  Apply apply = Apply::kAtRunTime;
  Origin origin = Origin::kRedis;
  Visibility visibility = Visibility::kShown;
  Secrecy secrecy = Secrecy::kPublic;
  std::int64_t min = 0;
  std::int64_t max = std::numeric_limits<std::int64_t>::max();
  std::string_view unit = {};
  std::span<const EnumValue> values = {};
  Check check = nullptr;
  Canonical canonical = nullptr;  // of what the check lets through
  std::string_view help;
};

std::span<const Option> options();

// The row called `name`, in any case, or nullptr.
const Option* find_option(std::string_view name);

// Redis' or our nearest name and what to do about an unknown one; begins with a space, or empty.
std::string hint_for_unknown(std::string_view name);

// Sets `into`'s field from the words that follow the name. Returns Redis' text for what is wrong
// with them, and leaves `into` as it was.
std::optional<std::string> assign(const Option& option, const std::vector<std::string>& words,
                                  Settings& into);

// The value as CONFIG GET prints it; two values are equal iff their texts are.
std::string value_text(const Option& option, const Settings& settings);

// The line or lines that set this value in a file.
std::vector<std::string> file_lines(const Option& option, const Settings& settings);

// What no single row can judge: why these settings do not fit together.
std::optional<Conflict> find_conflict(const Settings& settings);

}  // namespace atl::config
