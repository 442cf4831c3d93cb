#include "node/shard/barrier.h"

#include <algorithm>
#include <cassert>

namespace atl::shard {

Barrier::Barrier(std::vector<ShardIndex> shards, ShardIndex leader, std::function<void()> run,
                 std::function<void()> on_refused)
    : shards_(std::move(shards)),
      leader_(leader),
      run_(std::move(run)),
      on_refused_(std::move(on_refused)) {
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
  const auto ready = [&] {
    return refused_.load() || (leads ? arrived_ == shards_.size() : done_.load());
  };
  for (int i = 0; i < kSpins && !ready(); ++i) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ready() || (!leads && slow_); });
  }
  while (!leads && !done_ && !refused_) serve();
  if (!leads) return;
  if (refused_) return on_refused_();
  run_();
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  changed_.notify_all();
}

void Barrier::refuse() {
  {
    const std::lock_guard lock(mutex_);
    refused_ = true;
  }
  changed_.notify_all();
}

bool BarrierQueue::submit(std::shared_ptr<Barrier> barrier) {
  {
    const std::lock_guard lock(mutex_);
    if (!waiting_.empty() && waiting_.front()->slow()) return false;
    waiting_.push_back(barrier);
    if (waiting_.size() > 1) return true;
  }
  for (const ShardIndex shard : barrier->shards()) post_(shard, barrier);
  return true;
}

// Of those behind it the leaders alone hear.
void BarrierQueue::tell_slow() {
  std::vector<std::shared_ptr<Barrier>> behind;
  {
    const std::lock_guard lock(mutex_);
    assert(!waiting_.empty());
    waiting_.front()->tell_slow();
    behind.assign(waiting_.begin() + 1, waiting_.end());
    waiting_.resize(1);
  }
  for (const auto& barrier : behind) {
    barrier->refuse();
    post_(barrier->leader(), barrier);
  }
}

void BarrierQueue::finished(const Barrier& barrier) {
  std::shared_ptr<Barrier> next;
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.empty() || waiting_.front().get() != &barrier) return;  // it was never its turn
    waiting_.pop_front();
    if (waiting_.empty()) return;
    next = waiting_.front();
  }
  for (const ShardIndex shard : next->shards()) post_(shard, next);
}

size_t BarrierQueue::waiting() const {
  const std::lock_guard lock(mutex_);
  return waiting_.size();
}

}  // namespace atl::shard
