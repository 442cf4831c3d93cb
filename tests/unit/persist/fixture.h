#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "persist/disk_faults.h"
#include "persist/storage.h"

namespace atl::persist {

using namespace std::chrono_literals;

inline constexpr auto kLong = 20s;

inline Record make_record(Stamp from, Stamp to, std::string bytes, ShardId shard = 0,
                          std::uint16_t shard_count = 1) {
  return {{from, to, shard, shard_count}, std::move(bytes)};
}

/// A disk that fails while it is told to, and counts what it refused.
class SwitchableDisk : public DiskFaults {
 public:
  DiskVerdict decide(DiskOperation operation, std::string_view /*path*/) override {
    const DiskVerdict verdict =
        operation == DiskOperation::kSync ? sync_verdict.load() : write_verdict.load();
    if (verdict != DiskVerdict::kProceed) ++refused;
    return verdict;
  }
  std::atomic<DiskVerdict> write_verdict{DiskVerdict::kProceed};
  std::atomic<DiskVerdict> sync_verdict{DiskVerdict::kProceed};
  std::atomic<int> refused{0};
};

class StorageTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "atoll-persist-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    options_.dir = dir_;
    options_.fsync = Fsync::kAlways;
    options_.retry_interval = 20ms;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::string data_dir() const { return dir_ + "/atoll-data"; }

  std::unique_ptr<Storage> open() {
    OpenResult result = Storage::open(options_);
    EXPECT_EQ(result.error, "");
    return std::move(result.storage);
  }

  /// Own records first..last of one shard, each spanning one stamp.
  static Ticket append_run(Storage& storage, Stamp first, Stamp last, ShardId shard = 0) {
    Ticket ticket = 0;
    for (Stamp to = first; to <= last; ++to) {
      ticket = storage.append_own(make_record(to - 1, to, "delta " + std::to_string(to), shard));
    }
    return ticket;
  }

  static std::vector<Stamp> own_stamps(const Storage& storage) {
    std::vector<Stamp> stamps;
    const Outcome outcome = storage.for_each_record([&](const RecordView& view) {
      if (view.producer) return;
      EXPECT_EQ(view.bytes, "delta " + std::to_string(view.span.to));
      stamps.push_back(view.span.to);
    });
    EXPECT_EQ(outcome.error, "");
    return stamps;
  }

  static std::vector<Stamp> up_to(Stamp last, Stamp first = 1) {
    std::vector<Stamp> stamps;
    for (Stamp stamp = first; stamp <= last; ++stamp) stamps.push_back(stamp);
    return stamps;
  }

  static LogPage read(Storage& storage, const LogRead& request) {
    std::promise<LogPage> promise;
    EXPECT_TRUE(
        storage.read_own(request, [&](LogPage&& page) { promise.set_value(std::move(page)); }));
    return promise.get_future().get();
  }

  std::string dir_;
  Options options_;
};

}  // namespace atl::persist
