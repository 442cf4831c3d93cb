#include "node/shard/pubsub_commands.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "node/admin/replies.h"
#include "node/command/check.h"
#include "node/command/glob.h"
#include "node/shard/node.h"
#include "node/shard/services.h"
#include "node/shard/shard.h"

namespace atl::shard {

namespace {

using command::Arg;
using command::ArgType;
using command::CommandSpec;
using command::Context;
using command::Route;

Services& services_of(Context& ctx) {
  return static_cast<Services&>(ctx.node);
}

Client& client_of(Context& ctx) {
  return *services_of(ctx).current();
}

// ---- SUBSCRIBE and its kin ----

// How Redis counts in its confirmations: shard channels by themselves, the others together.
int64_t counted_topics(const Client& client, TopicKind kind) {
  if (kind == TopicKind::kShardChannel) return static_cast<int64_t>(client.topic_count(kind));
  return static_cast<int64_t>(client.topic_count(TopicKind::kChannel) +
                              client.topic_count(TopicKind::kPattern));
}

// One confirmation, which CLIENT REPLY OFF does not silence.
void confirm(Context& ctx, Client& client, std::optional<std::string_view> name, TopicKind kind) {
  resp::OutBuffer& buffer = client.discards() ? client.push_buffer() : ctx.out.buffer();
  resp::Writer out(buffer, ctx.out.protocol());
  out.push(3);
  out.bulk(ctx.spec.name);
  if (name) {
    out.bulk(*name);
  } else {
    out.null();
  }
  out.integer(counted_topics(client, kind));
}

void subscribe_to(Context& ctx, TopicKind kind) {
  Client& client = client_of(ctx);
  Subscriptions& table = services_of(ctx).shard().pubsub().subscriptions();
  for (const std::string_view name : ctx.args.subspan(1)) {
    table.add(client, kind, name);
    confirm(ctx, client, name, kind);
  }
  client.follow_class();
}

void unsubscribe_from(Context& ctx, TopicKind kind) {
  Client& client = client_of(ctx);
  Subscriptions& table = services_of(ctx).shard().pubsub().subscriptions();
  std::vector<std::string> names(ctx.args.begin() + 1, ctx.args.end());
  if (names.empty() && client.topics != nullptr) {
    for (const Topic* topic : client.topics->of_kind[static_cast<size_t>(kind)]) {
      names.push_back(topic->name);
    }
    std::sort(names.begin(), names.end());
  }
  for (const std::string& name : names) {
    table.remove(client, kind, name);
    confirm(ctx, client, name, kind);
  }
  if (names.empty()) confirm(ctx, client, std::nullopt, kind);
  client.follow_class();
}

void subscribe(Context& ctx) {
  subscribe_to(ctx, TopicKind::kChannel);
}
void psubscribe(Context& ctx) {
  subscribe_to(ctx, TopicKind::kPattern);
}
void ssubscribe(Context& ctx) {
  if (ctx.in_transaction) {
    return ctx.out.error("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client");
  }
  subscribe_to(ctx, TopicKind::kShardChannel);
}
void unsubscribe(Context& ctx) {
  unsubscribe_from(ctx, TopicKind::kChannel);
}
void punsubscribe(Context& ctx) {
  unsubscribe_from(ctx, TopicKind::kPattern);
}
void sunsubscribe(Context& ctx) {
  unsubscribe_from(ctx, TopicKind::kShardChannel);
}

// ---- PUBLISH ----

// A part that another thread has sent here, or this one, has no client here: it delivers and no
// more (Dispatcher::route_publish).
void publish_to(Context& ctx, bool sharded) {
  const std::string_view channel = ctx.args[1], payload = ctx.args[2];
  PubSub& pubsub = services_of(ctx).shard().pubsub();
  size_t receivers = pubsub.deliver(channel, payload, sharded);
  if (services_of(ctx).current() != nullptr) {
    receivers += pubsub.publish_to_stopped(channel, payload, sharded);
    pubsub.publish_to_regions(channel, payload, sharded);
  }
  ctx.out.integer(static_cast<int64_t>(receivers));
}

void publish(Context& ctx) {
  publish_to(ctx, false);
}
void spublish(Context& ctx) {
  publish_to(ctx, true);
}

// ---- PUBSUB: every thread is stopped, and its table read ----

template <class Visit>
void for_each_table(Context& ctx, Visit visit) {
  Node& node = services_of(ctx).shard().node();
  for (size_t i = 0; i < node.shard_count(); ++i) visit(node.shard(i).pubsub().subscriptions());
}

void list_channels(Context& ctx, TopicKind kind) {
  if (ctx.args.size() > 3) return admin::write_subcommand_syntax_error(ctx);
  std::set<std::string_view> names;
  for_each_table(ctx, [&](const Subscriptions& table) {
    for (const auto& [name, topic] : table.topics(kind)) {
      if (ctx.args.size() == 2 || command::glob_match(ctx.args[2], name)) names.insert(name);
    }
  });
  ctx.out.array(static_cast<int64_t>(names.size()));
  for (const std::string_view name : names) ctx.out.bulk(name);
}

void count_subscribers(Context& ctx, TopicKind kind) {
  const command::Args names = ctx.args.subspan(2);
  ctx.out.array(static_cast<int64_t>(names.size() * 2));
  for (const std::string_view name : names) {
    size_t sum = 0;
    for_each_table(ctx, [&](const Subscriptions& table) {
      if (const Topic* topic = table.find(kind, name)) sum += topic->clients.size();
    });
    ctx.out.bulk(name);
    ctx.out.integer(static_cast<int64_t>(sum));
  }
}

void pubsub_channels(Context& ctx) {
  list_channels(ctx, TopicKind::kChannel);
}
void pubsub_shardchannels(Context& ctx) {
  list_channels(ctx, TopicKind::kShardChannel);
}
void pubsub_numsub(Context& ctx) {
  count_subscribers(ctx, TopicKind::kChannel);
}
void pubsub_shardnumsub(Context& ctx) {
  count_subscribers(ctx, TopicKind::kShardChannel);
}

void pubsub_numpat(Context& ctx) {
  std::set<std::string_view> patterns;
  for_each_table(ctx, [&](const Subscriptions& table) {
    for (const auto& [name, topic] : table.topics(TopicKind::kPattern)) patterns.insert(name);
  });
  ctx.out.integer(static_cast<int64_t>(patterns.size()));
}

void pubsub_help(Context& ctx) {
  static constexpr std::string_view kLines[] = {
      "CHANNELS [<pattern>]",
      "    Return the currently active channels matching a <pattern> (default: '*').",
      "NUMPAT",
      "    Return number of subscriptions to patterns.",
      "NUMSUB [<channel> ...]",
      "    Return the number of subscribers for the specified channels, excluding",
      "    pattern subscriptions(default: no channels).",
      "SHARDCHANNELS [<pattern>]",
      "    Return the currently active shard level channels matching a <pattern> (default: '*').",
      "SHARDNUMSUB [<shardchannel> ...]",
      "    Return the number of subscribers for the specified shard level channel(s)",
  };
  admin::write_help(ctx, kLines);
}

// ---- Rows ----

constexpr uint32_t kListens =
    command::kPubSub | command::kNoScript | command::kLoading | command::kStale;
constexpr uint32_t kPublishes = command::kPubSub | command::kLoading | command::kStale |
                                command::kFast | command::kMayReplicate;
constexpr uint32_t kLooks = command::kPubSub | command::kLoading | command::kStale;
constexpr command::KeySpec kOneName = {.first = 1, .last = 1, .step = 1};
constexpr command::KeySpec kAllNames = {.first = 1, .last = -1, .step = 1};
constexpr std::string_view kEveryRegion =
    "Sent to every region, at most once; geo-regional-channels keeps it here. Counts the receivers "
    "of this region.";
constexpr std::string_view kThisRegion = "Of this region's clients.";

constexpr Arg kChannels[] = {{.name = "channel", .multiple = true}};
constexpr Arg kChannelsOrNone[] = {{.name = "channel", .optional = true, .multiple = true}};
constexpr Arg kPatterns[] = {{.name = "pattern", .type = ArgType::kPattern, .multiple = true}};
constexpr Arg kPatternsOrNone[] = {
    {.name = "pattern", .type = ArgType::kPattern, .optional = true, .multiple = true}};
constexpr Arg kShardChannels[] = {{.name = "shardchannel", .multiple = true}};
constexpr Arg kShardChannelsOrNone[] = {
    {.name = "shardchannel", .optional = true, .multiple = true}};
constexpr Arg kMessage[] = {{.name = "channel"}, {.name = "message"}};
constexpr Arg kShardMessage[] = {{.name = "shardchannel"}, {.name = "message"}};
constexpr Arg kOnePattern[] = {{.name = "pattern", .type = ArgType::kPattern, .optional = true}};

// What the rows have in common; each adds its own.
constexpr CommandSpec row(std::string_view name, int arity, Route route, uint32_t flags,
                          std::string_view since, std::string_view complexity,
                          std::string_view summary, command::Handler handler,
                          std::span<const Arg> args = {}, std::string_view differences = {},
                          command::KeySpec not_keys = {}, command::ChannelSpec channels = {}) {
  return {.name = name,
          .arity = arity,
          .not_keys = not_keys,
          .channels = channels,
          .route = route,
          .flags = flags,
          .group = "pubsub",
          .since = since,
          .complexity = complexity,
          .summary = summary,
          .differences = differences,
          .args = args,
          .handler = handler};
}

constexpr CommandSpec kPubsubSubcommands[] = {
    row("pubsub|channels", -2, Route::kEveryShard, kLooks, "2.8.0",
        "O(N) where N is the number of active channels, and assuming constant time pattern "
        "matching (relatively short channels and patterns)",
        "Returns the active channels.", pubsub_channels, kOnePattern, kThisRegion),
    row("pubsub|help", 2, Route::kConnection, command::kLoading | command::kStale, "6.2.0", "O(1)",
        admin::kHelpSummary, pubsub_help),
    row("pubsub|numpat", 2, Route::kEveryShard, kLooks, "2.8.0", "O(1)",
        "Returns a count of unique pattern subscriptions.", pubsub_numpat, {}, kThisRegion),
    row("pubsub|numsub", -2, Route::kEveryShard, kLooks, "2.8.0",
        "O(N) for the NUMSUB subcommand, where N is the number of requested channels",
        "Returns a count of subscribers to channels.", pubsub_numsub, kChannelsOrNone, kThisRegion),
    row("pubsub|shardchannels", -2, Route::kEveryShard, kLooks, "7.0.0",
        "O(N) where N is the number of active shard channels, and assuming constant time pattern "
        "matching (relatively short shard channels).",
        "Returns the active shard channels.", pubsub_shardchannels, kOnePattern, kThisRegion),
    row("pubsub|shardnumsub", -2, Route::kEveryShard, kLooks, "7.0.0",
        "O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard channels",
        "Returns the count of subscribers of shard channels.", pubsub_shardnumsub,
        kShardChannelsOrNone, kThisRegion),
};

constexpr CommandSpec kPubsubCommands[] = {
    row("psubscribe", -2, Route::kConnection, kListens, "2.0.0",
        "O(N) where N is the number of patterns to subscribe to.",
        "Listens for messages published to channels that match one or more patterns.", psubscribe,
        kPatterns, {}, {}, {.first = 1, .last = -1, .patterns = true}),
    row("publish", 3, Route::kReceivers, kPublishes, "2.0.0",
        "O(N+M) where N is the number of clients subscribed to the receiving channel and M is the "
        "total number of subscribed patterns (by any client).",
        "Posts a message to a channel.", publish, kMessage, kEveryRegion, {},
        {.first = 1, .last = 1}),
    {.name = "pubsub",
     .arity = -2,
     .route = Route::kConnection,
     .group = "pubsub",
     .since = "2.8.0",
     .complexity = admin::kContainerComplexity,
     .summary = "A container for Pub/Sub commands.",
     .subcommands = kPubsubSubcommands},
    row("punsubscribe", -1, Route::kConnection, kListens, "2.0.0",
        "O(N) where N is the number of patterns to unsubscribe.",
        "Stops listening to messages published to channels that match one or more patterns.",
        punsubscribe, kPatternsOrNone),
    row("spublish", 3, Route::kReceivers, kPublishes, "7.0.0",
        "O(N) where N is the number of clients subscribed to the receiving shard channel.",
        "Post a message to a shard channel", spublish, kShardMessage, kEveryRegion, kOneName,
        {.first = 1, .last = 1}),
    row("ssubscribe", -2, Route::kConnection, kListens, "7.0.0",
        "O(N) where N is the number of shard channels to subscribe to.",
        "Listens for messages published to shard channels.", ssubscribe, kShardChannels, {},
        kAllNames, {.first = 1, .last = -1}),
    row("subscribe", -2, Route::kConnection, kListens, "2.0.0",
        "O(N) where N is the number of channels to subscribe to.",
        "Listens for messages published to channels.", subscribe, kChannels, {}, {},
        {.first = 1, .last = -1}),
    row("sunsubscribe", -1, Route::kConnection, kListens, "7.0.0",
        "O(N) where N is the number of shard channels to unsubscribe.",
        "Stops listening to messages posted to shard channels.", sunsubscribe, kShardChannelsOrNone,
        {}, kAllNames),
    row("unsubscribe", -1, Route::kConnection, kListens, "2.0.0",
        "O(N) where N is the number of channels to unsubscribe.",
        "Stops listening to messages posted to channels.", unsubscribe, kChannelsOrNone),
};

static_assert(command::rows_sound(kPubsubCommands));

}  // namespace

std::span<const command::CommandSpec> pubsub_commands() {
  return kPubsubCommands;
}

}  // namespace atl::shard
