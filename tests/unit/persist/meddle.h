// Changes a database behind the storage's back.
#pragma once

#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <functional>
#include <string>

#include "persist/engine.h"

namespace atl::persist {

inline void meddle(const Options& options,
                   const std::function<void(const Engine::Handles&)>& change) {
  Engine engine(options);
  ASSERT_TRUE(engine.open(rocksdb::WALRecoveryMode::kAbsoluteConsistency).ok());
  change(engine.handles());
}

inline void replace_byte(const Engine::Handles& handles, rocksdb::ColumnFamilyHandle* family,
                         const std::string& key) {
  std::string value;
  ASSERT_TRUE(handles.db->Get({}, family, key, &value).ok());
  value[value.size() / 2] = static_cast<char>(value[value.size() / 2] ^ 1);
  ASSERT_TRUE(handles.db->Put({}, family, key, value).ok());
}

}  // namespace atl::persist
