#include "node/shard/log_pages.h"

#include <algorithm>

namespace atl::shard {

namespace {

// Past `request.from`, where the records of other shards may have led.
void read_on(const ReadOwn& read_own, const persist::LogRead& request, crdt::Stamp from,
             crdt::Stamp start, const std::function<void(geo::LogPage)>& done) {
  read_own(request, [=](persist::LogPage& read) {
    const bool reaches_back = from.raw >= read.floor;
    if (reaches_back && read.records.empty() && read.more && read.scanned_to > request.from) {
      persist::LogRead next = request;
      next.from = read.scanned_to;
      return read_on(read_own, next, from, start, done);
    }
    geo::LogPage page;
    page.reaches_back = reaches_back;
    // The rest is in the backlog; if nothing at all came there is nothing to hurry for.
    page.more = !read.records.empty();
    page.upto = page.more ? crdt::Stamp{read.records.back().span.to} : std::max(from, start);
    for (persist::Record& r : read.records) page.batches.push_back(std::move(r.bytes));
    done(std::move(page));
  });
}

}  // namespace

void read_shard_log(const ReadOwn& read_own, persist::ShardId shard, crdt::Stamp from,
                    crdt::Stamp start, size_t bytes_max,
                    const std::function<void(geo::LogPage)>& done) {
  persist::LogRead request;
  request.from = from.raw;
  request.max_bytes = bytes_max;
  request.shard = shard;
  read_on(read_own, request, from, start, done);
}

}  // namespace atl::shard
