#include "node/acl/access_control.h"

#include <algorithm>
#include <utility>

#include "node/config/files.h"

namespace atl::acl {
namespace {

constexpr unsigned kNewFileMode = 0600;  // hashes of passwords are not for everybody

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kAround = " \t\r\n";
  const size_t from = text.find_first_not_of(kAround);
  if (from == std::string_view::npos) return {};
  return text.substr(from, text.find_last_not_of(kAround) - from + 1);
}

std::vector<std::string_view> split_at_blanks(std::string_view line) {
  std::vector<std::string_view> words;
  while (!line.empty()) {
    const size_t end = std::min(line.find(' '), line.size());
    words.push_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return words;
}

// One line of an ACL file; a fault's text.
std::string parse_line(std::string_view line, const std::string& place, ChannelDefault channels,
                       std::vector<User>& into) {
  const std::vector<std::string_view> words = split_at_blanks(line);
  if (words.size() < 2 || words[0] != "user") {
    return place + " should start with user keyword followed by the username. ";
  }
  const std::string name(words[1]);
  if (!is_user_name(name)) {
    return "'" + place + ": username '" + name + "' contains invalid characters. ";
  }
  const auto same = [&](const User& user) { return user.name() == name; };
  if (std::any_of(into.begin(), into.end(), same)) {
    const std::string number = place.substr(place.rfind(':') + 1);
    return "WARNING: Duplicate user '" + name + "' found on line " + number + ". ";
  }
  const JoinedRules joined = join_selectors(std::span(words).subspan(2));
  if (joined.unmatched) return place + ": Unmatched parenthesis in selector definition.";
  User& user = into.emplace_back(name, channels);
  std::string errors;
  for (const std::string& rule : joined.rules) {
    const Fault fault = user.apply(trimmed(rule), channels);
    if (fault != Fault::kNone) errors += place + ": " + std::string(fault_text(fault)) + ". ";
  }
  return errors;
}

}  // namespace

void DenialCounts::add(Reason reason) {
  switch (reason) {
    case Reason::kNone:
      return;
    case Reason::kCommand:
      ++command;
      return;
    case Reason::kKey:
      ++key;
      return;
    case Reason::kChannel:
      ++channel;
      return;
    case Reason::kAuth:
      ++auth;
      return;
  }
}

void DenialCounts::reset() {
  command = key = channel = auth = 0;
}

ParsedUsers parse_users(std::string_view text, std::string_view path, ChannelDefault channels) {
  ParsedUsers parsed;
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty()) continue;
    const std::string place = std::string(path) + ':' + std::to_string(number);
    parsed.errors += parse_line(line, place, channels, parsed.users);
  }
  return parsed;
}

AccessControl::AccessControl() {
  Map first;
  add_user(User::make_default(), first);
  publish(std::move(first));
}

void AccessControl::add_user(User user, Map& into) {
  user.set_incarnation(next_incarnation_++);
  std::string name = user.name();
  into[std::move(name)] = std::make_shared<const User>(std::move(user));
}

// ---- Start ----

std::string AccessControl::begin(const Setup& setup) {
  channels_ = setup.channels;
  file_ = setup.file;
  if (!setup.password.empty()) set_default_password(setup.password);
  if (!file_.empty() && !setup.users.empty()) {
    return "Configuring users by 'user' lines and by 'aclfile' at the same time is likely to lead "
           "to configuration errors and security holes: use one or the other. The first 'user' is "
           "at " +
           setup.users.front().place;
  }
  Map by_name = users()->by_name;
  if (!setup.users.empty()) {
    if (std::string error = read_configured(setup.users, by_name); !error.empty()) return error;
  } else if (!file_.empty()) {
    if (!setup.password.empty()) {
      warnings_.push_back(
          "requirepass is ignored where there is an aclfile, as in Redis: the file "
          "says how 'default' logs in, and without a word about it, needs none");
    }
    by_name.clear();
    if (std::string error = read_file(by_name); !error.empty()) {
      return "Aborting startup because of ACL errors: " + error;
    }
  } else {
    return {};
  }
  for (const auto& [name, user] : by_name) {
    if (user->enabled()) continue;
    warnings_.push_back("The user '" + name +
                        "' is disabled (there is no 'on' modifier in the user description). Make "
                        "sure this is not a configuration error.");
  }
  configured_ = true;
  publish(std::move(by_name));
  return {};
}

std::string AccessControl::read_configured(const std::vector<ConfiguredUser>& configured,
                                           Map& into) {
  const ChannelDefault channels = channels_;
  for (const ConfiguredUser& line : configured) {
    const std::string& name = line.words.front();
    if (!is_user_name(name)) return line.place + ": Spaces not allowed in ACL usernames";
    const std::vector<std::string_view> words(line.words.begin() + 1, line.words.end());
    const JoinedRules joined = join_selectors(words);
    if (joined.unmatched) return line.place + ": Unmatched parenthesis in selector definition.";
    User user(name, channels);
    for (const std::string& rule : joined.rules) {
      const Fault fault = user.apply(rule, channels);
      if (fault == Fault::kNone) continue;
      // What a rule about passwords holds is not for a log.
      const bool secret = rule[0] == '>' || rule[0] == '<';
      return line.place + ": Error loading ACL rule '" +
             (secret ? rule.substr(0, 1) + "(not shown)" : rule) + "' for the user named '" + name +
             "': " + std::string(fault_text(fault));
    }
    add_user(std::move(user), into);
  }
  return {};
}

// Who is as before keeps its connections, and so does 'default', whatever became of it.
std::string AccessControl::read_file(Map& into) {
  const config::FileContent read = config::slurp(file_);
  if (!read.content) {
    return "Error loading ACLs, opening file '" + file_ + "': " + read.fault;
  }
  ParsedUsers parsed = parse_users(*read.content, file_, channels_);
  if (!parsed.errors.empty()) {
    return parsed.errors +
           "WARNING: ACL errors detected, no change to the previously active ACL rules was "
           "performed";
  }
  const auto is_default = [](const User& user) { return user.name() == kDefaultUser; };
  if (std::none_of(parsed.users.begin(), parsed.users.end(), is_default)) {
    parsed.users.push_back(User::make_default());
  }
  const std::shared_ptr<const Users> before = users();
  for (User& user : parsed.users) {
    const std::shared_ptr<const User> old = before->find(user.name());
    const bool stays = old && (is_default(user) || old->describe() == user.describe());
    if (!stays) {
      add_user(std::move(user), into);
      continue;
    }
    user.set_incarnation(old->incarnation());
    into[old->name()] = std::make_shared<const User>(std::move(user));
  }
  return {};
}

// ---- Reading and changing ----

std::shared_ptr<const Users> AccessControl::users() const {
  const std::lock_guard lock(snapshot_mutex_);
  return users_;
}

void AccessControl::publish(Map by_name) {
  auto next = std::make_shared<Users>();
  next->generation = generation() + 1;
  next->by_name = std::move(by_name);
  const uint64_t generation = next->generation;
  {
    const std::lock_guard lock(snapshot_mutex_);
    users_ = std::move(next);
  }
  generation_.store(generation, std::memory_order_release);
  if (changed_) changed_();
}

std::string AccessControl::set_user(std::string_view name,
                                    std::span<const std::string_view> rules) {
  if (!is_user_name(name)) return "Usernames can't contain spaces or null characters";
  const JoinedRules joined = join_selectors(rules);
  if (joined.unmatched) {
    return "Unmatched parenthesis in acl selector starting at '" +
           std::string(rules[*joined.unmatched]) + "'.";
  }
  const std::lock_guard one_change_at_a_time(change_mutex_);
  const ChannelDefault channels = channels_;
  const std::shared_ptr<const User> before = users()->find(name);
  User changed = before ? *before : User(std::string(name), channels);
  for (const std::string& rule : joined.rules) {
    const Fault fault = changed.apply(rule, channels);
    if (fault == Fault::kNone) continue;
    return "Error in ACL SETUSER modifier '" + rule + "': " + std::string(fault_text(fault));
  }
  Map by_name = users()->by_name;
  if (before) {
    by_name[before->name()] = std::make_shared<const User>(std::move(changed));
  } else {
    add_user(std::move(changed), by_name);
  }
  configured_ = true;
  publish(std::move(by_name));
  return {};
}

size_t AccessControl::delete_users(std::span<const std::string_view> names) {
  const std::lock_guard one_change_at_a_time(change_mutex_);
  Map by_name = users()->by_name;
  size_t deleted = 0;
  for (const std::string_view name : names) {
    if (name == kDefaultUser) continue;
    const auto found = by_name.find(name);
    if (found == by_name.end()) continue;
    by_name.erase(found);
    ++deleted;
  }
  if (deleted == 0) return 0;
  configured_ = true;
  publish(std::move(by_name));
  return deleted;
}

void AccessControl::set_default_password(std::string_view password) {
  const std::lock_guard one_change_at_a_time(change_mutex_);
  Map by_name = users()->by_name;
  User changed = *users()->default_user();
  changed.apply("resetpass", channels_);
  changed.apply(password.empty() ? "nopass" : ">" + std::string(password), channels_);
  by_name[std::string(kDefaultUser)] = std::make_shared<const User>(std::move(changed));
  publish(std::move(by_name));
}

// ---- Files ----

std::string AccessControl::load() {
  const std::lock_guard one_change_at_a_time(change_mutex_);
  Map by_name;
  if (std::string error = read_file(by_name); !error.empty()) return error;
  publish(std::move(by_name));
  return {};
}

std::string AccessControl::save() const {
  std::string text;
  for (const auto& [name, user] : users()->by_name) {
    text += "user " + name + ' ' + user->describe() + '\n';
  }
  return config::replace_file(file_, text, kNewFileMode).value_or("");
}

std::vector<std::string> AccessControl::describe_for_config() const {
  std::vector<std::string> lines;
  if (!configured_ || has_file()) return lines;
  for (const auto& [name, user] : users()->by_name) lines.push_back(name + ' ' + user->describe());
  return lines;
}

}  // namespace atl::acl
