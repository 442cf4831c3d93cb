#pragma once

/// The one thread that reads the log for peers that lack something, and that compacts what was
/// trimmed when nobody asks. Both may take long, neither may delay a commit or a shard.

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "persist/engine.h"
#include "persist/storage.h"

namespace atl::persist {

/// Threads: read(), compact() and stop() by every thread.
/// Bounds: kReadsMax waiting reads, kRangesMax waiting compactions (more are dropped: RocksDB
/// wins the space back later by itself).
class Reader {
 public:
  static constexpr std::size_t kReadsMax = 1024;
  static constexpr std::size_t kRangesMax = 64;

  Reader(Engine& engine, std::function<Stamp()> floor);
  ~Reader();

  void start();
  /// Reads that wait still are answered with an error.
  void stop();

  bool read(const LogRead& request, std::function<void(LogPage&&)> done);
  void compact(std::string begin, std::string end);

 private:
  struct Read {
    LogRead request;
    std::function<void(LogPage&&)> done;
  };
  struct Range {
    std::string begin;
    std::string end;
  };

  void run();
  LogPage page_for(const LogRead& request) const;
  void compact_now(const Range& range);

  Engine& engine_;
  const std::function<Stamp()> floor_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Read> reads_;
  std::deque<Range> ranges_;
  std::atomic<bool> stopping_ = false;  // written under mutex_
  std::thread thread_;
};

}  // namespace atl::persist
