#include "node/script/script_cache.h"

#include <utility>

namespace atl::script {

namespace {

size_t bytes_of(const Script& script) {
  return sizeof(Script) + script.text.size() + script.sha.size();
}

}  // namespace

std::shared_ptr<Script> ScriptCache::find(const Digest& digest) const {
  const std::lock_guard lock(mutex_);
  const auto it = scripts_.find(digest);
  return it == scripts_.end() ? nullptr : it->second;
}

std::shared_ptr<Script> ScriptCache::add(std::shared_ptr<Script> script, Origin origin) {
  const std::lock_guard lock(mutex_);
  const auto [it, added] = scripts_.emplace(script->digest, script);
  Script& kept = *it->second;
  if (added) {
    kept.origin = origin;
    bytes_ += bytes_of(kept);
    kept.gone = false;  // a thread may bring back what was evicted since it looked
    if (origin == Origin::kEval && ++by_eval_ > kEvalScriptsMax) evict_one();
  } else if (origin == Origin::kLoad && kept.origin == Origin::kEval) {
    kept.origin = Origin::kLoad;
    --by_eval_;
  }
  return added ? std::move(script) : it->second;
}

// Looking at all of them is dearer than a list in order of use, and there once a new script.
void ScriptCache::evict_one() {
  auto oldest = scripts_.end();
  for (auto it = scripts_.begin(); it != scripts_.end(); ++it) {
    if (it->second->origin != Origin::kEval) continue;
    if (oldest == scripts_.end() || it->second->used_ms < oldest->second->used_ms) oldest = it;
  }
  oldest->second->gone = true;
  bytes_ -= bytes_of(*oldest->second);
  scripts_.erase(oldest);
  --by_eval_;
  ++evicted_;
}

void ScriptCache::flush() {
  decltype(scripts_) old;
  const std::lock_guard lock(mutex_);
  scripts_.swap(old);
  by_eval_ = 0;
  bytes_ = 0;
  generation_.fetch_add(1, std::memory_order_release);
}

size_t ScriptCache::size() const {
  const std::lock_guard lock(mutex_);
  return scripts_.size();
}

size_t ScriptCache::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace atl::script
