// What the commands of hashes, sets, sorted sets and lists share: finding the collection behind a
// key, with Redis' WRONGTYPE, and telling of what was done to it; and what commands of any key need
// to know of one.
//
// A handler reads `FoundCollection::collection` (null: no such key) and writes through a
// crdt::CollectionEdit on (store, ref): one edit a command and key, finished before anything else
// is asked of the store, and before notify_changed().
#pragma once

#include <optional>
#include <string_view>

#include "crdt/collection_edit.h"
#include "node/command/args.h"

namespace atl::command {

struct FoundCollection {
  crdt::KeyRef ref;
  crdt::Store& store;
  const crdt::Entry* entry;            // null: not visible
  const crdt::Collection* collection;  // null as well then; changes with every write to the key

  explicit operator bool() const { return collection != nullptr; }
};

// Nullopt: another type is there, and the error has been written. Counts as an access.
std::optional<FoundCollection> find_collection(Context& ctx, std::string_view key,
                                               crdt::CollectionType type);
// The same for a command that reads: also a hit or a miss.
std::optional<FoundCollection> read_collection(Context& ctx, std::string_view key,
                                               crdt::CollectionType type);

// Class of keyspace events of a type.
EventClass event_class_of(crdt::CollectionType type);
// A write has been done and its edit finished: the event, "new" if there was nothing before (of
// class n), and "del" if it left nothing.
void notify_changed(Context& ctx, const FoundCollection& before, crdt::CollectionType type,
                    std::string_view event);

// Writes what stands behind an element's name: a field's value, a member's score.
using ReplyValue = void (*)(Context&, const crdt::Collection&, const crdt::ElementView&);

// ---- Of any key ----

// As TYPE prints it: "hash", "set", "zset", "list"; of what is no collection "string".
std::string_view type_name(crdt::CollectionType type);
std::string_view type_name(const Found& found);  // Requires: it is visible
// All elements, as readers see them, with their deadlines, under a fresh stamp. Of the target
// nothing is left, neither what was there nor a deadline. Requires: another key. *Cost*: O(n), and
// one delta.
void copy_collection(const crdt::Collection& from, crdt::Store& store, const crdt::KeyRef& target);
// After a fresh collection was put in place of whatever was at the key: the event, or "del" if
// nothing was put.
void notify_stored(Context& ctx, const Found& before, crdt::CollectionType type,
                   std::string_view event);
// Puts one there, as SINTERSTORE does: `fill` puts the elements into the edit that it is given.
// *Requires*: what it puts does not lie in the store.
template <class Fill>
void store_members(Context& ctx, std::string_view key, crdt::CollectionType type,
                   std::string_view event, Fill&& fill) {
  const Found before = peek(ctx, key);
  if (before) before.store.del(before.ref);
  {
    crdt::CollectionEdit edit(before.store, before.ref, type);
    fill(edit);
  }
  notify_stored(ctx, before, type, event);
}

// ---- Conflict rules, as the rows state them (the table in README.md) ----

inline constexpr std::string_view kAddWinsRule =
    "Observed-remove: of a concurrent add and remove of one element the add stays.";
inline constexpr std::string_view kRemoveSeenRule =
    "Removes what this region has seen; elements that another region adds meanwhile stay.";
inline constexpr std::string_view kFieldRule =
    "Fields merge one by one: the later value of a field wins, a concurrent HDEL does not remove "
    "it; "
    "a value that lost goes to the conflict log.";
inline constexpr std::string_view kFieldCounterRule =
    "The sum of all increments of all regions on top of the field's value; HSET and HDEL reset "
    "what "
    "they have seen.";
inline constexpr std::string_view kScoreRule =
    "Members merge one by one, add wins; of concurrent scores the later counts, and increments "
    "that "
    "it had not seen are added.";
inline constexpr std::string_view kScoreCounterRule =
    "The sum of all increments of all regions on top of the score; ZADD and ZREM reset what they "
    "have "
    "seen.";
inline constexpr std::string_view kPushRule =
    "Concurrent pushes are all kept, in one order that all regions agree on; what one command "
    "pushed "
    "stays together.";
inline constexpr std::string_view kPopRule =
    "Removes what this region has seen; an element that two regions pop at once is given to both.";
inline constexpr std::string_view kStoreRule =
    "The result is a fresh write over what this region has seen; elements that another region adds "
    "to the destination meanwhile stay.";
inline constexpr std::string_view kItemRule = "The later value of the element wins.";

}  // namespace atl::command
