// The node's users as a whole: all or nothing, files, snapshots, the log of denials.
#include "node/acl/access_control.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "node/acl/password.h"
#include "tests/unit/acl/register_families.h"

namespace atl::acl {
namespace {

using Views = std::vector<std::string_view>;

class AccessControlTest : public testing::Test {
 protected:
  AccessControlTest() {
    register_families();
    std::string pattern = (std::filesystem::temp_directory_path() / "atoll-acl-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
    file_ = directory_ + "/users.acl";
  }
  ~AccessControlTest() override { std::filesystem::remove_all(directory_); }

  void write(const std::string& text) { std::ofstream(file_) << text; }
  std::string content() const {
    std::ifstream in(file_);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::string begin_with_file(AccessControl& control, const std::string& password = "") {
    return control.begin({.password = password, .file = file_, .users = {}});
  }
  static std::string line_of(const AccessControl& control, std::string_view name) {
    const auto user = control.users()->find(name);
    return user ? user->describe() : "none";
  }

  std::string directory_, file_;
};

TEST_F(AccessControlTest, ASetuserIsAllOrNothing) {
  register_families();
  AccessControl control;
  EXPECT_EQ(control.set_user("alice", Views{"on", ">pw", "+get", "~a*"}), "");
  const std::string before = line_of(control, "alice");
  const uint64_t generation = control.generation();
  EXPECT_EQ(control.set_user("alice", Views{"off", "+set", "+nosuch"}),
            "Error in ACL SETUSER modifier '+nosuch': Unknown command or category name in ACL");
  EXPECT_EQ(control.set_user("alice", Views{"off", "(~x", "+get"}),
            "Unmatched parenthesis in acl selector starting at '(~x'.");
  EXPECT_EQ(control.set_user("bob", Views{"on", "nosuch"}),
            "Error in ACL SETUSER modifier 'nosuch': Syntax error");
  EXPECT_EQ(control.set_user("a b", Views{}), "Usernames can't contain spaces or null characters");
  EXPECT_EQ(line_of(control, "alice"), before);
  EXPECT_EQ(line_of(control, "bob"), "none");
  EXPECT_EQ(control.generation(), generation);
  EXPECT_EQ(control.set_user("bob", Views{"(~x", "+get)"}), "") << "split between words";
  EXPECT_EQ(line_of(control, "bob"),
            "off sanitize-payload resetchannels -@all (~x resetchannels -@all +get)");
}

// A connection that holds a user of before must not pass for one of the new user's.
TEST_F(AccessControlTest, AUserMadeAgainIsAnother) {
  AccessControl control;
  int told = 0;
  control.set_listener([&] { ++told; });
  control.set_user("alice", Views{"on"});
  const auto first = control.users()->find("alice");
  control.set_user("alice", Views{"off"});
  EXPECT_EQ(control.users()->find("alice")->incarnation(), first->incarnation());
  EXPECT_TRUE(first->enabled()) << "what somebody holds does not change under them";
  EXPECT_EQ(control.delete_users(Views{"alice", "nosuch", "alice"}), 1u);
  EXPECT_EQ(control.delete_users(Views{"alice"}), 0u);
  control.set_user("alice", Views{"on"});
  EXPECT_NE(control.users()->find("alice")->incarnation(), first->incarnation());
  EXPECT_EQ(told, 4);
}

TEST_F(AccessControlTest, RequirepassIsThePasswordOfDefault) {
  AccessControl control;
  EXPECT_EQ(control.begin({.password = "pw", .file = "", .users = {}}), "");
  EXPECT_TRUE(control.users()->default_user()->login_required());
  EXPECT_TRUE(control.users()->default_user()->accepts("pw"));
  EXPECT_TRUE(control.describe_for_config().empty()) << "requirepass says it all";
  control.set_default_password("other");
  EXPECT_FALSE(control.users()->default_user()->accepts("pw"));
  control.set_default_password("");
  EXPECT_TRUE(control.users()->default_user()->nopass());
  control.set_user("alice", Views{"on"});
  EXPECT_EQ(control.describe_for_config(),
            (std::vector<std::string>{"alice on sanitize-payload resetchannels -@all",
                                      "default on nopass sanitize-payload ~* &* +@all"}));
}

TEST_F(AccessControlTest, ConfiguredUsers) {
  AccessControl control;
  EXPECT_EQ(control.begin({.password = "pw",
                           .file = "",
                           .users = {{{"default", "on", ">x", "~*", "+@all"}, "f:1"},
                                     {{"bob", "off", "(~a", "+get)"}, "f:2"}}}),
            "");
  EXPECT_TRUE(control.users()->default_user()->accepts("x"));
  EXPECT_FALSE(control.users()->default_user()->accepts("pw")) << "the line begins anew";
  EXPECT_FALSE(control.users()->default_user()->unlimited()) << "it says nothing of channels";
  ASSERT_EQ(control.warnings().size(), 1u);
  EXPECT_TRUE(control.warnings()[0].starts_with("The user 'bob' is disabled"));
  const auto error = [](std::vector<std::string> words) {
    AccessControl other;
    return other.begin({.password = "", .file = "", .users = {{std::move(words), "f:7"}}});
  };
  EXPECT_EQ(error({"al", "+nosuch"}),
            "f:7: Error loading ACL rule '+nosuch' for the user named "
            "'al': Unknown command or category name in ACL");
  EXPECT_EQ(error({"al", "<secret"}),
            "f:7: Error loading ACL rule '<(not shown)' for the user named 'al': The password you "
            "are trying to remove from the user does not exist");
  EXPECT_EQ(error({"al", "(~x"}), "f:7: Unmatched parenthesis in selector definition.");
  EXPECT_EQ(error({"a l"}), "f:7: Spaces not allowed in ACL usernames");
  write("");
  AccessControl both;
  EXPECT_TRUE(both.begin({.password = "", .file = file_, .users = {{{"al"}, "f:9"}}})
                  .ends_with("The first 'user' is at f:9"));
}

TEST_F(AccessControlTest, WhatIsSavedLoads) {
  write("");
  AccessControl control;
  ASSERT_EQ(begin_with_file(control), "");
  EXPECT_EQ(line_of(control, "default"), "on nopass sanitize-payload ~* &* +@all");
  control.set_user("alice",
                   Views{"on", ">pw", "~a*", "%R~b*", "&c", "+@read", "-get", "(~x +set)"});
  control.set_user("bob\"s", Views{"nopass"});
  ASSERT_EQ(control.save(), "");
  const std::string saved = content();
  EXPECT_EQ(saved,
            "user alice on sanitize-payload #" + hash_password("pw") +
                " ~a* %R~b* resetchannels &c -@all +@read -get (~x resetchannels -@all +set)\n"
                "user bob\"s off nopass sanitize-payload resetchannels -@all\n"
                "user default on nopass sanitize-payload ~* &* +@all\n");
  AccessControl again;
  ASSERT_EQ(begin_with_file(again), "");
  EXPECT_EQ(line_of(again, "alice"), line_of(control, "alice"));
  ASSERT_EQ(again.save(), "");
  EXPECT_EQ(content(), saved);
  struct ::stat status {};
  ASSERT_EQ(::stat(file_.c_str(), &status), 0);
  std::filesystem::remove(file_);
  ASSERT_EQ(again.save(), "");
  ASSERT_EQ(::stat(file_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u) << "a new file is not for everybody to read";
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_), {}), 1)
      << "no temporary file stays";
}

TEST_F(AccessControlTest, ABadFileChangesNothingAndEveryLineIsNamed) {
  write("user alice on +@all ~*\n");
  AccessControl control;
  ASSERT_EQ(begin_with_file(control), "");
  const uint64_t generation = control.generation();
  write(
      "user alice off\n\n  \nuser bob +nosuch off bad\n# no comments\nuser alice on\n"
      "user carl (~x\n");
  const std::string error = control.load();
  EXPECT_NE(error.find(file_ + ":4: Unknown command or category name in ACL. "), std::string::npos)
      << error;
  EXPECT_NE(error.find(file_ + ":4: Syntax error. "), std::string::npos) << error;
  EXPECT_NE(error.find(file_ + ":5 should start with user keyword"), std::string::npos) << error;
  EXPECT_NE(error.find("Duplicate user 'alice' found on line 6"), std::string::npos) << error;
  EXPECT_NE(error.find(file_ + ":7: Unmatched parenthesis"), std::string::npos) << error;
  EXPECT_EQ(line_of(control, "alice"), "on sanitize-payload ~* resetchannels +@all");
  EXPECT_EQ(control.generation(), generation);
  std::filesystem::remove(file_);
  EXPECT_TRUE(control.load().ends_with("': No such file or directory")) << control.load();
  AccessControl other;
  EXPECT_TRUE(begin_with_file(other).starts_with("Aborting startup because of ACL errors: "));
}

TEST_F(AccessControlTest, LoadEndsOnlyWhoChanged) {
  write("user same on ~a*\nuser changed on ~a*\nuser gone on\n");
  AccessControl control;
  ASSERT_EQ(begin_with_file(control, "ignored"), "");
  EXPECT_TRUE(control.users()->default_user()->nopass()) << "as in Redis";
  EXPECT_EQ(control.warnings().size(), 1u);
  const auto before = control.users();
  write("user same on ~a*\r\nuser changed on ~b*\nuser default on >x +@all ~* &*\n");
  ASSERT_EQ(control.load(), "");
  const auto incarnation = [&](const auto& users, const char* name) {
    return users->find(name)->incarnation();
  };
  EXPECT_EQ(incarnation(control.users(), "same"), incarnation(before, "same"));
  EXPECT_NE(incarnation(control.users(), "changed"), incarnation(before, "changed"));
  EXPECT_EQ(incarnation(control.users(), "default"), incarnation(before, "default"));
  EXPECT_EQ(control.users()->find("gone"), nullptr);
  EXPECT_TRUE(control.users()->default_user()->login_required());
}

TEST(DenialLogTest, GroupsEqualEntriesOfAMinute) {
  DenialLog log;
  const Denial denial = {Reason::kKey, DenialContext::kTopLevel, "k", "alice", "id=1"};
  log.add(denial, 1000);
  Denial other = denial;
  other.object = "l";
  log.add(other, 2000);
  Denial later = denial;
  later.client = "id=2";
  log.add(later, 1000 + DenialLog::kGroupedMs);
  auto entries = log.newest(10);
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].denial.object, "k");
  EXPECT_EQ(entries[0].count, 2u);
  EXPECT_EQ(entries[0].id, 0);
  EXPECT_EQ(entries[0].created_ms, 1000);
  EXPECT_EQ(entries[0].updated_ms, 1000 + DenialLog::kGroupedMs);
  EXPECT_EQ(entries[0].denial.client, "id=2");
  log.add(denial, 1001 + 2 * DenialLog::kGroupedMs);
  EXPECT_EQ(log.newest(10).size(), 3u) << "more than a minute later";
  for (auto change : {+[](Denial& d) { d.reason = Reason::kCommand; },
                      +[](Denial& d) { d.context = DenialContext::kMulti; },
                      +[](Denial& d) { d.user = "bob"; }}) {
    Denial changed = denial;
    change(changed);
    const size_t before = log.newest(100).size();
    log.add(changed, 1001 + 2 * DenialLog::kGroupedMs);
    EXPECT_EQ(log.newest(100).size(), before + 1);
  }
  EXPECT_EQ(log.newest(2).size(), 2u);
  log.set_length_max(3);
  log.add(denial, 500'000);
  EXPECT_EQ(log.newest(100).size(), 3u) << "acllog-max-len";
  log.set_length_max(0);
  log.add(denial, 900'000);
  EXPECT_EQ(log.newest(100).size(), 0u);
  log.set_length_max(9);
  log.add({Reason::kKey, DenialContext::kTopLevel, std::string(1 << 20, 'x'), "a", ""}, 0);
  EXPECT_EQ(log.newest(1)[0].denial.object.size(), DenialLog::kTextMax);
  log.reset();
  EXPECT_TRUE(log.newest(10).empty());
}

TEST(Passwords, RandomOnesAreAsLongAsAsked) {
  EXPECT_EQ(random_hex(1).size(), 1u);
  EXPECT_EQ(random_hex(64).size(), 64u);
  EXPECT_NE(random_hex(64), random_hex(64));
  EXPECT_FALSE(equal_in_constant_time("a", "ab"));
  EXPECT_FALSE(equal_in_constant_time("aa", "ab"));
  EXPECT_TRUE(equal_in_constant_time("ab", "ab"));
}

}  // namespace
}  // namespace atl::acl
