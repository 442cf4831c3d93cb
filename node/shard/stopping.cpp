// How a node stops, in order, or goes on after all.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>
#include <latch>
#include <set>
#include <thread>

#include "node/shard/node.h"
#include "node/shard/scripting.h"

namespace atl::shard {

namespace {

constexpr auto kQuietLimit = std::chrono::seconds(5);
constexpr auto kCloseLimit = std::chrono::seconds(10);
constexpr auto kRegionsPollInterval = std::chrono::milliseconds(5);

}  // namespace

void Node::run_on_all_and_wait(const std::function<void(Shard&)>& task) {
  std::latch done(static_cast<std::ptrdiff_t>(shards_.size()));
  for (auto& shard : shards_) {
    shard->post([&, s = shard.get()] {
      task(*s);
      done.count_down();
    });
  }
  done.wait();
}

bool Node::wait_until_quiet(std::chrono::milliseconds limit) {
  const auto until = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < until) {
    std::atomic<bool> quiet{barriers_->waiting() == 0};
    run_on_all_and_wait([&](Shard& shard) {
      if (!shard.quiet()) quiet = false;
    });
    if (quiet) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

// A script that has written cannot be broken off: half of it would be seen. Nothing of it is sealed
// yet, so what ends here is as if the power had failed before it began.
void Node::end_scripts() {
  const bool written = std::any_of(shards_.begin(), shards_.end(), [](const auto& shard) {
    return shard->scripting().running().try_kill() == RunningScript::Kill::kHasWritten;
  });
  if (!written) return;
  spdlog::warn("A script that has written runs without end: SHUTDOWN NOSAVE ends the process");
  if (storage() != nullptr) storage()->wait_durable(storage()->flush_now(), kCloseLimit);
  std::_Exit(0);
}

// Regions that are away are not waited for, nor those that an operator has cut off.
void Node::wait_for_regions() {
  const auto until = std::chrono::steady_clock::now() + config_.snapshot()->shutdown_timeout;
  std::vector<crdt::Stamp> sealed(shards_.size());
  run_on_all_and_wait([&](Shard& shard) { sealed[shard.index()] = shard.store().sealed_upto(); });
  for (;;) {
    std::vector<std::vector<crdt::RegionId>> lacking(shards_.size());
    run_on_all_and_wait([&](Shard& shard) {
      lacking[shard.index()] = shard.link()->regions_without(sealed[shard.index()]);
    });
    std::set<crdt::RegionId> regions;
    for (const auto& each : lacking) regions.insert(each.begin(), each.end());
    if (regions.empty()) return;
    if (std::chrono::steady_clock::now() >= until) {
      spdlog::warn("{} region(s) have not confirmed all that was written here", regions.size());
      return;
    }
    main_io_.run_for(kRegionsPollInterval);  // a second signal ends the wait
  }
}

std::string Node::final_snapshot() {
  // What was written after a pass began may not be in it.
  while (snapshots_->running()) main_io_.run_one();
  std::optional<std::string> outcome;
  snapshots_->begin([&](std::string error) { outcome = std::move(error); });
  while (!outcome) main_io_.run_one();
  return *outcome;
}

void Node::go_on() {
  spdlog::error("The final snapshot failed, can't exit. SHUTDOWN FORCE ends without it.");
  if (replication_) replication_->start();
  run_on_all_and_wait([](Shard& shard) { shard.read_again(); });
}

int Node::stop() {
  return shut_down({.force = true}).value_or(1);
}

std::optional<int> Node::shut_down(const ShutdownOptions how) {
  if (!running_) return 0;
  spdlog::warn("User requested shutdown...");
  if (how.no_save) end_scripts();
  run_on_all_and_wait([](Shard& shard) { shard.stop_reading(); });
  if (!wait_until_quiet(kQuietLimit)) spdlog::warn("Some commands were not finished in time");
  if (replication_) {
    run_on_all_and_wait([](Shard& shard) { shard.seal(); });
    run_on_all_and_wait([](Shard& shard) { shard.link()->drain(); });
    if (!how.now) wait_for_regions();
    replication_->stop();
  }
  int code = 0;
  const auto settings = config_.snapshot();
  bool stored = logging_;
  const bool save = !how.no_save && (how.save || (!settings->save.empty() && !logging_));
  if (save) {
    spdlog::info("Saving the final snapshot before exiting.");
    const std::string error = final_snapshot();
    stored = error.empty();
    if (!stored && !how.force) {
      go_on();
      return std::nullopt;
    }
    if (!stored) code = 1;
  }
  running_ = false;
  std::latch closed(1);
  shards_[0]->post([&] {
    listener_->close();
    closed.count_down();
  });
  closed.wait();
  std::atomic<bool> whole{true};
  run_on_all_and_wait([&](Shard& shard) {
    shard.seal();
    if (shard.link() != nullptr && shard.link()->holds_unstored()) whole = false;
  });
  stored &= whole;
  if (storage() != nullptr) {
    // The log says what was applied, not from where on: with this the next run asks for nothing
    // twice.
    if (logging_ && whole) {
      run_on_all_and_wait([](Shard& shard) { shard.store_positions(shard.store().positions()); });
    }
    if (stored && !loading()) storage()->put_meta(kIncarnationMeta, encode_stamp(incarnation()));
    const persist::Ticket last = storage()->flush_now();
    storage()->wait_durable(last, kCloseLimit);
    // Replies that were held leave now; a turn more flushes them.
    run_on_all_and_wait([&](Shard& shard) { shard.on_log_progress(storage()->durable_ticket()); });
    run_on_all_and_wait([](Shard&) {});
  }
  for (auto& shard : shards_) shard->stop_loop();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  if (storage() != nullptr) {
    if (continuity_) {
      crdt::Stamp latest;
      for (auto& shard : shards_) latest = std::max(latest, shard->store().clock().last());
      continuity_->end(*storage(), latest, stored);
    }
    const persist::Outcome outcome = owned_storage_->close(kCloseLimit);
    if (!outcome.ok()) {
      spdlog::error("{}", outcome.error);
      code = 1;
    }
  }
  spdlog::warn("Atoll is now ready to exit, bye bye...");
  return code;
}

}  // namespace atl::shard
