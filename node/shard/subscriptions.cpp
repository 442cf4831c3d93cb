#include "node/shard/subscriptions.h"

#include <functional>

#include "node/command/glob.h"
#include "node/shard/client.h"

namespace atl::shard {

bool ClientTopics::empty() const {
  for (const auto& topics : of_kind) {
    if (!topics.empty()) return false;
  }
  return true;
}

bool Subscriptions::add(Client& client, TopicKind kind, std::string_view name) {
  Topics& topics = topics_[static_cast<size_t>(kind)];
  auto found = topics.find(name);
  if (found == topics.end()) {
    auto topic = std::make_unique<Topic>();
    topic->name = name;
    topic->kind = kind;
    count(*topic, 1);
    const std::string_view key = topic->name;
    found = topics.emplace(key, std::move(topic)).first;
  }
  if (client.topics == nullptr) client.topics = std::make_unique<ClientTopics>();
  found->second->clients.insert(&client);
  return client.topics->of_kind[static_cast<size_t>(kind)].insert(found->second.get()).second;
}

bool Subscriptions::remove(Client& client, TopicKind kind, std::string_view name) {
  if (client.topics == nullptr) return false;
  Topics& topics = topics_[static_cast<size_t>(kind)];
  const auto found = topics.find(name);
  if (found == topics.end()) return false;
  Topic& topic = *found->second;
  if (client.topics->of_kind[static_cast<size_t>(kind)].erase(&topic) == 0) return false;
  topic.clients.erase(&client);
  drop_if_empty(topic);
  return true;
}

void Subscriptions::remove_all(Client& client) {
  const std::unique_ptr<ClientTopics> own = std::move(client.topics);
  if (own == nullptr) return;
  for (const auto& topics : own->of_kind) {
    for (Topic* topic : topics) {
      topic->clients.erase(&client);
      drop_if_empty(*topic);
    }
  }
}

const Topic* Subscriptions::find(TopicKind kind, std::string_view name) const {
  const Topics& of_kind = topics(kind);
  const auto found = of_kind.find(name);
  return found == of_kind.end() ? nullptr : found->second.get();
}

size_t Subscriptions::receivers(std::string_view channel, bool sharded) const {
  const Topic* topic = find(sharded ? TopicKind::kShardChannel : TopicKind::kChannel, channel);
  size_t sum = topic == nullptr ? 0 : topic->clients.size();
  if (sharded) return sum;
  for (const auto& [pattern, each] : topics(TopicKind::kPattern)) {
    if (command::glob_match(pattern, channel)) sum += each->clients.size();
  }
  return sum;
}

bool Subscriptions::may_hear(std::string_view channel, bool sharded) const {
  if (topic_count_.load() == 0) return false;
  if (!sharded && pattern_count_.load() != 0) return true;
  return buckets_[sharded ? 1 : 0][std::hash<std::string_view>{}(channel) % kBuckets].load() != 0;
}

void Subscriptions::drop_if_empty(Topic& topic) {
  if (!topic.clients.empty()) return;
  count(topic, -1);
  Topics& topics = topics_[static_cast<size_t>(topic.kind)];
  topics.erase(topics.find(topic.name));  // not by key: it lives in what goes
}

void Subscriptions::count(const Topic& topic, int n) {
  topic_count_ += static_cast<size_t>(n);
  if (topic.kind == TopicKind::kPattern) {
    pattern_count_ += static_cast<size_t>(n);
    return;
  }
  const size_t bucket = std::hash<std::string_view>{}(topic.name) % kBuckets;
  buckets_[topic.kind == TopicKind::kShardChannel ? 1 : 0][bucket] += static_cast<uint32_t>(n);
}

}  // namespace atl::shard
