#include "node/shard/log_pages.h"

#include <algorithm>

namespace atl::shard {

void read_shard_log(const ReadOwn& read_own, persist::ShardId shard, crdt::Stamp from,
                    crdt::Stamp start, size_t bytes_max,
                    const std::function<void(geo::LogPage)>& done) {
  persist::LogRead request;
  request.from = from.raw;
  request.max_bytes = bytes_max;
  request.shard = shard;
  read_own(request, [=](persist::LogPage& read) {
    geo::LogPage page;
    page.reaches_back = read.reaches_back;
    // The rest is in the backlog; if nothing at all came there is nothing to hurry for.
    page.more = !read.records.empty();
    page.upto = page.more ? crdt::Stamp{read.scanned_to} : std::max(from, start);
    for (persist::Record& r : read.records) page.batches.push_back(crdt::share(std::move(r.bytes)));
    done(std::move(page));
  });
}

}  // namespace atl::shard
