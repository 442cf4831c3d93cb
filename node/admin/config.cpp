// CONFIG and its subcommands.
#include "node/admin/admin.h"
#include "node/admin/replies.h"
#include "node/command/check.h"

namespace atl::admin {
namespace {

void config_get(Context& ctx) {
  const auto patterns = ctx.args.subspan(2);
  const auto found = ctx.node.config_get({patterns.begin(), patterns.end()});
  ctx.out.map(static_cast<int64_t>(found.size()));
  for (const auto& [name, value] : found) {
    ctx.out.bulk(name);
    ctx.out.bulk(value);
  }
}

void reply_result(Context& ctx, const std::string& error) {
  if (error.empty()) {
    ctx.out.ok();
  } else {
    ctx.out.error(err(error));
  }
}

void config_set(Context& ctx) {
  if (ctx.args.size() % 2 != 0) {
    ctx.out.error(kSyntaxError);
    return;
  }
  std::vector<std::pair<std::string_view, std::string_view>> pairs;
  for (size_t i = 2; i < ctx.args.size(); i += 2) pairs.emplace_back(ctx.args[i], ctx.args[i + 1]);
  reply_result(ctx, ctx.node.config_set(pairs));
}

void config_rewrite(Context& ctx) {
  reply_result(ctx, ctx.node.config_rewrite());
}

void config_resetstat(Context& ctx) {
  ctx.node.config_reset_stat();
  ctx.out.ok();
}

void config_help(Context& ctx) {
  static constexpr std::string_view kLines[] = {
      "GET <pattern>",
      "    Return parameters matching the glob-like <pattern> and their values.",
      "SET <directive> <value>",
      "    Set the configuration <directive> to <value>.",
      "RESETSTAT",
      "    Reset statistics reported by the INFO command.",
      "REWRITE",
      "    Rewrite the configuration file.",
  };
  write_help(ctx, kLines);
}

constexpr Arg kGetArgs[] = {{.name = "parameter", .multiple = true}};
constexpr Arg kPairArgs[] = {{.name = "parameter"}, {.name = "value"}};
constexpr Arg kSetArgs[] = {
    {.name = "data", .type = ArgType::kBlock, .multiple = true, .args = kPairArgs}};

constexpr CommandSpec row(std::string_view name, int arity, uint32_t flags, std::string_view since,
                          std::string_view complexity, std::string_view summary,
                          command::Handler handler, std::span<const Arg> args = {}) {
  return {.name = name,
          .arity = arity,
          .route = Route::kConnection,
          .flags = flags,
          .group = "server",
          .since = since,
          .complexity = complexity,
          .summary = summary,
          .args = args,
          .handler = handler};
}

constexpr std::string_view kPerParameter =
    "O(N) when N is the number of configuration parameters provided";

constexpr CommandSpec kConfigSubcommands[] = {
    row("config|get", -3, kOperator, "2.0.0", kPerParameter,
        "Returns the effective values of configuration parameters.", config_get, kGetArgs),
    row("config|help", 2, kAnyTime, "5.0.0", "O(1)", kHelpSummary, config_help),
    row("config|resetstat", 2, kOperator, "2.0.0", "O(1)", "Resets the server's statistics.",
        config_resetstat),
    row("config|rewrite", 2, kOperator, "2.8.0", "O(1)",
        "Persists the effective configuration to file.", config_rewrite),
    row("config|set", -4, kOperator, "2.0.0", kPerParameter,
        "Sets configuration parameters in-flight.", config_set, kSetArgs),
};

constexpr CommandSpec kConfigCommands[] = {
    {.name = "config",
     .arity = -2,
     .route = Route::kConnection,
     .group = "server",
     .since = "2.0.0",
     .complexity = kContainerComplexity,
     .summary = "A container for server configuration commands.",
     .subcommands = kConfigSubcommands},
};
static_assert(command::rows_sound(kConfigCommands));

}  // namespace

std::span<const CommandSpec> config_commands() {
  return kConfigCommands;
}

}  // namespace atl::admin
