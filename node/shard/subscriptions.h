// Who of one thread's clients listens to what: channels, patterns and shard channels.
//
// Each thread has a table of its own, so that delivering takes no lock. What other threads must
// know to leave this one alone is a counting filter of atomics: a channel hashes to a bucket, and
// an empty bucket says that nobody here listens to it. A table for the whole node behind a lock was
// rejected: every PUBLISH and every keyspace event would pay for it.
//
//     name ── Topic ◄── set of topics ── client
//               └────── set of clients ─────┘
//
// Invariants: (1) a client is in a topic's set exactly if the topic is in the client's; (2) a topic
// without clients does not exist; (3) the filter counts every topic before its client is told that
// it has subscribed.
//
// *Threads*: its shard's, but for may_hear(). While the shard is stopped by a barrier the leader
// may read. *Owns*: topics, not clients. *Bounds*: none, as in Redis: a client may subscribe to as
// much as it likes.
#pragma once

#include <array>
#include <atomic>
#include <boost/unordered/unordered_flat_set.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

namespace atl::shard {

class Client;

enum class TopicKind : uint8_t { kChannel, kPattern, kShardChannel };
inline constexpr size_t kTopicKinds = 3;

struct Topic {
  std::string name;
  TopicKind kind = TopicKind::kChannel;
  boost::unordered_flat_set<Client*> clients;
};

// What one client listens to; most have none of it.
struct ClientTopics {
  std::array<boost::unordered_flat_set<Topic*>, kTopicKinds> of_kind;

  size_t count(TopicKind kind) const { return of_kind[static_cast<size_t>(kind)].size(); }
  bool empty() const;
};

class Subscriptions {
 public:
  using Topics = std::unordered_map<std::string_view, std::unique_ptr<Topic>>;

  // False: it listens to that already.
  bool add(Client& client, TopicKind kind, std::string_view name);
  // False: it did not.
  bool remove(Client& client, TopicKind kind, std::string_view name);
  // Leaves no topic with that client.
  void remove_all(Client& client);

  // Null when nobody listens.
  const Topic* find(TopicKind kind, std::string_view name) const;
  const Topics& topics(TopicKind kind) const { return topics_[static_cast<size_t>(kind)]; }
  // How many get what is published there: a client once for each of its topics that match.
  size_t receivers(std::string_view channel, bool sharded) const;

  // Any thread. False: nobody here listens to the channel.
  bool may_hear(std::string_view channel, bool sharded) const;
  bool may_hear_any() const { return topic_count_.load() != 0; }

 private:
  static constexpr size_t kBuckets = 512;

  void drop_if_empty(Topic& topic);
  void count(const Topic& topic, int n);

  std::array<Topics, kTopicKinds> topics_;
  std::atomic<size_t> topic_count_{0};
  std::atomic<size_t> pattern_count_{0};
  // Of channels and of shard channels.
  std::array<std::array<std::atomic<uint32_t>, kBuckets>, 2> buckets_{};
};

}  // namespace atl::shard
