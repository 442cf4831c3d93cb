// Deltas and batches: the stream that a shard writes and everyone else applies.
//
// A delta is the join-irreducible piece of state that one command changed, stamped. A batch is
// all deltas of a short while from one producer (one shard of one region): the same bytes go to
// the log, to other regions and, replayed, back into the store. FORMAT.md has the byte layout.
//
// Why not one log record a write: the cost of RocksDB and of NATS is per record, so it is paid
// per batch; and within a batch a hot key is written once (see seal()).
//
// The chain. A batch covers the producer's stamps in (from, to]: `from` is the `to` of the batch
// before it. A receiver that has applied everything up to P takes a batch if from <= P and then
// has everything up to `to`; if from > P it knows exactly what it misses and asks for (P, from].
// Sequence numbers would say the same only until a restart or a replay in other portions, hence
// stamps. Besides, the first delta of every slot in a batch carries `prev`, the stamp of the
// slot's previous delta in that region, whoever produced it: it shows a gap where the producer of
// a slot changed and the batch chain begins anew.
//
// The context. A delta is merged together with what its writer had seen (see merge_from in
// key_state.h): the state of a key says by what it lacks what has been removed. The batch's header
// has the context of its deltas; where a slot's is another (it was repaired beyond the rest, or has
// evicted entries), or where batches were joined, a delta brings one that holds from there on.
//
// Invariants: (1) a batch is applied whole or not at all; (2) what one command or transaction
// changed in a shard is in one batch; (3) applying a batch twice, or an older one again, changes
// nothing; (4) the stamps of a batch rise from delta to delta.
#pragma once

#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "crdt/key_state.h"

namespace atl::crdt {

inline constexpr uint8_t kBatchVersion = 5;

enum class DeltaKind : uint8_t {
  kSet = 1,       // a base that observed no contribution
  kDelete = 2,    // a deletion that observed no contribution
  kState = 3,     // the whole state of a key
  kTtl = 4,       // TTL marks for a base
  kFlush = 5,     // observed remove of everything in the slot (or in one database of it)
  kElements = 6,  // what changed in a collection (elements_delta.h)
};
inline constexpr DbId kEveryDb = 0xff;

// Hash slot of a key, as Redis Cluster defines it (CRC16 of the {hash tag}, or of the key).
SlotId slot_of(std::string_view key);

// One decoded delta. Views point into the batch's bytes.
struct Delta {
  DeltaKind kind{};
  SlotId slot = 0;
  Stamp stamp;
  bool has_prev = false;
  Stamp prev;  // 0: the slot's first delta in that region
  DbId db = 0;
  Stamp replaced;                 // the base that a kSet or kDelete overwrote; 0: none
  Millis deadline = kNoDeadline;  // kSet
  std::string_view key;
  std::string_view value;                  // kSet
  std::string_view body;                   // kState, kTtl, kFlush, kElements: encoded
  const VersionVector* context = nullptr;  // *Lifetime*: its reader's
};

struct BatchHeader {
  RegionId region = 0;
  Stamp from;  // exclusive
  Stamp to;    // inclusive
  // What the producer had seen when it wrote the first delta; of its own stamps as well, which it
  // may have lost in a crash.
  VersionVector context;
  // What the producer's writes, and those of others that were merged there, may have observed up to
  // the batch's end, in any slot, beyond the context: an upper bound, where the context is a lower.
  VersionVector observed;
  uint32_t deltas = 0;

  // What whoever has applied this batch, and all before it, has seen of the producer's writes.
  Coverage self() const {
    Coverage own = context.of(region);
    own.upto = std::max(own.upto, to);
    own.cut(to);
    return own;
  }
};

// A sealed batch.
struct Batch {
  BatchHeader header;
  std::string bytes;  // header and deltas
};

// The same as it goes to the log and the wire.
struct SharedBatch {
  SharedBatch(Batch batch)
      : header(std::move(batch.header)), bytes(share(std::move(batch.bytes))) {}
  BatchHeader header;
  SharedBytes bytes;
};

// Reads a batch. *Errors*: ok() false and error() with a reason; nothing of a batch that does not
// parse to its end may be applied. The views and contexts of its deltas live as long as it and the
// bytes do.
class BatchReader {
 public:
  explicit BatchReader(std::string_view bytes);
  BatchReader(const BatchReader&) = delete;
  BatchReader& operator=(const BatchReader&) = delete;

  bool ok() const { return in_.ok() && error_.empty(); }
  const std::string& error() const { return error_; }
  const BatchHeader& header() const { return header_; }
  bool next(Delta& delta);  // false at the end or on error
  // The same for bytes from elsewhere: also an error where a delta, or at its end the batch, is not
  // what a region writes (a key of another slot, a malformed state, a stamp beyond the end, ...).
  bool next_checked(Delta& delta);

  static bool validate(std::string_view bytes, std::string* error);

 private:
  bool refuse(const char* why);

  Reader in_;
  BatchHeader header_;
  std::list<VersionVector> switched_;
  const VersionVector* context_ = &header_.context;
  Stamp last_;
  uint32_t left_ = 0;
  std::string error_;
};

// Collects the deltas of the current batch. Owned by a Store.
class BatchWriter {
 public:
  explicit BatchWriter(RegionId region) : region_(region) {}

  // The batch number, for marking what the current batch has touched. Never 0.
  uint32_t epoch() const { return epoch_; }
  bool empty() const { return count_ == 0; }
  size_t size_bytes() const { return used_; }
  Stamp last() const { return last_; }

  struct Head {
    DeltaKind kind{};
    SlotId slot = 0;
    Stamp stamp;
    bool has_prev = false;  // the slot's first delta in this batch
    Stamp prev;
    DbId db = 0;
    const VersionVector* context = nullptr;  // null: the batch's
  };
  // Before the first delta of a batch: what has been seen.
  void begin(VersionVector context) { context_ = std::move(context); }
  const VersionVector& context() const { return context_; }
  void set(const Head& head, Stamp replaced, Millis deadline, std::string_view key,
           std::string_view value);
  void del(const Head& head, Stamp replaced, std::string_view key);
  // kState, kTtl (a KeyState that has only marks), kElements, and kFlush (see encode_seen; the key
  // is empty).
  void body(const Head& head, std::string_view key, std::string_view body);

  // Says that a key written earlier in this batch was written again. Where many were, seal() keeps
  // only what the last write does not subsume; for a few it is not worth reading the batch again.
  void note_rewrite() { ++rewrites_; }

  // Ends the batch: everything stamped up to `to` is in it or in an earlier one. `observed` may
  // repeat what the context says.
  Batch seal(Stamp from, Stamp to, const VersionVector& observed = {});

 private:
  void write(const Head& head, Delta&& delta);
  char* room(size_t bytes);

  RegionId region_;
  VersionVector context_;
  VersionVector switched_;  // the context in force, where it is not the batch's
  bool is_switched_ = false;
  uint32_t epoch_ = 1;
  uint32_t count_ = 0;
  uint32_t rewrites_ = 0;
  Stamp last_;
  std::unique_ptr<char[]> deltas_;  // the first used_ bytes are written, the rest is room
  size_t used_ = 0;
  size_t capacity_ = 0;
};

// Joins consecutive batches of one producer, keeping only the last state of each key: what a
// region that lags is sent. Batches with different gaps are not joined, because a gap becomes
// smaller by what is in the batches before. Requires: they chain and validate.
std::vector<Batch> coalesce(const std::vector<std::string_view>& batches);

// What a flush had seen: the body of kFlush.
void encode_seen(const VersionVector& seen, std::string& out);
bool decode_seen(Reader& in, VersionVector& seen);

}  // namespace atl::crdt
