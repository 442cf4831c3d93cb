#include "node/shard/forward.h"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cstring>

namespace atl::shard {

void OwnedArgs::reserve(size_t bytes, size_t count) {
  if (bytes > capacity_) {
    data_ = std::make_unique_for_overwrite<char[]>(bytes);
    capacity_ = bytes;
  }
  size_ = 0;
  views_.clear();
  views_.reserve(count);
}

void OwnedArgs::add(std::string_view arg) {
  char* at = data_.get() + size_;
  if (!arg.empty()) std::memcpy(at, arg.data(), arg.size());
  views_.emplace_back(at, arg.size());
  size_ += arg.size();
}

void OwnedArgs::assign(command::Args args) {
  size_t bytes = 0;
  for (const std::string_view arg : args) bytes += arg.size();
  reserve(bytes, args.size());
  for (const std::string_view arg : args) add(arg);
}

void OwnedArgs::assign_picked(command::Args args, const std::vector<uint32_t>& picked) {
  size_t bytes = args[0].size();
  for (const uint32_t i : picked) bytes += args[i].size();
  reserve(bytes, picked.size() + 1);
  add(args[0]);
  for (const uint32_t i : picked) add(args[i]);
}

std::unique_ptr<Forward> SpareForwards::take() {
  if (spare_.empty()) return std::make_unique<Forward>();
  std::unique_ptr<Forward> forward = std::move(spare_.back());
  spare_.pop_back();
  return forward;
}

void SpareForwards::give(std::unique_ptr<Forward> spent) {
  if (spare_.size() == kSpareMax) return;
  if (spent->args.bytes() + spent->reply.memory() > kSpareBytesMax) return;
  // What was not moved out of the old one is to be as in a new one, the memory apart.
  auto args = std::move(spent->args);
  auto reply = std::move(spent->reply);
  reply.clear();
  *spent = Forward();
  spent->args = std::move(args);
  spent->reply = std::move(reply);
  spare_.push_back(std::move(spent));
}

size_t reply_length(std::string_view bytes) {
  const size_t line = bytes.find("\r\n");
  if (line == std::string_view::npos || line == 0) return 0;
  const size_t head = line + 2;
  const auto count = [&] {
    int64_t n = 0;
    std::from_chars(bytes.data() + 1, bytes.data() + line, n);
    return n;
  };
  switch (bytes[0]) {
    case '$':
    case '=':
    case '!': {
      const int64_t n = count();
      const size_t size = n < 0 ? head : head + static_cast<size_t>(n) + 2;
      return size <= bytes.size() ? size : 0;
    }
    case '*':
    case '~':
    case '>':
    case '%': {
      const int64_t n = count() * (bytes[0] == '%' ? 2 : 1);
      size_t at = head;
      for (int64_t i = 0; i < n; ++i) {
        const size_t element = reply_length(bytes.substr(at));
        if (element == 0) return 0;
        at += element;
      }
      return at;
    }
    default:
      return head;
  }
}

size_t ReplyQueue::bytes() const {
  const bool grows = !entries_.empty() && entries_.back().kind == Kind::kReady;
  return bytes_ + (grows ? entries_.back().bytes.size() : 0);
}

size_t ReplyQueue::room() const {
  if (bytes() >= kOwedBytes) return 0;
  const size_t most =
      std::clamp(kOwedBytes / std::max<size_t>(expected_, 1), kOutstandingMin, kOutstandingMax);
  return most - std::min(most, size());
}

resp::OutBuffer& ReplyQueue::tail() {
  assert(!entries_.empty());
  if (entries_.back().kind != Kind::kReady) entries_.emplace_back();
  return entries_.back().bytes;
}

uint64_t ReplyQueue::push(Kind kind, size_t parts, bool discard) {
  bytes_ = bytes();
  Entry& entry = entries_.emplace_back();
  entry.kind = kind;
  entry.discard = discard;
  entry.missing = static_cast<uint16_t>(parts);
  entry.parts.resize(parts);
  return first_ + entries_.size() - 1;
}

uint64_t ReplyQueue::expect_one(bool discard) {
  return push(Kind::kOne, 1, discard);
}

uint64_t ReplyQueue::expect_sum(size_t parts, bool discard) {
  return push(Kind::kSum, parts, discard);
}

uint64_t ReplyQueue::expect_gather(size_t parts, std::vector<uint16_t> part_of_key, bool discard) {
  const uint64_t sequence = push(Kind::kGather, parts, discard);
  entries_.back().part_of_key = std::move(part_of_key);
  return sequence;
}

void ReplyQueue::answer(std::unique_ptr<Forward> forward, resp::OutBuffer& out,
                        persist::Ticket& ticket, SpareForwards& spare) {
  assert(forward->sequence >= first_ && forward->sequence - first_ < entries_.size());
  Entry& answered = entries_[forward->sequence - first_];
  const size_t part = forward->part;
  const size_t size = forward->reply.size();
  expected_ = std::max(size, expected_ - expected_ / 8);
  bytes_ += size;
  assert(!answered.parts[part] && answered.missing > 0);
  answered.parts[part] = std::move(forward);
  --answered.missing;
  while (!entries_.empty() && entries_.front().missing == 0) {
    Entry& entry = entries_.front();
    for (const auto& done : entry.parts) {
      ticket = std::max(ticket, done->ticket);
      bytes_ -= done->reply.size();
    }
    if (entry.kind == Kind::kReady && entries_.size() > 1) bytes_ -= entry.bytes.size();
    if (!entry.discard) finish(entry, out);
    for (auto& done : entry.parts) spare.give(std::move(done));
    entries_.pop_front();
    ++first_;
  }
}

void ReplyQueue::finish(Entry& entry, resp::OutBuffer& out) {
  if (entry.kind == Kind::kReady) return out.append_all(std::move(entry.bytes));
  if (entry.kind == Kind::kOne) return out.append_all(std::move(entry.parts[0]->reply));
  std::vector<std::string> replies;
  for (const auto& part : entry.parts) {
    replies.push_back(part->reply.flatten());
    if (!replies.back().empty() && replies.back()[0] == '-') return out.append(replies.back());
  }
  if (entry.kind == Kind::kSum) {
    int64_t sum = 0;
    for (const std::string& reply : replies) {
      int64_t n = 0;
      std::from_chars(reply.data() + 1, reply.data() + reply.size(), n);
      sum += n;
    }
    resp::Writer(out).integer(sum);
    return;
  }
  std::vector<std::string_view> rest(replies.begin(), replies.end());
  for (std::string_view& part : rest) part.remove_prefix(part.find("\r\n") + 2);
  resp::Writer(out).array(static_cast<int64_t>(entry.part_of_key.size()));
  for (const uint16_t part : entry.part_of_key) {
    const size_t size = reply_length(rest[part]);
    out.append(rest[part].substr(0, size));
    rest[part].remove_prefix(size);
  }
}

}  // namespace atl::shard
