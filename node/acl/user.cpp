#include "node/acl/user.h"

#include <algorithm>

#include "node/acl/password.h"
#include "node/command/args.h"

namespace atl::acl {
namespace {

using command::is_word;

constexpr std::string_view kBlanks{" \t\n\v\f\r\0", 7};

Selector fresh_selector(ChannelDefault channels) {
  return Selector(channels == ChannelDefault::kAll);
}

}  // namespace

User::User(std::string name, ChannelDefault channels)
    : name_(std::move(name)), selectors_{fresh_selector(channels)} {}

User User::make_default() {
  User user{std::string(kDefaultUser), ChannelDefault::kAll};
  for (const std::string_view rule : {"+@all", "~*", "on", "nopass"}) {
    user.apply(rule, ChannelDefault::kAll);
  }
  return user;
}

Fault User::apply(std::string_view rule, ChannelDefault channels) {
  Fault fault = Fault::kNone;
  if (rule.empty()) {
    return fault;
  } else if (is_word(rule, "on")) {
    enabled_ = true;
  } else if (is_word(rule, "off")) {
    enabled_ = false;
  } else if (is_word(rule, "sanitize-payload")) {
    sanitizes_ = true;
  } else if (is_word(rule, "skip-sanitize-payload")) {
    sanitizes_ = false;
  } else if (is_word(rule, "nopass")) {
    nopass_ = true;
    passwords_.clear();
  } else if (is_word(rule, "resetpass")) {
    nopass_ = false;
    passwords_.clear();
  } else if (is_word(rule, "reset")) {
    reset(channels);
  } else if (is_word(rule, "clearselectors")) {
    selectors_.erase(selectors_.begin() + 1, selectors_.end());
  } else if (std::string_view("><#!").find(rule[0]) != std::string_view::npos) {
    fault = apply_password(rule);
  } else if (rule.starts_with('(') && rule.ends_with(')')) {
    fault = add_selector(rule, channels);
  } else {
    fault = selectors_.front().apply(rule);
  }
  unlimited_ = std::any_of(selectors_.begin(), selectors_.end(),
                           [](const Selector& selector) { return selector.unlimited(); });
  return fault;
}

Fault User::apply_password(std::string_view rule) {
  const bool hashed = rule[0] == '#' || rule[0] == '!';
  const bool adds = rule[0] == '>' || rule[0] == '#';
  const std::string_view operand = rule.substr(1);
  if (hashed && !is_password_hash(operand)) return Fault::kBadHash;
  const std::string hash = hashed ? std::string(operand) : hash_password(operand);
  const auto known = std::find(passwords_.begin(), passwords_.end(), hash);
  if (adds) {
    if (known == passwords_.end()) passwords_.push_back(hash);
    nopass_ = false;
    return Fault::kNone;
  }
  if (known == passwords_.end()) return Fault::kNoSuchPassword;
  passwords_.erase(known);
  return Fault::kNone;
}

Fault User::add_selector(std::string_view rule, ChannelDefault channels) {
  Selector selector = fresh_selector(channels);
  std::string_view rest = rule.substr(1, rule.size() - 2);
  while (!rest.empty()) {
    const size_t end = std::min(rest.find_first_of(kBlanks), rest.size());
    const std::string_view one = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (one.empty()) continue;
    // Whoever reads it back would take the selector to end here.
    if (one.ends_with(')')) return Fault::kSyntax;
    if (const Fault fault = selector.apply(one); fault != Fault::kNone) return fault;
  }
  selectors_.push_back(std::move(selector));
  return Fault::kNone;
}

void User::reset(ChannelDefault channels) {
  nopass_ = enabled_ = false;
  sanitizes_ = true;
  passwords_.clear();
  selectors_.assign(1, fresh_selector(channels));
}

bool User::accepts(std::string_view password) const {
  const std::string hash = hash_password(password);
  bool found = nopass_;
  for (const std::string& known : passwords_) found |= equal_in_constant_time(known, hash);
  return found && enabled_;
}

Verdict User::check(CommandId id, const command::CommandSpec& spec, command::Args args) const {
  if (unlimited_) return {};
  const Request request(id, spec, args);
  Verdict weightiest{Reason::kCommand, 0};
  for (const Selector& selector : selectors_) {
    const Verdict verdict = selector.check(request);
    if (verdict.allowed()) return verdict;
    const bool same = verdict.reason == weightiest.reason;
    if (verdict.reason > weightiest.reason || (same && verdict.at > weightiest.at)) {
      weightiest = verdict;
    }
  }
  return weightiest;
}

bool User::may_read_any_key(CommandId id, const command::CommandSpec& spec,
                            command::Args args) const {
  const Request request(id, spec, args);
  return std::any_of(selectors_.begin(), selectors_.end(), [&](const Selector& selector) {
    return selector.may_read_any_key() && selector.check(request).allowed();
  });
}

bool User::may_use_channel(std::string_view channel, ChannelUse use) const {
  return std::any_of(selectors_.begin(), selectors_.end(), [&](const Selector& selector) {
    return selector.may_use_channel(channel, use);
  });
}

std::vector<std::string_view> User::flags() const {
  std::vector<std::string_view> flags{enabled_ ? "on" : "off"};
  if (nopass_) flags.emplace_back("nopass");
  flags.emplace_back(sanitizes_ ? "sanitize-payload" : "skip-sanitize-payload");
  return flags;
}

std::string User::describe() const {
  std::string text;
  for (const std::string_view flag : flags()) text += std::string(flag) + ' ';
  for (const std::string& hash : passwords_) text += '#' + hash + ' ';
  text += root().describe();
  for (const Selector& selector : others()) text += " (" + selector.describe() + ')';
  return text;
}

bool is_user_name(std::string_view name) {
  return name.find_first_of(kBlanks) == std::string_view::npos;
}

JoinedRules join_selectors(std::span<const std::string_view> words) {
  JoinedRules joined;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string_view word = words[i];
    if (joined.unmatched) {
      joined.rules.back() += ' ';
      joined.rules.back() += word;
      if (word.ends_with(')')) joined.unmatched.reset();
      continue;
    }
    joined.rules.emplace_back(word);
    if (word.starts_with('(') && !word.ends_with(')')) joined.unmatched = i;
  }
  return joined;
}

std::shared_ptr<const User> Users::find(std::string_view name) const {
  const auto found = by_name.find(name);
  return found == by_name.end() ? nullptr : found->second;
}

}  // namespace atl::acl
