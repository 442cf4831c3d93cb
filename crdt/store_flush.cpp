// The store: FLUSHALL and FLUSHDB.
#include <algorithm>

#include "crdt/store.h"

namespace atl::crdt {

// What a flush leaves of a value without contributions: a tombstone under the base's own stamp.
// Under the flush's it would win over concurrent writes that the flush had not seen. Were it
// erased, an older base of another region, which this one had beaten everywhere else, would count
// here.
void Store::bury(Slot& s, uint32_t index, SlotId id) {
  const Entry* e = s.table.at(index);
  const std::string key(e->key());
  const KeyRef ref{key, e->db(), id, hash_key(e->db(), key)};
  KeyState state;
  state.kind = BaseKind::kDeleted;
  state.base = e->stamp();
  put_state(s, ref, index, state);
}

void Store::emit_entry(Slot& s, uint32_t index, SlotId id) {
  const Entry* e = s.table.at(index);
  const std::string key(e->key());
  note_rewrite(*e);
  emit_entry(KeyRef{key, e->db(), id, hash_key(e->db(), key)}, clock_.next(now_), *e);
}

void Store::flush(DbId db) {
  if (change_sink_) change_sink_(Change::kFlush, db, {});
  for (size_t n = 0; n < slots_.size(); ++n) {
    Slot& s = slots_[n];
    if (s.table.size() == 0 && !s.evicted && s.flushes() == nullptr) continue;
    const auto id = static_cast<SlotId>(options_.slots.first + n);
    VersionVector seen = coverage(id);
    // What is deleted here already counts: who deleted it may lose it before all others have it,
    // and this flush has observed it as well.
    bool any = s.evicted;
    if (s.flushes() != nullptr) {
      any |= std::any_of(s.flushes()->begin(), s.flushes()->end(), [&](const FlushMark& m) {
        return db == kEveryDb || m.db == kEveryDb || m.db == db;
      });
    }
    for (uint32_t i = 0; i < s.table.capacity();) {
      Entry* e = s.table.at(i);
      if (e == nullptr || (db != kEveryDb && e->db() != db)) {
        ++i;
        continue;
      }
      any = true;
      InlineParts parts;
      if (e->collections() != nullptr) flush_collections(s, i, id, seen);
      const bool counts = !e->view(parts).contributions.empty();
      if (e->kind() == BaseKind::kCollection && options_.replicated && !counts) {
        const bool told = seen.covers(e->stamp());
        flush_entry(s, i, seen);
        if (!told) emit_entry(s, i, id);
        ++i;
      } else if (!e->exists() && e->kind() != BaseKind::kCollection) {
        const bool told = seen.covers(e->stamp()) && !counts;
        if (options_.replicated && !told) emit_entry(s, i, id);
        ++i;
      } else if (options_.replicated && counts) {
        // A counter is reset key by key: only its contributions say what was observed.
        const std::string key(e->key());
        const KeyRef ref{key, e->db(), id, hash_key(e->db(), key)};
        write_through_state(ref, {}, kNoDeadline, BaseKind::kDeleted);
        ++i;
      } else if (options_.replicated) {
        // Of what was seen within a gap the vector does not tell.
        const bool told = seen.covers(e->stamp());
        bury(s, i, id);
        if (!told) emit_entry(s, i, id);
        ++i;
      } else {
        erase_at(s, i);  // moves a later entry here, or none
        if (s.table.capacity() == 0) break;
      }
    }
    if (!any) continue;
    const Stamp stamp = clock_.next(now_);
    seen.raise(options_.region, stamp);
    if (options_.replicated) add_flush(s, FlushMark{stamp, db, seen});
    emit_flush(id, db, stamp, seen);
  }
}

void Store::emit_flush(SlotId id, DbId db, Stamp stamp, const VersionVector& seen) {
  const BatchWriter::Head h = head(DeltaKind::kFlush, KeyRef{{}, db, id, 0}, stamp);
  if (!options_.replicated) return;
  scratch_.clear();
  encode_seen(seen, scratch_);
  writer_.body(h, {}, scratch_);
  writer_.note_rewrite();
}

}  // namespace atl::crdt
