#include "node/command/args.h"

#include <xxhash.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <climits>
#include <cmath>
#include <cstdlib>

namespace atl::command {

bool is_word(std::string_view word, std::string_view lower) {
  if (word.size() != lower.size()) return false;
  for (size_t i = 0; i < word.size(); ++i) {
    const char c = word[i];
    if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != lower[i]) return false;
  }
  return true;
}

bool read_integer(Context& ctx, std::string_view text, int64_t& value) {
  const std::optional<int64_t> parsed = crdt::parse_integer(text);
  if (!parsed) {
    ctx.out.error(kNotAnInteger);
    return false;
  }
  value = *parsed;
  return true;
}

bool parse_float(std::string_view text, long double& value) {
  constexpr size_t kFloatCharsMax = 5 * 1024;
  if (text.empty() || text.size() >= kFloatCharsMax) return false;
  const char first = text.front();
  if (first == ' ' || (first >= '\t' && first <= '\r')) return false;
  const std::string copy(text);  // strtold wants a terminator
  char* end = nullptr;
  errno = 0;
  value = std::strtold(copy.c_str(), &end);
  if (end != copy.c_str() + copy.size() || std::isnan(value)) return false;
  return !(errno == ERANGE && (std::isinf(value) || std::fpclassify(value) == FP_ZERO));
}

bool read_integer_within(Context& ctx, std::string_view text, int64_t min, int64_t max,
                         std::string_view error, int64_t& value) {
  const std::optional<int64_t> parsed = crdt::parse_integer(text);
  if (!parsed || *parsed < min || *parsed > max) {
    ctx.out.error(error);
    return false;
  }
  value = *parsed;
  return true;
}

bool read_wait_seconds(Context& ctx, std::string_view text, crdt::Millis& timeout) {
  long double seconds = 0;
  if (!parse_float(text, seconds)) {
    ctx.out.error("ERR timeout is not a float or out of range");
    return false;
  }
  const long double millis = std::ceil(seconds * 1000);
  if (millis < 0) {
    ctx.out.error("ERR timeout is negative");
    return false;
  }
  // What is left of the clock's range from now on.
  if (millis > static_cast<long double>(INT64_MAX - ctx.now)) {
    ctx.out.error("ERR timeout is out of range");
    return false;
  }
  timeout = static_cast<crdt::Millis>(millis);
  return true;
}

bool read_count(Context& ctx, std::string_view text, int64_t& count) {
  return read_integer_within(ctx, text, 0, INT64_MAX, "ERR value is out of range, must be positive",
                             count);
}

bool read_db(Context& ctx, std::string_view text, crdt::DbId& db) {
  int64_t number = 0;
  if (!read_integer(ctx, text, number)) return false;
  if (number < INT_MIN || number > INT_MAX) {
    ctx.out.error("ERR value is out of range, value must between -2147483648 and 2147483647");
    return false;
  }
  if (number < 0 || number >= ctx.keyspace.stores().front()->options().databases) {
    ctx.out.error(kDbOutOfRange);
    return false;
  }
  db = static_cast<crdt::DbId>(number);
  return true;
}

void set_value_and_notify(Context& ctx, const crdt::KeyRef& ref, std::string_view value) {
  const bool existed = static_cast<bool>(peek(ctx, ref));
  ctx.store(ref).set(ref, value, crdt::kNoDeadline);
  notify_write(ctx, ref, existed, "set");
}

void write_value(Context& ctx, const crdt::KeyRef& ref, std::string_view value,
                 crdt::Millis deadline) {
  crdt::Store& store = ctx.store(ref);
  const bool existed = ctx.events != nullptr && peek(ctx, ref);
  const bool passed = deadline <= ctx.now;
  if (passed) {
    store.del(ref);
  } else {
    store.set(ref, value, deadline);
  }
  notify_write(ctx, ref, existed, "set");
  if (deadline != crdt::kNoDeadline) ctx.notify(EventClass::kGeneric, "expire", ref);
  if (passed) ctx.notify(EventClass::kExpired, "expired", ref);
}

void notify_write(Context& ctx, const crdt::KeyRef& ref, bool existed, std::string_view event) {
  if (ctx.events == nullptr) [[likely]]
    return;
  if (!existed) ctx.notify(EventClass::kNew, "new", ref);
  ctx.notify(EventClass::kString, event, ref);
}

std::string expire_time_error(const CommandSpec& spec) {
  return "ERR invalid expire time in '" + std::string(spec.name) + "' command";
}

bool read_deadline(Context& ctx, const Expiry& expiry, crdt::Millis& deadline) {
  int64_t when = 0;
  if (!read_integer(ctx, expiry.text, when)) return false;
  const bool seconds = expiry.unit == TimeUnit::kSeconds || expiry.unit == TimeUnit::kUnixSeconds;
  const bool relative = expiry.unit == TimeUnit::kSeconds || expiry.unit == TimeUnit::kMillis;
  bool sound = when > 0 && !(seconds && when > LLONG_MAX / 1000);
  if (sound && seconds) when *= 1000;
  if (sound && relative) sound = !__builtin_add_overflow(when, ctx.now, &when) && when > 0;
  if (!sound) {
    ctx.out.error(expire_time_error(ctx.spec));
    return false;
  }
  // The greatest int64 means "none" to the store.
  deadline = when == crdt::kNoDeadline ? when - 1 : when;
  return true;
}

namespace {

bool take_expiry(OptionScanner& scan, SetOptions& options) {
  struct Word {
    std::string_view word;
    TimeUnit unit;
  };
  static constexpr Word kWords[] = {{"ex", TimeUnit::kSeconds},
                                    {"px", TimeUnit::kMillis},
                                    {"exat", TimeUnit::kUnixSeconds},
                                    {"pxat", TimeUnit::kUnixMillis}};
  if (options.keep_ttl || options.persist) return false;
  for (const Word& w : kWords) {
    if (options.expiry && options.expiry->unit != w.unit) continue;
    std::string_view text;
    if (scan.take(w.word, text)) {
      options.expiry = Expiry{w.unit, text};
      return true;
    }
  }
  return false;
}

bool take_condition(OptionScanner& scan, SetSyntax syntax, SetOptions& options) {
  struct Word {
    std::string_view word;
    Condition condition;
  };
  static constexpr Word kPlain[] = {{"nx", Condition::kNotExists}, {"xx", Condition::kExists}};
  static constexpr Word kCompare[] = {{"ifeq", Condition::kEqual},
                                      {"ifne", Condition::kNotEqual},
                                      {"ifdeq", Condition::kDigestEqual},
                                      {"ifdne", Condition::kDigestNotEqual}};
  for (const Word& w : kPlain) {
    const bool free = options.condition == Condition::kNone || options.condition == w.condition;
    if (free && scan.take(w.word)) {
      options.condition = w.condition;
      return true;
    }
  }
  if (syntax != SetSyntax::kSet || options.condition != Condition::kNone) return false;
  for (const Word& w : kCompare) {
    if (scan.take(w.word, options.comparand)) {
      options.condition = w.condition;
      return true;
    }
  }
  return false;
}

}  // namespace

bool read_set_options(Context& ctx, SetSyntax syntax, size_t first, SetOptions& options) {
  for (OptionScanner scan(ctx.args, first); !scan.done();) {
    if (take_expiry(scan, options)) continue;
    if (syntax != SetSyntax::kGetEx) {
      if (take_condition(scan, syntax, options)) continue;
      if (!options.expiry && scan.take("keepttl")) {
        options.keep_ttl = true;
        continue;
      }
    }
    if (syntax == SetSyntax::kSet && scan.take("get")) {
      options.get = true;
      continue;
    }
    if (syntax == SetSyntax::kGetEx && !options.expiry && scan.take("persist")) {
      options.persist = true;
      continue;
    }
    ctx.out.error(kSyntaxError);
    return false;
  }
  return true;
}

bool digest_sound(Context& ctx, Condition condition, std::string_view comparand) {
  const bool by_digest =
      condition == Condition::kDigestEqual || condition == Condition::kDigestNotEqual;
  const auto is_hex = [](char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; };
  const bool sound =
      comparand.size() == kDigestChars && std::all_of(comparand.begin(), comparand.end(), is_hex);
  if (!by_digest || sound) return true;
  ctx.out.error("ERR must be exactly 16 hexadecimal characters");
  return false;
}

void digest_hex(std::string_view value, char* out) {
  static constexpr char kDigits[] = "0123456789abcdef";
  uint64_t hash = XXH3_64bits(value.data(), value.size());
  for (size_t i = kDigestChars; i-- > 0; hash >>= 4) out[i] = kDigits[hash & 15];
}

bool holds(Condition condition, std::string_view comparand, const Found& found) {
  switch (condition) {
    case Condition::kNone:
      return true;
    case Condition::kNotExists:
      return !found;
    case Condition::kExists:
      return static_cast<bool>(found);
    case Condition::kEqual:
      return found && found.value() == comparand;
    case Condition::kNotEqual:
      return !found || found.value() != comparand;
    case Condition::kDigestEqual:
    case Condition::kDigestNotEqual:
      break;
  }
  const bool wanted = condition == Condition::kDigestEqual;
  if (!found) return !wanted;
  char digest[kDigestChars];
  digest_hex(found.value(), digest);
  return is_word(comparand, {digest, kDigestChars}) == wanted;
}

}  // namespace atl::command
