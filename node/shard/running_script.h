// What one thread's script is about, for the threads that may want to end it.
//
//     idle ──begin──► running ──tell_slow──► slow ──try_kill──► killed
//                        └─────mark_write──► written: nobody may end it any more
//
// A script that has written is never broken off, for half of a command must not be seen. So its
// first write and SCRIPT KILL race for one word: whoever comes first wins, and the other hears it.
//
// *Threads*: try_kill() any; the rest that of the script.
#pragma once

#include <atomic>
#include <cstdint>

namespace atl::shard {

class RunningScript {
 public:
  enum class Kill : uint8_t { kNoneIsSlow, kHasWritten, kKilled };

  void begin() { state_.store(kRunning, std::memory_order_relaxed); }
  void end() { state_.store(0, std::memory_order_relaxed); }
  void tell_slow() { state_.fetch_or(kSlow); }
  bool slow() const { return (state_.load(std::memory_order_relaxed) & kSlow) != 0; }
  bool killed() const { return (state_.load(std::memory_order_relaxed) & kKilled) != 0; }

  // Before a write. False: the script has been killed, and must not write.
  bool mark_write() {
    uint32_t state = state_.load(std::memory_order_relaxed);
    while ((state & kWritten) == 0) {
      if ((state & kKilled) != 0) return false;
      if (state_.compare_exchange_weak(state, state | kWritten)) return true;
    }
    return true;
  }
  bool written() const { return (state_.load(std::memory_order_relaxed) & kWritten) != 0; }

  Kill try_kill() {
    uint32_t state = state_.load();
    for (;;) {
      if ((state & kSlow) == 0) return Kill::kNoneIsSlow;
      if ((state & kWritten) != 0) return Kill::kHasWritten;
      if (state_.compare_exchange_weak(state, state | kKilled)) return Kill::kKilled;
    }
  }

 private:
  static constexpr uint32_t kRunning = 1, kSlow = 2, kWritten = 4, kKilled = 8;

  std::atomic<uint32_t> state_{0};
};

}  // namespace atl::shard
