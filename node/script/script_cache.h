// The node's scripts by their digests, for all its threads.
//
// A thread compiles a script once and then runs it without asking here: it looks at generation()
// and Script::gone, two loads, and notes the use in Script::used_ms. Only a script that is new to
// the thread comes through the lock. The alternative, a copy of the cache per thread kept alike by
// messages, would answer EVALSHA with NOSCRIPT on one connection after EVAL on another.
//
// *Threads*: any. *Owns*: the scripts' text. *Bounds*: kEvalScriptsMax scripts that came by EVAL,
// the least recently used goes first (as Redis 7.4); what SCRIPT LOAD brought is kept, as a client
// relies on it.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "node/script/script.h"

namespace atl::script {

class ScriptCache {
 public:
  static constexpr size_t kEvalScriptsMax = 500;

  // Null when there is none.
  std::shared_ptr<Script> find(const Digest& digest) const;
  // The one of that digest if there is one already. Requires: it compiles.
  std::shared_ptr<Script> add(std::shared_ptr<Script> script, Origin origin);
  void flush();

  // Changes with every flush.
  uint64_t generation() const { return generation_.load(std::memory_order_acquire); }
  size_t size() const;
  size_t bytes() const;  // of all texts, with what each takes besides
  uint64_t evicted() const { return evicted_.load(std::memory_order_relaxed); }

 private:
  void evict_one();

  mutable std::mutex mutex_;
  std::unordered_map<Digest, std::shared_ptr<Script>, DigestHash> scripts_;
  size_t by_eval_ = 0;
  size_t bytes_ = 0;
  std::atomic<uint64_t> generation_{1};
  std::atomic<uint64_t> evicted_{0};
};

}  // namespace atl::script
