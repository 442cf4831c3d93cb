#include "tests/unit/command/harness.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace atl::command::testing {
namespace {

// Answers what the families of node/command ask; the rest is never called here.
class FakeNode : public NodeServices {
 public:
  Done defer(Context&) override { return {}; }
  void wait_for_keys(Context&, crdt::CollectionType, crdt::Millis) override {}
  void unblock_client(uint64_t, Unblock, std::function<void(bool)>) override {}
  std::vector<std::pair<std::string, std::string>> config_get(
      const std::vector<std::string_view>&) override {
    return {};
  }
  std::string config_set(
      const std::vector<std::pair<std::string_view, std::string_view>>&) override {
    return {};
  }
  std::string config_rewrite() override { return {}; }
  void config_reset_stat() override {}
  void info(std::vector<std::string>, std::function<void(std::string)>) override {}
  void snapshot(std::function<void(std::string)>) override {}
  bool snapshot_running() const override { return false; }
  int64_t last_save_unix_s() const override { return 0; }
  std::string shutdown(const ShutdownOptions&) override { return {}; }
  std::string memory_stats_text() override { return "allocator text"; }
  void memory_purge() override {}
  size_t used_memory() const override { return 123456; }
  int databases() const override { return 16; }
  void clients(ClientFilter, std::function<void(std::vector<ClientInfo>)>) override {}
  ClientInfo client_info(Context&) override { return {}; }
  void kill_clients(Context&, ClientFilter, std::function<void(int64_t)>) override {}
  void pause(crdt::Millis, PauseMode) override {}
  void unpause() override {}
  void set_reply_mode(Context&, ReplyMode) override {}
  void close_after_reply(Context&) override {}
  void reset_connection(Context&) override {}
  void monitor(Context&) override {}
  acl::AccessControl& access_control() override { std::abort(); }
  std::string user_name(Context&) override { return {}; }
  std::string authenticate(Context&, std::string_view, std::string_view) override { return {}; }
  void run_blocking(std::function<std::string()>, std::function<void(std::string)>) override {}
  std::vector<SlowEntry> slowlog(int64_t) override { return {}; }
  int64_t slowlog_length() override { return 0; }
  void slowlog_reset() override {}
  std::map<std::string, std::vector<LatencySample>> latency() override { return {}; }
  int64_t latency_reset(const std::vector<std::string>&) override { return 0; }
  std::map<std::string, std::pair<int64_t, std::map<int64_t, int64_t>>> latency_histogram(
      const std::vector<std::string>&) override {
    return {};
  }
  void geo_status(std::function<void(std::vector<PeerRow>)>) override {}
  void geo_digest(std::optional<crdt::SlotId>, std::function<void(std::string)>) override {}
  void geo_conflicts(size_t, std::function<void(std::vector<crdt::Conflict>)>) override {}
  std::string geo_peer(std::string_view, std::string_view) override { return {}; }
  void geo_token(Context&, std::function<void(std::string)>) override {}
  std::string geo_await(Context&, std::string_view, crdt::Millis,
                        std::function<void(bool)>) override {
    return {};
  }
  std::string wait_regions(Context&, int64_t, crdt::Millis, std::function<void(int64_t)>) override {
    return {};
  }
  const TrackingMode* tracking(Context&) override { return nullptr; }
  void track(Context&, TrackingMode) override {}
  void stop_tracking(Context&) override {}
  bool client_exists(uint64_t) override { return false; }
  void set_caching(Context&) override {}
};

std::string quote(std::string_view bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte >= 32 && byte < 127) {
      out += c;
    } else {
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  return out + '"';
}

class Decoder {
 public:
  explicit Decoder(std::string_view bytes) : left_(bytes) {}
  bool done() const { return left_.empty(); }

  std::string next() {
    const size_t end = left_.find("\r\n");
    if (end == std::string_view::npos || end == 0) return fail("no line");
    const std::string line(left_.substr(0, end));
    left_.remove_prefix(end + 2);
    switch (line[0]) {
      case '+':
      case '-':
      case ':':
      case ',':
      case '(':
      case '#':
        return line;
      case '_':
        return "nil";
      case '$':
      case '=':
        return bulk(line);
      case '*':
        return line == "*-1" ? "nil*" : "[" + items(std::atol(line.c_str() + 1)) + "]";
      case '~':
        return "~[" + items(std::atol(line.c_str() + 1)) + "]";
      case '%':
        return map(std::atol(line.c_str() + 1));
      default:
        return fail(line);
    }
  }

 private:
  std::string bulk(const std::string& line) {
    const long size = std::atol(line.c_str() + 1);
    if (size < 0) return "nil";
    const auto length = static_cast<size_t>(size);
    if (left_.size() < length + 2 || left_.substr(length, 2) != "\r\n") return fail(line);
    const std::string text = quote(left_.substr(0, length));
    left_.remove_prefix(length + 2);
    return line[0] == '=' ? "=" + text : text;
  }
  std::string items(long count) {
    std::string out;
    for (long i = 0; i < count; ++i) out += (i > 0 ? ", " : "") + next();
    return out;
  }
  std::string map(long pairs) {
    std::string out = "{";
    for (long i = 0; i < pairs; ++i) {
      out += (i > 0 ? ", " : "") + next();
      out += ": " + next();
    }
    return out + "}";
  }
  std::string fail(const std::string& what) {
    ADD_FAILURE() << "malformed reply at " << what;
    left_ = {};
    return "?";
  }

  std::string_view left_;
};

}  // namespace

Stores::Stores(size_t count) {
  const size_t share = crdt::kSlotCount / count;
  for (size_t i = 0; i < count; ++i) {
    crdt::Store::Options options;
    options.slots.first = static_cast<crdt::SlotId>(i * share);
    options.slots.last =
        static_cast<crdt::SlotId>(i + 1 == count ? crdt::kSlotCount - 1 : (i + 1) * share - 1);
    owned_.push_back(std::make_unique<crdt::Store>(options));
    views_.push_back(owned_.back().get());
  }
}

Stores::Stores(const crdt::Store::Options& only) {
  owned_.push_back(std::make_unique<crdt::Store>(only));
  views_.push_back(owned_.back().get());
}

crdt::Store& Stores::store(crdt::SlotId slot) {
  for (crdt::Store* store : views_) {
    if (store->options().slots.contains(slot)) return *store;
  }
  std::abort();
}

void Stores::set_now(crdt::Millis now) {
  for (crdt::Store* store : views_) store->set_now(now);
}

crdt::Store& OneStore::store(crdt::SlotId slot) {
  EXPECT_TRUE(store_->options().slots.contains(slot)) << "a slot out of reach";
  return *store_;
}

Client::Client(size_t stores) : stores_(stores), node_(std::make_unique<FakeNode>()) {
  advance(0);
}
Client::Client(const crdt::Store::Options& store)
    : stores_(store), node_(std::make_unique<FakeNode>()) {
  advance(0);
}
Client::~Client() = default;

void Client::advance(crdt::Millis ms) {
  now_ += ms;
  stores_.set_now(now_);
}

uint32_t Client::take_deltas() {
  uint32_t deltas = 0;
  for (crdt::Store* store : stores_.stores()) deltas += store->seal().header.deltas;
  return deltas;
}

std::string Client::run(std::string_view line) {
  return run(split_words(line));
}

std::string Client::run(const std::vector<std::string>& words) {
  const std::vector<std::string_view> views(words.begin(), words.end());
  const Args args(views);
  resp::OutBuffer buffer;
  resp::Writer out(buffer, protocol_);
  const CommandSpec* spec = find_command(args[0]);
  const CommandSpec* row = spec != nullptr ? resolve(*spec, args) : nullptr;
  if (spec == nullptr) {
    out.error(unknown_command_error(args));
  } else if (row == nullptr) {
    out.error(unknown_subcommand_error(args));
  } else if (!arity_ok(*row, args.size()) || row->handler == nullptr) {
    out.error(arity_error(*row));
  } else {
    const bool by_cursor = row->route == Route::kSlotCursor;
    OneStore one(by_cursor ? stores_.store(scan_cursor_slot(args[1])) : *stores_.stores()[0]);
    Keyspace& reach = by_cursor ? static_cast<Keyspace&>(one) : stores_;
    Context ctx{args, out, session_, reach, *node_, *row, now_};
    ctx.value_bytes_max = value_bytes_max_;
    ctx.random = random_ = random_ * 6364136223846793005u + 1442695040888963407u;
    row->handler(ctx);
  }
  return decode_reply(buffer.flatten());
}

std::vector<std::string> split_words(std::string_view line) {
  std::vector<std::string> words;
  size_t at = 0;
  while (at < line.size()) {
    if (line[at] == ' ') {
      ++at;
    } else if (line[at] == '"' || line[at] == '\'') {
      const size_t end = line.find(line[at], at + 1);
      words.emplace_back(line.substr(at + 1, end - at - 1));
      at = end + 1;
    } else {
      const size_t end = std::min(line.find(' ', at), line.size());
      words.emplace_back(line.substr(at, end - at));
      at = end;
    }
  }
  return words;
}

std::string decode_reply(std::string_view bytes) {
  Decoder decoder(bytes);
  std::string text = decoder.next();
  EXPECT_TRUE(decoder.done()) << "more than one reply";
  return text;
}

}  // namespace atl::command::testing
