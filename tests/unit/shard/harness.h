// A whole node in the test's process, and clients that talk to it over real sockets.
#pragma once

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "node/config/config.h"
#include "node/shard/node.h"
#include "persist/disk_faults.h"

namespace atl::shard {

using Words = std::vector<std::string>;

// A directory that goes away with the test.
class TempDir {
 public:
  TempDir();
  ~TempDir() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A disk that can be made full, or made to hang when it is to sync.
class SwitchedDisk final : public persist::DiskFaults {
 public:
  persist::DiskVerdict decide(persist::DiskOperation operation, std::string_view) override {
    while (slow && operation == persist::DiskOperation::kSync) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return full ? persist::DiskVerdict::kNoSpace : persist::DiskVerdict::kProceed;
  }
  std::atomic<bool> full{false};
  std::atomic<bool> slow{false};
};

class TestNode {
 public:
  using Options = std::vector<std::pair<std::string, std::string>>;

  enum class Until { kReady, kStarted };  // whether the constructor waits out LOADING

  // Serves on a free port of 127.0.0.1. `options` are settings by name.
  explicit TestNode(const std::string& dir, const Options& options = {},
                    persist::DiskFaults* faults = nullptr,
                    ReplicationFactory replication = nullptr);
  TestNode(const std::string& dir, const Options& options, NodeOptions node_options, Until until);
  ~TestNode() { stop({.now = true, .force = true}); }

  int port() const { return node_->port(); }
  Node& node() { return *node_; }
  // As SIGTERM would, unless it is refused. Returns the exit code.
  int stop(const Node::ShutdownOptions& how = {});

 private:
  config::Config config_;
  std::unique_ptr<Node> node_;
  std::thread main_;
  int code_ = 0;
};

// A blocking client. Replies are printed: "OK", "(nil)", ":3", "-ERR ...", "[a, b]".
class TestClient {
 public:
  explicit TestClient(int port);
  ~TestClient();
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  void send(const Words& command);
  void send_raw(std::string_view bytes);
  void half_close();   // sends no more, and reads on
  std::string read();  // "(closed)" at the end, "(timeout)" after `timeout_ms`
  std::string call(const Words& command) {
    send(command);
    return read();
  }
  std::vector<std::string> pipeline(const std::vector<Words>& commands);
  void set_timeout(int ms) { timeout_ms_ = ms; }

 private:
  bool fill();
  bool line(std::string& out);
  std::string value();

  int fd_ = -1;
  int timeout_ms_ = 10000;
  bool closed_ = false;
  std::string in_;
  size_t at_ = 0;
};

std::string info_field(TestClient& client, const std::string& section, const std::string& name);
// Polls until `done` is true; false after `seconds`.
bool eventually(const std::function<bool()>& done, double seconds = 10);

}  // namespace atl::shard
