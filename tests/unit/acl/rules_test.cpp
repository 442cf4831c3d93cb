// The rule language: what each rule does, that what a user says of itself makes it again, and that
// long random sequences leave what a model that knows nothing but Redis' documentation has.
#include <gtest/gtest.h>

#include <set>

#include "node/acl/password.h"
#include "node/acl/user.h"
#include "tests/seed.h"
#include "tests/unit/acl/register_families.h"

namespace atl::acl {
namespace {

using Words = std::vector<std::string>;

Words split(const std::string& text) {
  Words words;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    if (end > at) words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

class Rules : public testing::Test {
 protected:
  Rules() { register_families(); }

  Fault apply(const std::string& rules) {
    const Words words = split(rules);
    const std::vector<std::string_view> views(words.begin(), words.end());
    for (const std::string& rule : join_selectors(views).rules) {
      if (const Fault fault = user_.apply(rule, channels_); fault != Fault::kNone) return fault;
    }
    return Fault::kNone;
  }
  Verdict verdict(const std::string& line) const {
    const Words words = split(line);
    const std::vector<std::string_view> args(words.begin(), words.end());
    const command::CommandSpec* spec = command::resolve(*command::find_command(args.front()), args);
    return user_.check(catalog().id_of(*spec), *spec, args);
  }
  bool may(const std::string& line) const { return verdict(line).allowed(); }
  Reason why(const std::string& line) const { return verdict(line).reason; }

  ChannelDefault channels_ = ChannelDefault::kNone;
  User user_{"alice", ChannelDefault::kNone};
};

TEST_F(Rules, ANewUserMayDoNothing) {
  EXPECT_EQ(user_.describe(), "off sanitize-payload resetchannels -@all");
  EXPECT_FALSE(user_.accepts(""));
  EXPECT_EQ(why("get k"), Reason::kCommand);
  EXPECT_TRUE(may("auth x")) << "what logs in needs no permission";
  EXPECT_FALSE(user_.unlimited());
}

// SORT's destination is written, its source read; BY and GET ask for every key, of one selector
// that allows the command as well.
TEST_F(Rules, WhatIsSortedAndStored) {
  const auto any = [&](const std::string& line) {
    const Words words = split(line);
    const std::vector<std::string_view> args(words.begin(), words.end());
    const command::CommandSpec* spec = command::find_command(args.front());
    return user_.may_read_any_key(catalog().id_of(*spec), *spec, args);
  };
  ASSERT_EQ(apply("+sort %R~a %W~b"), Fault::kNone);
  EXPECT_TRUE(may("sort a store b"));
  EXPECT_FALSE(may("sort b"));
  EXPECT_FALSE(may("sort a store a"));
  EXPECT_FALSE(any("sort a by w_*"));
  ASSERT_EQ(apply("(+sort_ro %R~*)"), Fault::kNone);
  EXPECT_TRUE(any("sort_ro a by w_*"));
  EXPECT_FALSE(any("sort a by w_*"));
  ASSERT_EQ(apply("%W~*"), Fault::kNone);
  EXPECT_FALSE(any("sort a by w_*"));
  ASSERT_EQ(apply("allkeys"), Fault::kNone);
  EXPECT_TRUE(any("sort a by w_*"));
}

TEST_F(Rules, TheFirstUserMayDoEverything) {
  user_ = User::make_default();
  EXPECT_EQ(user_.describe(), "on nopass sanitize-payload ~* &* +@all");
  EXPECT_TRUE(user_.unlimited());
  EXPECT_TRUE(user_.accepts("anything"));
  EXPECT_TRUE(may("config set a b"));
  EXPECT_TRUE(may("sample-psubscribe *"));
  EXPECT_EQ(apply("-get"), Fault::kNone);
  EXPECT_FALSE(user_.unlimited());
  EXPECT_EQ(apply("+get"), Fault::kNone);
  EXPECT_TRUE(user_.unlimited()) << "given back";
  for (const char* limit : {"resetkeys", "resetchannels", "nocommands", "-config|get"}) {
    user_ = User::make_default();
    EXPECT_EQ(apply(limit), Fault::kNone);
    EXPECT_FALSE(user_.unlimited()) << limit;
  }
}

TEST_F(Rules, CommandsSubcommandsAndFirstArguments) {
  apply("~* +get +config|get +select|0");
  EXPECT_TRUE(may("get k"));
  EXPECT_TRUE(may("GET k"));
  EXPECT_TRUE(may("config get x"));
  EXPECT_FALSE(may("config set x y"));
  EXPECT_TRUE(may("select 0"));
  EXPECT_FALSE(may("select 1"));
  EXPECT_EQ(user_.root().describe_commands(), "-@all +get +config|get +select|0");
  apply("-config");
  EXPECT_FALSE(may("config get x"));
  EXPECT_EQ(user_.root().describe_commands(), "-@all +get +select|0 -config");
  apply("+CONFIG -config|set -select");
  EXPECT_TRUE(may("config get x"));
  EXPECT_TRUE(may("config help"));
  EXPECT_FALSE(may("config set x y"));
  EXPECT_FALSE(may("select 0")) << "its first arguments go with it";
  apply("+@all");
  EXPECT_EQ(user_.root().describe_commands(), "+@all");
}

TEST_F(Rules, CategoriesHoldSubcommandsOfTheirContainers) {
  apply("~* +@read -@slow");
  EXPECT_TRUE(may("get k"));
  EXPECT_FALSE(may("set k v"));
  EXPECT_FALSE(may("getrange k 0 1")) << "reads slowly";
  apply("+@slow");
  EXPECT_TRUE(may("config get x"));
  apply("-@admin");
  EXPECT_FALSE(may("config get x"));
  EXPECT_TRUE(may("config help"));
  EXPECT_EQ(user_.root().describe_commands(), "-@all +@read +@slow -@admin");
  apply("+@read");
  EXPECT_EQ(user_.root().describe_commands(), "-@all +@slow -@admin +@read");
}

TEST_F(Rules, KeyPatternsSayWhatMayBeDone) {
  apply("+@all %R~r* %W~w* ~both* %rW~mixed*");
  EXPECT_EQ(user_.root().describe_keys(), "%R~r* %W~w* ~both* ~mixed*");
  EXPECT_TRUE(may("get r1"));
  EXPECT_FALSE(may("get w1"));
  EXPECT_TRUE(may("set w1 v"));
  EXPECT_FALSE(may("set r1 v"));
  EXPECT_FALSE(may("set w1 v get")) << "returns the old value";
  EXPECT_FALSE(may("set w1 v ifeq x")) << "tells what the old value is";
  EXPECT_TRUE(may("set both v get"));
  EXPECT_TRUE(may("incr mixed"));
  EXPECT_FALSE(may("incr w1"));
  EXPECT_TRUE(may("append w1 v"));
  EXPECT_TRUE(may("expire w1 1"));
  EXPECT_TRUE(may("exists r1 w1")) << "to look, either will do";
  EXPECT_FALSE(may("exists r1 other"));
  EXPECT_TRUE(may("copy r1 w1"));
  EXPECT_FALSE(may("copy w1 r1"));
  EXPECT_TRUE(may("rename both w1"));
  EXPECT_FALSE(may("rename w1 w2")) << "what it was can be read where it is now";
  EXPECT_EQ(why("get other"), Reason::kKey);
  apply("%R~w*");
  EXPECT_EQ(user_.root().describe_keys(), "%R~r* ~w* ~both* ~mixed*");
  EXPECT_TRUE(may("incr w1"));
}

// A check of one key only would let the others through.
TEST_F(Rules, EveryKeyOfACommandIsChecked) {
  apply("+@all ~a*");
  EXPECT_TRUE(may("mget a a1 a2"));
  for (size_t at = 1; at <= 3; ++at) {
    Words words = {"mget", "a1", "a2", "a3"};
    words[at] = "b";
    EXPECT_EQ(verdict(words[0] + " " + words[1] + " " + words[2] + " " + words[3]).at, at);
  }
  EXPECT_TRUE(may("mset a1 b a2 c"));
  EXPECT_EQ(verdict("mset a1 b b a").at, 3u);
  EXPECT_TRUE(may("msetex 2 a1 v a2 v"));
  EXPECT_EQ(verdict("msetex 2 a1 v b v").at, 4u);
  EXPECT_EQ(why("object encoding b"), Reason::kKey);
  EXPECT_EQ(why("memory usage b"), Reason::kKey);
  EXPECT_EQ(why("msetex 9 a1 v a2 v"), Reason::kKey) << "keys that cannot be told";
  EXPECT_TRUE(may("keys *")) << "names no keys";
}

TEST_F(Rules, ChannelsAreMatchedAndPatternsMustBeTheSame) {
  apply("+@all ~* &news.* &one");
  EXPECT_TRUE(may("sample-publish news.x hello"));
  EXPECT_TRUE(may("sample-subscribe news.x one news.y"));
  EXPECT_EQ(verdict("sample-subscribe news.x two").at, 2u);
  EXPECT_EQ(why("sample-publish two hello"), Reason::kChannel);
  EXPECT_TRUE(may("sample-psubscribe news.* one"));
  EXPECT_FALSE(may("sample-psubscribe news.x*")) << "as in Redis";
  EXPECT_TRUE(user_.may_use_channel("one", ChannelUse::kPattern));
  EXPECT_TRUE(user_.may_use_channel("news.z", ChannelUse::kChannel));
  EXPECT_FALSE(user_.may_use_channel("news.z", ChannelUse::kPattern));
  apply("(allchannels +sample-publish)");
  EXPECT_TRUE(may("sample-publish two hello"));
  EXPECT_FALSE(may("sample-subscribe two"));
  apply("allchannels");
  EXPECT_TRUE(may("sample-psubscribe *"));
}

TEST_F(Rules, OneSelectorMustAllowAllOfACommand) {
  apply("+get ~a* (+set ~b*) (+mget ~a* ~b*)");
  EXPECT_TRUE(may("get a"));
  EXPECT_TRUE(may("set b v"));
  EXPECT_EQ(why("get b"), Reason::kKey);
  EXPECT_EQ(why("set a v"), Reason::kKey);
  EXPECT_EQ(why("del a"), Reason::kCommand);
  EXPECT_TRUE(may("mget a b"));
  EXPECT_EQ(verdict("mget a c b").at, 2u);
  apply("clearselectors");
  EXPECT_FALSE(may("set b v"));
  EXPECT_EQ(user_.describe(), "off sanitize-payload ~a* resetchannels -@all +get");
}

TEST_F(Rules, Passwords) {
  apply("on >one >two #" + hash_password("three"));
  EXPECT_EQ(hash_password("one"),
            "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed");
  for (const char* word : {"one", "two", "three"}) EXPECT_TRUE(user_.accepts(word)) << word;
  EXPECT_FALSE(user_.accepts("on"));
  EXPECT_FALSE(user_.accepts(""));
  EXPECT_EQ(apply("<one !" + hash_password("two")), Fault::kNone);
  EXPECT_FALSE(user_.accepts("one"));
  EXPECT_FALSE(user_.accepts("two"));
  EXPECT_EQ(apply("<one"), Fault::kNoSuchPassword);
  EXPECT_EQ(apply("#" + std::string(64, 'A')), Fault::kBadHash);
  EXPECT_EQ(apply("#12"), Fault::kBadHash);
  EXPECT_EQ(apply("!12"), Fault::kBadHash);
  apply("off");
  EXPECT_FALSE(user_.accepts("three")) << "off";
  apply("on nopass");
  EXPECT_TRUE(user_.accepts("whatever"));
  apply("off");
  EXPECT_FALSE(user_.accepts("whatever"));
  apply("on resetpass");
  EXPECT_FALSE(user_.accepts("three"));
  EXPECT_FALSE(user_.accepts(""));
}

TEST_F(Rules, FaultsAreRedisFaultsAndChangeNothing) {
  const std::vector<std::pair<std::string, Fault>> cases = {
      {"nosuch", Fault::kSyntax},
      {"+nosuch", Fault::kUnknownName},
      {"-nosuch", Fault::kUnknownName},
      {"+@nosuch", Fault::kUnknownName},
      {"+config|nosuch", Fault::kUnknownName},
      {"-config|nosuch", Fault::kUnknownName},
      {"-select|0", Fault::kUnknownName},
      {"+config|get|x", Fault::kArgumentOfSubcommand},
      {"+get|", Fault::kSyntax},
      {"+", Fault::kUnknownName},
      {"%~x", Fault::kSyntax},
      {"%R", Fault::kSyntax},
      {"%RR~x", Fault::kSyntax},
      {"%X~x", Fault::kSyntax},
      {"(nosuch)", Fault::kSyntax},
      {"(+nosuch)", Fault::kUnknownName},
      {"(on)", Fault::kSyntax},
      {"((~x))", Fault::kSyntax},
  };
  const std::string before = user_.describe();
  for (const auto& [rule, fault] : cases) {
    EXPECT_EQ(apply(rule), fault) << rule;
    EXPECT_EQ(user_.describe(), before) << rule;
  }
  EXPECT_EQ(user_.apply("~a b", channels_), Fault::kSyntax);
  EXPECT_EQ(user_.apply(std::string_view("~a\0b", 4), channels_), Fault::kSyntax);
  EXPECT_EQ(user_.apply("&a\tb", channels_), Fault::kSyntax);
  // Read back, the selector would end at its first parenthesis and the rest be the user's own.
  EXPECT_EQ(user_.apply("(~x) +@all ~y)", channels_), Fault::kSyntax);
  apply("~* &*");
  EXPECT_EQ(apply("~a"), Fault::kKeyAfterAll);
  EXPECT_EQ(apply("&a"), Fault::kChannelAfterAll);
}

TEST_F(Rules, ResetAndTheDefaultForChannels) {
  apply("on nopass skip-sanitize-payload ~a &c +@all (+get)");
  apply("reset");
  EXPECT_EQ(user_.describe(), "off sanitize-payload resetchannels -@all");
  channels_ = ChannelDefault::kAll;
  apply("reset (+get)");
  EXPECT_EQ(user_.describe(), "off sanitize-payload &* -@all (&* -@all +get)");
}

// ---- Random rules ----

Words random_rules(tests::Random& random, size_t count) {
  static const Words kCommands = {"get",        "set",         "mget",
                                  "select",     "config",      "config|get",
                                  "config|set", "config|help", "sample-publish"};
  static const Words kCategories = {"@read",  "@write", "@string", "@fast",    "@slow",
                                    "@admin", "@all",   "@pubsub", "@keyspace"};
  static const Words kOthers = {"~*",
                                "allkeys",
                                "resetkeys",
                                "~a*",
                                "%R~a*",
                                "%W~a*",
                                "%RW~*",
                                "~b?",
                                "&*",
                                "resetchannels",
                                "allchannels",
                                "&x*",
                                "&y",
                                "on",
                                "off",
                                "nopass",
                                ">secret",
                                "resetpass",
                                "+select|0",
                                "+select|1",
                                "+get|x",
                                "reset",
                                "allcommands",
                                "nocommands",
                                "clearselectors",
                                "(~a* +get)",
                                "(&c -@all +@read -get)",
                                "(%R~z +config|get +select|7)",
                                "skip-sanitize-payload"};
  Words rules;
  while (rules.size() < count) {
    switch (random.below(4)) {
      case 0:
        rules.push_back((random.one_in(2) ? "+" : "-") + random.pick(kCommands));
        break;
      case 1:
        rules.push_back((random.one_in(2) ? "+" : "-") + random.pick(kCategories));
        break;
      default:
        rules.push_back(random.pick(kOthers));
    }
  }
  return rules;
}

// Aim: what LIST prints makes the same user, whatever made it first.
TEST_F(Rules, DescriptionsAreFixedPoints) {
  tests::for_seeds(3000, [](uint64_t, tests::Random& random) {
    User user("alice", ChannelDefault::kNone);
    for (const std::string& rule : random_rules(random, 1 + random.below(25))) {
      user.apply(rule, ChannelDefault::kNone);  // what is refused must change nothing
    }
    const std::string text = user.describe();
    const Words words = split(text);
    const std::vector<std::string_view> views(words.begin(), words.end());
    const JoinedRules joined = join_selectors(views);
    ASSERT_FALSE(joined.unmatched) << text;
    User again("alice", ChannelDefault::kNone);
    for (const std::string& rule : joined.rules) {
      ASSERT_EQ(again.apply(rule, ChannelDefault::kNone), Fault::kNone) << rule << " of " << text;
    }
    ASSERT_EQ(again.describe(), text);
    ASSERT_EQ(again.unlimited(), user.unlimited()) << text;
    ASSERT_EQ(again.root().allowed(), user.root().allowed()) << text;
    ASSERT_EQ(again.others().size(), user.others().size()) << text;
    for (size_t i = 0; i < user.others().size(); ++i) {
      ASSERT_EQ(again.others()[i].allowed(), user.others()[i].allowed()) << text;
    }
  });
}

// Redis' documentation, naively: a set of names, and for each the arguments that may follow.
struct Model {
  std::set<std::string> allowed;
  std::map<std::string, std::set<std::string>> arguments;

  static std::vector<const command::CommandSpec*> rows() {
    std::vector<const command::CommandSpec*> all;
    for (const command::CommandSpec* spec : command::all_commands()) {
      all.push_back(spec);
      for (const command::CommandSpec& sub : spec->subcommands) all.push_back(&sub);
    }
    return all;
  }
  void set(const std::string& name, bool on) {
    for (const command::CommandSpec* row : rows()) {
      const std::string of(row->name);
      if (of != name && !of.starts_with(name + "|")) continue;
      if (on) {
        allowed.insert(of);
      } else {
        allowed.erase(of);
      }
      arguments.erase(of);
    }
  }
  void apply(const std::string& rule) {
    const bool on = rule[0] == '+';
    if (rule == "allcommands" || rule == "nocommands" || rule.ends_with("@all")) {
      const bool all = on || rule == "allcommands";
      allowed.clear();
      arguments.clear();
      for (const command::CommandSpec* row : rows()) {
        if (all) allowed.insert(std::string(row->name));
      }
    } else if (rule == "reset") {
      allowed.clear();
      arguments.clear();
    } else if (rule.starts_with("+@") || rule.starts_with("-@")) {
      for (const command::CommandSpec* row : rows()) {
        for (const std::string& category : command::category_names(*row)) {
          if (category == rule.substr(1)) set(std::string(row->name), on);
        }
      }
    } else if (rule == "+select|0" || rule == "+select|1" || rule == "+get|x") {
      arguments[rule.substr(1, rule.find('|') - 1)].insert(rule.substr(rule.find('|') + 1));
    } else if (on || rule[0] == '-') {
      set(rule.substr(1), on);
    }
  }
  bool may(const std::string& name, const std::string& argument) const {
    if (allowed.contains(name)) return true;
    const auto found = arguments.find(name);
    return found != arguments.end() && found->second.contains(argument);
  }
};

// Aim: the bits are what the rules say, one after the other. Here and not in the fixed points a
// rule that is dropped from the list although it still mattered would go unnoticed.
TEST_F(Rules, RandomSequencesLeaveWhatTheModelHas) {
  tests::for_seeds(1500, [](uint64_t, tests::Random& random) {
    User user("alice", ChannelDefault::kNone);
    Model model;
    std::string done;
    for (const std::string& rule : random_rules(random, 1 + random.below(20))) {
      if (rule[0] == '(' || rule == "clearselectors") continue;
      user.apply(rule, ChannelDefault::kNone);
      model.apply(rule);
      done += rule + " ";
    }
    User reread("alice", ChannelDefault::kNone);
    for (const std::string& rule : split(user.describe())) {
      reread.apply(rule, ChannelDefault::kNone);
    }
    for (const User* judged : {&user, &reread}) {
      for (const command::CommandSpec* row : Model::rows()) {
        for (const char* argument : {"0", "1", "x"}) {
          const std::string name(row->name);
          const std::vector<std::string_view> args = {name, argument, "x", "x"};
          const Verdict verdict = judged->check(catalog().id_of(*row), *row, args);
          const bool command_ok = verdict.reason != Reason::kCommand;
          const bool expected = model.may(name, argument) || (row->flags & command::kNoAuth) != 0;
          ASSERT_EQ(command_ok, expected) << name << " " << argument << " after " << done;
        }
      }
    }
  });
}

}  // namespace
}  // namespace atl::acl
