// How the value of each kind of option is parsed and printed.
#include <algorithm>
#include <utility>

#include "node/config/option.h"
#include "node/config/text.h"

namespace atl::config {
namespace {

using Error = std::optional<std::string>;
using Words = std::vector<std::string>;

constexpr const char* kWrongNumber = "wrong number of arguments";

struct ClassName {
  std::string_view name;
  ClientClass client_class;
};
// The first name of a class is the one CONFIG GET prints, the last the one a file is written with.
constexpr ClassName kClassNames[] = {{"normal", ClientClass::kNormal},
                                     {"slave", ClientClass::kReplica},
                                     {"replica", ClientClass::kReplica},
                                     {"pubsub", ClientClass::kPubsub}};

std::string between(const Option& option) {
  return "argument must be between " + std::to_string(option.min) + " and " +
         std::to_string(option.max) + " inclusive";
}

std::string one_of(const Option& option) {
  Words names;
  for (const EnumValue& value : option.values) names.emplace_back(value.name);
  return "argument(s) must be one of the following: " + joined(names, ", ");
}

// One word as the number that a NumberField stores, or why not.
std::variant<std::int64_t, std::string> parse_number(const Option& option,
                                                     const std::string& word) {
  std::optional<std::int64_t> number;
  std::string complaint;
  switch (option.kind) {
    case Kind::kYesNo:
      if (lower(word) == "yes") return 1;
      if (lower(word) == "no") return 0;
      return "argument must be 'yes' or 'no'";
    case Kind::kEnum:
      for (const EnumValue& value : option.values) {
        if (lower(word) == value.name) return value.value;
      }
      return one_of(option);
    case Kind::kMemory:
      number = parse_memory(word);
      complaint = "argument must be a memory value";
      break;
    case Kind::kOctal:
      number = parse_integer(word, 8);
      complaint = "argument couldn't be parsed as an octal number";
      break;
    default:
      number = parse_integer(word, 10);
      complaint = "argument couldn't be parsed into an integer";
      break;
  }
  if (!number) return complaint;
  if (*number < option.min || *number > option.max) {
    if (option.kind == Kind::kOctal) return "argument must be between 0 and 777 inclusive";
    return between(option);
  }
  return *number;
}

Error assign_to(const Option& option, const NumberField& field, const Words& words,
                Settings& into) {
  if (words.size() != 1) return kWrongNumber;
  const auto parsed = parse_number(option, words[0]);
  if (const auto* complaint = std::get_if<std::string>(&parsed)) return *complaint;
  field.store(into, std::get<std::int64_t>(parsed));
  return std::nullopt;
}

Error assign_to(const Option& option, std::string Settings::*field, const Words& words,
                Settings& into) {
  if (words.size() > 1) return kWrongNumber;
  const std::string text = words.empty() ? "" : words[0];
  if (option.check != nullptr) {
    if (auto complaint = option.check(text)) return complaint;
  }
  into.*field = option.canonical == nullptr ? text : option.canonical(text);
  return std::nullopt;
}

Words split_words(const Words& words, std::string_view separators) {
  Words all;
  for (const std::string& word : words) {
    for (std::string& piece : split_at(word, separators)) all.push_back(std::move(piece));
  }
  return all;
}

Error assign_to(const Option& option, std::vector<std::string> Settings::*field, const Words& words,
                Settings& into) {
  Words list = split_words(words, option.kind == Kind::kUrls ? " ," : " ");
  if (list.size() > static_cast<std::size_t>(option.max)) {
    return "at most " + std::to_string(option.max) + " values are accepted";
  }
  for (const std::string& element : list) {
    if (option.check == nullptr) break;
    if (auto complaint = option.check(element)) return complaint;
  }
  into.*field = std::move(list);
  return std::nullopt;
}

Error assign_to(const Option&, std::vector<SavePoint> Settings::*field, const Words& words,
                Settings& into) {
  const Words list = split_words(words, " ");
  if (list.size() % 2 != 0) return "Invalid save parameters";
  std::vector<SavePoint> points;
  for (std::size_t i = 0; i < list.size(); i += 2) {
    const auto seconds = parse_integer(list[i], 10);
    const auto changes = parse_integer(list[i + 1], 10);
    if (!seconds || !changes || *seconds < 1 || *seconds > std::numeric_limits<int>::max() ||
        *changes < 0) {
      return "Invalid save parameters";
    }
    points.push_back({std::chrono::seconds(*seconds), *changes});
  }
  into.*field = std::move(points);
  return std::nullopt;
}

Error assign_to(const Option&, BufferLimits Settings::*field, const Words& words, Settings& into) {
  const Words list = split_words(words, " ");
  if (list.empty() || list.size() % 4 != 0) {
    return "Wrong number of arguments in buffer limit configuration.";
  }
  BufferLimits limits = into.*field;
  for (std::size_t i = 0; i < list.size(); i += 4) {
    const auto* name =
        std::find_if(std::begin(kClassNames), std::end(kClassNames),
                     [&](const ClassName& candidate) { return candidate.name == lower(list[i]); });
    if (name == std::end(kClassNames)) {
      return "Invalid client class specified in buffer limit configuration.";
    }
    const auto hard = parse_memory(list[i + 1]);
    const auto soft = parse_memory(list[i + 2]);
    const auto seconds = parse_integer(list[i + 3], 10);
    if (!hard || !soft || !seconds || *seconds < 0 || *seconds > std::numeric_limits<int>::max()) {
      return "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
    }
    limits[static_cast<std::size_t>(name->client_class)] = {*hard, *soft,
                                                            std::chrono::seconds(*seconds)};
  }
  into.*field = limits;
  return std::nullopt;
}

Error assign_to(const Option&, std::vector<UserLine> Settings::*field, const Words& words,
                Settings& into) {
  if (words.empty()) return std::nullopt;  // the default: none
  const auto same = [&](const UserLine& user) { return user.words.front() == words.front(); };
  std::vector<UserLine>& users = into.*field;
  if (std::any_of(users.begin(), users.end(), same)) {
    return "Duplicate user found. A user can only be defined once in config files";
  }
  users.push_back({words, ""});
  return std::nullopt;
}

// Each as file_lines() writes it, without the option's name.
Words users_texts(const std::vector<UserLine>& users) {
  Words texts;
  for (const UserLine& user : users) {
    Words quoted;
    for (const std::string& word : user.words) quoted.push_back(quote_word(word));
    texts.push_back(joined(quoted, " "));
  }
  return texts;
}

std::string number_text(const Option& option, std::int64_t value) {
  switch (option.kind) {
    case Kind::kYesNo:
      return value != 0 ? "yes" : "no";
    case Kind::kEnum:
      for (const EnumValue& candidate : option.values) {
        if (candidate.value == value) return std::string(candidate.name);
      }
      return {};
    case Kind::kOctal: {
      std::string digits;
      for (std::int64_t rest = value; rest > 0; rest >>= 3) {
        digits.insert(digits.begin(), static_cast<char>('0' + (rest & 7)));
      }
      return digits.empty() ? "0" : digits;
    }
    default:
      return std::to_string(value);
  }
}

std::string save_text(const std::vector<SavePoint>& points) {
  Words words;
  for (const SavePoint& point : points) {
    words.push_back(std::to_string(point.after.count()));
    words.push_back(std::to_string(point.changes));
  }
  return joined(words, " ");
}

std::string limits_text(const BufferLimits& limits) {
  Words words;
  for (std::size_t i = 0; i < limits.size(); ++i) {
    const auto* name = std::find_if(
        std::begin(kClassNames), std::end(kClassNames),
        [&](const ClassName& candidate) { return candidate.client_class == ClientClass(i); });
    words.push_back(std::string(name->name) + ' ' + std::to_string(limits[i].hard_bytes) + ' ' +
                    std::to_string(limits[i].soft_bytes) + ' ' +
                    std::to_string(limits[i].soft_for.count()));
  }
  return joined(words, " ");
}

// One line a class, so that a reader sees columns.
std::vector<std::string> limits_lines(const Option& option, const BufferLimits& limits) {
  std::vector<std::string> lines;
  for (const ClassName& name : kClassNames) {
    if (name.name == "slave") continue;  // the old name: still read, no longer written
    const BufferLimit& limit = limits[static_cast<std::size_t>(name.client_class)];
    lines.push_back(std::string(option.name) + ' ' + std::string(name.name) + ' ' +
                    memory_text(limit.hard_bytes) + ' ' + memory_text(limit.soft_bytes) + ' ' +
                    std::to_string(limit.soft_for.count()));
  }
  return lines;
}

}  // namespace

std::optional<std::string> assign(const Option& option, const std::vector<std::string>& words,
                                  Settings& into) {
  return std::visit([&](const auto& field) { return assign_to(option, field, words, into); },
                    option.field);
}

std::string value_text(const Option& option, const Settings& settings) {
  if (const auto* number = std::get_if<NumberField>(&option.field)) {
    return number_text(option, number->load(settings));
  }
  if (const auto* text = std::get_if<std::string Settings::*>(&option.field)) {
    return settings.*(*text);
  }
  if (const auto* list = std::get_if<std::vector<std::string> Settings::*>(&option.field)) {
    return joined(settings.*(*list), " ");
  }
  if (const auto* save = std::get_if<std::vector<SavePoint> Settings::*>(&option.field)) {
    return save_text(settings.*(*save));
  }
  if (const auto* users = std::get_if<std::vector<UserLine> Settings::*>(&option.field)) {
    return joined(users_texts(settings.*(*users)), "\n");
  }
  return limits_text(settings.*std::get<BufferLimits Settings::*>(option.field));
}

std::vector<std::string> file_lines(const Option& option, const Settings& settings) {
  if (const auto* limits = std::get_if<BufferLimits Settings::*>(&option.field)) {
    return limits_lines(option, settings.*(*limits));
  }
  if (const auto* users = std::get_if<std::vector<UserLine> Settings::*>(&option.field)) {
    Words lines = users_texts(settings.*(*users));
    for (std::string& line : lines) line.insert(0, std::string(option.name) + ' ');
    return lines;
  }
  const std::string value = value_text(option, settings);
  const std::string prefix = std::string(option.name) + ' ';
  switch (option.kind) {
    case Kind::kMemory:
      return {prefix + memory_text(std::get<NumberField>(option.field).load(settings))};
    case Kind::kSave:
      return {prefix + (value.empty() ? "\"\"" : value)};
    case Kind::kList:
    case Kind::kUrls: {
      Words words = split_at(value, " ");
      std::transform(words.begin(), words.end(), words.begin(),
                     [](const std::string& word) { return quote_word(word); });
      return {prefix + (words.empty() ? "\"\"" : joined(words, " "))};
    }
    default:
      return {prefix + quote_word(value)};
  }
}

}  // namespace atl::config
