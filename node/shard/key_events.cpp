#include "node/shard/key_events.h"

#include <algorithm>

#include "node/config/event_classes.h"
#include "node/shard/shard.h"

namespace atl::shard {

void KeyEvents::follow(const std::string& letters) {
  using config::wants_event_class;
  letters_ = letters;
  by_key_ = wants_event_class(letters, 'K');
  by_event_ = wants_event_class(letters, 'E');
  on_ = by_key_ || by_event_;
  const bool losses = on_ && std::ranges::any_of(std::string_view("xehg"), [&](char letter) {
                        return wants_event_class(letters, letter);
                      });
  if (!losses) return shard_.store().on_loss({});
  shard_.store().on_loss(
      [this](crdt::Loss loss, crdt::DbId db, std::string_view key) { tell_loss(loss, db, key); });
}

void KeyEvents::tell_loss(crdt::Loss loss, crdt::DbId db, std::string_view key) {
  switch (loss) {
    case crdt::Loss::kExpired:
      return emit(command::EventClass::kExpired, "expired", db, key);
    case crdt::Loss::kEvicted:
      return emit(command::EventClass::kEvicted, "evicted", db, key);
    case crdt::Loss::kElements:
      return emit(command::EventClass::kHash, "hexpired", db, key);
    case crdt::Loss::kLastElements:
      emit(command::EventClass::kHash, "hexpired", db, key);
      emit(command::EventClass::kGeneric, "del", db, key);
  }
}

void KeyEvents::emit(command::EventClass event_class, std::string_view event, crdt::DbId db,
                     std::string_view key) {
  if (!config::wants_event_class(letters_, static_cast<char>(event_class))) return;
  const std::string number = std::to_string(static_cast<unsigned>(db));
  if (by_key_) {
    channel_.assign("__keyspace@").append(number).append("__:").append(key);
    shard_.pubsub().announce(channel_, event);
  }
  if (by_event_) {
    channel_.assign("__keyevent@").append(number).append("__:").append(event);
    shard_.pubsub().announce(channel_, key);
  }
}

}  // namespace atl::shard
