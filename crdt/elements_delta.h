// What one write changed in a collection: the body of a kElements delta. FORMAT.md has the bytes.
//
//     put      the element's value is this, under the delta's stamp
//     remove   it has no value
//     state    what else there is to say of it: counters, a TTL, dots of other writes. Dots that it
//              does not list are not removed by that; so a TTL travels without the value it is for.
//
// Each lists the dots that it observed, which go; a reader that has not met one of them yet keeps
// it in mind (Parked). A delta may also clear the collection: whatever its vector covers goes, and
// is listed by nobody. And it may create it: the key's base is then a collection under its stamp.
//
// Why dots, where a key's state says by what it lacks what was removed (delta.h): the deltas of one
// element come from several regions in any order, and there is no tombstone that would hold a late
// one back.
//
// *Errors*: as Reader's; a body that does not parse to its end is malformed as a whole.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crdt/collection.h"

namespace atl::crdt {

enum class ElementOp : uint8_t { kPut = 0, kRemove = 1, kState = 2 };

struct ElementChange {
  ElementOp op{};
  std::string_view name;
  std::string_view value;  // kPut
  KeyState state;          // kState
  std::vector<Stamp> observed;
};

class ElementsWriter {
 public:
  enum class Use : uint8_t { kWrite, kNone };  // none: where no deltas are collected

  explicit ElementsWriter(Use use = Use::kWrite) : use_(use) {}
  // `cleared`: null if nothing is.
  void begin(CollectionType type, bool creates, const VersionVector* cleared, Stamp stamp);
  void put(std::string_view name, std::string_view value, std::span<const Stamp> observed);
  void remove(std::string_view name, std::span<const Stamp> observed);
  void state(std::string_view name, const StateView& state, std::span<const Stamp> observed);
  std::string_view bytes() const { return bytes_; }

 private:
  void head(ElementOp op, std::string_view name, size_t observed);
  void tail(std::span<const Stamp> observed);

  std::string bytes_;
  Stamp stamp_;
  Use use_;
};

class ElementsReader {
 public:
  ElementsReader(std::string_view body, Stamp stamp);

  bool ok() const { return in_.ok(); }
  CollectionType type() const { return type_; }
  bool creates() const { return creates_; }
  const VersionVector* cleared() const { return clears_ ? &cleared_ : nullptr; }
  bool next(ElementChange& change);  // false at the end or on error
  static bool validate(std::string_view body, Stamp stamp);
  // Of a delta that only says what state one counter has, its name: a later one says all that it
  // did. Else empty.
  static std::string_view sole_state(std::string_view body);

 private:
  Reader in_;
  Stamp stamp_;
  CollectionType type_{};
  bool creates_ = false, clears_ = false;
  VersionVector cleared_;
};

// Whether this may be an element of such a collection.
bool sound_element(CollectionType type, std::string_view name, const StateView& state);
bool sound_value(CollectionType type, std::string_view value);

// A collection in a slot: with its elements, or what there is besides, if these come in parts.
enum class CollectionBytes : uint8_t { kWhole, kHead };
void encode_collection(const Collection& collection, CollectionBytes what, std::string& out);
void encode_element(const ElementView& element, std::string& out);
// Null: malformed. The caller owns it. `newest`: of elements that are not in it; 0: all are.
Collection* decode_collection(Reader& in, Stamp& newest);
// Their number, and so many elements.
void decode_elements(Reader& in, Collection& collection);

}  // namespace atl::crdt
