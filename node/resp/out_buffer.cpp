#include "node/resp/out_buffer.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace atl::resp {

OutBuffer::OutBuffer(OutBuffer&& other) noexcept
    : tail_(std::move(other.tail_)),
      tail_size_(std::exchange(other.tail_size_, 0)),
      tail_capacity_(std::exchange(other.tail_capacity_, 0)),
      size_(std::exchange(other.size_, 0)),
      front_sent_(std::exchange(other.front_sent_, 0)),
      sealed_capacity_(std::exchange(other.sealed_capacity_, 0)),
      sealed_(std::exchange(other.sealed_, {})) {}

OutBuffer& OutBuffer::operator=(OutBuffer&& other) noexcept {
  if (this != &other) {
    tail_ = std::move(other.tail_);
    tail_size_ = std::exchange(other.tail_size_, 0);
    tail_capacity_ = std::exchange(other.tail_capacity_, 0);
    size_ = std::exchange(other.size_, 0);
    front_sent_ = std::exchange(other.front_sent_, 0);
    sealed_capacity_ = std::exchange(other.sealed_capacity_, 0);
    sealed_ = std::exchange(other.sealed_, {});
  }
  return *this;
}

void OutBuffer::grow(std::size_t bytes) {
  assert(bytes <= kChunkBytes);
  if (tail_size_ + bytes > kChunkBytes) {
    seal_tail();
  }
  std::size_t capacity = std::max(kFirstTailBytes, tail_capacity_ * 2);
  while (capacity < tail_size_ + bytes) {
    capacity *= 2;
  }
  // Once one chunk has filled up, more is likely to follow.
  capacity = sealed_.empty() ? std::min(capacity, kChunkBytes) : kChunkBytes;
  auto block = std::make_unique_for_overwrite<char[]>(capacity);
  if (tail_size_ > 0) {
    std::memcpy(block.get(), tail_.get(), tail_size_);
  }
  tail_ = std::move(block);
  tail_capacity_ = capacity;
}

void OutBuffer::seal_tail() {
  if (tail_size_ == 0) {
    return;
  }
  Chunk chunk;
  chunk.block = std::move(tail_);
  chunk.block_size = tail_size_;
  chunk.capacity = tail_capacity_;
  sealed_capacity_ += chunk.capacity;
  sealed_.push_back(std::move(chunk));
  tail_size_ = 0;
  tail_capacity_ = 0;
}

void OutBuffer::append_owned(std::string&& bytes) {
  if (bytes.size() < kChunkBytes) {
    append(bytes);
    return;
  }
  seal_tail();
  Chunk chunk;
  chunk.owned = std::move(bytes);
  chunk.capacity = chunk.owned.capacity();
  sealed_capacity_ += chunk.capacity;
  size_ += chunk.owned.size();
  sealed_.push_back(std::move(chunk));
}

void OutBuffer::append_all(OutBuffer&& other) {
  for (std::size_t i = 0; i < other.sealed_.size(); ++i) {
    Chunk& chunk = other.sealed_[i];
    const std::size_t sent = i == 0 ? other.front_sent_ : 0;
    if (sent > 0 || chunk.size() < kChunkBytes / 2) {
      append({chunk.data() + sent, chunk.size() - sent});
      continue;
    }
    seal_tail();
    size_ += chunk.size();
    sealed_capacity_ += chunk.capacity;
    sealed_.push_back(std::move(chunk));
  }
  const std::size_t sent = other.sealed_.empty() ? other.front_sent_ : 0;
  append({other.tail_.get() + sent, other.tail_size_ - sent});
  other.clear();
}

OutBuffer::Mark OutBuffer::open_gap(std::size_t gap) {
  prepare(gap);
  const Mark mark{sealed_.size(), tail_size_};
  advance(gap);
  return mark;
}

void OutBuffer::close_gap(Mark mark, std::size_t gap, std::string_view bytes) {
  assert(bytes.size() <= gap);
  const bool in_tail = mark.chunk == sealed_.size();
  char* const block = in_tail ? tail_.get() : sealed_[mark.chunk].block.get();
  std::size_t& block_size = in_tail ? tail_size_ : sealed_[mark.chunk].block_size;
  const std::size_t behind = mark.offset + gap;
  assert(block != nullptr && behind <= block_size);
  std::memcpy(block + mark.offset, bytes.data(), bytes.size());
  std::memmove(block + mark.offset + bytes.size(), block + behind, block_size - behind);
  block_size -= gap - bytes.size();
  size_ -= gap - bytes.size();
}

std::size_t OutBuffer::gather(std::span<std::string_view> views) const {
  std::size_t filled = 0;
  std::size_t sent = front_sent_;
  for (const Chunk& chunk : sealed_) {
    if (filled == views.size()) {
      return filled;
    }
    views[filled++] = {chunk.data() + sent, chunk.size() - sent};
    sent = 0;
  }
  if (filled < views.size() && tail_size_ > sent) {
    views[filled++] = {tail_.get() + sent, tail_size_ - sent};
  }
  return filled;
}

void OutBuffer::consume(std::size_t bytes) {
  assert(bytes <= size_);
  size_ -= bytes;
  while (!sealed_.empty()) {
    Chunk& front = sealed_.front();
    const std::size_t left = front.size() - front_sent_;
    if (bytes < left) {
      front_sent_ += bytes;
      return;
    }
    bytes -= left;
    front_sent_ = 0;
    sealed_capacity_ -= front.capacity;
    sealed_.pop_front();
  }
  front_sent_ += bytes;
  if (front_sent_ == tail_size_) {
    front_sent_ = 0;
    tail_size_ = 0;
  }
}

void OutBuffer::clear() {
  sealed_.clear();
  sealed_capacity_ = 0;
  tail_size_ = 0;
  size_ = 0;
  front_sent_ = 0;
}

void OutBuffer::shrink() {
  if (size_ == 0) {
    tail_.reset();
    tail_capacity_ = 0;
  }
}

std::string OutBuffer::flatten() const {
  std::string all;
  all.reserve(size_);
  std::size_t sent = front_sent_;
  for (const Chunk& chunk : sealed_) {
    all.append(chunk.data() + sent, chunk.size() - sent);
    sent = 0;
  }
  if (tail_size_ > sent) {
    all.append(tail_.get() + sent, tail_size_ - sent);
  }
  return all;
}

}  // namespace atl::resp
