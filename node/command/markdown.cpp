#include "node/command/markdown.h"

#include <algorithm>
#include <map>
#include <vector>

#include "node/command/command.h"
#include "node/command/lacking.h"

namespace atl::command {
namespace {

std::string upper(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
  }
  return result;
}

std::string syntax_of(const Arg& arg);

std::string joined(std::span<const Arg> args, std::string_view separator) {
  std::string text;
  for (const Arg& arg : args) {
    if (!text.empty()) text += separator;
    text += syntax_of(arg);
  }
  return text;
}

std::string syntax_of(const Arg& arg) {
  std::string text(arg.token);
  if (arg.type != ArgType::kPureToken) {
    if (!text.empty()) text += ' ';
    if (arg.type == ArgType::kOneOf) {
      const std::string choice = joined(arg.args, " | ");
      text += arg.optional && arg.token.empty() ? choice : "<" + choice + ">";
    } else if (arg.type == ArgType::kBlock) {
      text += joined(arg.args, " ");
    } else {
      text += arg.name;
    }
  }
  if (arg.multiple) text += " [" + text + " ...]";
  return arg.optional ? "[" + text + "]" : text;
}

// A cell of a table may hold neither line ends nor bars.
std::string cell(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '|') result += '\\';
    result += c == '\n' ? ' ' : c;
  }
  return result;
}

void add_row(const CommandSpec& spec, std::string& out) {
  std::string name = upper(spec.name);
  for (char& c : name) {
    if (c == '|') c = ' ';
  }
  if (!spec.args.empty()) name += " " + joined(spec.args, " ");
  out += "| `" + cell(name) + "` | " + cell(spec.summary) + " | " + cell(spec.conflict) + " | " +
         cell(spec.differences) + " |\n";
}

void add_lacking(std::string& out) {
  out += "\n### What Redis has and Atoll lacks\n\n| Command | Why |\n|---|---|\n";
  for (const Lacking& lacking : lacking_commands()) {
    std::string names;
    for (const std::string_view name : lacking.names) {
      std::string shown = upper(name);
      std::replace(shown.begin(), shown.end(), '|', ' ');
      if (!names.empty()) names += ", ";
      names.append("`").append(shown).append("`");
    }
    std::string reason(lacking.reason);
    reason[0] = upper(reason.substr(0, 1))[0];
    out.append("| ").append(names).append(" | ").append(cell(reason)).append(". |\n");
  }
}

}  // namespace

std::string command_table_markdown() {
  std::map<std::string_view, std::string> groups;
  for (const CommandSpec* spec : all_commands()) {
    const bool has_own = spec->handler != nullptr || !spec->differences.empty();
    if (spec->subcommands.empty() || has_own) {
      add_row(*spec, groups[spec->group]);
    }
    for (const CommandSpec& sub : spec->subcommands) add_row(sub, groups[sub.group]);
  }
  std::string out;
  for (const auto& [group, rows] : groups) {
    if (!out.empty()) out += '\n';
    out += "### " + upper(group.substr(0, 1)) + std::string(group.substr(1)) + "\n\n";
    out += "| Command | What it does | Two regions at once | Differences from Redis |\n";
    out += "|---|---|---|---|\n" + rows;
  }
  add_lacking(out);
  return out;
}

}  // namespace atl::command
