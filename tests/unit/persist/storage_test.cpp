#include "persist/storage.h"

#include <thread>

#include "tests/unit/persist/fixture.h"

namespace atl::persist {
namespace {

// What was put comes back byte for byte after a reopen, in its order; an orderly close is known.
TEST_F(StorageTest, round_trip_through_reopen) {
  const std::string binary("\0\xff\r\n\0", 5);
  std::uint64_t node_id = 0;
  {
    auto storage = open();
    EXPECT_TRUE(storage->report().fresh);
    EXPECT_FALSE(storage->report().clean_shutdown);
    node_id = storage->report().node_id;
    EXPECT_NE(node_id, 0U);
    storage->append_own(make_record(0, 10, "a", 0, 2));
    storage->append_own(make_record(0, 5, "b", 1, 2));
    storage->append_own(make_record(10, 11, binary, 0, 2));
    storage->append_remote(7, make_record(0, 20, "r1"));
    storage->append_remote(7, make_record(0, 20, "r1 again"));
    storage->append_remote(3, make_record(0, 30, "r2"));
    storage->put_slot(16383, binary);
    storage->put_slot(1, "old");
    storage->put_slot(1, "new");
    storage->put_slot(2, "gone");
    storage->erase_slot(2);
    storage->put_slot(3, "");
    storage->put_meta("clock", binary);
    storage->put_meta("x", "y");
    const Ticket last = storage->erase_meta("x");
    ASSERT_TRUE(storage->wait_durable(last, kLong));
    EXPECT_TRUE(storage->close().ok());
    EXPECT_EQ(storage->state(), State::kClosed);
  }
  auto storage = open();
  const RecoveryReport& report = storage->report();
  EXPECT_FALSE(report.fresh);
  EXPECT_TRUE(report.clean_shutdown);
  EXPECT_FALSE(report.tail_was_cut) << report.tail_detail;
  EXPECT_EQ(report.node_id, node_id);
  EXPECT_EQ(report.own_records, 3U);
  EXPECT_EQ(report.remote_records, 3U);
  EXPECT_EQ(report.own_stamp_max, 11U);
  EXPECT_EQ(storage->get_meta("clock"), binary);
  EXPECT_EQ(storage->get_meta("x"), std::nullopt);

  std::vector<std::pair<SlotId, std::string>> slots;
  std::vector<SlotId> damaged;
  const auto keep = [&](SlotId slot, std::string_view bytes) { slots.emplace_back(slot, bytes); };
  EXPECT_TRUE(storage->for_each_slot(0, 16383, keep, &damaged).ok());
  const std::vector<std::pair<SlotId, std::string>> expected = {
      {1, "new"}, {3, ""}, {16383, binary}};
  EXPECT_EQ(slots, expected);
  EXPECT_TRUE(damaged.empty());
  slots.clear();
  EXPECT_TRUE(storage->for_each_slot(2, 100, keep, &damaged).ok());
  EXPECT_EQ(slots.size(), 1U);

  std::vector<std::string> seen;
  EXPECT_TRUE(storage
                  ->for_each_record([&](const RecordView& view) {
                    seen.push_back(std::to_string(view.producer.value_or(0)) + ":" +
                                   std::to_string(view.span.from) + "-" +
                                   std::to_string(view.span.to) + ":" +
                                   std::to_string(view.span.shard) + ":" + std::string(view.bytes));
                  })
                  .ok());
  const std::vector<std::string> order = {"0:0-5:1:b",   "0:0-10:0:a",        "0:10-11:0:" + binary,
                                          "7:0-20:0:r1", "7:0-20:0:r1 again", "3:0-30:0:r2"};
  EXPECT_EQ(seen, order);
}

// A slot above the limit is refused whole: what is stored of it stays, and nothing is queued.
TEST_F(StorageTest, a_slot_that_is_too_large_is_refused) {
  options_.slot_bytes_max = 10;
  auto storage = open();
  const Ticket before = storage->put_slot(1, std::string(10, 's'));
  EXPECT_NE(before, 0U);
  EXPECT_EQ(storage->put_slot(1, std::string(11, 'l')), 0U);
  EXPECT_EQ(storage->flush_now(), before);
  storage.reset();
  storage = open();
  std::vector<SlotId> damaged;
  std::string stored;
  EXPECT_TRUE(storage
                  ->for_each_slot(
                      0, 16383, [&](SlotId, std::string_view b) { stored = b; }, &damaged)
                  .ok());
  EXPECT_EQ(stored, std::string(10, 's'));
}

// A second run of a shard may begin anywhere; the log of both is whole.
TEST_F(StorageTest, each_process_begins_its_own_run) {
  append_run(*open(), 1, 3);
  append_run(*open(), 10, 12);
  auto storage = open();
  EXPECT_FALSE(storage->report().tail_was_cut) << storage->report().tail_detail;
  EXPECT_EQ(own_stamps(*storage), (std::vector<Stamp>{1, 2, 3, 10, 11, 12}));
}

// Tickets go on rising over a restart: remote records of two processes never share a key.
TEST_F(StorageTest, tickets_rise_across_restarts) {
  Ticket before = 0;
  {
    auto storage = open();
    for (int i = 0; i < 100; ++i) before = storage->append_remote(1, make_record(0, 9, "x"));
  }
  auto storage = open();
  EXPECT_GT(storage->append_remote(1, make_record(0, 9, "x")), before);
}

// A hole in a run would be cut away at the next start, so it is a bug that must not get that far.
#ifndef __SANITIZE_THREAD__  // it does not support threads after a fork
TEST_F(StorageTest, a_hole_in_the_chain_aborts) {
  EXPECT_DEATH(
      {
        auto storage = open();
        storage->append_own(make_record(0, 5, "a"));
        storage->append_own(make_record(6, 7, "b"));
      },
      "after stamp 5: this is a bug");
}
#endif

// Trimming removes what it says and no more, survives restarts, and the floor tells of it.
TEST_F(StorageTest, trim_and_floor) {
  {
    auto storage = open();
    append_run(*storage, 1, 10);
    storage->append_remote(4, make_record(0, 5, "r"));
    storage->append_remote(4, make_record(5, 6, "r"));
    storage->append_remote(5, make_record(0, 5, "r"));
    EXPECT_EQ(storage->own_floor(), 0U);
    storage->trim_own(6);
    storage->trim_own(2);  // Lower than what is gone already: changes nothing.
    ASSERT_TRUE(storage->wait_durable(storage->trim_remote(4, 5), kLong));
    EXPECT_EQ(storage->own_floor(), 6U);
    EXPECT_EQ(own_stamps(*storage), up_to(10, 7));
  }
  auto storage = open();
  EXPECT_EQ(storage->own_floor(), 6U);
  EXPECT_EQ(own_stamps(*storage), up_to(10, 7));
  EXPECT_EQ(storage->report().remote_records, 2U);
  EXPECT_EQ(storage->remote_producers(), (std::vector<ProducerId>{4, 5}));
  EXPECT_TRUE(read(*storage, {.from = 6}).reaches_back);
  EXPECT_FALSE(read(*storage, {.from = 5}).reaches_back);
  ASSERT_TRUE(storage->wait_durable(storage->trim_own(~Stamp{0}), kLong));
  EXPECT_TRUE(own_stamps(*storage).empty());
}

// Pages of one shard, joined, are exactly its records, whatever the page size.
TEST_F(StorageTest, log_pages_join_without_hole_or_repeat) {
  auto storage = open();
  Ticket last = 0;
  for (Stamp to = 1; to <= 200; ++to) {
    // Both shards write the same stamps: a page must not end between them.
    storage->append_own(make_record(to - 1, to, "even", 0, 2));
    last = storage->append_own(make_record(to - 1, to, "odd", 1, 2));
  }
  ASSERT_TRUE(storage->wait_written(last, kLong));
  for (const std::size_t max_bytes : {std::size_t{1}, std::size_t{100}, std::size_t{1} << 20}) {
    for (const std::optional<ShardId> shard :
         {std::optional<ShardId>{}, std::optional<ShardId>{0}, std::optional<ShardId>{1}}) {
      std::size_t records = 0;
      LogPage page;
      Stamp from = 0;
      do {
        page = read(*storage, {from, max_bytes, shard});
        ASSERT_EQ(page.error, "");
        for (const Record& record : page.records) {
          EXPECT_GT(record.span.to, from);
          EXPECT_LE(record.span.to, page.scanned_to);
        }
        records += page.records.size();
        from = page.scanned_to;
      } while (page.more);
      EXPECT_EQ(from, 200U);
      EXPECT_EQ(records, shard ? 200U : 400U);
    }
  }
}

// The size of the log follows what is appended and trimmed, and tells where to trim.
TEST_F(StorageTest, log_size_and_trim_point) {
  options_.fsync = Fsync::kEverySecond;
  auto storage = open();
  const std::string megabyte(std::size_t{1} << 20, 'x');
  Ticket last = 0;
  for (Stamp to = 1; to <= 20; ++to) last = storage->append_own(make_record(to - 1, to, megabyte));
  ASSERT_TRUE(storage->wait_written(last, kLong));
  EXPECT_NEAR(static_cast<double>(storage->own_bytes()), 20.0 * (1 << 20), 4096);
  const Stamp point = storage->own_trim_point(std::uint64_t{5} << 20);
  EXPECT_GE(point, 15U);
  EXPECT_LE(point, 16U);
  EXPECT_EQ(storage->own_trim_point(std::uint64_t{50} << 20), 0U);
  ASSERT_TRUE(storage->wait_written(storage->trim_own(point), kLong));
  EXPECT_LE(storage->own_bytes(), std::uint64_t{5} << 20);
  const std::uint64_t left = storage->own_bytes();
  storage.reset();
  EXPECT_EQ(open()->own_bytes(), left);
}

// Disk space comes back after trimming, without anyone asking for it.
TEST_F(StorageTest, trimmed_log_gives_its_space_back) {
  options_.fsync = Fsync::kEverySecond;
  options_.log_memtable_bytes = std::uint64_t{4} << 20;
  auto storage = open();
  const std::string bytes(std::size_t{1} << 20, 'x');
  Stamp stamp = 0;
  Ticket last = 0;
  for (int i = 0; i < 160; ++i, ++stamp) {
    last = storage->append_own(make_record(stamp, stamp + 1, bytes));
  }
  ASSERT_TRUE(storage->wait_written(last, kLong));
  const auto disk_bytes = [this] {
    std::uintmax_t sum = 0;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(data_dir())) {
      const std::uintmax_t size = entry.file_size(error);
      if (!error && entry.path().extension() == ".sst") sum += size;
    }
    return sum;
  };
  EXPECT_GT(disk_bytes(), std::uintmax_t{100} << 20);
  storage->trim_own(stamp - 1);
  const auto until = std::chrono::steady_clock::now() + kLong;
  while (disk_bytes() > (std::uintmax_t{20} << 20) && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(50ms);
  }
  EXPECT_LT(disk_bytes(), std::uintmax_t{20} << 20);
}

// A slot of 100 MB goes through as one value.
TEST_F(StorageTest, large_slot) {
  std::string large(std::size_t{100} << 20, '\0');
  for (std::size_t i = 0; i < large.size(); i += 997) large[i] = static_cast<char>(i % 251);
  {
    auto storage = open();
    ASSERT_TRUE(storage->wait_durable(storage->put_slot(5, large), kLong));
  }
  auto storage = open();
  std::vector<SlotId> damaged;
  bool same = false;
  const Outcome read_back = storage->for_each_slot(
      5, 5, [&](SlotId, std::string_view bytes) { same = bytes == large; }, &damaged);
  EXPECT_EQ(read_back.error, "");
  EXPECT_TRUE(same);
}

// Under each policy tickets become written, then durable, and the listener hears of it in order.
TEST_F(StorageTest, progress_under_each_policy) {
  for (const Fsync policy : {Fsync::kAlways, Fsync::kEverySecond, Fsync::kNo}) {
    options_.dir = dir_ + "/" + std::to_string(static_cast<int>(policy));
    options_.fsync = policy;
    auto storage = open();
    std::atomic<Ticket> heard{0};
    std::atomic<bool> in_order{true};
    storage->set_listener([&](const Progress& progress) {
      if (progress.durable > progress.written || progress.written < heard) in_order = false;
      heard = progress.written;
    });
    const Ticket last = append_run(*storage, 1, 100);
    ASSERT_TRUE(storage->wait_written(last, kLong));
    if (policy == Fsync::kNo) {
      EXPECT_LT(storage->durable_ticket(), last);
      EXPECT_EQ(storage->flush_now(), last);
    }
    EXPECT_TRUE(storage->wait_durable(last, 5s));
    EXPECT_TRUE(storage->close().ok());
    EXPECT_EQ(heard, last);
    EXPECT_TRUE(in_order);
  }
}

// The policy can be tightened while writes are on their way.
TEST_F(StorageTest, fsync_changes_at_run_time) {
  options_.fsync = Fsync::kNo;
  auto storage = open();
  const Ticket lazy = append_run(*storage, 1, 10);
  ASSERT_TRUE(storage->wait_written(lazy, kLong));
  EXPECT_LT(storage->durable_ticket(), lazy);
  storage->set_fsync(Fsync::kAlways);
  EXPECT_TRUE(storage->wait_durable(lazy, 5s));
  EXPECT_TRUE(storage->wait_durable(append_run(*storage, 11, 20), 5s));
}

// Four shards at once, with a reader beside them: every record arrives, each chain whole.
TEST_F(StorageTest, concurrent_shards) {
  constexpr Stamp kRecords = 5000;
  options_.fsync = Fsync::kEverySecond;
  {
    auto storage = open();
    std::vector<std::thread> shards;
    for (ShardId shard = 0; shard < 4; ++shard) {
      shards.emplace_back([&storage, shard] { append_run(*storage, 1, kRecords, shard); });
    }
    LogRead request{.shard = ShardId{2}};
    std::vector<Stamp> seen;
    const auto read_on = [&] {
      const LogPage page = read(*storage, request);
      EXPECT_EQ(page.error, "");
      for (const auto& record : page.records) seen.push_back(record.span.to);
      request.from = page.scanned_to;
      return !page.records.empty();
    };
    for (int i = 0; i < 50; ++i) read_on();
    for (std::thread& shard : shards) shard.join();
    ASSERT_TRUE(storage->wait_durable(storage->flush_now(), kLong));
    while (read_on()) {
    }
    EXPECT_EQ(seen, up_to(kRecords));
    EXPECT_EQ(storage->queued_bytes(), 0U);
  }
  auto storage = open();
  EXPECT_FALSE(storage->report().tail_was_cut) << storage->report().tail_detail;
  EXPECT_EQ(own_stamps(*storage).size(), 4 * kRecords);
}

}  // namespace
}  // namespace atl::persist
