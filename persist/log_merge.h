#pragma once

/// Every record of the log by rising `to`: one iterator for the own records and one per producer,
/// merged. On disk they lie family by family, because each is trimmed and read by itself.

#include <rocksdb/db.h>

#include <memory>
#include <optional>
#include <vector>

#include "persist/format.h"

namespace atl::persist {

/// Threads: one. Lifetime: shorter than the database's. Cost: next() looks at one key per producer.
class LogMerge {
 public:
  LogMerge(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* log, const rocksdb::ReadOptions& options);

  bool valid() const { return current_ != nullptr; }
  const rocksdb::Iterator& current() const { return *current_->it; }
  void next();
  /// The first error of any iterator, once !valid().
  rocksdb::Status status() const;

 private:
  struct Source {
    std::unique_ptr<rocksdb::Iterator> it;
    std::optional<ProducerId> producer;
    Stamp to = 0;
    bool live = true;
  };

  /// Reads where the source stands; a key that cannot be read comes first, for its reader to say.
  static void look(Source& source);
  void choose();

  std::vector<Source> sources_;
  rocksdb::Status search_;
  Source* current_ = nullptr;
};

}  // namespace atl::persist
