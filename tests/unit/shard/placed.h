// Clients and keys whose shards the test knows.
#pragma once

#include "tests/unit/shard/tapped_node.h"

namespace atl::shard {

inline uint64_t id_of(TestClient& client) {
  return std::stoull(client.call({"CLIENT", "ID"}).substr(1));
}

// The shard that serves the client.
inline Shard& home_of(TestNode& node, TestClient& client) {
  const uint64_t id = id_of(client);
  for (size_t i = 1; i < node.node().shard_count(); ++i) {
    Shard& shard = node.node().shard(i);
    if (on_shard(shard, [&] { return shard.find_client(id) != nullptr; })) return shard;
  }
  return node.node().shard(0);
}

// One that does not.
inline Shard& elsewhere(TestNode& node, TestClient& client) {
  return node.node().shard(home_of(node, client).index() == 0 ? 1 : 0);
}

inline std::string key_of(TestNode& node, const Shard& shard) {
  for (int i = 0;; ++i) {
    std::string key = "k" + std::to_string(i);
    if (node.node().owner(crdt::slot_of(key)) == shard.index()) return key;
  }
}

// Keeps a shard's thread from working, to decide what it finds when it goes on.
class Held {
 public:
  explicit Held(Shard& shard) {
    shard.post([release = release_.get_future().share()] { release.wait(); });
  }
  ~Held() { release_.set_value(); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

 private:
  std::promise<void> release_;
};

inline crdt::Stamp last_write_of(Shard& shard) {
  return on_shard(shard, [&] { return shard.store().last_write(); });
}

}  // namespace atl::shard
