#include "node/acl/selector.h"

#include <algorithm>

#include "node/command/args.h"
#include "node/command/check.h"
#include "node/command/glob.h"

namespace atl::acl {
namespace {

using command::is_word;

// Rules are separated by blanks, so what is in one must not hold any.
bool has_blanks(std::string_view text) {
  return text.find_first_of(std::string_view(" \t\n\v\f\r\0", 7)) != std::string_view::npos;
}

}  // namespace

std::string_view fault_text(Fault fault) {
  switch (fault) {
    case Fault::kNone:
      return "";
    case Fault::kSyntax:
      return "Syntax error";
    case Fault::kUnknownName:
      return "Unknown command or category name in ACL";
    case Fault::kKeyAfterAll:
      return "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does "
             "not have any effect. Try 'resetkeys' to start with an empty list of patterns";
    case Fault::kChannelAfterAll:
      return "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and "
             "does not have any effect. Try 'resetchannels' to start with an empty list of "
             "channels";
    case Fault::kNoSuchPassword:
      return "The password you are trying to remove from the user does not exist";
    case Fault::kBadHash:
      return "The password hash must be exactly 64 characters and contain only lowercase "
             "hexadecimal characters";
    case Fault::kArgumentOfSubcommand:
      return "Allowing first-arg of a subcommand is not supported";
  }
  return "";
}

// ---- Request ----

bool Request::keys_sound() const {
  find_keys();
  return sound_;
}

const std::vector<Request::Key>& Request::keys() const {
  find_keys();
  return keys_;
}

void Request::find_keys() const {
  if (looked_) return;
  looked_ = true;
  sound_ = command::for_each_key(spec_, args_, [&](size_t at) {
    constexpr unsigned kWrites = command::kKeyInserts | command::kKeyUpdates | command::kKeyDeletes;
    const unsigned use = command::key_use(spec_, args_, at);
    keys_.push_back({at, (use & command::kKeyReads) != 0, (use & kWrites) != 0});
  });
}

// ---- Rules ----

Fault Selector::apply(std::string_view rule) {
  if (is_word(rule, "allkeys") || rule == "~*") {
    all_keys_ = true;
    keys_.clear();
  } else if (is_word(rule, "resetkeys")) {
    all_keys_ = false;
    keys_.clear();
  } else if (is_word(rule, "allchannels") || rule == "&*") {
    all_channels_ = true;
    channels_.clear();
  } else if (is_word(rule, "resetchannels")) {
    all_channels_ = false;
    channels_.clear();
  } else if (is_word(rule, "allcommands") || is_word(rule, "+@all")) {
    set_all_commands(true);
  } else if (is_word(rule, "nocommands") || is_word(rule, "-@all")) {
    set_all_commands(false);
  } else if (rule.starts_with('~') || rule.starts_with('%')) {
    return apply_key_pattern(rule);
  } else if (rule.starts_with('&')) {
    return apply_channel_pattern(rule);
  } else if (rule.starts_with("+@") || rule.starts_with("-@")) {
    return apply_category(rule);
  } else if (rule.starts_with('+') || rule.starts_with('-')) {
    return apply_command(rule);
  } else {
    return Fault::kSyntax;
  }
  return Fault::kNone;
}

Fault Selector::apply_key_pattern(std::string_view rule) {
  if (all_keys_) return Fault::kKeyAfterAll;
  KeyPattern added;
  size_t at = 0;
  if (rule[0] == '~') {
    added.reads = added.writes = true;
  } else {
    for (at = 1; at < rule.size() && rule[at] != '~'; ++at) {
      bool& flag = (rule[at] | 0x20) == 'r' ? added.reads : added.writes;
      if (((rule[at] | 0x20) != 'r' && (rule[at] | 0x20) != 'w') || flag) return Fault::kSyntax;
      flag = true;
    }
    if (at == rule.size() || at == 1) return Fault::kSyntax;
  }
  added.glob = rule.substr(at + 1);
  if (has_blanks(added.glob)) return Fault::kSyntax;
  const auto same = std::find_if(keys_.begin(), keys_.end(),
                                 [&](const KeyPattern& k) { return k.glob == added.glob; });
  if (same == keys_.end()) {
    keys_.push_back(std::move(added));
  } else {
    same->reads |= added.reads;
    same->writes |= added.writes;
  }
  return Fault::kNone;
}

Fault Selector::apply_channel_pattern(std::string_view rule) {
  if (all_channels_) return Fault::kChannelAfterAll;
  const std::string_view pattern = rule.substr(1);
  if (has_blanks(pattern)) return Fault::kSyntax;
  if (std::find(channels_.begin(), channels_.end(), pattern) == channels_.end()) {
    channels_.emplace_back(pattern);
  }
  return Fault::kNone;
}

Fault Selector::apply_category(std::string_view rule) {
  const CommandBits* bits = catalog().category(rule.substr(2));
  if (bits == nullptr) return Fault::kUnknownName;
  set_commands(*bits, rule[0] == '+');
  note_rule(rule[0], rule.substr(1));
  return Fault::kNone;
}

Fault Selector::apply_command(std::string_view rule) {
  const std::string_view name = rule.substr(1);
  const size_t bar = name.rfind('|');
  const Catalog::Entry* named = catalog().find(name);
  if (named == nullptr && rule[0] == '+' && bar != std::string_view::npos) {
    // Not a subcommand: perhaps a first argument.
    const Catalog::Entry* whole = catalog().find(name.substr(0, bar));
    if (whole == nullptr) return Fault::kUnknownName;
    if (whole->is_subcommand) return Fault::kArgumentOfSubcommand;
    const std::string_view argument = name.substr(bar + 1);
    if (argument.empty() || has_blanks(argument)) return Fault::kSyntax;
    if (!whole->spec->subcommands.empty()) return Fault::kUnknownName;
    std::vector<std::string>& known = first_args_[whole->id];
    const std::string folded = lower_case(argument);
    if (std::find(known.begin(), known.end(), folded) == known.end()) known.push_back(folded);
    note_rule('+', name);
    return Fault::kNone;
  }
  if (named == nullptr) return Fault::kUnknownName;
  set_commands(named->covers, rule[0] == '+');
  note_rule(rule[0], named->name);
  return Fault::kNone;
}

void Selector::set_all_commands(bool allowed) {
  allowed_.reset();
  if (allowed) {
    allowed_ = catalog().all();
    allowed_.set(kFutureBit);
  }
  first_args_.clear();
  command_rules_.clear();
}

void Selector::set_commands(const CommandBits& bits, bool allowed) {
  if (allowed) {
    allowed_ |= bits;
  } else {
    allowed_ &= ~bits;
  }
  std::erase_if(first_args_, [&](const auto& entry) { return bits[entry.first]; });
}

void Selector::note_rule(char sign, std::string_view name) {
  const std::string folded = lower_case(name);
  std::erase_if(command_rules_, [&](const std::string& earlier) {
    const std::string_view of = std::string_view(earlier).substr(1);
    return of == folded || (of.starts_with(folded) && of[folded.size()] == '|');
  });
  command_rules_.push_back(sign + folded);
}

// ---- Checks ----

bool Selector::unlimited() const {
  const CommandBits& all = catalog().all();
  return all_keys_ && all_channels_ && (allowed_ & all) == all;
}

bool Selector::allows_command(const Request& request) const {
  if (allowed_[request.id()] || (request.spec().flags & command::kNoAuth) != 0) return true;
  const auto entry = first_args_.find(request.id());
  if (entry == first_args_.end() || request.args().size() < 2) return false;
  const std::string_view first = request.args()[1];
  return std::any_of(entry->second.begin(), entry->second.end(),
                     [&](const std::string& argument) { return is_word(first, argument); });
}

bool Selector::allows_key(std::string_view key, bool reads, bool writes) const {
  return std::any_of(keys_.begin(), keys_.end(), [&](const KeyPattern& pattern) {
    return (pattern.reads || !reads) && (pattern.writes || !writes) &&
           command::glob_match(pattern.glob, key);
  });
}

Verdict Selector::check(const Request& request) const {
  const command::CommandSpec& spec = request.spec();
  const command::Args args = request.args();
  if (!allows_command(request)) return {Reason::kCommand, 0};
  if (!all_keys_ && command::has_keys(spec)) {
    if (!request.keys_sound()) {
      return {Reason::kKey, static_cast<size_t>(std::max(spec.keys.count_at, spec.keys.first))};
    }
    for (const Request::Key& key : request.keys()) {
      if (!allows_key(args[key.at], key.reads, key.writes)) return {Reason::kKey, key.at};
    }
  }
  if (!all_channels_ && spec.channels.first != 0) {
    const command::ChannelSpec& named = spec.channels;
    const auto argc = static_cast<int>(args.size());
    const int last = named.last < 0 ? argc + named.last : named.last;
    const ChannelUse use = named.patterns ? ChannelUse::kPattern : ChannelUse::kChannel;
    for (int at = named.first; at <= last && at < argc; ++at) {
      if (!may_use_channel(args[static_cast<size_t>(at)], use)) {
        return {Reason::kChannel, static_cast<size_t>(at)};
      }
    }
  }
  return {};
}

bool Selector::may_read_any_key() const {
  return all_keys_ || std::any_of(keys_.begin(), keys_.end(), [](const KeyPattern& pattern) {
           return pattern.reads && pattern.glob == "*";
         });
}

bool Selector::may_use_channel(std::string_view channel, ChannelUse use) const {
  if (all_channels_) return true;
  return std::any_of(channels_.begin(), channels_.end(), [&](const std::string& pattern) {
    // Whether a pattern allows all that another one matches is not asked: it must be the same.
    return use == ChannelUse::kPattern ? pattern == channel : command::glob_match(pattern, channel);
  });
}

// ---- Descriptions ----

std::string Selector::KeyPattern::text() const {
  if (!writes) return "%R~" + glob;
  if (!reads) return "%W~" + glob;
  // "~*" would read back as allkeys, after which no other pattern is taken.
  return (glob == "*" ? "%RW~" : "~") + glob;
}

std::string Selector::describe_keys() const {
  if (all_keys_) return "~*";
  std::string text;
  for (const KeyPattern& pattern : keys_) text += (text.empty() ? "" : " ") + pattern.text();
  return text;
}

std::string Selector::describe_channels() const {
  if (all_channels_) return "&*";
  std::string text;
  for (const std::string& pattern : channels_) text += (text.empty() ? "&" : " &") + pattern;
  return text;
}

std::string Selector::describe_commands() const {
  std::string text = allowed_[kFutureBit] ? "+@all" : "-@all";
  for (const std::string& rule : command_rules_) text += ' ' + rule;
  return text;
}

std::string Selector::describe() const {
  std::string text = describe_keys();
  if (!text.empty()) text += ' ';
  if (!all_channels_) text += "resetchannels ";
  const std::string channels = describe_channels();
  if (!channels.empty()) text += channels + ' ';
  return text + describe_commands();
}

}  // namespace atl::acl
