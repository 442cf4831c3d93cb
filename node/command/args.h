// What handlers share: Redis' error texts, numbers and options in arguments, key look-ups.
//
// A function that returns bool or an optional has written the error reply when it fails; the
// handler only returns.
#pragma once

#include <cassert>
#include <optional>
#include <string_view>

#include "node/command/command.h"

namespace atl::command {

inline constexpr std::string_view kSyntaxError = "ERR syntax error";
inline constexpr std::string_view kNotAnInteger = "ERR value is not an integer or out of range";
inline constexpr std::string_view kNotAFloat = "ERR value is not a valid float";
inline constexpr std::string_view kWrongType =
    "WRONGTYPE Operation against a key holding the wrong kind of value";
inline constexpr std::string_view kNoSuchKey = "ERR no such key";
inline constexpr std::string_view kSameObject = "ERR source and destination objects are the same";
inline constexpr std::string_view kDbOutOfRange = "ERR DB index is out of range";
inline constexpr std::string_view kValueTooLong =
    "ERR string exceeds maximum allowed size (proto-max-bulk-len)";

// `word` in any case against `lower`, which is in lower case.
bool is_word(std::string_view word, std::string_view lower);

// An int64 as Redis reads it: no blanks, no plus sign, no leading zeros.
bool read_integer(Context& ctx, std::string_view text, int64_t& value);
// A float as Redis' string2ld reads it: all of the text, no leading blank, no NaN; infinities pass.
bool parse_float(std::string_view text, long double& value);
// One within [min, max]; whatever else is there, the error is this one.
bool read_integer_within(Context& ctx, std::string_view text, int64_t min, int64_t max,
                         std::string_view error, int64_t& value);
// Seconds to wait, with a fraction, as milliseconds rounded up. 0: without end.
bool read_wait_seconds(Context& ctx, std::string_view text, crdt::Millis& timeout);
// How many elements are wanted, 0 or more.
bool read_count(Context& ctx, std::string_view text, int64_t& count);
// A database number that exists.
bool read_db(Context& ctx, std::string_view text, crdt::DbId& db);

// Walks the options behind the fixed arguments.
class OptionScanner {
 public:
  OptionScanner(Args args, size_t first) : args_(args), at_(first) {}

  bool done() const { return at_ >= args_.size(); }
  std::string_view current() const { return args_[at_]; }
  // Takes the word if it stands here. Requires: !done().
  bool take(std::string_view lower) {
    if (!is_word(args_[at_], lower)) return false;
    ++at_;
    return true;
  }
  // Takes the word with the argument that follows it; false if there is none.
  bool take(std::string_view lower, std::string_view& value) {
    if (at_ + 1 >= args_.size() || !is_word(args_[at_], lower)) return false;
    value = args_[at_ + 1];
    at_ += 2;
    return true;
  }

 private:
  Args args_;
  size_t at_;
};

// A key that was looked up. *Lifetime* of entry and value(): until the next write to the store.
struct Found {
  crdt::KeyRef ref;
  crdt::Store& store;
  const crdt::Entry* entry;  // null: not visible

  explicit operator bool() const { return entry != nullptr; }
  // Null: not visible, or a string.
  const crdt::Collection* collection() const {
    return entry == nullptr || entry->is_plain() ? nullptr : entry->collection();
  }
  std::string_view value() const {  // Requires: a string
    assert(collection() == nullptr);
    return store.value(*entry);
  }
  crdt::Millis deadline() const { return store.deadline(*entry); }
};

// Counts as an access, unless the client said CLIENT NO-TOUCH.
inline Found look_up(Context& ctx, const crdt::KeyRef& ref) {
  crdt::Store& store = ctx.store(ref);
  return {ref, store, ctx.session.no_touch ? store.peek(ref) : store.find(ref)};
}
inline Found look_up(Context& ctx, std::string_view key) {
  return look_up(ctx, ctx.ref(key));
}
// Does not count as an access.
inline Found peek(Context& ctx, const crdt::KeyRef& ref) {
  crdt::Store& store = ctx.store(ref);
  return {ref, store, store.peek(ref)};
}
inline Found peek(Context& ctx, std::string_view key) {
  return peek(ctx, ctx.ref(key));
}

// What is looked up to be read counts as a hit or a miss.
inline Found counted(Context& ctx, const Found& found) {
  if (found) {
    ++ctx.hits;
  } else {
    ++ctx.misses;
    ctx.notify(EventClass::kMiss, "keymiss", found.ref);
  }
  return found;
}
inline Found read(Context& ctx, std::string_view key) {
  return counted(ctx, look_up(ctx, key));
}

// ---- Strings only ----
// What was found if it is a string or nothing. Nullopt: a collection, and WRONGTYPE was written.
inline std::optional<Found> string_only(Context& ctx, const Found& found) {
  if (found.collection() == nullptr) [[likely]]
    return found;
  ctx.out.error(kWrongType);
  return std::nullopt;
}
inline std::optional<Found> look_up_string(Context& ctx, std::string_view key) {
  return string_only(ctx, look_up(ctx, key));
}
inline std::optional<Found> peek_string(Context& ctx, std::string_view key) {
  return string_only(ctx, peek(ctx, key));
}
inline std::optional<Found> read_string(Context& ctx, std::string_view key) {
  return string_only(ctx, read(ctx, key));
}

// Sets `key`, as SET does without options.
void set_value_and_notify(Context& ctx, const crdt::KeyRef& ref, std::string_view value);
inline void set_value(Context& ctx, const crdt::KeyRef& ref, std::string_view value) {
  if (ctx.events != nullptr) [[unlikely]]
    return set_value_and_notify(ctx, ref, value);
  ctx.store(ref).set(ref, value, crdt::kNoDeadline);
}
// The same with a deadline; one that has passed already leaves the key deleted.
void write_value(Context& ctx, const crdt::KeyRef& ref, std::string_view value,
                 crdt::Millis deadline);

// A write to a key of strings has been done, which has made the key unless it `existed`.
void notify_write(Context& ctx, const crdt::KeyRef& ref, bool existed, std::string_view event);

// ---- Deadlines ----

enum class TimeUnit : uint8_t { kSeconds, kMillis, kUnixSeconds, kUnixMillis };

struct Expiry {
  TimeUnit unit = TimeUnit::kSeconds;
  std::string_view text;
};
// The absolute deadline that an option of SET, GETEX or MSETEX asks for.
bool read_deadline(Context& ctx, const Expiry& expiry, crdt::Millis& deadline);
std::string expire_time_error(const CommandSpec& spec);

// ---- SET's options ----

enum class Condition : uint8_t {
  kNone,
  kNotExists,
  kExists,
  kEqual,
  kNotEqual,
  kDigestEqual,
  kDigestNotEqual
};

struct SetOptions {
  Condition condition = Condition::kNone;
  std::string_view comparand;
  bool get = false;
  bool keep_ttl = false;
  bool persist = false;
  std::optional<Expiry> expiry;
};
enum class SetSyntax : uint8_t { kSet, kGetEx, kMSetEx };

bool read_set_options(Context& ctx, SetSyntax syntax, size_t first, SetOptions& options);

// Whether the value must be read to tell.
inline bool compares(Condition condition) {
  return condition >= Condition::kEqual;
}
// Whether the condition holds for what was found (which may be nothing).
// Requires: a string if it compares; digests were checked (digest_sound) if the key exists.
bool holds(Condition condition, std::string_view comparand, const Found& found);
// IFDEQ and IFDNE of an existing key want 16 characters.
bool digest_sound(Context& ctx, Condition condition, std::string_view comparand);

inline constexpr size_t kDigestChars = 16;
// XXH3-64 of the value in lower-case hex; `out` has room for kDigestChars.
void digest_hex(std::string_view value, char* out);

// ---- Conflict rules, as the rows state them (the table in README.md) ----

inline constexpr std::string_view kLastWriterWins =
    "The later SET wins; increments that it had not seen are added to it. The loser goes to the "
    "conflict log.";
inline constexpr std::string_view kFirstWriter =
    "First writer in its region; between regions the later write wins, the loser goes to the "
    "conflict log.";
inline constexpr std::string_view kWholeValue =
    "Last writer wins on the whole value: of two concurrent edits one is lost and goes to the "
    "conflict log.";
inline constexpr std::string_view kSummed = "The sum of all increments of all regions, exactly.";
inline constexpr std::string_view kSummedReal =
    "The sum of all increments, added in the order of regions, so that all print the same digits.";
inline constexpr std::string_view kDeleteRule =
    "Against SET the later one wins; increments that the delete had not seen remain.";
inline constexpr std::string_view kFlushRule =
    "Removes what this region has seen; concurrent writes of other regions survive.";
inline constexpr std::string_view kFreshTarget =
    "The target is a fresh write, the source an observed delete, in one envelope; concurrent "
    "writes to the source stay there.";
inline constexpr std::string_view kDeadlineRule =
    "Concurrent deadlines of one value: the longest wins; a later one replaces. It belongs to the "
    "value it was set on.";
inline constexpr std::string_view kPersistRule =
    "PERSIST is an infinite deadline: it beats every concurrent EXPIRE.";

}  // namespace atl::command
