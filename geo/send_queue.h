// Messages that wait to be published, the oldest dropped when there are too many.
//
// What clients published is asked for again by nobody, and must not push out what regions converge
// by: it has a bound of its own, and beyond that the newest is refused.
//
// A message that alone exceeds the bound is outside of it, and one such may wait: else anything
// that came after it would push it out, and whoever pulls it would never get it.
//
// *Threads*: none of its own; the caller locks. *Bounds*: kQueueBytesMax, one larger message, and
// kQueuePublishedBytesMax of Published.
#pragma once

#include <algorithm>
#include <deque>
#include <memory>
#include <string>

#include "geo/message.h"

namespace atl::geo {

inline constexpr size_t kQueueBytesMax = 64 * 1024 * 1024;
inline constexpr size_t kQueuePublishedBytesMax = 16 * 1024 * 1024;

class SendQueue {
 public:
  struct Queued {
    std::string subject;
    std::shared_ptr<const Message> message;
    size_t weight = 0;  // in bytes

    bool published() const { return message && std::holds_alternative<Published>(message->body); }
    bool oversize() const { return weight > kQueueBytesMax; }
  };

  bool empty() const { return queue_.empty(); }

  // How many messages were dropped for it, or one: itself.
  size_t push(Queued queued) {
    if (queued.published()) {
      // One larger than the bound passes where none waits.
      if (published_bytes_ != 0 && published_bytes_ + queued.weight > kQueuePublishedBytesMax) {
        return 1;
      }
      published_bytes_ += queued.weight;
      queue_.push_back(std::move(queued));
      return 0;
    }
    if (queued.oversize()) {
      if (oversize_waits_) return 1;
      oversize_waits_ = true;
      queue_.push_back(std::move(queued));
      return 0;
    }
    bytes_ += queued.weight;
    queue_.push_back(std::move(queued));
    size_t dropped = 0;
    for (; bytes_ > kQueueBytesMax; ++dropped) {
      const auto oldest = std::find_if(queue_.begin(), queue_.end(), [](const Queued& q) {
        return !q.oversize() && !q.published();
      });
      bytes_ -= oldest->weight;
      queue_.erase(oldest);
    }
    return dropped;
  }

  // Requires a message.
  Queued pop() {
    Queued first = std::move(queue_.front());
    queue_.pop_front();
    if (first.published()) {
      published_bytes_ -= first.weight;
    } else if (first.oversize()) {
      oversize_waits_ = false;
    } else {
      bytes_ -= first.weight;
    }
    return first;
  }

 private:
  std::deque<Queued> queue_;
  size_t bytes_ = 0;  // without an oversize message, and without what was published
  size_t published_bytes_ = 0;
  bool oversize_waits_ = false;
};

}  // namespace atl::geo
