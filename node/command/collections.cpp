#include "node/command/collections.h"

namespace atl::command {

std::optional<FoundCollection> find_collection(Context& ctx, std::string_view key,
                                               crdt::CollectionType type) {
  const Found found = look_up(ctx, key);
  const crdt::Collection* c = found ? found.entry->collection() : nullptr;
  if (found && (c == nullptr || c->type() != type)) {
    ctx.out.error(kWrongType);
    return std::nullopt;
  }
  return FoundCollection{found.ref, found.store, found.entry, c};
}

std::optional<FoundCollection> read_collection(Context& ctx, std::string_view key,
                                               crdt::CollectionType type) {
  const auto found = find_collection(ctx, key, type);
  if (found) counted(ctx, Found{found->ref, found->store, found->entry});
  return found;
}

EventClass event_class_of(crdt::CollectionType type) {
  switch (type) {
    case crdt::CollectionType::kHash:
      return EventClass::kHash;
    case crdt::CollectionType::kSet:
      return EventClass::kSet;
    case crdt::CollectionType::kSortedSet:
      return EventClass::kSortedSet;
    default:
      return EventClass::kList;
  }
}

void notify_changed(Context& ctx, const FoundCollection& before, crdt::CollectionType type,
                    std::string_view event) {
  if (ctx.events == nullptr) [[likely]]
    return;
  if (!before) ctx.notify(EventClass::kNew, "new", before.ref);
  ctx.notify(event_class_of(type), event, before.ref);
  if (before.store.peek(before.ref) == nullptr) ctx.notify(EventClass::kGeneric, "del", before.ref);
}

void notify_stored(Context& ctx, const Found& before, crdt::CollectionType type,
                   std::string_view event) {
  if (ctx.events == nullptr) [[likely]]
    return;
  if (before.store.peek(before.ref) != nullptr) {
    if (!before) ctx.notify(EventClass::kNew, "new", before.ref);
    ctx.notify(event_class_of(type), event, before.ref);
  } else if (before) {
    ctx.notify(EventClass::kGeneric, "del", before.ref);
  }
}

// ---- Of any key ----

std::string_view type_name(crdt::CollectionType type) {
  switch (type) {
    case crdt::CollectionType::kHash:
      return "hash";
    case crdt::CollectionType::kSet:
      return "set";
    case crdt::CollectionType::kSortedSet:
      return "zset";
    case crdt::CollectionType::kList:
      break;
  }
  return "list";
}

std::string_view type_name(const Found& found) {
  const crdt::Collection* c = found.collection();
  return c == nullptr ? "string" : type_name(c->type());
}

void copy_collection(const crdt::Collection& from, crdt::Store& store, const crdt::KeyRef& target) {
  store.del(target);
  crdt::CollectionEdit edit(store, target, from.type());
  switch (from.type()) {
    case crdt::CollectionType::kHash:
    case crdt::CollectionType::kSet:
      from.for_each(
          [&](const crdt::ElementView& e) { edit.put(e.key(), from.value(e), e.deadline()); });
      return;
    case crdt::CollectionType::kSortedSet:
      from.for_each([&](const crdt::ElementView& e) {
        edit.put(e.key(), crdt::ScoreBytes(crdt::score_of(e)));
      });
      return;
    case crdt::CollectionType::kList:
      for (auto at = from.by_position().first(); at; at.next()) {
        edit.push(crdt::Side::kRight, from.value(**at));
      }
      return;
  }
}

}  // namespace atl::command
