// ACL and MODULE: what tools ask of them. There is one user, 'default'.
#include <algorithm>

#include "node/admin/admin.h"
#include "node/admin/replies.h"
#include "node/command/check.h"

namespace atl::admin {
namespace {

// Redis' categories, in its order.
constexpr std::string_view kCategories[] = {
    "keyspace", "read",   "write",       "set",       "sortedset",  "list",        "hash",
    "string",   "bitmap", "hyperloglog", "geo",       "stream",     "pubsub",      "admin",
    "fast",     "slow",   "blocking",    "dangerous", "connection", "transaction", "scripting"};

void collect_category(const CommandSpec& spec, const std::string& category,
                      std::vector<std::string_view>& names) {
  for (const std::string& name : command::category_names(spec)) {
    if (name == category || (name.starts_with('@') && name.substr(1) == category)) {
      names.push_back(spec.name);
      return;
    }
  }
}

void acl_cat(Context& ctx) {
  if (ctx.args.size() > 3) {
    write_subcommand_syntax_error(ctx);
    return;
  }
  if (ctx.args.size() == 2) {
    ctx.out.array(static_cast<int64_t>(std::size(kCategories)));
    for (const std::string_view category : kCategories) ctx.out.bulk(category);
    return;
  }
  const std::string category = lower_case(ctx.args[2]);
  if (std::find(std::begin(kCategories), std::end(kCategories), category) ==
      std::end(kCategories)) {
    ctx.out.error("ERR Unknown category '" + std::string(ctx.args[2]) + "'");
    return;
  }
  std::vector<std::string_view> names;
  for (const CommandSpec* spec : command::all_commands()) {
    if (spec->subcommands.empty()) collect_category(*spec, category, names);
    for (const CommandSpec& sub : spec->subcommands) collect_category(sub, category, names);
  }
  ctx.out.array(static_cast<int64_t>(names.size()));
  for (const std::string_view name : names) ctx.out.bulk(name);
}

void acl_whoami(Context& ctx) {
  ctx.out.bulk("default");
}

void acl_users(Context& ctx) {
  ctx.out.array(1);
  ctx.out.bulk("default");
}

void acl_unsupported(Context& ctx) {
  ctx.out.error(
      "ERR not supported yet by Atoll: there is one user, 'default', whose password is "
      "'requirepass'");
}

void acl_help(Context& ctx) {
  static constexpr std::string_view kLines[] = {
      "CAT [<category>]",
      "    List all commands that belong to <category>, or all command categories",
      "    when no category is specified.",
      "USERS",
      "    List all the registered usernames.",
      "WHOAMI",
      "    Return the current connection username.",
  };
  write_help(ctx, kLines);
}

void module_list(Context& ctx) {
  ctx.out.array(0);
}

void module_help(Context& ctx) {
  static constexpr std::string_view kLines[] = {
      "LIST",
      "    Return a list of loaded modules.",
  };
  write_help(ctx, kLines);
}

constexpr Arg kCatArgs[] = {{.name = "category", .optional = true}};

constexpr CommandSpec row(std::string_view name, int arity, uint32_t flags, std::string_view since,
                          std::string_view summary, command::Handler handler,
                          std::span<const Arg> args = {}) {
  return {.name = name,
          .arity = arity,
          .route = Route::kConnection,
          .flags = flags,
          .group = "server",
          .since = since,
          .complexity = "O(1)",
          .summary = summary,
          .differences = handler == acl_unsupported ? std::string_view("Not supported yet.")
                                                    : std::string_view(),
          .args = args,
          .handler = handler};
}

constexpr CommandSpec kAclSubcommands[] = {
    row("acl|cat", -2, kPlain, "6.0.0",
        "Lists the ACL categories, or the commands inside a category.", acl_cat, kCatArgs),
    row("acl|deluser", -3, kOperator, "6.0.0", "Deletes ACL users.", acl_unsupported),
    row("acl|dryrun", -4, kOperator, "7.0.0", "Simulates the execution of a command by a user.",
        acl_unsupported),
    row("acl|genpass", -2, kPlain, "6.0.0", "Generates a pseudorandom, secure password.",
        acl_unsupported),
    row("acl|getuser", 3, kOperator, "6.0.0", "Lists the ACL rules of a user.", acl_unsupported),
    row("acl|help", 2, kAnyTime, "6.0.0", kHelpSummary, acl_help),
    row("acl|list", 2, kOperator, "6.0.0", "Dumps the effective rules in ACL file format.",
        acl_unsupported),
    row("acl|load", 2, kOperator, "6.0.0", "Reloads the rules from the ACL file.", acl_unsupported),
    row("acl|log", -2, kOperator, "6.0.0", "Lists recent security events.", acl_unsupported),
    row("acl|save", 2, kOperator, "6.0.0", "Saves the effective rules in the ACL file.",
        acl_unsupported),
    row("acl|setuser", -3, kOperator, "6.0.0", "Creates and modifies an ACL user.",
        acl_unsupported),
    row("acl|users", 2, kOperator, "6.0.0", "Lists all ACL users.", acl_users),
    row("acl|whoami", 2, kPlain, "6.0.0",
        "Returns the authenticated username of the current connection.", acl_whoami),
};

constexpr CommandSpec kModuleSubcommands[] = {
    row("module|help", 2, kAnyTime, "5.0.0", kHelpSummary, module_help),
    row("module|list", 2, command::kAdmin | command::kNoScript, "4.0.0",
        "Returns all loaded modules.", module_list),
};

constexpr CommandSpec kAclCommands[] = {
    {.name = "acl",
     .arity = -2,
     .route = Route::kConnection,
     .group = "server",
     .since = "6.0.0",
     .complexity = kContainerComplexity,
     .summary = "A container for Access List Control commands.",
     .subcommands = kAclSubcommands},
    {.name = "module",
     .arity = -2,
     .route = Route::kConnection,
     .group = "server",
     .since = "4.0.0",
     .complexity = kContainerComplexity,
     .summary = "A container for module commands.",
     .subcommands = kModuleSubcommands},
};
static_assert(command::rows_sound(kAclCommands));

}  // namespace

std::span<const CommandSpec> acl_commands() {
  return kAclCommands;
}

}  // namespace atl::admin
