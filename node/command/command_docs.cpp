// COMMAND: what the table says of itself, in the shapes of Redis 7, from which clients learn
// where keys stand and redis-cli its hints.
#include <string>
#include <vector>

#include "node/command/args.h"
#include "node/command/check.h"
#include "node/command/families.h"
#include "node/command/glob.h"

namespace atl::command {
namespace {

int64_t length(size_t size) {
  return static_cast<int64_t>(size);
}

// The row of "name" or "container|sub"; null when there is none.
const CommandSpec* find_full_name(std::string_view name) {
  const size_t bar = name.find('|');
  const CommandSpec* const spec = find_command(name.substr(0, bar));
  if (spec == nullptr || bar == std::string_view::npos) return spec;
  for (const CommandSpec& sub : spec->subcommands) {
    if (is_word(name, sub.name)) return &sub;
  }
  return nullptr;
}

// ---- COMMAND INFO ----

void reply_statuses(Context& ctx, std::span<const std::string_view> names) {
  ctx.out.set(length(names.size()));
  for (const std::string_view name : names) ctx.out.simple(name);
}

// As Redis names them: whether the value is read, overwritten, changed or removed, then how.
std::vector<std::string_view> key_flags(const CommandSpec& spec, uint8_t use, bool first) {
  constexpr unsigned kWrites = kKeyInserts | kKeyUpdates | kKeyDeletes;
  const bool reads = (use & kKeyReads) != 0;
  // Into what is there; a generic command inserts the key itself.
  const bool inserts = (use & kKeyInserts) != 0 && spec.group != "generic";
  // What options decide, they decide of this too.
  const bool changes =
      reads || ((first || inserts) && !spec.key_use_of && spec.access == Access::kReadWrite);
  std::vector<std::string_view> flags;
  if ((use & kWrites) == 0) {
    flags.push_back("RO");
  } else if (use == kKeyDeletes && !changes) {  // the key, and not a part of its value
    flags.push_back("RM");
  } else {
    flags.push_back(changes ? "RW" : "OW");
  }
  if (reads) flags.push_back("access");
  if ((use & kKeyInserts) != 0) flags.push_back("insert");
  if ((use & kKeyUpdates) != 0) flags.push_back("update");
  if ((use & kKeyDeletes) != 0) flags.push_back("delete");
  return flags;
}

void reply_tips(Context& ctx, std::string_view tips) {
  const auto open = ctx.out.begin_set();
  int64_t count = 0;
  while (!tips.empty()) {
    const size_t blank = tips.find(' ');
    ctx.out.bulk(tips.substr(0, blank));
    ++count;
    tips = blank == std::string_view::npos ? std::string_view{} : tips.substr(blank + 1);
  }
  ctx.out.end_set(open, count);
}

void reply_field(Context& ctx, std::string_view name, int64_t value) {
  ctx.out.bulk(name);
  ctx.out.integer(value);
}

const KeySpec& shown_keys(const CommandSpec& spec) {
  return spec.not_keys.first != 0 ? spec.not_keys : spec.keys;
}

// Keys from argument `first` to `last`, or behind their number if that is where `first` stands.
void reply_key_spec(Context& ctx, const CommandSpec& spec, int first, int last, uint8_t use) {
  const KeySpec& keys = shown_keys(spec);
  const bool counted = keys.count_at != 0 && first == keys.count_at;
  std::vector<std::string_view> flags{"not_key"};
  if (has_keys(spec)) flags = key_flags(spec, use, first == keys.first);
  const bool varies = spec.key_use_of != nullptr;
  if (varies) flags.push_back("variable_flags");
  ctx.out.map(3);
  ctx.out.bulk("flags");
  reply_statuses(ctx, flags);
  ctx.out.bulk("begin_search");
  ctx.out.map(2);
  ctx.out.bulk("type");
  ctx.out.bulk("index");
  ctx.out.bulk("spec");
  ctx.out.map(1);
  reply_field(ctx, "index", first);
  ctx.out.bulk("find_keys");
  ctx.out.map(2);
  ctx.out.bulk("type");
  ctx.out.bulk(counted ? "keynum" : "range");
  ctx.out.bulk("spec");
  ctx.out.map(3);
  if (counted) {
    reply_field(ctx, "keynumidx", 0);
    reply_field(ctx, "firstkey", 1);
    reply_field(ctx, "keystep", keys.step);
  } else {
    reply_field(ctx, "lastkey", last < 0 ? last : last - first);
    reply_field(ctx, "keystep", keys.step);
    reply_field(ctx, "limit", 0);
  }
}

// Keys that stand behind options, or are named by what the command reads.
void reply_unknown_keys(Context& ctx, std::string_view notes,
                        std::span<const std::string_view> flags) {
  ctx.out.map(4);
  ctx.out.bulk("notes");
  ctx.out.bulk(notes);
  ctx.out.bulk("flags");
  reply_statuses(ctx, flags);
  for (const std::string_view part : {"begin_search", "find_keys"}) {
    ctx.out.bulk(part);
    ctx.out.map(2);
    ctx.out.bulk("type");
    ctx.out.bulk("unknown");
    ctx.out.bulk("spec");
    ctx.out.map(0);
  }
}

// Of what reads keys that it does not name: SORT and SORT_RO, and nothing else.
void reply_sort_keys(Context& ctx, const CommandSpec& spec) {
  static constexpr std::string_view kRead[] = {"RO", "access"};
  static constexpr std::string_view kOverwritten[] = {"OW", "update"};
  ctx.out.set(spec.optional_keys != nullptr ? 3 : 2);
  reply_key_spec(ctx, spec, spec.keys.first, spec.keys.last, kKeyReads);
  reply_unknown_keys(ctx,
                     "For the optional BY/GET keyword. It is marked 'unknown' because the key "
                     "names derive from the content of the key we sort",
                     kRead);
  if (spec.optional_keys == nullptr) return;
  reply_unknown_keys(ctx,
                     "For the optional STORE keyword. It is marked 'unknown' because the keyword "
                     "can appear anywhere in the argument array",
                     kOverwritten);
}

void reply_key_specs(Context& ctx, const CommandSpec& spec) {
  if (spec.reads_unnamed != nullptr) return reply_sort_keys(ctx, spec);
  const KeySpec& keys = shown_keys(spec);
  if (keys.first == 0 && keys.count_at == 0) {
    ctx.out.set(0);
    return;
  }
  // With every option that there is, as Redis' table has it.
  const uint8_t use = spec.key_use_of ? kKeyReads | kKeyUpdates : key_use(spec, {}, 0);
  const int first = keys.count_at != 0 ? keys.count_at : keys.first;
  if (spec.first_key_use != 0) {
    ctx.out.set(2);
    reply_key_spec(ctx, spec, keys.first, keys.first, spec.first_key_use);
    reply_key_spec(ctx, spec, first == keys.first ? first + keys.step : first, keys.last, use);
    return;
  }
  if (spec.last_key_use == 0) {
    ctx.out.set(1);
    reply_key_spec(ctx, spec, first, keys.last, use);
    return;
  }
  ctx.out.set(2);
  reply_key_spec(ctx, spec, keys.first, keys.first, use);
  reply_key_spec(ctx, spec, keys.last, keys.last, spec.last_key_use);
}

void reply_info(Context& ctx, const CommandSpec& spec) {
  const KeySpec& keys = shown_keys(spec);
  const bool ranged = keys.first != 0;
  ctx.out.array(10);
  ctx.out.bulk(spec.name);
  ctx.out.integer(spec.arity);
  reply_statuses(ctx, flag_names(spec));
  ctx.out.integer(ranged ? keys.first : 0);
  ctx.out.integer(ranged ? keys.last : 0);
  ctx.out.integer(ranged ? keys.step : 0);
  const std::vector<std::string> categories = category_names(spec);
  ctx.out.set(length(categories.size()));
  for (const std::string& category : categories) ctx.out.simple(category);
  reply_tips(ctx, spec.tips);
  reply_key_specs(ctx, spec);
  if (spec.subcommands.empty()) {
    ctx.out.set(0);
    return;
  }
  ctx.out.array(length(spec.subcommands.size()));
  for (const CommandSpec& sub : spec.subcommands) reply_info(ctx, sub);
}

void command_command(Context& ctx) {
  ctx.out.array(length(all_commands().size()));
  for (const CommandSpec* spec : all_commands()) reply_info(ctx, *spec);
}

void command_info_command(Context& ctx) {
  if (ctx.args.size() == 2) {
    command_command(ctx);
    return;
  }
  ctx.out.array(length(ctx.args.size() - 2));
  for (const std::string_view name : ctx.args.subspan(2)) {
    if (const CommandSpec* spec = find_full_name(name)) {
      reply_info(ctx, *spec);
    } else {
      ctx.out.null();
    }
  }
}

void command_count_command(Context& ctx) {
  ctx.out.integer(length(all_commands().size()));
}

// ---- COMMAND DOCS ----

std::string_view type_name(ArgType type) {
  switch (type) {
    case ArgType::kKey:
      return "key";
    case ArgType::kString:
      return "string";
    case ArgType::kInteger:
      return "integer";
    case ArgType::kDouble:
      return "double";
    case ArgType::kUnixTime:
      return "unix-time";
    case ArgType::kPattern:
      return "pattern";
    case ArgType::kPureToken:
      return "pure-token";
    case ArgType::kOneOf:
      return "oneof";
    case ArgType::kBlock:
      return "block";
  }
  return {};
}

void reply_text(Context& ctx, std::string_view name, std::string_view value) {
  ctx.out.bulk(name);
  ctx.out.bulk(value);
}

void reply_args(Context& ctx, std::span<const Arg> args) {
  ctx.out.array(length(args.size()));
  for (const Arg& arg : args) {
    const bool flags = arg.optional || arg.multiple;
    int64_t fields = arg.args.empty() ? 3 : 2;
    fields += (arg.type == ArgType::kKey) + !arg.token.empty() + flags + !arg.args.empty();
    ctx.out.map(fields);
    reply_text(ctx, "name", arg.name);
    reply_text(ctx, "type", type_name(arg.type));
    if (arg.args.empty()) reply_text(ctx, "display_text", arg.name);
    if (arg.type == ArgType::kKey) reply_field(ctx, "key_spec_index", 0);
    if (!arg.token.empty()) reply_text(ctx, "token", arg.token);
    if (flags) {
      ctx.out.bulk("flags");
      ctx.out.set(arg.optional + arg.multiple);
      if (arg.optional) ctx.out.simple("optional");
      if (arg.multiple) ctx.out.simple("multiple");
    }
    if (!arg.args.empty()) {
      ctx.out.bulk("arguments");
      reply_args(ctx, arg.args);
    }
  }
}

void reply_docs(Context& ctx, const CommandSpec& spec) {
  ctx.out.bulk(spec.name);
  ctx.out.map(4 + !spec.args.empty() + !spec.subcommands.empty());
  reply_text(ctx, "summary", spec.summary);
  reply_text(ctx, "since", spec.since);
  reply_text(ctx, "group", spec.group);
  reply_text(ctx, "complexity", spec.complexity);
  if (!spec.args.empty()) {
    ctx.out.bulk("arguments");
    reply_args(ctx, spec.args);
  }
  if (!spec.subcommands.empty()) {
    ctx.out.bulk("subcommands");
    ctx.out.map(length(spec.subcommands.size()));
    for (const CommandSpec& sub : spec.subcommands) reply_docs(ctx, sub);
  }
}

void command_docs_command(Context& ctx) {
  if (ctx.args.size() == 2) {
    ctx.out.map(length(all_commands().size()));
    for (const CommandSpec* spec : all_commands()) reply_docs(ctx, *spec);
    return;
  }
  const auto open = ctx.out.begin_map();
  int64_t count = 0;
  for (const std::string_view name : ctx.args.subspan(2)) {
    if (const CommandSpec* spec = find_full_name(name)) {
      reply_docs(ctx, *spec);
      ++count;
    }
  }
  ctx.out.end_map(open, count);
}

// ---- COMMAND LIST ----

enum class ListFilter : uint8_t { kNone, kModule, kCategory, kPattern };

bool list_matches(const CommandSpec& spec, ListFilter filter, std::string_view operand) {
  switch (filter) {
    case ListFilter::kNone:
      return true;
    case ListFilter::kModule:
      return false;  // there are no modules
    case ListFilter::kCategory:
      for (const std::string& category : category_names(spec)) {
        if (is_word(operand, std::string_view(category).substr(1))) return true;
      }
      return false;
    case ListFilter::kPattern:
      return glob_match(operand, spec.name, GlobCase::kIgnore);
  }
  return false;
}

void command_list_command(Context& ctx) {
  ListFilter filter = ListFilter::kNone;
  std::string_view operand;
  if (ctx.args.size() != 2) {
    OptionScanner scan(ctx.args, 2);
    const bool filtered = ctx.args.size() == 5 && scan.take("filterby");
    if (filtered && scan.take("module", operand)) {
      filter = ListFilter::kModule;
    } else if (filtered && scan.take("aclcat", operand)) {
      filter = ListFilter::kCategory;
    } else if (filtered && scan.take("pattern", operand)) {
      filter = ListFilter::kPattern;
    } else {
      ctx.out.error(kSyntaxError);
      return;
    }
  }
  const auto open = ctx.out.begin_array();
  int64_t count = 0;
  const auto offer = [&](const CommandSpec& spec) {
    if (!list_matches(spec, filter, operand)) return;
    ctx.out.bulk(spec.name);
    ++count;
  };
  for (const CommandSpec* spec : all_commands()) {
    offer(*spec);
    for (const CommandSpec& sub : spec->subcommands) offer(sub);
  }
  ctx.out.end_array(open, count);
}

// ---- COMMAND GETKEYS ----

struct KeyPlaces {
  const CommandSpec* spec;
  Args args;  // of the command asked about
  std::vector<size_t> places;
};

bool find_keys(Context& ctx, KeyPlaces& keys) {
  keys.args = ctx.args.subspan(2);
  const CommandSpec* spec = find_command(keys.args[0]);
  keys.spec = spec != nullptr ? resolve(*spec, keys.args) : nullptr;
  if (keys.spec == nullptr) {
    ctx.out.error("ERR Invalid command specified");
    return false;
  }
  if (!has_keys(*keys.spec)) {
    ctx.out.error("ERR The command has no key arguments");
    return false;
  }
  if (!arity_ok(*keys.spec, keys.args.size())) {
    ctx.out.error("ERR Invalid number of arguments specified for command");
    return false;
  }
  if (!for_each_key(*keys.spec, keys.args, [&](size_t at) { keys.places.push_back(at); })) {
    ctx.out.error("ERR Invalid arguments specified for command");
    return false;
  }
  return true;
}

void command_getkeys_command(Context& ctx) {
  KeyPlaces keys{};
  if (!find_keys(ctx, keys)) return;
  ctx.out.array(length(keys.places.size()));
  for (const size_t at : keys.places) ctx.out.bulk(keys.args[at]);
}

void command_getkeysandflags_command(Context& ctx) {
  KeyPlaces keys{};
  if (!find_keys(ctx, keys)) return;
  ctx.out.array(length(keys.places.size()));
  for (const size_t at : keys.places) {
    ctx.out.array(2);
    ctx.out.bulk(keys.args[at]);
    const auto first = static_cast<size_t>(keys.spec->keys.first);
    reply_statuses(ctx, key_flags(*keys.spec, key_use(*keys.spec, keys.args, at), at == first));
  }
}

void command_help_command(Context& ctx) {
  static constexpr std::string_view kLines[] = {
      "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
      "(no subcommand)",
      "    Return details about all Redis commands.",
      "COUNT",
      "    Return the total number of commands in this Redis server.",
      "LIST",
      "    Return a list of all commands in this Redis server.",
      "INFO [<command-name> ...]",
      "    Return details about multiple Redis commands.",
      "    If no command names are given, documentation details for all",
      "    commands are returned.",
      "DOCS [<command-name> ...]",
      "    Return documentation details about multiple Redis commands.",
      "    If no command names are given, documentation details for all",
      "    commands are returned.",
      "GETKEYS <full-command>",
      "    Return the keys from a full Redis command.",
      "GETKEYSANDFLAGS <full-command>",
      "    Return the keys and the access flags from a full Redis command.",
      "HELP",
      "    Prints this help.",
  };
  ctx.out.array(length(std::size(kLines)));
  for (const std::string_view line : kLines) ctx.out.simple(line);
}

// ---- Rows ----

constexpr Arg kFullCommandArgs[] = {
    {.name = "command"},
    {.name = "arg", .optional = true, .multiple = true},
};

constexpr Arg kCommandDocsArgs[] = {
    {.name = "command-name", .optional = true, .multiple = true},
};

constexpr Arg kCommandInfoArgs[] = {
    {.name = "command-name", .optional = true, .multiple = true},
};

constexpr Arg kCommandListArgsFilterby[] = {
    {.name = "module-name", .token = "MODULE"},
    {.name = "category", .token = "ACLCAT"},
    {.name = "pattern", .type = ArgType::kPattern, .token = "PATTERN"},
};

constexpr Arg kCommandListArgs[] = {
    {.name = "filterby",
     .type = ArgType::kOneOf,
     .token = "FILTERBY",
     .optional = true,
     .args = kCommandListArgsFilterby},
};

constexpr CommandSpec kCommandSubcommands[] = {
    {.name = "command|count",
     .arity = 2,
     .route = Route::kConnection,
     .flags = kLoading | kStale,
     .categories = kCatConnection,
     .group = "server",
     .since = "2.8.13",
     .complexity = "O(1)",
     .summary = "Get total number of Redis commands",
     .handler = command_count_command},
    {.name = "command|docs",
     .arity = -2,
     .route = Route::kConnection,
     .flags = kLoading | kStale,
     .categories = kCatConnection,
     .group = "server",
     .since = "7.0.0",
     .complexity = "O(N) where N is the number of commands to look up",
     .summary = "Get array of specific Redis command documentation",
     .tips = "nondeterministic_output_order",
     .args = kCommandDocsArgs,
     .handler = command_docs_command},
    {.name = "command|getkeys",
     .arity = -4,
     .route = Route::kConnection,
     .flags = kLoading | kStale,
     .categories = kCatConnection,
     .group = "server",
     .since = "2.8.13",
     .complexity = "O(N) where N is the number of arguments to the command",
     .summary = "Extract keys given a full Redis command",
     .args = kFullCommandArgs,
     .handler = command_getkeys_command},
    {.name = "command|getkeysandflags",
     .arity = -4,
     .route = Route::kConnection,
     .flags = kLoading | kStale,
     .categories = kCatConnection,
     .group = "server",
     .since = "7.0.0",
     .complexity = "O(N) where N is the number of arguments to the command",
     .summary = "Extract keys and access flags given a full Redis command",
     .args = kFullCommandArgs,
     .handler = command_getkeysandflags_command},
    {.name = "command|help",
     .arity = 2,
     .route = Route::kConnection,
     .flags = kLoading | kStale,
     .categories = kCatConnection,
     .group = "server",
     .since = "5.0.0",
     .complexity = "O(1)",
     .summary = "Show helpful text about the different subcommands",
     .handler = command_help_command},
    {.name = "command|info",
     .arity = -2,
     .route = Route::kConnection,
     .flags = kLoading | kStale,
     .categories = kCatConnection,
     .group = "server",
     .since = "2.8.13",
     .complexity = "O(N) where N is the number of commands to look up",
     .summary = "Get array of specific Redis command details, or all when no argument is given.",
     .tips = "nondeterministic_output_order",
     .args = kCommandInfoArgs,
     .handler = command_info_command},
    {.name = "command|list",
     .arity = -2,
     .route = Route::kConnection,
     .flags = kLoading | kStale,
     .categories = kCatConnection,
     .group = "server",
     .since = "7.0.0",
     .complexity = "O(N) where N is the total number of Redis commands",
     .summary = "Get an array of Redis command names",
     .tips = "nondeterministic_output_order",
     .args = kCommandListArgs,
     .handler = command_list_command},
};

constexpr CommandSpec kCommandCommands[] = {
    {.name = "command",
     .arity = -1,
     .route = Route::kConnection,
     .flags = kLoading | kStale,
     .categories = kCatConnection,
     .group = "server",
     .since = "2.8.13",
     .complexity = "O(N) where N is the total number of Redis commands",
     .summary = "Get array of Redis command details",
     .tips = "nondeterministic_output_order",
     .subcommands = kCommandSubcommands,
     .handler = command_command},
};

static_assert(rows_sound(kCommandCommands));

}  // namespace

std::span<const CommandSpec> command_commands() {
  return kCommandCommands;
}

}  // namespace atl::command
