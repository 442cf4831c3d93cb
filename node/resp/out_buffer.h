// Reply bytes waiting to be sent on one connection: a list of chunks of which the last one grows.
//
// Small replies gather in one contiguous tail, so a pipeline leaves with a single send(). A large
// value is a chunk of its own, moved in as a std::string, so that it is copied once at most. A
// deque of fixed blocks was rejected: it copies large values piecemeal; one growing string was
// rejected because doubling copies everything that waits for a slow reader.
//
//   sealed[0] | sealed[1] | ... | tail
//   ^ front offset                    ^ appended here
//
// Invariants
//  1. total size = sizes of sealed chunks + tail - what the front chunk has sent.
//  2. Sealed chunks are never empty and never grow.
#pragma once

#include <boost/container/deque.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace atl::resp {

// Threads: confined to one. Owns its bytes. Bounds: none of its own; the connection watches
// memory() against the client's output limits.
class OutBuffer {
 public:
  // A value from this size on is a chunk of its own, and the tail is sealed at this size.
  static constexpr std::size_t kChunkBytes = 64 * 1024;
  static constexpr std::size_t kFirstTailBytes = 1024;

  // A position for patching; valid until the next consume() or clear().
  struct Mark {
    std::size_t chunk = 0;
    std::size_t offset = 0;
  };

  OutBuffer() = default;
  OutBuffer(OutBuffer&& other) noexcept;
  OutBuffer& operator=(OutBuffer&& other) noexcept;
  OutBuffer(const OutBuffer&) = delete;
  OutBuffer& operator=(const OutBuffer&) = delete;
  ~OutBuffer() = default;

  // Room for `bytes` contiguous bytes at the end; advance() then says how many were used.
  // Allocates only if the tail is full. Requires: bytes <= kChunkBytes.
  char* prepare(std::size_t bytes) {
    if (tail_capacity_ - tail_size_ < bytes) [[unlikely]] {
      grow(bytes);
    }
    return tail_.get() + tail_size_;
  }
  void advance(std::size_t bytes) {
    tail_size_ += bytes;
    size_ += bytes;
  }

  void append(std::string_view bytes) {
    if (bytes.size() >= kChunkBytes) [[unlikely]] {
      append_owned(std::string(bytes));
      return;
    }
    if (bytes.empty()) {
      return;
    }
    std::memcpy(prepare(bytes.size()), bytes.data(), bytes.size());
    advance(bytes.size());
  }
  // Takes large bytes without a copy (small ones are copied to the tail).
  void append_owned(std::string&& bytes);
  // Moves all of `other`'s bytes to the end; large chunks change owner without a copy.
  void append_all(OutBuffer&& other);

  // Leaves `gap` bytes to be filled by close_gap().
  Mark open_gap(std::size_t gap);
  // Puts `bytes` where the gap of `gap` bytes was; what follows in that chunk moves up.
  // Requires: bytes.size() <= gap, no consume() since the mark was taken.
  // Cost: O(kChunkBytes).
  void close_gap(Mark mark, std::size_t gap, std::string_view bytes);

  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }
  // Bytes allocated, used or not.
  std::size_t memory() const { return sealed_capacity_ + tail_capacity_; }
  // Chunks that wait (CLIENT LIST's oll) without the tail, and bytes in the tail (obl).
  std::size_t sealed_chunks() const { return sealed_.size(); }
  std::size_t tail_size() const { return tail_size_ - (sealed_.empty() ? front_sent_ : 0); }

  // Fills `views` from the front for a gathered write; returns how many were filled.
  // Lifetime: until the next non-const call.
  std::size_t gather(std::span<std::string_view> views) const;
  // Drops `bytes` from the front once they are sent. Requires: bytes <= size().
  void consume(std::size_t bytes);
  void clear();
  // Gives back the tail's memory if it holds nothing.
  void shrink();

  // All bytes as one string: for tests and for replies that cross threads.
  std::string flatten() const;

 private:
  // Either a former tail (block, size) or a moved string.
  struct Chunk {
    std::unique_ptr<char[]> block;
    std::string owned;
    std::size_t block_size = 0;
    std::size_t capacity = 0;
    const char* data() const { return block ? block.get() : owned.data(); }
    std::size_t size() const { return block ? block_size : owned.size(); }
  };

  void grow(std::size_t bytes);
  void seal_tail();

  std::unique_ptr<char[]> tail_;
  std::size_t tail_size_ = 0;
  std::size_t tail_capacity_ = 0;
  std::size_t size_ = 0;
  std::size_t front_sent_ = 0;  // bytes of the first chunk (or of the tail, if alone) already sent
  std::size_t sealed_capacity_ = 0;
  boost::container::deque<Chunk> sealed_;  // std::deque allocates also while it is empty
};

}  // namespace atl::resp
