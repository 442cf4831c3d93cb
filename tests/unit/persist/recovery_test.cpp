#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>

#include "persist/format.h"
#include "tests/unit/persist/fixture.h"
#include "tests/unit/persist/meddle.h"

namespace atl::persist {
namespace {

namespace fs = std::filesystem;

class RecoveryTest : public StorageTest {
 protected:
  /// Files of RocksDB with this extension, oldest first.
  std::vector<fs::path> files(const std::string& extension) const {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(data_dir())) {
      if (entry.path().extension() == extension) found.push_back(entry.path());
    }
    std::sort(found.begin(), found.end());
    return found;
  }

  static void flip_byte(const fs::path& file, std::uintmax_t offset) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(static_cast<std::streamoff>(offset));
    const char byte = static_cast<char>(stream.get() ^ 0x40);
    stream.seekp(static_cast<std::streamoff>(offset));
    stream.put(byte);
  }

  /// The log as a process leaves it that was killed: a copy of the directory while it is open.
  void leave_as_killed(const std::function<void(Storage&)>& work) {
    const std::string copy = dir_ + "-copy";
    {
      auto storage = open();
      work(*storage);
      ASSERT_TRUE(storage->wait_durable(storage->flush_now(), kLong));
      fs::copy(dir_, copy, fs::copy_options::recursive);
    }
    fs::remove_all(dir_);
    fs::rename(copy, dir_);
  }

  void meddle(const std::function<void(const Engine::Handles&)>& change) {
    persist::meddle(options_, change);
  }
};

// A process that dies without closing loses nothing that was durable, and the next one knows.
TEST_F(RecoveryTest, unclean_shutdown_is_known) {
  leave_as_killed([](Storage& storage) { append_run(storage, 1, 50); });
  auto storage = open();
  EXPECT_FALSE(storage->report().clean_shutdown);
  EXPECT_FALSE(storage->report().tail_was_cut) << storage->report().tail_detail;
  EXPECT_EQ(own_stamps(*storage), up_to(50));
}

// kill -9 in the middle of writing: every acknowledged record is there, and what is there is a
// prefix. The child tells what was acknowledged through a pipe.
#ifndef __SANITIZE_THREAD__  // it does not support threads after a fork
TEST_F(RecoveryTest, kill_9_loses_nothing_acknowledged) {
  for (const Fsync policy : {Fsync::kAlways, Fsync::kEverySecond}) {
    options_.dir = dir_ + "/" + std::to_string(static_cast<int>(policy));
    options_.fsync = policy;
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      OpenResult opened = Storage::open(options_);
      if (!opened.storage) ::_exit(1);
      std::vector<Stamp> stamp_of(1, 0);
      const Ticket base = opened.storage->written_ticket();
      for (Stamp to = 1;; ++to) {
        opened.storage->append_own(make_record(to - 1, to, "delta " + std::to_string(to)));
        // One ticket per record, so the ticket tells the stamp.
        const Stamp written = (policy == Fsync::kAlways ? opened.storage->durable_ticket()
                                                        : opened.storage->written_ticket()) -
                              base;
        if (::write(ends[1], &written, sizeof written) != sizeof written) ::_exit(2);
      }
    }
    ::close(ends[1]);
    Stamp acknowledged = 0;
    Stamp heard = 0;
    while (acknowledged < 2000 && ::read(ends[0], &heard, sizeof heard) == sizeof heard) {
      acknowledged = heard;
    }
    ::kill(child, SIGKILL);
    while (::read(ends[0], &heard, sizeof heard) == sizeof heard) acknowledged = heard;
    ::close(ends[0]);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    ASSERT_GE(acknowledged, 2000U);
    auto storage = open();
    EXPECT_FALSE(storage->report().clean_shutdown);
    const std::vector<Stamp> stamps = own_stamps(*storage);
    EXPECT_GE(stamps.size(), acknowledged);
    EXPECT_EQ(stamps, up_to(stamps.size()));
  }
}
#endif

// Wherever the write-ahead log is cut off, what remains is a prefix of what was written, and a
// cut within a write is reported.
TEST_F(RecoveryTest, torn_tail_is_cut_at_the_last_whole_write) {
  leave_as_killed([](Storage& storage) {
    for (Stamp to = 1; to <= 30; ++to) {
      ASSERT_TRUE(storage.wait_durable(append_run(storage, to, to), kLong));
    }
  });
  const std::string original = dir_ + "-original";
  fs::rename(dir_, original);
  int reported = 0;
  std::size_t last_count = 31;
  for (std::uintmax_t cut = 1; cut < 600; cut += 41) {
    fs::copy(original, dir_, fs::copy_options::recursive);
    const fs::path log = files(".log").back();
    fs::resize_file(log, fs::file_size(log) - cut);
    auto storage = open();
    ASSERT_TRUE(storage);
    const std::vector<Stamp> stamps = own_stamps(*storage);
    EXPECT_EQ(stamps, up_to(stamps.size()));
    EXPECT_LE(stamps.size(), last_count);
    EXPECT_LT(stamps.size(), 30U);
    last_count = stamps.size();
    if (storage->report().tail_was_cut) {
      ++reported;
      EXPECT_NE(storage->report().tail_detail, "");
    }
    EXPECT_FALSE(storage->report().clean_shutdown);
    storage.reset();
    fs::remove_all(dir_);
  }
  EXPECT_GE(reported, 10);
  fs::remove_all(original);
}

// A flipped byte anywhere in the write-ahead log: reported, and cut before it in every family.
TEST_F(RecoveryTest, flipped_byte_is_reported_and_cut) {
  leave_as_killed([](Storage& storage) {
    for (Stamp to = 1; to <= 30; ++to) {
      storage.append_own(make_record(to - 1, to, "delta " + std::to_string(to)));
      ASSERT_TRUE(storage.wait_durable(storage.put_slot(1, std::to_string(to)), kLong));
    }
  });
  const fs::path log = files(".log").back();
  flip_byte(log, fs::file_size(log) / 2);
  Stamp last = 0;
  {
    auto storage = open();
    ASSERT_TRUE(storage);
    EXPECT_TRUE(storage->report().tail_was_cut);
    EXPECT_NE(storage->report().tail_detail.find("write-ahead log"), std::string::npos);
    const std::vector<Stamp> stamps = own_stamps(*storage);
    EXPECT_EQ(stamps, up_to(stamps.size()));
    EXPECT_LT(stamps.size(), 30U);
    EXPECT_GT(stamps.size(), 1U);
    last = stamps.back();
    std::vector<SlotId> damaged;
    const Outcome slots = storage->for_each_slot(
        1, 1,
        [&](SlotId, std::string_view bytes) {
          const Stamp slot_at = std::stoull(std::string(bytes));
          EXPECT_TRUE(slot_at == last || slot_at + 1 == last);
        },
        &damaged);
    EXPECT_TRUE(slots.ok());
    append_run(*storage, 100, 110);
  }
  // The cut is final: the next start finds a whole log, the new run included.
  auto storage = open();
  EXPECT_FALSE(storage->report().tail_was_cut) << storage->report().tail_detail;
  EXPECT_TRUE(storage->report().clean_shutdown);
  EXPECT_EQ(own_stamps(*storage).size(), last + 11);
}

// A record whose bytes are not what was written ends the log there, for every shard; the clock
// still learns of the stamps behind it.
TEST_F(RecoveryTest, wrong_checksum_ends_the_own_log) {
  append_run(*open(), 1, 20);
  meddle([](const Engine::Handles& handles) {
    replace_byte(handles, handles.log, format::own_key(12, 0));
  });
  {
    auto storage = open();
    EXPECT_TRUE(storage->report().tail_was_cut);
    EXPECT_NE(storage->report().tail_detail.find("wrong checksum at stamp 12"), std::string::npos)
        << storage->report().tail_detail;
    EXPECT_EQ(storage->report().own_stamp_max, 20U);
    EXPECT_EQ(own_stamps(*storage), up_to(11));
    append_run(*storage, 21, 22);
  }
  auto storage = open();
  EXPECT_FALSE(storage->report().tail_was_cut) << storage->report().tail_detail;
  EXPECT_EQ(own_stamps(*storage).size(), 13U);
}

// A record that vanished from the middle of a run is noticed by the chain.
TEST_F(RecoveryTest, missing_record_ends_the_own_log) {
  append_run(*open(), 1, 20);
  meddle([](const Engine::Handles& handles) {
    ASSERT_TRUE(handles.db->Delete({}, handles.log, format::own_key(7, 0)).ok());
  });
  auto storage = open();
  EXPECT_TRUE(storage->report().tail_was_cut);
  EXPECT_NE(storage->report().tail_detail.find("a hole in shard 0: after stamp 6"),
            std::string::npos)
      << storage->report().tail_detail;
  EXPECT_EQ(own_stamps(*storage), up_to(6));
}

// Damage in one producer's records ends that producer's, and nobody else's.
TEST_F(RecoveryTest, damaged_remote_record_ends_its_producer) {
  Ticket second = 0;
  {
    auto storage = open();
    append_run(*storage, 1, 3);
    storage->append_remote(8, make_record(0, 1, "one"));
    second = storage->append_remote(8, make_record(1, 2, "two"));
    storage->append_remote(8, make_record(2, 3, "three"));
    storage->append_remote(9, make_record(0, 1, "other"));
  }
  meddle([second](const Engine::Handles& handles) {
    replace_byte(handles, handles.log, format::remote_key(8, 2, 0, second));
  });
  auto storage = open();
  EXPECT_TRUE(storage->report().tail_was_cut);
  EXPECT_TRUE(storage->report().remote_log_was_cut);
  std::vector<std::string> remote;
  EXPECT_TRUE(storage
                  ->for_each_record([&](const RecordView& view) {
                    if (view.producer) remote.emplace_back(view.bytes);
                  })
                  .ok());
  EXPECT_EQ(remote, (std::vector<std::string>{"one", "other"}));
  EXPECT_EQ(own_stamps(*storage), up_to(3));
}

// A slot with wrong bytes is named and withheld; the others are there.
TEST_F(RecoveryTest, damaged_slot_is_named) {
  {
    auto storage = open();
    storage->put_slot(4, "four");
    storage->put_slot(5, "five");
    storage->put_slot(6, "six");
  }
  meddle([](const Engine::Handles& handles) {
    replace_byte(handles, handles.snapshot, format::slot_key(5));
  });
  auto storage = open();
  std::vector<SlotId> damaged;
  std::vector<SlotId> whole;
  EXPECT_TRUE(
      storage
          ->for_each_slot(
              0, 16383, [&](SlotId slot, std::string_view) { whole.push_back(slot); }, &damaged)
          .ok());
  EXPECT_EQ(damaged, (std::vector<SlotId>{5}));
  EXPECT_EQ(whole, (std::vector<SlotId>{4, 6}));
}

// ---- Slots in parts ----

std::vector<std::string> parts_of(Storage& storage, SlotId slot, std::vector<SlotId>* damaged) {
  std::vector<std::string> parts;
  const auto add = [&](SlotId, std::string_view bytes) { parts.emplace_back(bytes); };
  EXPECT_TRUE(storage.for_each_slot(slot, slot, add, damaged).ok());
  return parts;
}

Ticket put_in_parts(Storage& storage, SlotId slot, const std::vector<std::string>& parts) {
  SlotParts further;
  for (size_t i = 1; i < parts.size(); ++i) {
    const Ticket ticket = storage.put_slot_part(slot, further.pass, further.count++, parts[i]);
    if (further.pass == 0) further.pass = ticket;
  }
  return storage.put_slot(slot, parts[0], further);
}

size_t keys_of_snapshot(const Options& options) {
  size_t n = 0;
  persist::meddle(options, [&](const Engine::Handles& handles) {
    const std::unique_ptr<rocksdb::Iterator> it(handles.db->NewIterator({}, handles.snapshot));
    for (it->SeekToFirst(); it->Valid(); it->Next()) ++n;
  });
  return n;
}

// A slot in parts comes back in their order, beside slots that are whole; written again, in more
// parts, fewer or as a whole, nothing of before is left, also over a restart.
TEST_F(RecoveryTest, slot_in_parts_replaces_what_was_there) {
  using List = std::vector<std::string>;
  std::vector<SlotId> damaged;
  const List all[] = {{"a1", "a2", "a3"}, {"b1"}, {"c1", "c2", "c3", "c4"}, {"d1", "d2"}};
  for (const List& parts : all) {
    {
      auto storage = open();
      storage->put_slot(4, "before");
      put_in_parts(*storage, 5, parts);
      storage->put_slot(6, "behind");
      put_in_parts(*storage, 16383, {"x", "y"});
    }
    auto storage = open();
    EXPECT_EQ(parts_of(*storage, 4, &damaged), List{"before"});
    EXPECT_EQ(parts_of(*storage, 5, &damaged), parts);
    EXPECT_EQ(parts_of(*storage, 6, &damaged), List{"behind"});
    EXPECT_EQ(parts_of(*storage, 16383, &damaged), (List{"x", "y"}));
    storage.reset();
    EXPECT_EQ(keys_of_snapshot(options_), 2 + parts.size() + 2);
  }
  EXPECT_TRUE(damaged.empty());
}

// Parts that their first one does not follow do not count, and go with the next write of the slot.
TEST_F(RecoveryTest, parts_without_their_first_do_not_count) {
  using List = std::vector<std::string>;
  std::vector<SlotId> damaged;
  leave_as_killed([](Storage& storage) {
    put_in_parts(storage, 5, {"old-1", "old-2", "old-3"});
    const Ticket pass = storage.put_slot_part(5, 0, 0, "new-2");
    storage.put_slot_part(5, pass, 1, "new-3");
  });
  {
    auto storage = open();
    EXPECT_EQ(parts_of(*storage, 5, &damaged), (List{"old-1", "old-2", "old-3"}));
    put_in_parts(*storage, 5, {"whole"});
  }
  EXPECT_EQ(keys_of_snapshot(options_), 1u);
  EXPECT_EQ(parts_of(*open(), 5, &damaged), List{"whole"});
  EXPECT_TRUE(damaged.empty());
}

// A slot of which a part is missing or damaged is named.
TEST_F(RecoveryTest, damaged_or_missing_part_is_named) {
  Ticket pass = 0;
  const auto put = [&] {
    auto storage = open();
    pass = storage->put_slot_part(5, 0, 0, "two");
    storage->put_slot_part(5, pass, 1, "three");
    storage->put_slot(5, "one", {pass, 2});
    storage->put_slot(6, "six");
  };
  const auto damaged = [&] {
    std::vector<SlotId> slots;
    EXPECT_TRUE(open()
                    ->for_each_slot(
                        0, 16383, [](SlotId, std::string_view) {}, &slots)
                    .ok());
    return slots;
  };
  put();
  EXPECT_TRUE(damaged().empty());
  meddle([&](const Engine::Handles& handles) {
    replace_byte(handles, handles.snapshot, format::part_key(5, pass, 1));
  });
  EXPECT_EQ(damaged(), std::vector<SlotId>{5});
  put();
  EXPECT_TRUE(damaged().empty());
  meddle([&](const Engine::Handles& handles) {
    ASSERT_TRUE(handles.db->Delete({}, handles.snapshot, format::part_key(5, pass, 0)).ok());
  });
  EXPECT_EQ(damaged(), std::vector<SlotId>{5});
}

// A directory of a newer program is refused by a sentence with both versions, and left alone.
TEST_F(RecoveryTest, newer_format_is_refused_and_untouched) {
  append_run(*open(), 1, 3);
  const std::string key(format::kFormatKey);
  std::string older;
  meddle([&](const Engine::Handles& handles) {
    ASSERT_TRUE(handles.db->Get({}, handles.meta, key, &older).ok());
    std::string number(8, '\0');
    format::put_u64(number.data(), 77);
    ASSERT_TRUE(handles.db->Put({}, handles.meta, key, format::seal(key, number)).ok());
  });
  const OpenResult refused = Storage::open(options_);
  EXPECT_FALSE(refused.storage);
  EXPECT_NE(refused.error.find("format 77"), std::string::npos) << refused.error;
  EXPECT_NE(refused.error.find("up to 2"), std::string::npos) << refused.error;
  meddle([&](const Engine::Handles& handles) {
    ASSERT_TRUE(handles.db->Put({}, handles.meta, key, older).ok());
  });
  auto storage = open();
  EXPECT_TRUE(storage->report().clean_shutdown);
  EXPECT_EQ(own_stamps(*storage), up_to(3));
}

// A column family of a newer program is refused too.
TEST_F(RecoveryTest, unknown_column_family_is_refused) {
  append_run(*open(), 1, 3);
  meddle([](const Engine::Handles& handles) {
    rocksdb::ColumnFamilyHandle* family = nullptr;
    ASSERT_TRUE(handles.db->CreateColumnFamily({}, "scripts", &family).ok());
    ASSERT_TRUE(handles.db->DestroyColumnFamilyHandle(family).ok());
  });
  const OpenResult refused = Storage::open(options_);
  EXPECT_FALSE(refused.storage);
  EXPECT_NE(refused.error.find("`scripts`"), std::string::npos) << refused.error;
}

// Two nodes in one directory: the second is told so, the first goes on.
TEST_F(RecoveryTest, directory_in_use_is_refused) {
  auto storage = open();
  const OpenResult second = Storage::open(options_);
  EXPECT_FALSE(second.storage);
  EXPECT_NE(second.error.find("in use by another Atoll process"), std::string::npos)
      << second.error;
  EXPECT_TRUE(storage->wait_durable(append_run(*storage, 1, 2), kLong));
}

// A damaged data file is named, with what to do, whether it is seen at open or later.
TEST_F(RecoveryTest, damaged_file_is_named) {
  {
    auto storage = open();
    append_run(*storage, 1, 100);
  }
  meddle([](const Engine::Handles& handles) {
    ASSERT_TRUE(handles.db->Flush({}, {handles.meta, handles.log, handles.snapshot}).ok());
  });
  std::vector<fs::path> tables = files(".sst");
  ASSERT_FALSE(tables.empty());
  const fs::path largest = *std::max_element(
      tables.begin(), tables.end(),
      [](const fs::path& a, const fs::path& b) { return fs::file_size(a) < fs::file_size(b); });
  flip_byte(largest, 200);
  const OpenResult flipped = Storage::open(options_);
  EXPECT_FALSE(flipped.storage);
  EXPECT_NE(flipped.error.find(largest.filename().string()), std::string::npos) << flipped.error;
  EXPECT_NE(flipped.error.find("restore the directory"), std::string::npos) << flipped.error;
  fs::remove(largest);
  const OpenResult missing = Storage::open(options_);
  EXPECT_FALSE(missing.storage);
  EXPECT_NE(missing.error.find(largest.filename().string()), std::string::npos) << missing.error;
}

// A database that lost its root file must not be taken for a new, empty one.
TEST_F(RecoveryTest, missing_current_is_no_fresh_start) {
  append_run(*open(), 1, 3);
  meddle([](const Engine::Handles& handles) {
    ASSERT_TRUE(handles.db->Flush({}, {handles.meta, handles.log, handles.snapshot}).ok());
  });
  fs::remove(data_dir() + "/CURRENT");
  const OpenResult refused = Storage::open(options_);
  EXPECT_FALSE(refused.storage);
  EXPECT_NE(refused.error.find("CURRENT is missing"), std::string::npos) << refused.error;
}

// `dir` under a plain file cannot be made; the sentence says what to correct.
TEST_F(RecoveryTest, impossible_directory) {
  std::ofstream(dir_ + "/file") << "x";
  options_.dir = dir_ + "/file";
  const OpenResult refused = Storage::open(options_);
  EXPECT_FALSE(refused.storage);
  EXPECT_NE(refused.error.find("correct `dir`"), std::string::npos) << refused.error;
}

}  // namespace
}  // namespace atl::persist
