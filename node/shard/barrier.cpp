#include "node/shard/barrier.h"

#include <algorithm>
#include <cassert>

namespace atl::shard {

Barrier::Barrier(std::vector<ShardIndex> shards, ShardIndex leader, std::function<void()> run)
    : shards_(std::move(shards)), leader_(leader), run_(std::move(run)) {
  assert(std::binary_search(shards_.begin(), shards_.end(), leader_));
}

void Barrier::tell_slow() {
  {
    const std::lock_guard lock(mutex_);
    slow_ = true;
  }
  changed_.notify_all();
}

void Barrier::arrive(ShardIndex shard, const std::function<void()>& serve) {
  {
    const std::lock_guard lock(mutex_);
    ++arrived_;
  }
  changed_.notify_all();
  const bool leads = shard == leader_;
  const auto ready = [&] { return leads ? arrived_ == shards_.size() : done_.load(); };
  for (int i = 0; i < kSpins && !ready(); ++i) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ready() || (!leads && slow_); });
  }
  while (!leads && !done_) serve();
  if (!leads) return;
  run_();
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  changed_.notify_all();
}

void BarrierQueue::submit(std::shared_ptr<Barrier> barrier) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(barrier);
    if (waiting_.size() > 1) return;
  }
  for (const ShardIndex shard : barrier->shards()) post_(shard, barrier);
}

void BarrierQueue::tell_slow() {
  std::shared_ptr<Barrier> running;
  {
    const std::lock_guard lock(mutex_);
    assert(!waiting_.empty());
    running = waiting_.front();
  }
  running->tell_slow();
}

void BarrierQueue::finished() {
  std::shared_ptr<Barrier> next;
  {
    const std::lock_guard lock(mutex_);
    assert(!waiting_.empty());
    waiting_.pop_front();
    if (waiting_.empty()) return;
    next = waiting_.front();
  }
  for (const ShardIndex shard : next->shards()) post_(shard, next);
}

bool BarrierQueue::slow() const {
  const std::lock_guard lock(mutex_);
  return !waiting_.empty() && waiting_.front()->slow();
}

size_t BarrierQueue::waiting() const {
  const std::lock_guard lock(mutex_);
  return waiting_.size();
}

}  // namespace atl::shard
