// A shard's part of the node's log, page by page, for regions that lack it.
//
// The log is one for all shards. A page says nothing of a shard between that one's batches: its
// next batch may begin before and end after what was read of other shards, and may be written after
// them. So a page that is not the last ends with a batch of its own shard.
//
// The last page reaches to where this run began: what earlier runs logged was all written then. An
// earlier one may have lost the end of its log in a crash, of which a snapshot still has something:
// nobody can send that, and who asked for it would ask for ever. What this run has logged since may
// not be written yet, so of that the log's end says nothing.
#pragma once

#include <functional>

#include "geo/replicator.h"
#include "persist/storage.h"

namespace atl::shard {

// Reads a page of the node's log, of one shard; calls `use` later on the shard's thread, or at
// once, or never.
using ReadOwn =
    std::function<void(const persist::LogRead&, std::function<void(persist::LogPage&)> use)>;

// Calls `done` with what the log has of `shard` after `from`; the backlog has the rest. This run
// began at `start`.
void read_shard_log(const ReadOwn& read_own, persist::ShardId shard, crdt::Stamp from,
                    crdt::Stamp start, size_t bytes_max,
                    const std::function<void(geo::LogPage)>& done);

}  // namespace atl::shard
