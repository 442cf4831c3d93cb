// Aim: every reply and error is worded as Redis words it. replies.txt holds commands and what
// redis-server 7.0 answered (record_replies.py writes it); each must come out the same here, on
// one store and on three.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/unit/command/harness.h"

namespace atl::command::testing {
namespace {

class Transcript {
 public:
  explicit Transcript(size_t stores) : stores_(stores) {}

  void replay() {
    std::ifstream file(std::filesystem::path(__FILE__).parent_path() / "replies.txt");
    ASSERT_TRUE(file.is_open());
    std::string line, command;
    while (std::getline(file, line)) {
      if (line.starts_with("# ")) {
        client_ = std::make_unique<Client>(stores_);
        group_ = line.substr(2);
      } else if (line == "@resp3") {
        client_->use_resp3();
      } else if (line.starts_with("  ")) {
        check(command, line.substr(2));
      } else if (!line.empty()) {
        command = line;
      }
    }
    EXPECT_GT(compared_, 500u);
  }

 private:
  void check(const std::string& command, const std::string& expected) {
    ++compared_;
    if (command.starts_with("SELECT ")) {  // of another folder; only what it does is wanted here
      client_->session().db = static_cast<crdt::DbId>(std::stoi(command.substr(7)));
      return;
    }
    const std::string reply = client_->run(command);
    // Over several stores a walk takes several calls: scan_test.cpp has those.
    if (stores_ > 1 && command.starts_with("SCAN") && expected.starts_with("[")) return;
    EXPECT_EQ(reply, expected) << group_ << ": " << command;
  }

  size_t stores_;
  std::unique_ptr<Client> client_;
  std::string group_;
  size_t compared_ = 0;
};

TEST(Replies, AreThoseOfRedisOnOneStore) {
  Transcript(1).replay();
}
TEST(Replies, AreThoseOfRedisOnThreeStores) {
  Transcript(3).replay();
}

}  // namespace
}  // namespace atl::command::testing
