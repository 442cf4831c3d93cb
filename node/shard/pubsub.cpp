#include "node/shard/pubsub.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "node/command/glob.h"
#include "node/resp/writer.h"
#include "node/shard/node.h"
#include "node/shard/shard.h"

namespace atl::shard {

namespace {

// One message as clients get it, encoded once for each protocol that any of them speaks.
class Frame {
 public:
  Frame(std::string_view word, std::string_view pattern, std::string_view channel,
        std::string_view payload)
      : word_(word), pattern_(pattern), channel_(channel), payload_(payload) {}

  std::string_view in(resp::Protocol protocol) {
    std::optional<std::string>& encoded = encoded_[protocol == resp::Protocol::kResp3 ? 1 : 0];
    if (!encoded) encoded = encode(protocol);
    return *encoded;
  }

 private:
  std::string encode(resp::Protocol protocol) const {
    resp::OutBuffer bytes;
    resp::Writer out(bytes, protocol);
    const bool patterned = word_ == "pmessage";
    out.push(patterned ? 4 : 3);
    out.bulk(word_);
    if (patterned) out.bulk(pattern_);
    out.bulk(channel_);
    out.bulk(payload_);
    return bytes.flatten();
  }

  const std::string_view word_, pattern_, channel_, payload_;
  std::array<std::optional<std::string>, 2> encoded_;
};

size_t send(const Topic& topic, Frame frame, persist::Ticket ticket) {
  for (Client* client : topic.clients) client->push(frame.in(client->protocol), ticket);
  return topic.clients.size();
}

}  // namespace

// ---- This thread's subscribers ----

size_t PubSub::deliver(std::string_view channel, std::string_view payload, bool sharded,
                       persist::Ticket ticket) {
  size_t receivers = 0;
  const TopicKind kind = sharded ? TopicKind::kShardChannel : TopicKind::kChannel;
  if (const Topic* topic = subscriptions_.find(kind, channel)) {
    receivers +=
        send(*topic, Frame(sharded ? "smessage" : "message", {}, channel, payload), ticket);
  }
  if (sharded) return receivers;
  for (const auto& [pattern, topic] : subscriptions_.topics(TopicKind::kPattern)) {
    if (!command::glob_match(pattern, channel)) continue;
    receivers += send(*topic, Frame("pmessage", pattern, channel, payload), ticket);
  }
  return receivers;
}

void PubSub::deliver(const geo::Published& published) {
  for (const geo::Publication& each : published.items) {
    deliver(each.channel, each.payload, each.sharded);
  }
}

// ---- Other threads ----

void PubSub::add_listeners(std::string_view channel, bool sharded,
                           std::vector<ShardIndex>& to) const {
  Node& node = shard_.node();
  for (size_t i = 0; i < node.shard_count(); ++i) {
    if (i == shard_.index()) continue;
    if (node.shard(i).pubsub().subscriptions().may_hear(channel, sharded)) {
      to.push_back(static_cast<ShardIndex>(i));
    }
  }
}

void PubSub::announce(std::string_view channel, std::string_view payload) {
  if (subscriptions_.may_hear(channel, false)) deliver(channel, payload, false);
  Node& node = shard_.node();
  for (size_t i = 0; i < node.shard_count(); ++i) {
    if (i == shard_.index()) continue;
    if (!node.shard(i).pubsub().subscriptions().may_hear(channel, false)) continue;
    write_letter(static_cast<ShardIndex>(i), channel, payload, false);
  }
}

// Who subscribes while EXEC is on its way may be on a thread that was not stopped, and so may who
// listens to what a script publishes: they get it, and are not counted.
size_t PubSub::publish_to_stopped(std::string_view channel, std::string_view payload,
                                  bool sharded) {
  std::vector<ShardIndex> listeners;
  add_listeners(channel, sharded, listeners);
  size_t receivers = 0;
  for (const ShardIndex i : listeners) {
    write_letter(i, channel, payload, sharded);
    const bool stopped =
        stopped_ != nullptr && std::find(stopped_->begin(), stopped_->end(), i) != stopped_->end();
    if (!stopped) continue;
    receivers += shard_.node().shard(i).pubsub().subscriptions().receivers(channel, sharded);
  }
  return receivers;
}

void PubSub::write_letter(ShardIndex target, std::string_view channel, std::string_view payload,
                          bool sharded) {
  shard_.post_forwards(target);  // what this thread has sent before stays before
  if (letters_.size() <= target) letters_.resize(shard_.node().shard_count());
  Letters& letters = letters_[target];
  letters.items.push_back({std::string(channel), std::string(payload), sharded});
  letters.bytes += letters.items.back().bytes();
}

void PubSub::post_letters(ShardIndex target) {
  if (!has_letters(target)) return;
  Letters letters = std::exchange(letters_[target], {});
  Shard* to = &shard_.node().shard(target);
  std::atomic<size_t>& under_way = to->pubsub().letters_under_way_;
  if (under_way.load() > kLetterBytesMax) {
    dropped_ += letters.items.size();
    return;
  }
  under_way += letters.bytes;
  to->post_letters(
      [to, ticket = shard_.owed_ticket(), bytes = letters.bytes,
       items = std::make_shared<const std::vector<geo::Publication>>(std::move(letters.items))] {
        PubSub& there = to->pubsub();
        there.letters_under_way_ -= bytes;
        for (const geo::Publication& each : *items) {
          there.deliver(each.channel, each.payload, each.sharded, ticket);
        }
      });
}

void PubSub::post_letters() {
  for (size_t i = 0; i < letters_.size(); ++i) post_letters(static_cast<ShardIndex>(i));
}

// ---- Other regions ----

bool PubSub::stays_here(std::string_view channel) const {
  const std::vector<std::string>& prefixes = shard_.settings().geo_regional_channels;
  return std::any_of(prefixes.begin(), prefixes.end(), [&](const std::string& prefix) {
    return prefix == "*" || channel.starts_with(prefix);
  });
}

void PubSub::publish_to_regions(std::string_view channel, std::string_view payload, bool sharded) {
  if (shard_.link() == nullptr || stays_here(channel)) return;
  published_.items.push_back({std::string(channel), std::string(payload), sharded});
  published_bytes_ += published_.items.back().bytes();
  if (published_bytes_ >= geo::kPublishedBytesMax) ship();
}

void PubSub::ship() {
  if (published_.items.empty()) return;
  published_bytes_ = 0;
  if (shard_.link() != nullptr) shard_.link()->send_published(std::exchange(published_, {}));
  published_.items.clear();
}

}  // namespace atl::shard
