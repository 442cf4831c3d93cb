#include "persist/log_merge.h"

#include <limits>
#include <string>
#include <string_view>

namespace atl::persist {

namespace {

std::string_view view_of(const rocksdb::Slice& slice) {
  return {slice.data(), slice.size()};
}

}  // namespace

LogMerge::LogMerge(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* log,
                   const rocksdb::ReadOptions& options) {
  const auto start = [&](const std::string& begin) -> Source& {
    Source& source = sources_.emplace_back();
    source.it.reset(db.NewIterator(options, log));
    source.it->Seek(begin);
    return source;
  };
  const std::unique_ptr<rocksdb::Iterator> search(db.NewIterator(options, log));
  search->SeekToFirst();
  while (search->Valid()) {
    const auto key = format::parse_log_key(view_of(search->key()));
    Source& source = start(search->key().ToString());
    if (key) source.producer = key->producer;
    look(source);
    if (!key) break;
    search->Seek(key->producer
                     ? format::remote_end(*key->producer, std::numeric_limits<Stamp>::max())
                     : format::own_family_end());
  }
  search_ = search->status();
  choose();
}

void LogMerge::look(Source& source) {
  source.live = source.it->Valid();
  if (!source.live) return;
  const auto key = format::parse_log_key(view_of(source.it->key()));
  source.to = key ? key->to : 0;
  if (key) source.live = key->producer == source.producer;
}

void LogMerge::choose() {
  current_ = nullptr;
  for (Source& source : sources_) {
    if (source.live && (current_ == nullptr || source.to < current_->to)) current_ = &source;
  }
}

void LogMerge::next() {
  current_->it->Next();
  look(*current_);
  choose();
}

rocksdb::Status LogMerge::status() const {
  for (const Source& source : sources_) {
    if (!source.it->status().ok()) return source.it->status();
  }
  return search_;
}

}  // namespace atl::persist
