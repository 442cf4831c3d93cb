// Foreign bytes as an ACL file and as the rules of ACL SETUSER: what is taken must describe itself
// in one line, in words that make the same users again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "node/acl/access_control.h"

namespace {

using atl::acl::ChannelDefault;
using atl::acl::ParsedUsers;
using atl::acl::User;

void demand(bool holds) {
  if (!holds) std::abort();
}

std::string file_of(const std::vector<User>& users) {
  std::string text;
  for (const User& user : users) text += "user " + user.name() + ' ' + user.describe() + '\n';
  return text;
}

void demand_the_same_again(const std::vector<User>& users) {
  const std::string text = file_of(users);
  const ParsedUsers again = atl::acl::parse_users(text, "f", ChannelDefault::kNone);
  demand(again.errors.empty());
  demand(again.users.size() == users.size());
  demand(file_of(again.users) == text);
  for (size_t i = 0; i < users.size(); ++i) {
    demand(again.users[i].unlimited() == users[i].unlimited());
    demand(again.users[i].root().allowed() == users[i].root().allowed());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const ParsedUsers parsed = atl::acl::parse_users(text, "f", ChannelDefault::kNone);
  if (parsed.errors.empty()) demand_the_same_again(parsed.users);

  // Words may hold anything here, blanks and zeros included: they come from the wire.
  std::vector<std::string_view> words;
  for (size_t at = 0; at < size;) {
    const size_t end = std::min(text.find('\n', at), size);
    words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  User user("u", ChannelDefault::kNone);
  for (const std::string& rule : atl::acl::join_selectors(words).rules) {
    const std::string before = user.describe();
    if (user.apply(rule, ChannelDefault::kNone) != atl::acl::Fault::kNone) {
      demand(user.describe() == before);
    }
  }
  demand_the_same_again({user});
  return 0;
}
