#include "node/shard/tracking.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "node/resp/writer.h"
#include "node/shard/node.h"
#include "node/shard/shard.h"

namespace atl::shard {

namespace {

constexpr std::string_view kChannel = "__redis__:invalidate";

// As a client of this protocol gets it. RESP2 knows no pushes: there it is a message, to those who
// have subscribed to anything.
std::string frame_of(std::string_view keys, resp::Protocol protocol) {
  resp::OutBuffer bytes;
  resp::Writer out(bytes, protocol);
  if (protocol == resp::Protocol::kResp3) {
    out.push(2);
    out.bulk("invalidate");
  } else {
    out.array(3);
    out.bulk("message");
    out.bulk(kChannel);
  }
  if (keys.empty()) {
    out.null();
  } else {
    out.append_raw(keys);
  }
  return bytes.flatten();
}

std::string encode_keys(const std::vector<std::string_view>& keys) {
  resp::OutBuffer bytes;
  resp::Writer out(bytes);
  out.array(static_cast<int64_t>(keys.size()));
  for (const std::string_view key : keys) out.bulk(key);
  return bytes.flatten();
}

}  // namespace

void ClientTracking::begin_command(bool is_client_command, bool in_transaction) {
  if (!keeps_caching && !in_transaction) mode.caching = false;
  keeps_caching = is_client_command;
}

bool ClientTracking::remembers_reads() const {
  if (mode.broadcasts || (mode.opt_in && !mode.caching)) return false;
  return !(mode.opt_out && mode.caching);
}

// ---- Who tracks ----

void Tracking::add(uint64_t client, Tracker tracker) {
  at_home_.resize(shard_.node().shard_count());
  broadcasts_at_home_.resize(at_home_.size());
  const bool first = trackers_.empty();
  if (const auto known = trackers_.find(client); known != trackers_.end()) {
    count(client, known->second, -1);
  }
  count(client, tracker, 1);
  trackers_.insert_or_assign(client, std::move(tracker));
  if (first) shard_.follow_listeners();
}

void Tracking::remove(uint64_t client) {
  const auto known = trackers_.find(client);
  if (known == trackers_.end()) return;
  count(client, known->second, -1);
  trackers_.erase(known);
  if (!trackers_.empty()) return;
  keys_.clear();
  gathered_ = {};
  shard_.follow_listeners();
}

void Tracking::leave(Client& client) {
  if (client.tracking == nullptr) return;
  client.tracking.reset();
  const uint64_t id = client.session.id;
  remove(id);
  Node& node = shard_.node();
  for (size_t i = 0; i < node.shard_count(); ++i) {
    if (i == shard_.index()) continue;
    Shard* other = &node.shard(i);
    other->post([other, id] { other->tracking().remove(id); });
  }
}

void Tracking::count(uint64_t client, const Tracker& tracker, int n) {
  at_home_[tracker.home] += static_cast<size_t>(n);
  if (tracker.prefixes.empty()) return;
  broadcasts_at_home_[tracker.home] += static_cast<size_t>(n);
  for (const std::string& prefix : tracker.prefixes) {
    auto& of_length = prefixes_[prefix.size()];
    size_t& trackers = of_length[prefix];
    trackers += static_cast<size_t>(n);
    if (trackers == 0) of_length.erase(prefix);
    if (of_length.empty()) prefixes_.erase(prefix.size());
    if (tracker.home != shard_.index()) continue;
    std::set<uint64_t>& own = own_prefixes_[prefix];
    if (n > 0) {
      own.insert(client);
    } else {
      own.erase(client);
    }
    if (own.empty()) own_prefixes_.erase(prefix);
  }
}

size_t Tracking::prefixes() const {
  size_t sum = 0;
  for (const auto& [length, of_length] : prefixes_) sum += of_length.size();
  return sum;
}

// ---- What happens to keys of this shard ----

// A client that has gone meanwhile was taken from the list first.
void Tracking::remember(std::string_view key, TrackedKeys::Reader reader) {
  if (!trackers_.contains(reader.client)) return;
  keys_.remember(key, reader, [this](uint64_t client) { return trackers_.contains(client); });
  keep_within_limit();
}

void Tracking::keep_within_limit() {
  const auto most = static_cast<size_t>(shard_.settings().tracking_table_max_keys);
  if (most == 0) return;
  Node& node = shard_.node();
  size_t others = 0;
  for (size_t i = 0; i < node.shard_count(); ++i) {
    if (i != shard_.index()) others += node.shard(i).tracking().keys();
  }
  while (keys_.keys() != 0 && keys_.keys() + others > most) {
    random_ = random_ * 6364136223846793005ULL + 1442695040888963407ULL;
    gather_readers(std::string(keys_.random(random_ >> 32)), 0);
  }
}

void Tracking::on_change(crdt::Change change, std::string_view key) {
  if (change == crdt::Change::kFlush) {
    keys_.clear();
    gathered_.changed.clear();
    gathered_.flushed = gathered_.any = true;
    return;
  }
  gather_readers(key, acting_);
  if (has_prefix_of(key)) gather_change(key);
}

void Tracking::gather_readers(std::string_view key, uint64_t writer) {
  for (const TrackedKeys::Reader& reader : keys_.take(key)) {
    if (gathered_.flushed) return;
    const auto tracker = trackers_.find(reader.client);
    if (tracker == trackers_.end() || !tracker->second.prefixes.empty()) continue;
    if (gathered_.of_home.empty()) gathered_.of_home.resize(at_home_.size());
    gathered_.of_home[reader.home].push_back({reader.client, writer, std::string(key)});
    note_bytes(sizeof(KeyNews) + key.size());
  }
}

// Of several writers in one turn, none is left out: what one has written, another has changed.
void Tracking::gather_change(std::string_view key) {
  if (gathered_.flushed) return;
  const auto found = gathered_.changed.find(key);
  if (found != gathered_.changed.end()) {
    if (found->second != acting_) found->second = 0;
    return;
  }
  gathered_.changed.emplace(key, acting_);
  note_bytes(sizeof(Changed::value_type) + key.size());
}

void Tracking::note_bytes(size_t bytes) {
  gathered_.any = true;
  gathered_.bytes += bytes;
  if (gathered_.bytes <= kGatheredBytesMax) return;
  gathered_ = {};
  gathered_.flushed = gathered_.any = true;
}

bool Tracking::has_prefix_of(std::string_view key) const {
  for (const auto& [length, of_length] : prefixes_) {
    if (length > key.size()) return false;
    if (of_length.contains(key.substr(0, length))) return true;
  }
  return false;
}

// ---- Delivery ----

void Tracking::take_over(Tracking& stopped) {
  if (!stopped.gathered_.any) return;
  Gathered news = std::exchange(stopped.gathered_, {});
  gathered_.any = true;
  gathered_.flushed |= news.flushed;
  gathered_.of_home.resize(at_home_.size());
  for (size_t home = 0; home < news.of_home.size(); ++home) {
    auto& to = gathered_.of_home[home];
    std::move(news.of_home[home].begin(), news.of_home[home].end(), std::back_inserter(to));
  }
  gathered_.changed.merge(news.changed);  // no key is on two shards
  note_bytes(news.bytes);
}

void Tracking::deliver() {
  Gathered news = std::exchange(gathered_, {});
  std::shared_ptr<const Changed> changed;
  if (!news.flushed && !news.changed.empty()) {
    changed = std::make_shared<const Changed>(std::move(news.changed));
  }
  for (size_t home = 0; home < at_home_.size(); ++home) {
    if (at_home_[home] == 0) continue;
    Letter letter;
    letter.bytes = news.bytes;
    letter.flushed = news.flushed;
    if (!news.of_home.empty()) letter.keys = std::move(news.of_home[home]);
    if (broadcasts_at_home_[home] != 0) letter.changed = changed;
    if (letter.keys.empty() && letter.changed == nullptr && !letter.flushed) continue;
    if (home == shard_.index()) {
      receive(letter);
    } else {
      post(static_cast<ShardIndex>(home), std::move(letter));
    }
  }
}

// One "drop everything" that has not arrived covers whatever happens before it does.
void Tracking::post(ShardIndex home, Letter letter) {
  Shard* to = &shard_.node().shard(home);
  Tracking& there = to->tracking();
  if (there.under_way_.load() > kLetterBytesMax) {
    if (there.overflow_under_way_.exchange(true)) return;
    letter = {};
    letter.flushed = letter.overflow = true;
  }
  there.under_way_ += letter.bytes;
  to->post([to, letter = std::make_shared<const Letter>(std::move(letter))] {
    Tracking& here = to->tracking();
    here.under_way_ -= letter->bytes;
    if (letter->overflow) here.overflow_under_way_.store(false);
    here.receive(*letter);
  });
}

void Tracking::receive(const Letter& letter) {
  for (const KeyNews& news : letter.keys) tell_reader(news);
  if (letter.flushed) tell_flush();
  if (letter.changed != nullptr) tell_prefixes(*letter.changed);
}

void Tracking::tell_reader(const KeyNews& news) {
  Client* client = shard_.find_client(news.reader);
  if (client == nullptr || client->tracking == nullptr) return;
  const command::TrackingMode& mode = client->tracking->mode;
  if (mode.broadcasts || (mode.no_loop && news.writer == news.reader)) return;
  tell(*client, encode_keys({news.key}));
}

void Tracking::tell_flush() {
  shard_.for_each_client([this](Client& client) {
    if (client.tracking != nullptr) tell(client, {});
  });
}

void Tracking::tell_prefixes(const Changed& changed) {
  for (const auto& [prefix, clients] : own_prefixes_) {
    std::vector<std::string_view> keys;
    std::vector<uint64_t> writers;
    for (auto at = changed.lower_bound(prefix);
         at != changed.end() && at->first.starts_with(prefix); ++at) {
      keys.push_back(at->first);
      writers.push_back(at->second);
    }
    if (keys.empty()) continue;
    const std::string all = encode_keys(keys);
    for (const uint64_t id : clients) {
      Client* client = shard_.find_client(id);
      if (client == nullptr || client->tracking == nullptr) continue;
      if (!client->tracking->mode.no_loop) {
        tell(*client, all);
        continue;
      }
      std::vector<std::string_view> others;
      for (size_t i = 0; i < keys.size(); ++i) {
        if (writers[i] != id) others.push_back(keys[i]);
      }
      if (!others.empty()) tell(*client, encode_keys(others));
    }
  }
}

void Tracking::tell(Client& client, std::string_view keys) {
  const ClientTracking& tracking = *client.tracking;
  const uint64_t redirect = tracking.mode.redirect;
  if (redirect == 0) {
    if (client.protocol == resp::Protocol::kResp3) client.push(frame_of(keys, client.protocol), 0);
  } else if (tracking.redirect_home != shard_.index()) {
    tell_elsewhere(client, keys);
  } else if (!tell_redirection(redirect, keys)) {
    break_redirection(client.session.id, redirect);
  }
}

void Tracking::tell_elsewhere(Client& client, std::string_view keys) {
  ClientTracking& tracking = *client.tracking;
  Shard* here = &shard_;
  Shard* to = &shard_.node().shard(tracking.redirect_home);
  Tracking& there = to->tracking();
  std::shared_ptr<std::atomic<bool>> voids;
  if (there.under_way_.load() > kLetterBytesMax) {
    if (!tracking.void_under_way) tracking.void_under_way = std::make_shared<std::atomic<bool>>();
    voids = tracking.void_under_way;
    if (voids->exchange(true)) return;
    keys = {};
  }
  const size_t bytes = sizeof(KeyNews) + keys.size();
  there.under_way_ += bytes;
  to->post([here, to, bytes, voids, keys = std::string(keys), client = client.session.id,
            redirect = tracking.mode.redirect] {
    to->tracking().under_way_ -= bytes;
    if (voids) voids->store(false);
    if (to->tracking().tell_redirection(redirect, keys)) return;
    here->post([here, client, redirect] { here->tracking().break_redirection(client, redirect); });
  });
}

bool Tracking::tell_redirection(uint64_t id, std::string_view keys) {
  Client* client = shard_.find_client(id);
  if (client == nullptr || client->connection().closing()) return false;
  if (client->protocol == resp::Protocol::kResp3 || client->session.subscribed) {
    client->push(frame_of(keys, client->protocol), 0);
  }
  return true;
}

void Tracking::break_redirection(uint64_t id, uint64_t redirect) {
  Client* client = shard_.find_client(id);
  if (client == nullptr || client->tracking == nullptr) return;
  if (client->tracking->mode.redirect != redirect) return;  // it has been given another one
  client->tracking->mode.redirect_broken = true;
  if (client->protocol != resp::Protocol::kResp3) return;
  resp::OutBuffer bytes;
  resp::Writer out(bytes, client->protocol);
  out.push(2);
  out.bulk("tracking-redir-broken");
  out.integer(static_cast<int64_t>(redirect));
  client->push(bytes.flatten(), 0);
}

}  // namespace atl::shard
