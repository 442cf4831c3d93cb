#include <sys/mount.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "tests/unit/persist/fixture.h"

namespace atl::persist {
namespace {

class FailureTest : public StorageTest {
 protected:
  void SetUp() override {
    StorageTest::SetUp();
    options_.faults = &disk_;
  }

  static bool becomes(const Storage& storage, bool healthy, std::chrono::seconds limit = kLong) {
    const auto until = std::chrono::steady_clock::now() + limit;
    while (storage.healthy() != healthy && std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(2ms);
    }
    return storage.healthy() == healthy;
  }

  SwitchableDisk disk_;
};

struct Failure {
  const char* name;
  bool on_sync;
  DiskVerdict verdict;
  const char* words;
};

class EveryFailure : public FailureTest, public testing::WithParamInterface<Failure> {};

// Whatever fails, under whatever policy: unhealthy while it lasts, healthy by itself afterwards,
// and everything that was queued before, during and after is there, in order.
TEST_P(EveryFailure, passes_and_nothing_is_lost) {
  for (const Fsync policy : {Fsync::kAlways, Fsync::kEverySecond, Fsync::kNo}) {
    options_.dir = dir_ + "/" + std::to_string(static_cast<int>(policy));
    options_.fsync = policy;
    {
      auto storage = open();
      ASSERT_TRUE(storage->wait_written(append_run(*storage, 1, 50), kLong));
      (GetParam().on_sync ? disk_.sync_verdict : disk_.write_verdict) = GetParam().verdict;
      append_run(*storage, 51, 100);
      storage->flush_now();
      ASSERT_TRUE(becomes(*storage, false));
      EXPECT_EQ(storage->state(), State::kFailing);
      EXPECT_NE(storage->last_error().find(GetParam().words), std::string::npos)
          << storage->last_error();
      const Ticket during = append_run(*storage, 101, 150);
      EXPECT_FALSE(storage->wait_durable(during, 150ms));
      EXPECT_GT(storage->queued_bytes(), 0U);
      EXPECT_GE(storage->failures(), 2U);
      (GetParam().on_sync ? disk_.sync_verdict : disk_.write_verdict) = DiskVerdict::kProceed;
      ASSERT_TRUE(becomes(*storage, true)) << storage->last_error();
      append_run(*storage, 151, 200);
      EXPECT_TRUE(storage->wait_durable(storage->flush_now(), kLong));
      EXPECT_EQ(own_stamps(*storage), up_to(200));
      EXPECT_TRUE(storage->close().ok());
    }
    auto storage = open();
    EXPECT_FALSE(storage->report().tail_was_cut) << storage->report().tail_detail;
    EXPECT_TRUE(storage->report().clean_shutdown);
    EXPECT_EQ(own_stamps(*storage), up_to(200));
  }
}

INSTANTIATE_TEST_SUITE_P(
    , EveryFailure,
    testing::Values(Failure{"write_no_space", false, DiskVerdict::kNoSpace, "No space left"},
                    Failure{"write_io_error", false, DiskVerdict::kIoError, "Input/output error"},
                    Failure{"sync_no_space", true, DiskVerdict::kNoSpace, "No space left"},
                    Failure{"sync_io_error", true, DiskVerdict::kIoError, "Input/output error"}),
    [](const testing::TestParamInfo<Failure>& failure) { return failure.param.name; });

// A failure that outlasts many attempts makes the writer reopen RocksDB; what was written but
// never synced is there all the same.
TEST_F(FailureTest, long_failure_with_reopen) {
  options_.fsync = Fsync::kNo;
  options_.retry_interval = 5ms;
  {
    auto storage = open();
    ASSERT_TRUE(storage->wait_written(append_run(*storage, 1, 500), kLong));
    disk_.write_verdict = DiskVerdict::kIoError;
    append_run(*storage, 501, 600);
    ASSERT_TRUE(becomes(*storage, false));
    while (storage->failures() < 25) std::this_thread::sleep_for(5ms);
    disk_.write_verdict = DiskVerdict::kProceed;
    ASSERT_TRUE(becomes(*storage, true)) << storage->last_error();
    EXPECT_EQ(own_stamps(*storage), up_to(600));
  }
  auto storage = open();
  EXPECT_FALSE(storage->report().tail_was_cut) << storage->report().tail_detail;
  EXPECT_EQ(own_stamps(*storage), up_to(600));
}

// After a failed sync the kernel may drop pages that it had accepted, and report that only once.
// What was written since the last good sync is then written again.
TEST_F(FailureTest, pages_dropped_after_failed_sync_are_rewritten) {
  options_.fsync = Fsync::kNo;
  {
    auto storage = open();
    ASSERT_TRUE(storage->wait_durable(append_run(*storage, 1, 100), 1ms) ||
                storage->wait_durable(storage->flush_now(), kLong));
    ASSERT_TRUE(storage->wait_written(append_run(*storage, 101, 500), kLong));
    disk_.sync_verdict = DiskVerdict::kIoError;
    storage->flush_now();
    ASSERT_TRUE(becomes(*storage, false));
    for (const auto& entry : std::filesystem::directory_iterator(data_dir())) {
      if (entry.path().extension() == ".log" && entry.file_size() > 0) {
        std::filesystem::resize_file(entry.path(), entry.file_size() / 2);
      }
    }
    disk_.sync_verdict = DiskVerdict::kProceed;
    ASSERT_TRUE(becomes(*storage, true)) << storage->last_error();
    EXPECT_EQ(own_stamps(*storage), up_to(500));
    EXPECT_EQ(storage->durable_ticket(), storage->written_ticket());
  }
  auto storage = open();
  EXPECT_FALSE(storage->report().tail_was_cut) << storage->report().tail_detail;
  EXPECT_EQ(own_stamps(*storage), up_to(500));
}

// Order holds over a failure for values that replace each other, too.
TEST_F(FailureTest, last_value_wins_after_failure) {
  auto storage = open();
  storage->put_meta("m", "1");
  ASSERT_TRUE(storage->wait_durable(storage->put_slot(1, "1"), kLong));
  disk_.write_verdict = DiskVerdict::kNoSpace;
  storage->put_meta("m", "2");
  ASSERT_TRUE(becomes(*storage, false));
  storage->put_meta("m", "3");
  const Ticket last = storage->erase_slot(1);
  disk_.write_verdict = DiskVerdict::kProceed;
  ASSERT_TRUE(storage->wait_durable(last, kLong));
  EXPECT_EQ(storage->get_meta("m"), "3");
  std::vector<SlotId> damaged;
  int slots = 0;
  EXPECT_TRUE(storage
                  ->for_each_slot(
                      0, 9, [&](SlotId, std::string_view) { ++slots; }, &damaged)
                  .ok());
  EXPECT_EQ(slots, 0);
}

// The queue's bound shows while the disk is away, and nothing is refused or lost meanwhile.
TEST_F(FailureTest, congestion_shows_and_passes) {
  options_.queue_bytes_max = 64 * 1024;
  auto storage = open();
  EXPECT_FALSE(storage->congested());
  disk_.write_verdict = DiskVerdict::kNoSpace;
  const Ticket last = append_run(*storage, 1, 1000);
  EXPECT_TRUE(storage->congested());
  disk_.write_verdict = DiskVerdict::kProceed;
  ASSERT_TRUE(storage->wait_durable(last, kLong));
  EXPECT_FALSE(storage->congested());
  EXPECT_EQ(own_stamps(*storage), up_to(1000));
}

// Closing on a dead disk ends in time, says what was lost, and leaves no mark of a clean shutdown.
TEST_F(FailureTest, close_gives_up_in_time) {
  {
    auto storage = open();
    ASSERT_TRUE(storage->wait_durable(append_run(*storage, 1, 10), kLong));
    disk_.write_verdict = DiskVerdict::kIoError;
    append_run(*storage, 11, 20);
    ASSERT_TRUE(becomes(*storage, false));
    const auto began = std::chrono::steady_clock::now();
    const Outcome closed = storage->close(300ms);
    EXPECT_NE(closed.error.find("Input/output error"), std::string::npos) << closed.error;
    EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
  }
  disk_.write_verdict = DiskVerdict::kProceed;
  auto storage = open();
  EXPECT_FALSE(storage->report().clean_shutdown);
  const std::vector<Stamp> stamps = own_stamps(*storage);
  EXPECT_GE(stamps.size(), 10U);
  EXPECT_EQ(stamps, up_to(stamps.size()));
}

// What RocksDB refuses is never taken for written: what came before is, nothing behind it, and the
// storage says why.
TEST_F(FailureTest, a_record_that_is_too_large_is_not_passed_over) {
  options_.record_bytes_max = 1000;
  for (const Fsync policy : {Fsync::kAlways, Fsync::kEverySecond}) {
    options_.fsync = policy;
    options_.dir = dir_ + "/" + std::to_string(static_cast<int>(policy));
    {
      auto storage = open();
      const Ticket before = append_run(*storage, 1, 10);
      const Ticket large = storage->append_own(make_record(10, 11, std::string(1001, 'x')));
      append_run(*storage, 12, 20);
      const Ticket last = storage->flush_now();
      ASSERT_TRUE(becomes(*storage, false));
      EXPECT_NE(storage->last_error().find("larger than the log takes"), std::string::npos)
          << storage->last_error();
      EXPECT_TRUE(storage->wait_written(before, kLong));
      EXPECT_FALSE(storage->wait_durable(last, 100ms));
      EXPECT_LT(storage->written_ticket(), large);
      EXPECT_FALSE(storage->healthy());
      EXPECT_FALSE(storage->close(100ms).ok());
    }
    auto storage = open();
    EXPECT_FALSE(storage->report().clean_shutdown);
    EXPECT_EQ(own_stamps(*storage), up_to(10));
  }
}

// A disk on which tables cannot be written, while the write-ahead log can.
class NoTables : public DiskFaults {
 public:
  DiskVerdict decide(DiskOperation operation, std::string_view path) override {
    if (!failing || operation != DiskOperation::kAppend || !path.ends_with(".sst")) {
      return DiskVerdict::kProceed;
    }
    ++refused;
    return DiskVerdict::kNoSpace;
  }
  std::atomic<bool> failing{false};
  std::atomic<int> refused{0};
};

// Tables are written past the page cache where the file system can, by other calls than the log.
TEST_F(FailureTest, tables_that_cannot_be_written_are_written_later) {
  NoTables disk;
  options_.faults = &disk;
  options_.fsync = Fsync::kEverySecond;
  options_.log_memtable_bytes = 64 * 1024;
  Stamp last = 0;
  Ticket ticket = 0;
  {
    auto storage = open();
    disk.failing = true;
    const auto until = std::chrono::steady_clock::now() + kLong;
    while (storage->healthy() && std::chrono::steady_clock::now() < until) {
      ticket = append_run(*storage, last + 1, last + 100);
      last += 100;
      std::this_thread::sleep_for(2ms);
    }
    ASSERT_FALSE(storage->healthy());
    EXPECT_GT(disk.refused, 0);
    disk.failing = false;
    ASSERT_TRUE(becomes(*storage, true)) << storage->last_error();
    ASSERT_TRUE(storage->wait_durable(ticket, kLong));  // what was queued since is written later
    EXPECT_EQ(own_stamps(*storage), up_to(last));
  }
  auto storage = open();
  EXPECT_EQ(own_stamps(*storage), up_to(last));
}

// The listener hears of the failure and of its end, so that shards need not poll.
TEST_F(FailureTest, listener_hears_of_health) {
  auto storage = open();
  std::atomic<int> bad{0};
  std::atomic<bool> last{true};
  storage->set_listener([&](const Progress& progress) {
    last = progress.healthy;
    if (!progress.healthy) ++bad;
  });
  disk_.write_verdict = DiskVerdict::kNoSpace;
  const Ticket ticket = append_run(*storage, 1, 5);
  ASSERT_TRUE(becomes(*storage, false));
  disk_.write_verdict = DiskVerdict::kProceed;
  ASSERT_TRUE(storage->wait_durable(ticket, kLong));
  EXPECT_TRUE(storage->close().ok());
  EXPECT_GE(bad, 1);
  EXPECT_TRUE(last);
}

// A disk that is really full, where this user may mount one; elsewhere the refusing disk above
// stands for it and is used here once more, in the middle of large slots.
TEST_F(FailureTest, full_disk) {
  options_.dir = dir_ + "/small";
  std::filesystem::create_directory(options_.dir);
  const bool mounted = ::mount("tmpfs", options_.dir.c_str(), "tmpfs", 0, "size=48m") == 0;
  const std::string ballast = options_.dir + "/ballast";
  {
    auto storage = open();
    ASSERT_TRUE(storage->wait_durable(append_run(*storage, 1, 10), kLong));
    if (mounted) {
      std::ofstream(ballast, std::ios::binary) << std::string(std::size_t{36} << 20, 'b');
    } else {
      disk_.write_verdict = DiskVerdict::kNoSpace;
    }
    Stamp stamp = 10;
    for (; stamp < 40; ++stamp) {
      storage->append_own(make_record(stamp, stamp + 1, "delta " + std::to_string(stamp + 1)));
      storage->put_slot(static_cast<SlotId>(stamp % 3), std::string(std::size_t{1} << 20, 's'));
    }
    ASSERT_TRUE(becomes(*storage, false));
    EXPECT_NE(storage->last_error().find("No space left"), std::string::npos)
        << storage->last_error();
    if (mounted) {
      // Still full after several attempts: it stays unhealthy, and alive.
      std::this_thread::sleep_for(300ms);
      EXPECT_FALSE(storage->healthy());
      std::filesystem::remove(ballast);
      ASSERT_EQ(::mount("tmpfs", options_.dir.c_str(), "tmpfs", MS_REMOUNT, "size=400m"), 0);
    } else {
      disk_.write_verdict = DiskVerdict::kProceed;
    }
    ASSERT_TRUE(becomes(*storage, true)) << storage->last_error();
    EXPECT_TRUE(storage->wait_durable(storage->flush_now(), kLong));
    EXPECT_EQ(own_stamps(*storage), up_to(40));
  }
  {
    auto storage = open();
    EXPECT_FALSE(storage->report().tail_was_cut) << storage->report().tail_detail;
    EXPECT_EQ(own_stamps(*storage), up_to(40));
  }
  if (mounted) {
    EXPECT_EQ(::umount(options_.dir.c_str()), 0);
  }
}

}  // namespace
}  // namespace atl::persist
