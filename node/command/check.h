// Compile-time checks of a family's rows: a row that contradicts itself does not build.
//
//   constexpr CommandSpec kXCommands[] = {...};
//   static_assert(rows_sound(kXCommands));
//
// Rules (each has a counter-example in tests/unit/command/table_test.cpp):
//  (1) names are lower case and strictly rising within the family;
//  (2) arity, group, since, complexity and summary are given;
//  (3) a row has a handler, or subcommands whose names begin with its own and a '|';
//  (4) access is given exactly where there are keys, and writes to keys say kWrite;
//  (5) no row both writes and is read-only; what writes says what two regions' writes mean;
//  (6) the arity leaves room for the first key, and for the whole key spec if it is fixed;
//  (7) kKeys, kSum and kGather route by keys; the other routes have none;
//  (8) what has a key count or may read keys that it does not name is movable, and nothing else is;
//      one key at most stands before the count;
//  (9) what becomes of keys is said only where there are keys, of the first one only where others
//      follow, of the last one only where it stands at a fixed place behind the first or options
//      have keys, and never as a write by a row that does not write.
// A row's handler must be defined in the row's own file: with a sanitizer, GCC 12 does not take
// the address of a function elsewhere for a constant that differs from null.
#pragma once

#include "node/command/command.h"

namespace atl::command {

constexpr bool name_sound(std::string_view name) {
  if (name.empty()) return false;
  for (const char c : name) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '|' || c == '-' || c == '_')) {
      return false;
    }
  }
  return true;
}

constexpr bool has_keys(const CommandSpec& row) {
  return row.keys.first != 0 || row.keys.count_at != 0;
}

constexpr bool keys_sound(const CommandSpec& row) {
  const bool writes = row.access == Access::kWrite || row.access == Access::kReadWrite;
  const bool movable = (row.flags & kMovableKeys) != 0;
  if (!has_keys(row)) return row.access == Access::kNone && !movable;
  if (row.access == Access::kNone) return false;
  const bool calls = (row.flags & kNoMandatoryKeys) != 0;  // what a script calls may write
  if (!calls && writes != ((row.flags & kWrite) != 0)) return false;
  const bool moves = row.keys.count_at != 0 || row.reads_unnamed != nullptr;
  if (row.keys.step < 1 || movable != moves) return false;
  const int argc_min = row.arity < 0 ? -row.arity : row.arity;
  if (row.keys.count_at != 0) {
    return row.keys.first == row.keys.last && row.keys.first >= 0 &&
           row.keys.first < row.keys.count_at && row.keys.count_at < argc_min;
  }
  if (row.keys.last > 0 && row.keys.last < row.keys.first) return false;
  return row.keys.first < argc_min && row.keys.last < argc_min;
}

constexpr bool key_use_sound(const CommandSpec& row) {
  const unsigned ends = row.first_key_use | row.last_key_use;
  if (!has_keys(row)) return (row.key_use | ends) == 0 && !row.key_use_of;
  const bool others = row.keys.count_at != 0 || row.keys.last != row.keys.first;
  if (row.first_key_use != 0 && (row.keys.first == 0 || !others)) return false;
  const bool optional = row.optional_keys != nullptr;
  if (optional && (row.last_key_use == 0 || row.keys.last != row.keys.first)) return false;
  if (row.last_key_use != 0 && row.keys.last <= row.keys.first && !optional) return false;
  constexpr unsigned kWrites = kKeyInserts | kKeyUpdates | kKeyDeletes;
  const bool says_writes = ((row.key_use | ends) & kWrites) != 0;
  return !says_writes || (row.flags & kWrite) != 0;
}

constexpr bool element_sound(const CommandSpec& row) {
  return row.element_at == 0 ||
         (row.keys.first > 0 && row.keys.first == row.keys.last && row.element_at > row.keys.first);
}

constexpr bool route_sound(const CommandSpec& row) {
  switch (row.route) {
    case Route::kKeys:
    case Route::kSum:
    case Route::kGather:
      return has_keys(row);
    case Route::kSlotCursor:
    case Route::kConnection:
    case Route::kEveryShard:
    case Route::kReceivers:
      return !has_keys(row);
  }
  return false;
}

constexpr bool rows_sound(std::span<const CommandSpec> rows);

constexpr bool row_sound(const CommandSpec& row) {
  if (!name_sound(row.name) || row.arity == 0) return false;
  if (row.group.empty() || row.since.empty() || row.complexity.empty() || row.summary.empty()) {
    return false;
  }
  if ((row.flags & kWrite) != 0 && ((row.flags & kReadOnly) != 0 || row.conflict.empty())) {
    return false;
  }
  if (!row.subcommands.empty()) {
    for (const CommandSpec& sub : row.subcommands) {
      if (sub.name.size() <= row.name.size() + 1 ||
          sub.name.substr(0, row.name.size()) != row.name || sub.name[row.name.size()] != '|' ||
          !sub.subcommands.empty()) {
        return false;
      }
    }
    return rows_sound(row.subcommands) && !has_keys(row);
  }
  return row.handler != nullptr && keys_sound(row) && key_use_sound(row) && element_sound(row) &&
         route_sound(row);
}

constexpr bool rows_sound(std::span<const CommandSpec> rows) {
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!row_sound(rows[i])) return false;
    if (i > 0 && !(rows[i - 1].name < rows[i].name)) return false;
  }
  return !rows.empty();
}

}  // namespace atl::command
