#include <xxhash.h>

#include "geo/message.h"

namespace atl::geo {

uint64_t Address::producer() const {
  const uint64_t words[] = {region, node, shard, shard_count};
  return XXH3_64bits(words, sizeof words);
}

}  // namespace atl::geo
