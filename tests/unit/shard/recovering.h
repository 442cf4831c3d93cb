// A node's directory between two runs, and a node that recovers from it.
#pragma once

#include "node/shard/recovery.h"
#include "tests/unit/shard/tapped_node.h"

namespace atl::shard {

inline crdt::Stamp at(crdt::Millis ms) {
  return crdt::Stamp::make(ms, 0, 1);
}

// Of the right format, and nothing more.
inline const std::string kDamagedSlot = static_cast<char>(crdt::kSlotVersion) + std::string("?");

using Gaps = std::vector<crdt::Gap>;
inline const std::vector<Gaps> kNone(2);  // of two shards

inline std::unique_ptr<persist::Storage> open_storage(const TempDir& dir,
                                                      persist::DiskFaults* faults = nullptr) {
  persist::Options options;
  options.dir = dir.path();
  options.fsync = persist::Fsync::kNo;
  options.faults = faults;
  persist::OpenResult opened = persist::Storage::open(options);
  EXPECT_TRUE(opened.storage) << opened.error;
  return std::move(opened.storage);
}

inline void put_durably(persist::Storage& storage, std::string_view name, std::string bytes) {
  storage.put_meta(name, std::move(bytes));
  EXPECT_TRUE(storage.wait_durable(storage.flush_now(), std::chrono::seconds(10)));
}

inline StoredGaps stored_gaps(persist::Storage& storage) {
  EXPECT_TRUE(storage.wait_durable(storage.flush_now(), std::chrono::seconds(10)));
  const auto bytes = storage.get_meta(kGapsMeta);
  return bytes ? decode_gaps(*bytes).value_or(StoredGaps{}) : StoredGaps{};
}

inline Recovered begun_with(std::vector<Gaps> gaps) {
  Recovered recovered;
  recovered.gaps = std::move(gaps);
  recovered.start = at(5000);
  return recovered;
}

// A node of so many shards that recovers, without the node.
struct Recovering {
  Recovering(const TempDir& dir, size_t shards) {
    const auto storage = open_storage(dir);
    std::vector<crdt::Store*> pointers;
    for (size_t i = 0; i < shards; ++i) {
      const auto each = static_cast<crdt::SlotId>(crdt::kSlotCount / shards);
      const auto first = static_cast<crdt::SlotId>(i * each);
      const auto last =
          static_cast<crdt::SlotId>(i + 1 == shards ? crdt::kSlotCount - 1 : first + each - 1);
      stores.push_back(std::make_unique<crdt::Store>(
          crdt::Store::Options{.region = 1, .slots = {first, last}, .replicated = true}));
      pointers.push_back(stores.back().get());
    }
    RecoveryResult result = recover(storage.get(), pointers, 1000, 500);
    EXPECT_EQ(result.error, "");
    recovered = std::move(result.recovered);
    start = recovered.start;
  }
  const Gaps& gaps(size_t shard) const { return recovered.gaps.at(shard); }

  std::vector<std::unique_ptr<crdt::Store>> stores;
  Recovered recovered;
  crdt::Stamp start;
};

}  // namespace atl::shard
