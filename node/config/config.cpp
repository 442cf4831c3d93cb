#include "node/config/config.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "node/config/option.h"
#include "node/config/source.h"
#include "node/config/text.h"

namespace atl::config {
namespace {

std::string refused(std::string_view option, std::string_view reason) {
  return "CONFIG SET failed (possibly related to argument '" + std::string(option) + "') - " +
         std::string(reason);
}

// CONFIG SET gives a value as one string; a value of several words is split at spaces only, as
// Redis does: quotes have already been taken off by the client.
std::optional<std::string> set_one(const Config::NameValue& pair, std::set<std::string>& seen,
                                   Settings& next) {
  const auto& [name, value] = pair;
  const Option* option = find_option(name);
  if (option == nullptr || option->kind == Kind::kUsers) {
    return "Unknown option or number of arguments for CONFIG SET - '" + name + "'";
  }
  if (option->apply == Apply::kAtStart) {
    // Who provisions by CONFIG SET may say what is so already.
    Settings same = next;
    const bool changes = assign(*option, {value}, same).has_value() ||
                         value_text(*option, same) != value_text(*option, next);
    if (changes) return refused(name, "can't set immutable config");
  }
  if (!seen.insert(std::string(option->name)).second) return refused(name, "duplicate parameter");
  if (auto fault = assign(*option, {value}, next)) return refused(name, *fault);
  return std::nullopt;
}

}  // namespace

std::string LoadError::message() const {
  std::string out = "*** FATAL CONFIG FILE ERROR (Atoll) ***\n";
  if (line > 0) {
    out += "Reading the configuration file '" + file + "', at line " + std::to_string(line) + "\n";
  } else if (!text.empty()) {
    out += "Reading the command line\n";
  }
  if (!text.empty()) out += ">>> '" + text + "'\n";
  return out + reason + "\n";
}

bool Change::has(std::string_view option) const {
  return std::find(options.begin(), options.end(), option) != options.end();
}

Config::Config()
    : Config([] {
        Settings settings;
        settle({}, settings);
        return settings;
      }()) {}

Config::Config(Settings settings)
    : settings_(std::make_shared<const Settings>(std::move(settings))) {}

std::optional<LoadError> Config::load(const std::vector<std::string>& args) {
  std::vector<Directive> directives;
  std::vector<std::string> named = args;
  std::string file;
  if (!args.empty() && !args[0].starts_with("--")) {
    named.erase(named.begin());
    if (args[0] == "-") {
      if (auto error = read_standard_input(directives)) return error;
    } else {
      std::error_code failed;
      file = std::filesystem::absolute(args[0], failed).lexically_normal().string();
      if (auto error = read_file(file, directives)) return error;
    }
  }
  if (!named.empty() && !named[0].starts_with("--")) {
    return LoadError{"", 0, quote_word(named[0]), "options begin with '--', as in --port 7001"};
  }
  if (auto error = read_command_line(named, directives)) return error;
  Settings settings;
  if (auto error = settle(directives, settings)) return error;
  file_ = std::move(file);
  const std::lock_guard lock(snapshot_mutex_);
  settings_ = std::make_shared<const Settings>(std::move(settings));
  return std::nullopt;
}

std::shared_ptr<const Settings> Config::snapshot() const {
  const std::lock_guard lock(snapshot_mutex_);
  return settings_;
}

std::vector<Config::NameValue> Config::get(const std::vector<std::string>& patterns) const {
  const auto settings = snapshot();
  const auto asks_for = [&](const Option& option) {
    return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
      if (lower(pattern) == option.name) return true;
      return option.visibility == Visibility::kShown && glob_match(pattern, option.name);
    });
  };
  std::vector<NameValue> found;
  for (const Option& option : options()) {
    if (option.kind == Kind::kUsers) continue;
    if (asks_for(option)) found.emplace_back(option.name, value_text(option, *settings));
  }
  return found;
}

std::vector<Config::NameValue> Config::get(const std::string& pattern) const {
  return get(std::vector<std::string>{pattern});
}

std::optional<std::string> Config::set(const std::vector<NameValue>& pairs) {
  const std::lock_guard one_change_at_a_time(change_mutex_);
  Change change;
  change.before = snapshot();
  Settings next = *change.before;
  std::set<std::string> seen;
  for (const NameValue& pair : pairs) {
    if (auto error = set_one(pair, seen, next)) return error;
  }
  if (const auto conflict = find_conflict(next)) return refused(conflict->option, conflict->reason);

  for (const Option& option : options()) {
    const bool again =
        option.apply == Apply::kAtEverySet && seen.contains(std::string(option.name));
    if (again || value_text(option, next) != value_text(option, *change.before)) {
      change.options.push_back(option.name);
    }
  }
  if (change.options.empty()) return std::nullopt;
  change.after = std::make_shared<const Settings>(std::move(next));
  if (const auto fault = guard_ ? guard_(change) : std::nullopt) {
    return refused(fault->option, fault->reason);
  }
  {
    const std::lock_guard lock(snapshot_mutex_);
    settings_ = change.after;
  }
  for (const Listener& listener : listeners_) listener(change);
  return std::nullopt;
}

void Config::set_guard(Guard guard) {
  const std::lock_guard lock(change_mutex_);
  guard_ = std::move(guard);
}

void Config::subscribe(Listener listener) {
  const std::lock_guard lock(change_mutex_);
  listeners_.push_back(std::move(listener));
}

}  // namespace atl::config
