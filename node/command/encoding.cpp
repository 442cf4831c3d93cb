#include "node/command/encoding.h"

namespace atl::command {
namespace {

std::string_view string_encoding(std::string_view value) {
  constexpr size_t kEmbeddedMax = 44;
  if (crdt::parse_integer(value)) return "int";
  return value.size() <= kEmbeddedMax ? "embstr" : "raw";
}

bool is_small(const crdt::Collection& c, size_t elements_max) {
  if (c.size() > elements_max) return false;
  bool small = true;
  c.for_each([&](const crdt::ElementView& e) {
    small &= e.key().size() <= kPieceElementBytes;
    // A set has no values, a score is short.
    if (c.type() == crdt::CollectionType::kHash) small &= c.value(e).size() <= kPieceElementBytes;
  });
  return small;
}

bool has_only_integers(const crdt::Collection& c) {
  bool only = true;
  c.for_each([&](const crdt::ElementView& e) { only &= crdt::parse_integer(e.key()).has_value(); });
  return only;
}

std::string_view set_encoding(const crdt::Collection& c) {
  if (c.size() <= kIntegerSetElements && has_only_integers(c)) return "intset";
  return is_small(c, kPieceElements) ? "listpack" : "hashtable";
}

// With its head and its length behind it, which take more where it is long.
size_t listpack_bytes(std::string_view item) {
  const size_t size = item.size();
  return size + (size < 64 ? 2 : size < 4096 ? 4 : 10);
}

std::string_view list_encoding(const crdt::Collection& c) {
  constexpr size_t kFrameBytes = 7;  // a listpack's head and end
  size_t bytes = kFrameBytes;
  for (auto at = c.by_position().first(); at; at.next()) {
    bytes += listpack_bytes(c.value(**at));
    if (bytes > kListPieceBytes) return "quicklist";
  }
  return "listpack";
}

}  // namespace

std::string_view encoding_name(const Found& found) {
  const crdt::Collection* c = found.collection();
  if (c == nullptr) return string_encoding(found.value());
  switch (c->type()) {
    case crdt::CollectionType::kHash:
      if (!is_small(*c, kHashPieceElements)) return "hashtable";
      return c->next_deadline() == crdt::kNoDeadline ? "listpack" : "listpackex";
    case crdt::CollectionType::kSet:
      return set_encoding(*c);
    case crdt::CollectionType::kSortedSet:
      return is_small(*c, kPieceElements) ? "listpack" : "skiplist";
    case crdt::CollectionType::kList:
      break;
  }
  return list_encoding(*c);
}

}  // namespace atl::command
