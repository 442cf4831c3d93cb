// The table as the server has it, but for transactions, plus three rows that name channels as the
// Pub/Sub commands do.
#include "tests/unit/acl/register_families.h"

#include "node/command/check.h"

namespace atl::acl {
namespace {

void nothing(command::Context&) {}

constexpr command::CommandSpec channel_row(std::string_view name, int arity,
                                           command::ChannelSpec channels) {
  return {.name = name,
          .arity = arity,
          .channels = channels,
          .route = command::Route::kConnection,
          .flags = command::kPubSub,
          .group = "pubsub",
          .since = "1.0.0",
          .complexity = "O(1)",
          .summary = "A row",
          .handler = nothing};
}

void admin_handler(command::Context&) {}

constexpr command::CommandSpec sub_row(std::string_view name, uint32_t flags) {
  return {.name = name,
          .arity = -2,
          .route = command::Route::kConnection,
          .flags = flags,
          .group = "server",
          .since = "1.0.0",
          .complexity = "O(1)",
          .summary = "A row",
          .handler = admin_handler};
}

constexpr command::CommandSpec kSubcommands[] = {
    sub_row("config|get", command::kAdmin),
    sub_row("config|help", 0),
    sub_row("config|set", command::kAdmin),
};

constexpr command::CommandSpec kRows[] = {
    sub_row("auth", command::kNoAuth),
    {.name = "config",
     .arity = -2,
     .route = command::Route::kConnection,
     .group = "server",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "A container",
     .subcommands = kSubcommands},
    channel_row("sample-psubscribe", -2, {.first = 1, .last = -1, .patterns = true}),
    channel_row("sample-publish", 3, {.first = 1, .last = 1}),
    channel_row("sample-subscribe", -2, {.first = 1, .last = -1}),
    sub_row("select", command::kFast),
};
static_assert(command::rows_sound(kRows));

}  // namespace

void register_families() {
  [[maybe_unused]] static const bool once = [] {
    command::register_commands(kRows);
    return true;
  }();
}

}  // namespace atl::acl
