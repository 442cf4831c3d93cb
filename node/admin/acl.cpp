// ACL and MODULE.
#include <algorithm>

#include "node/acl/access_control.h"
#include "node/acl/password.h"
#include "node/admin/admin.h"
#include "node/admin/replies.h"
#include "node/command/check.h"

namespace atl::admin {
namespace {

constexpr int64_t kPasswordBitsMax = 4096;
constexpr int64_t kPasswordBits = 256;
constexpr size_t kShownNameMax = 128;
constexpr int64_t kLogEntriesShown = 10;

void write_names(Context& ctx, std::span<const std::string_view> names) {
  ctx.out.array(static_cast<int64_t>(names.size()));
  for (const std::string_view name : names) ctx.out.bulk(name);
}

void acl_cat(Context& ctx) {
  if (ctx.args.size() > 3) {
    write_subcommand_syntax_error(ctx);
  } else if (ctx.args.size() == 2) {
    write_names(ctx, acl::category_names());
  } else if (acl::catalog().category(ctx.args[2]) == nullptr) {
    ctx.out.error("ERR Unknown category '" + std::string(ctx.args[2].substr(0, kShownNameMax)) +
                  "'");
  } else {
    write_names(ctx, acl::catalog().members(ctx.args[2]));
  }
}

void acl_whoami(Context& ctx) {
  ctx.out.bulk(ctx.node.user_name(ctx));
}

// ---- Users ----

void acl_users(Context& ctx) {
  const auto users = ctx.node.access_control().users();
  ctx.out.array(static_cast<int64_t>(users->by_name.size()));
  for (const auto& [name, user] : users->by_name) ctx.out.bulk(name);
}

void acl_list(Context& ctx) {
  const auto users = ctx.node.access_control().users();
  ctx.out.array(static_cast<int64_t>(users->by_name.size()));
  for (const auto& [name, user] : users->by_name) {
    ctx.out.bulk("user " + name + ' ' + user->describe());
  }
}

void acl_setuser(Context& ctx) {
  const std::string error = ctx.node.access_control().set_user(ctx.args[2], ctx.args.subspan(3));
  if (error.empty()) {
    ctx.out.ok();
  } else {
    ctx.out.error(err(error));
  }
}

void acl_deluser(Context& ctx) {
  const auto names = ctx.args.subspan(2);
  if (std::find(names.begin(), names.end(), acl::kDefaultUser) != names.end()) {
    ctx.out.error("ERR The 'default' user cannot be removed");
    return;
  }
  ctx.out.integer(static_cast<int64_t>(ctx.node.access_control().delete_users(names)));
}

void write_selector(Context& ctx, const acl::Selector& selector) {
  ctx.out.bulk("commands");
  ctx.out.bulk(selector.describe_commands());
  ctx.out.bulk("keys");
  ctx.out.bulk(selector.describe_keys());
  ctx.out.bulk("channels");
  ctx.out.bulk(selector.describe_channels());
}

void acl_getuser(Context& ctx) {
  const auto user = ctx.node.access_control().users()->find(ctx.args[2]);
  if (!user) {
    ctx.out.null();
    return;
  }
  ctx.out.map(6);
  ctx.out.bulk("flags");
  const auto flags = user->flags();
  ctx.out.set(static_cast<int64_t>(flags.size()));
  for (const std::string_view flag : flags) ctx.out.bulk(flag);
  ctx.out.bulk("passwords");
  ctx.out.array(static_cast<int64_t>(user->passwords().size()));
  for (const std::string& hash : user->passwords()) ctx.out.bulk(hash);
  write_selector(ctx, user->root());
  ctx.out.bulk("selectors");
  ctx.out.array(static_cast<int64_t>(user->others().size()));
  for (const acl::Selector& selector : user->others()) {
    ctx.out.map(3);
    write_selector(ctx, selector);
  }
}

void acl_genpass(Context& ctx) {
  if (ctx.args.size() > 3) {
    write_subcommand_syntax_error(ctx);
    return;
  }
  int64_t bits = kPasswordBits;
  if (ctx.args.size() == 3 && !read_number(ctx, ctx.args[2], command::kNotAnInteger, bits)) return;
  if (bits <= 0 || bits > kPasswordBitsMax) {
    ctx.out.error(
        "ERR ACL GENPASS argument must be the number of bits for the output password, a positive "
        "number up to " +
        std::to_string(kPasswordBitsMax));
    return;
  }
  const std::string password = acl::random_hex(static_cast<size_t>(bits + 3) / 4);
  if (password.empty()) {
    ctx.out.error("ERR the system has no random numbers to give");
  } else {
    ctx.out.bulk(password);
  }
}

void acl_dryrun(Context& ctx) {
  const auto user = ctx.node.access_control().users()->find(ctx.args[2]);
  if (!user) {
    ctx.out.error("ERR User '" + std::string(ctx.args[2]) + "' not found");
    return;
  }
  const command::Args args = ctx.args.subspan(3);
  const CommandSpec* found = command::find_command(args[0]);
  const CommandSpec* spec = found == nullptr ? nullptr : command::resolve(*found, args);
  if (spec == nullptr) {
    ctx.out.error("ERR Command '" + std::string(args[0]) + "' not found");
    return;
  }
  if (!command::arity_ok(*spec, args.size())) {
    ctx.out.error(command::arity_error(*spec));
    return;
  }
  const acl::Verdict verdict = user->check(acl::catalog().id_of(*spec), *spec, args);
  const std::string subject = "User " + user->name() + " has no permissions to ";
  const std::string object(args[std::min(verdict.at, args.size() - 1)]);
  switch (verdict.reason) {
    case acl::Reason::kNone:
      ctx.out.ok();
      return;
    case acl::Reason::kKey:
      ctx.out.bulk(subject + "access the '" + object + "' key");
      return;
    case acl::Reason::kChannel:
      ctx.out.bulk(subject + "access the '" + object + "' channel");
      return;
    case acl::Reason::kCommand:
    case acl::Reason::kAuth:
      ctx.out.bulk(subject + "run the '" + std::string(spec->name) + "' command");
      return;
  }
}

// ---- Files ----

// False: the error reply is written.
bool has_file(Context& ctx) {
  if (ctx.node.access_control().has_file()) return true;
  ctx.out.error(
      "ERR This Redis instance is not configured to use an ACL file. You may want to specify users "
      "via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis "
      "configuration file set) in order to store users in the Redis configuration.");
  return false;
}

void write_result(const NodeServices::Done& done, const std::string& error) {
  done([error](resp::Writer& out) {
    if (error.empty()) {
      out.ok();
    } else {
      out.error(err(error));
    }
  });
}

void acl_load(Context& ctx) {
  if (!has_file(ctx)) return;
  const auto done = ctx.node.defer(ctx);
  ctx.node.run_blocking([users = &ctx.node.access_control()] { return users->load(); },
                        [done](const std::string& error) { write_result(done, error); });
}

void acl_save(Context& ctx) {
  if (!has_file(ctx)) return;
  const auto done = ctx.node.defer(ctx);
  ctx.node.run_blocking(
      [users = &ctx.node.access_control()] {
        const std::string error = users->save();
        return error.empty() ? error : "There was an error trying to save the ACLs: " + error;
      },
      [done](const std::string& error) { write_result(done, error); });
}

// ---- The log ----

std::string_view reason_name(acl::Reason reason) {
  switch (reason) {
    case acl::Reason::kCommand:
      return "command";
    case acl::Reason::kKey:
      return "key";
    case acl::Reason::kChannel:
      return "channel";
    case acl::Reason::kAuth:
      return "auth";
    case acl::Reason::kNone:
      break;
  }
  return "unknown";
}

std::string_view context_name(acl::DenialContext context) {
  switch (context) {
    case acl::DenialContext::kTopLevel:
      return "toplevel";
    case acl::DenialContext::kMulti:
      return "multi";
    case acl::DenialContext::kScript:
      return "lua";
  }
  return "unknown";
}

void write_denial(Context& ctx, const acl::DenialEntry& entry) {
  ctx.out.map(10);
  ctx.out.bulk("count");
  ctx.out.integer(static_cast<int64_t>(entry.count));
  ctx.out.bulk("reason");
  ctx.out.bulk(reason_name(entry.denial.reason));
  ctx.out.bulk("context");
  ctx.out.bulk(context_name(entry.denial.context));
  ctx.out.bulk("object");
  ctx.out.bulk(entry.denial.object);
  ctx.out.bulk("username");
  ctx.out.bulk(entry.denial.user);
  ctx.out.bulk("age-seconds");
  ctx.out.dbl(static_cast<double>(ctx.now - entry.updated_ms) / 1000);
  ctx.out.bulk("client-info");
  ctx.out.bulk(entry.denial.client);
  ctx.out.bulk("entry-id");
  ctx.out.integer(entry.id);
  ctx.out.bulk("timestamp-created");
  ctx.out.integer(entry.created_ms);
  ctx.out.bulk("timestamp-last-updated");
  ctx.out.integer(entry.updated_ms);
}

void acl_log(Context& ctx) {
  if (ctx.args.size() > 3) {
    write_subcommand_syntax_error(ctx);
    return;
  }
  acl::DenialLog& log = ctx.node.access_control().log();
  int64_t count = kLogEntriesShown;
  if (ctx.args.size() == 3) {
    if (is_word(ctx.args[2], "reset")) {
      log.reset();
      ctx.out.ok();
      return;
    }
    if (!read_number(ctx, ctx.args[2], command::kNotAnInteger, count)) return;
  }
  const auto entries = log.newest(static_cast<size_t>(std::max<int64_t>(count, 0)));
  ctx.out.array(static_cast<int64_t>(entries.size()));
  for (const acl::DenialEntry& entry : entries) write_denial(ctx, entry);
}

void acl_help(Context& ctx) {
  static constexpr std::string_view kLines[] = {
      "CAT [<category>]",
      "    List all commands that belong to <category>, or all command categories",
      "    when no category is specified.",
      "DELUSER <username> [<username> ...]",
      "    Delete a list of users.",
      "DRYRUN <username> <command> [<arg> ...]",
      "    Returns whether the user can execute the given command without executing the command.",
      "GETUSER <username>",
      "    Get the user's details.",
      "GENPASS [<bits>]",
      "    Generate a secure 256-bit user password. The optional `bits` argument can",
      "    be used to specify a different size.",
      "LIST",
      "    Show users details in config file format.",
      "LOAD",
      "    Reload users from the ACL file.",
      "LOG [<count> | RESET]",
      "    Show the ACL log entries.",
      "SAVE",
      "    Save the current config to the ACL file.",
      "SETUSER <username> <attribute> [<attribute> ...]",
      "    Create or modify a user with the specified attributes.",
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
constexpr Arg kUsersArgs[] = {{.name = "username", .multiple = true}};
constexpr Arg kUserArgs[] = {{.name = "username"}};
constexpr Arg kBitsArgs[] = {{.name = "bits", .type = ArgType::kInteger, .optional = true}};
constexpr Arg kSetuserArgs[] = {{.name = "username"},
                                {.name = "rule", .optional = true, .multiple = true}};
constexpr Arg kDryrunArgs[] = {
    {.name = "username"}, {.name = "command"}, {.name = "arg", .optional = true, .multiple = true}};
constexpr Arg kLogOptions[] = {{.name = "count", .type = ArgType::kInteger},
                               {.name = "reset", .type = ArgType::kPureToken, .token = "RESET"}};
constexpr Arg kLogArgs[] = {
    {.name = "operation", .type = ArgType::kOneOf, .optional = true, .args = kLogOptions}};

constexpr CommandSpec row(std::string_view name, int arity, uint32_t flags, std::string_view since,
                          std::string_view summary, command::Handler handler,
                          std::span<const Arg> args = {}, std::string_view differences = {}) {
  return {.name = name,
          .arity = arity,
          .route = Route::kConnection,
          .flags = flags,
          .group = "server",
          .since = since,
          .complexity = "O(1)",
          .summary = summary,
          .differences = differences,
          .args = args,
          .handler = handler};
}

constexpr std::string_view kPerNode = "Users are a node's own: other regions keep theirs.";
// What touches the disk is done by another thread.
constexpr uint32_t kOnDisk = kOperator | command::kNoMulti;

constexpr CommandSpec kAclSubcommands[] = {
    row("acl|cat", -2, kPlain, "6.0.0",
        "Lists the ACL categories, or the commands inside a category.", acl_cat, kCatArgs),
    row("acl|deluser", -3, kOperator, "6.0.0",
        "Deletes ACL users, and terminates their connections.", acl_deluser, kUsersArgs, kPerNode),
    row("acl|dryrun", -4, kOperator, "7.0.0",
        "Simulates the execution of a command by a user, without executing the command.",
        acl_dryrun, kDryrunArgs),
    row("acl|genpass", -2, kPlain, "6.0.0",
        "Generates a pseudorandom, secure password that can be used to identify ACL users.",
        acl_genpass, kBitsArgs),
    row("acl|getuser", 3, kOperator, "6.0.0", "Lists the ACL rules of a user.", acl_getuser,
        kUserArgs),
    row("acl|help", 2, kAnyTime, "6.0.0", kHelpSummary, acl_help),
    row("acl|list", 2, kOperator, "6.0.0", "Dumps the effective rules in ACL file format.",
        acl_list),
    row("acl|load", 2, kOnDisk, "6.0.0", "Reloads the rules from the configured ACL file.",
        acl_load, {},
        "Terminates the connections of users that changed or went only. Refused inside MULTI."),
    row("acl|log", -2, kOperator, "6.0.0",
        "Lists recent security events generated due to ACL rules.", acl_log, kLogArgs),
    row("acl|save", 2, kOnDisk, "6.0.0",
        "Saves the effective ACL rules in the configured ACL file.", acl_save, {},
        "The file is synced to disk. Refused inside MULTI."),
    row("acl|setuser", -3, kOperator, "6.0.0", "Creates and modifies an ACL user and its rules.",
        acl_setuser, kSetuserArgs, kPerNode),
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
