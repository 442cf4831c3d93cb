// Random elements of a collection: SRANDMEMBER, SPOP, ZRANDMEMBER.
#pragma once

#include <vector>

#include "crdt/collection.h"
#include "node/command/args.h"

namespace atl::command {

// How many a command may ask for with repeats: what it answers is as long whatever the key holds.
inline constexpr int64_t kRepeatsMax = 1 << 24;
inline constexpr std::string_view kSampleBound =
    "A negative count goes down to -16777216: the reply is as long whatever the key holds.";

// Any `count` different ones, all there are if that is more. *Cost*: O(count), or O(size) where
// that is at most three times as much. *Lifetime*: until the collection changes.
std::vector<crdt::ElementView> sample_distinct(const crdt::Collection& collection, size_t count,
                                               uint64_t random);
// *Requires*: the collection is not empty.
std::vector<crdt::ElementView> sample_with_repeats(const crdt::Collection& collection, size_t count,
                                                   uint64_t random);
// For a count as RANDMEMBER commands have it: negative allows repeats.
std::vector<crdt::ElementView> sample(const crdt::Collection& collection, int64_t count,
                                      uint64_t random);
// Such a count; the error of a number out of range is Redis'.
bool read_sample_count(Context& ctx, std::string_view text, int64_t& count);

}  // namespace atl::command
