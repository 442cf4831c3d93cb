#include "node/admin/replies.h"

#include <algorithm>
#include <limits>

namespace atl::admin {
namespace {

std::string upper_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return out;
}

std::string container_of(const CommandSpec& spec) {
  return upper_case(spec.name.substr(0, spec.name.find('|')));
}

}  // namespace

void write_help(Context& ctx, std::span<const std::string_view> lines) {
  ctx.out.array(static_cast<int64_t>(lines.size()) + 3);
  ctx.out.simple(container_of(ctx.spec) +
                 " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
  for (const std::string_view line : lines) ctx.out.simple(line);
  ctx.out.simple("HELP");
  ctx.out.simple("    Prints this help.");
}

void write_subcommand_syntax_error(Context& ctx) {
  constexpr size_t kShown = 128;
  ctx.out.error("ERR unknown subcommand or wrong number of arguments for '" +
                std::string(ctx.args[1].substr(0, kShown)) + "'. Try " + container_of(ctx.spec) +
                " HELP.");
}

bool read_number(Context& ctx, std::string_view text, std::string_view error, int64_t& value) {
  const auto parsed = crdt::parse_integer(text);
  if (!parsed) {
    ctx.out.error(error);
    return false;
  }
  value = *parsed;
  return true;
}

bool read_timeout(Context& ctx, std::string_view text, crdt::Millis& timeout) {
  if (!read_number(ctx, text, "ERR timeout is not an integer or out of range", timeout)) {
    return false;
  }
  if (timeout < 0) {
    ctx.out.error("ERR timeout is negative");
    return false;
  }
  if (timeout > std::numeric_limits<crdt::Millis>::max() - ctx.now) {
    ctx.out.error("ERR timeout is out of range");
    return false;
  }
  return true;
}

bool is_plain_word(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= '!' && c <= '~'; });
}

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string err(std::string_view reason) {
  return "ERR " + std::string(reason);
}

}  // namespace atl::admin
