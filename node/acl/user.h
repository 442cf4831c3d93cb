// A user: whether and how one may log in as it, and what it may do then.
//
//     on off nopass resetpass >password <password #hash !hash reset
//     sanitize-payload skip-sanitize-payload            accepted, and shown again
//     (rules of a selector) clearselectors              further selectors
//     everything else is a rule of the root selector    selector.h
//
// Invariant: describe() as rules for a fresh user of that name gives an equal user, whose
// describe() is the same. So a file that ACL SAVE wrote loads as what was saved.
//
// *Threads*: a value; those that connections hold are const and shared by all threads.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "node/acl/selector.h"

namespace atl::acl {

enum class ChannelDefault : uint8_t { kNone, kAll };  // acl-pubsub-default

inline constexpr std::string_view kDefaultUser = "default";

class User {
 public:
  // A new user: off, with no password and no permission, but for channels as `channels` says.
  User(std::string name, ChannelDefault channels);
  // The user that there is before anybody configures one: may do everything without a password.
  static User make_default();

  const std::string& name() const { return name_; }
  bool enabled() const { return enabled_; }
  bool nopass() const { return nopass_; }
  // Whether connections must log in before they may act as this user.
  bool login_required() const { return !nopass_ || !enabled_; }
  // May do everything, whatever the command: connections of such a user are never checked.
  bool unlimited() const { return unlimited_; }
  bool accepts(std::string_view password) const;

  // Leaves the user as it was if there is a fault. `channels` is what reset and new selectors
  // begin with. An empty rule says nothing.
  Fault apply(std::string_view rule, ChannelDefault channels);

  Verdict check(CommandId id, const command::CommandSpec& spec, command::Args args) const;
  // Whether a selector that allows it allows to read every key as well: SORT ... BY.
  bool may_read_any_key(CommandId id, const command::CommandSpec& spec, command::Args args) const;
  // Whether any selector allows the channel, for subscriptions that exist already.
  bool may_use_channel(std::string_view channel, ChannelUse use) const;

  std::string describe() const;  // what follows "user name " in a file
  std::vector<std::string_view> flags() const;
  const std::vector<std::string>& passwords() const { return passwords_; }
  const Selector& root() const { return selectors_.front(); }
  std::span<const Selector> others() const { return std::span(selectors_).subspan(1); }

  // Tells a user from one of the same name that was made after it had been deleted.
  uint64_t incarnation() const { return incarnation_; }
  void set_incarnation(uint64_t incarnation) { incarnation_ = incarnation; }

 private:
  Fault apply_password(std::string_view rule);
  Fault add_selector(std::string_view rule, ChannelDefault channels);
  void reset(ChannelDefault channels);

  std::string name_;
  uint64_t incarnation_ = 0;
  bool enabled_ = false;
  bool nopass_ = false;
  bool sanitizes_ = true;
  bool unlimited_ = false;
  std::vector<std::string> passwords_;  // hashes
  std::vector<Selector> selectors_;     // the root first
};

// Spaces and the like separate words in files, and names hold none.
bool is_user_name(std::string_view name);

// Joins what was split between the parentheses of a selector. On failure the index of the
// argument whose parenthesis is not closed.
struct JoinedRules {
  std::vector<std::string> rules;
  std::optional<size_t> unmatched;
};
JoinedRules join_selectors(std::span<const std::string_view> words);

// All users of a moment. Immutable, shared by all threads.
struct Users {
  uint64_t generation = 0;  // rises with every change
  std::map<std::string, std::shared_ptr<const User>, std::less<>> by_name;

  std::shared_ptr<const User> find(std::string_view name) const;
  // There always is one.
  const std::shared_ptr<const User>& default_user() const {
    return by_name.find(kDefaultUser)->second;
  }
};

}  // namespace atl::acl
