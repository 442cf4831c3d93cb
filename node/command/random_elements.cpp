#include "node/command/random_elements.h"

#include <climits>
#include <unordered_set>

namespace atl::command {

namespace {

std::vector<crdt::ElementView> draw_few(const crdt::Collection& from, size_t count, Dice& dice) {
  std::unordered_set<const char*> drawn;  // where their names lie
  std::vector<crdt::ElementView> picks;
  while (picks.size() < count) {
    const crdt::ElementView e = *from.random(dice.next());
    if (drawn.insert(e.key().data()).second) picks.push_back(e);
  }
  return picks;
}

// Each in its turn with the chance that leaves all sets of so many equally likely.
std::vector<crdt::ElementView> draw_many(const crdt::Collection& from, size_t count, Dice& dice) {
  std::vector<crdt::ElementView> picks;
  picks.reserve(count);
  size_t left = from.size();
  from.for_each([&](const crdt::ElementView& e) {
    if (dice.next() % left < count - picks.size()) picks.push_back(e);
    --left;
  });
  return picks;
}

}  // namespace

std::vector<crdt::ElementView> pick_distinct(const crdt::Collection& from, size_t count,
                                             Dice& dice) {
  constexpr size_t kFew = 3;  // draws that meet a drawn one are rare enough up to one in so many
  if (count >= from.size()) return draw_many(from, from.size(), dice);
  return count < from.size() / kFew ? draw_few(from, count, dice) : draw_many(from, count, dice);
}

namespace {

struct Request {
  int64_t count = 0;
  bool values = false;
};

// Requires: args[2] is there.
bool read_request(Context& ctx, std::string_view values_word, Request& request) {
  if (!read_integer(ctx, ctx.args[2], request.count)) return false;
  if (request.count == LLONG_MIN) {
    ctx.out.error(
        "ERR value is out of range, value must between -9223372036854775807 and "
        "9223372036854775807");
    return false;
  }
  if (ctx.args.size() > 4 || (ctx.args.size() == 4 && !is_word(ctx.args[3], values_word))) {
    ctx.out.error(kSyntaxError);
    return false;
  }
  request.values = ctx.args.size() == 4;
  constexpr int64_t kPairsMax = LLONG_MAX / 2;
  const bool too_many = request.values && (request.count > kPairsMax || request.count < -kPairsMax);
  if (too_many || request.count < -kRepeatedPicksMax) {
    ctx.out.error("ERR value is out of range");
    return false;
  }
  return true;
}

// RESP3 has the pairs as arrays, RESP2 all in one.
void begin_reply(Context& ctx, const Request& request, size_t elements) {
  const bool flat = request.values && !ctx.out.resp3();
  ctx.out.array(static_cast<int64_t>(flat ? 2 * elements : elements));
}

void reply_element(Context& ctx, const Request& request, const crdt::Collection& from,
                   const crdt::ElementView& e, ReplyValue reply_value) {
  if (request.values && ctx.out.resp3()) ctx.out.array(2);
  ctx.out.bulk(e.key());
  if (request.values) reply_value(ctx, from, e);
}

void reply_one(Context& ctx, crdt::CollectionType type) {
  const auto found = read_collection(ctx, ctx.args[1], type);
  if (!found) return;
  if (*found) {
    ctx.out.bulk(found->collection->random(ctx.random)->key());
  } else {
    ctx.out.null();
  }
}

}  // namespace

void reply_random_elements(Context& ctx, crdt::CollectionType type, std::string_view values_word,
                           ReplyValue reply_value) {
  if (ctx.args.size() == 2) return reply_one(ctx, type);
  Request request;
  if (!read_request(ctx, values_word, request)) return;
  const auto found = read_collection(ctx, ctx.args[1], type);
  if (!found) return;
  if (!*found) return ctx.out.array(0);
  const crdt::Collection& from = *found->collection;
  Dice dice(ctx.random);
  if (request.count < 0) {
    const auto count = static_cast<size_t>(-request.count);
    begin_reply(ctx, request, count);
    for (size_t i = 0; i < count; ++i) {
      reply_element(ctx, request, from, *from.random(dice.next()), reply_value);
    }
    return;
  }
  const auto picks = pick_distinct(from, static_cast<size_t>(request.count), dice);
  begin_reply(ctx, request, picks.size());
  for (const crdt::ElementView& e : picks) reply_element(ctx, request, from, e, reply_value);
}

}  // namespace atl::command
