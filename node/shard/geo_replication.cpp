#include "node/shard/geo_replication.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <random>

#include "node/shard/geo_link.h"
#include "node/shard/node.h"

namespace atl::shard {

namespace {

constexpr std::string_view kTokenPrefix = "atoll1";
constexpr size_t kWaitingBytesMax = size_t{64} << 20;

// What of a message may come without end; 0: it carries no data.
size_t data_bytes(const geo::Message& message) {
  const auto sum = [](const auto& parts) {
    size_t bytes = 0;
    for (const auto& part : parts) bytes += part->size();
    return bytes;
  };
  if (const auto* batch = std::get_if<geo::BatchMessage>(&message.body)) {
    return batch->bytes->size();
  }
  if (const auto* reply = std::get_if<geo::PullReply>(&message.body)) return sum(reply->batches);
  if (const auto* reply = std::get_if<geo::SlotReply>(&message.body)) return sum(reply->slots);
  if (const auto* published = std::get_if<geo::Published>(&message.body)) {
    return published->bytes();
  }
  return 0;
}

bool may_hear(const Subscriptions& there, const geo::Published& published) {
  return there.may_hear_any() &&
         std::any_of(published.items.begin(), published.items.end(),
                     [&](const auto& each) { return there.may_hear(each.channel, each.sharded); });
}

geo::Compression compression_of(config::GeoCompression chosen) {
  switch (chosen) {
    case config::GeoCompression::kLz4:
      return geo::Compression::kLz4;
    case config::GeoCompression::kZstd:
      return geo::Compression::kZstd;
    case config::GeoCompression::kNo:
      break;
  }
  return geo::Compression::kOff;
}

crdt::Millis steady_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// "atoll1-<region>:<stamp>-..." in hexadecimal: what a client has written here, and what is
// merged here of other regions, which it may have read.
std::string encode_token(const std::map<crdt::RegionId, crdt::Stamp>& stamps) {
  std::string out(kTokenPrefix);
  for (const auto& [region, stamp] : stamps) {
    char buf[32];
    std::snprintf(buf, sizeof buf, "-%x:%llx", region, static_cast<unsigned long long>(stamp.raw));
    out += buf;
  }
  return out;
}

bool decode_token(std::string_view text,
                  std::vector<std::pair<crdt::RegionId, crdt::Stamp>>& stamps) {
  if (!text.starts_with(kTokenPrefix)) return false;
  text.remove_prefix(kTokenPrefix.size());
  while (!text.empty()) {
    if (text[0] != '-') return false;
    text.remove_prefix(1);
    uint8_t region = 0;
    uint64_t raw = 0;
    auto r = std::from_chars(text.data(), text.data() + text.size(), region, 16);
    if (r.ec != std::errc{} || r.ptr == text.data() + text.size() || *r.ptr != ':') return false;
    const auto s = std::from_chars(r.ptr + 1, text.data() + text.size(), raw, 16);
    if (s.ec != std::errc{}) return false;
    stamps.emplace_back(region, crdt::Stamp{raw});
    text.remove_prefix(static_cast<size_t>(s.ptr - text.data()));
  }
  return true;
}

}  // namespace

std::unique_ptr<Replication> make_geo_replication(Node& node) {
  return std::make_unique<GeoReplication>(node);
}

GeoReplication::GeoReplication(Node& node) : node_(node), inbox_bytes_(node.shard_count()) {
  if (persist::Storage* storage = node.storage()) {
    node_id_ = storage->report().node_id;
    if (const auto bytes = storage->get_meta(kRegionsMeta)) known_regions_ = decode_regions(*bytes);
  } else {
    std::random_device random;
    node_id_ = static_cast<uint64_t>(random()) << 32 | random() | 1;
  }
  pictures_.resize(node.shard_count());
  links_.resize(node.shard_count());
}

GeoReplication::~GeoReplication() = default;

std::unique_ptr<ReplicationLink> GeoReplication::make_link(Shard& shard,
                                                           const Recovered& recovered) {
  auto link = std::make_unique<GeoLink>(*this, shard, recovered, known_regions_);
  links_[shard.index()] = link.get();
  return link;
}

geo::NatsTransport::Options GeoReplication::transport_options() const {
  const auto settings = node_.config().snapshot();
  geo::NatsTransport::Options o;
  o.urls = settings->geo_nats_url;
  o.security = {settings->geo_nats_tls_ca_cert_file, settings->geo_nats_tls_cert_file,
                settings->geo_nats_tls_key_file, settings->geo_nats_credentials_file};
  o.prefix = settings->geo_subject_prefix;
  o.client_name = "atoll " + settings->region;
  o.region = settings->region_id;
  o.node = node_id_;
  o.compression = compression_of(settings->geo_compression);
  return o;
}

std::string GeoReplication::check() const {
  return geo::NatsTransport::check(transport_options());
}

void GeoReplication::start() {
  geo::NatsTransport::Receiver r;
  r.message = [this](auto message, auto shard) { received(std::move(message), shard); };
  r.malformed = [this](const std::string& reason) { malformed(reason); };
  r.connection = [this](bool connected, const std::string& detail) {
    connection(connected, detail);
  };
  r.complaint = [this](const std::string& text) {
    if (running_) spdlog::error("NATS: {}", text);
  };
  std::string error;
  running_ = true;
  auto transport = geo::NatsTransport::open(transport_options(), std::move(r), error);
  if (transport == nullptr) {
    spdlog::error("No replication between regions: {}", error);
    return;
  }
  // Shards send from here on; until now they had nobody to send to.
  std::shared_ptr<geo::NatsTransport> shared(std::move(transport));
  std::atomic_store(&transport_, shared);
  const auto settings = node_.config().snapshot();
  spdlog::info("Region '{}' (id {}) replicates through {} NATS server(s)", settings->region,
               settings->region_id, settings->geo_nats_url.size());
}

void GeoReplication::stop() {
  running_ = false;
  if (const auto t = std::atomic_load(&transport_)) t->flush(1000);
  std::atomic_store(&transport_, std::shared_ptr<geo::NatsTransport>());
}

// ---- Incoming, on libnats' threads ----

void GeoReplication::received(std::shared_ptr<const geo::Message> message,
                              std::optional<uint16_t> shard) {
  if (!running_) return;
  const size_t size = data_bytes(*message);
  const auto* published = std::get_if<geo::Published>(&message->body);
  for (size_t i = 0; i < node_.shard_count(); ++i) {
    Shard& each = node_.shard(i);
    const bool concerned = published != nullptr
                               ? may_hear(each.pubsub().subscriptions(), *published)
                           : shard ? *shard == i
                                   : message->sender.slots.overlaps(each.store().options().slots);
    if (!concerned) continue;
    std::atomic<size_t>& waiting = inbox_bytes_[i];
    if (waiting != 0 && waiting + size > kWaitingBytesMax) {
      ++dropped_in_;
      continue;
    }
    waiting += size;
    each.post([this, i, &each, message, size, merges = published == nullptr] {
      inbox_bytes_[i] -= size;
      // Merged it would have to be logged, and what waits for the disk has no other bound.
      if (size != 0 && merges && node_.logging() && node_.storage()->congested()) {
        ++dropped_in_;
        return;
      }
      each.begin_turn();
      if (links_[i] != nullptr && each.link() != nullptr) {
        links_[i]->replicator().on_message(*message, each.now());
      }
    });
  }
}

void GeoReplication::malformed(const std::string& reason) {
  if (!running_) return;
  Shard& first = node_.shard(0);
  first.post([this, &first, reason] {
    first.begin_turn();
    if (links_[0] != nullptr && first.link() != nullptr) {
      links_[0]->replicator().on_malformed(reason, first.now());
    }
  });
}

void GeoReplication::connection(bool connected, const std::string& detail) {
  if (!running_) return;
  if (connected) {
    spdlog::info("Connected to NATS at {}", detail);
  } else {
    spdlog::warn("Connection to NATS: {}; trying again until it works", detail);
  }
}

// ---- Pictures ----

void GeoReplication::publish(ShardIndex shard, Picture picture) {
  {
    const std::lock_guard lock(mutex_);
    pictures_[shard] = std::move(picture);
  }
  if (somebody_waits()) settle_waiters();
}

std::vector<geo::PeerStatus> GeoReplication::merged_peers() const {
  std::map<crdt::RegionId, geo::PeerStatus> all;
  for (const Picture& picture : pictures_) {
    for (const geo::PeerStatus& p : picture.peers) {
      const auto [it, first] = all.emplace(p.region, p);
      if (first) continue;
      geo::PeerStatus& m = it->second;
      m.state = std::max(m.state, p.state);
      m.lag_ms = std::max(m.lag_ms, p.lag_ms);
      m.lag_bytes += p.lag_bytes;
      m.behind_ms = std::max(m.behind_ms, p.behind_ms);
      m.last_heard_ms_ago = std::max(m.last_heard_ms_ago, p.last_heard_ms_ago);
      if (p.last_repair_at > m.last_repair_at) {
        m.last_repair_at = p.last_repair_at;
        m.last_repair = p.last_repair;
      }
    }
  }
  std::vector<geo::PeerStatus> out;
  for (auto& [region, p] : all) out.push_back(std::move(p));
  return out;
}

geo::Counters GeoReplication::merged_counters() const {
  geo::Counters sum;
  for (const Picture& p : pictures_) sum += p.counters;
  return sum;
}

std::string GeoReplication::region_name(crdt::RegionId region) const {
  const std::lock_guard lock(mutex_);
  for (const Picture& picture : pictures_) {
    for (const geo::PeerStatus& p : picture.peers) {
      if (p.region == region) return p.name;
    }
  }
  return {};
}

void GeoReplication::status(std::function<void(std::vector<command::NodeServices::PeerRow>)> done) {
  std::vector<command::NodeServices::PeerRow> rows;
  {
    const std::lock_guard lock(mutex_);
    for (const geo::PeerStatus& p : merged_peers()) {
      command::NodeServices::PeerRow row;
      auto& f = row.fields;
      f.emplace_back("region", p.name);
      f.emplace_back("region-id", std::to_string(p.region));
      f.emplace_back("state", geo::peer_state_name(p.state));
      f.emplace_back("paused", p.paused_here && p.paused_there ? "both"
                               : p.paused_here                 ? "here"
                               : p.paused_there                ? "there"
                                                               : "no");
      f.emplace_back("last-heard-ms", std::to_string(p.last_heard_ms_ago));
      f.emplace_back("lag-ms", std::to_string(p.lag_ms));
      f.emplace_back("lag-bytes", std::to_string(p.lag_bytes));
      f.emplace_back("behind-ms", std::to_string(p.behind_ms));
      f.emplace_back("skew-ms", std::to_string(p.skew_ms));
      f.emplace_back("last-repair-ms", std::to_string(p.last_repair_at));
      f.emplace_back("last-repair", p.last_repair);
      rows.push_back(std::move(row));
    }
  }
  done(std::move(rows));
}

std::vector<std::pair<std::string, std::string>> GeoReplication::info() {
  const auto t = std::atomic_load(&transport_);
  const geo::NatsTransport::Stats stats = t ? t->stats() : geo::NatsTransport::Stats{};
  const std::lock_guard lock(mutex_);
  const std::vector<geo::PeerStatus> peers = merged_peers();
  const geo::Counters c = merged_counters();
  bool healing = false;
  crdt::Stamp stable = crdt::Stamp::max();
  for (const Picture& p : pictures_) {
    healing |= p.healing;
    stable = std::min(stable, p.stable);
  }
  const auto connected = std::count_if(peers.begin(), peers.end(), [](const auto& p) {
    return p.state == geo::PeerState::kLive || p.state == geo::PeerState::kPulling ||
           p.state == geo::PeerState::kHealing;
  });
  std::vector<std::pair<std::string, std::string>> out;
  const auto add = [&](const char* name, auto value) {
    if constexpr (std::is_convertible_v<decltype(value), std::string>) {
      out.emplace_back(name, value);
    } else {
      out.emplace_back(name, std::to_string(value));
    }
  };
  add("geo_nats_connected", stats.connected ? 1 : 0);
  add("geo_nats_reconnects", stats.reconnects);
  add("geo_peers", peers.size());
  add("geo_peers_connected", connected);
  add("geo_healing", healing ? 1 : 0);
  add("geo_stable_ms_ago", std::max<crdt::Millis>(0, node_.wall_ms() - stable.ms()));
  add("geo_batches_sent", c.batches_sent);
  add("geo_batch_bytes_sent", c.bytes_sent);
  add("geo_deltas_sent", c.deltas_sent);
  add("geo_batches_applied", c.batches_applied);
  add("geo_batch_bytes_applied", c.bytes_applied);
  add("geo_duplicates", c.duplicates);
  add("geo_gaps", c.gaps);
  add("geo_slot_gaps", c.slot_gaps);
  add("geo_pulls", c.pulls);
  add("geo_heals", c.heals);
  add("geo_slots_joined", c.slots_joined);
  add("geo_digest_mismatches", c.digest_mismatches);
  add("geo_rejected_malformed", c.malformed);
  add("geo_rejected_region_id", c.id_conflicts);
  add("geo_rejected_paused", c.refused);
  add("geo_clock_skew_alarms", c.skew_alarms);
  add("geo_nats_messages_out", stats.messages_out);
  add("geo_nats_bytes_out", stats.bytes_out);
  add("geo_nats_messages_in", stats.messages_in);
  add("geo_nats_bytes_in", stats.bytes_in);
  add("geo_nats_dropped", stats.dropped);
  add("geo_nats_slow_consumer", stats.slow_consumer);
  add("geo_received_dropped", dropped_in_.load());
  for (const geo::PeerStatus& p : peers) {
    std::string line = "state=" + std::string(geo::peer_state_name(p.state));
    line += ",region_id=" + std::to_string(p.region);
    line += ",lag_ms=" + std::to_string(p.lag_ms);
    line += ",lag_bytes=" + std::to_string(p.lag_bytes);
    line += ",behind_ms=" + std::to_string(p.behind_ms);
    line += ",skew_ms=" + std::to_string(p.skew_ms);
    line += ",last_heard_ms=" + std::to_string(p.last_heard_ms_ago);
    out.emplace_back("peer_" + p.name, line);
  }
  return out;
}

// ---- Operator ----

void GeoReplication::on_every_link(const std::function<void(GeoLink&, crdt::Millis)>& task) {
  for (size_t i = 0; i < node_.shard_count(); ++i) {
    Shard& each = node_.shard(i);
    each.post([this, i, &each, task] {
      each.begin_turn();
      if (links_[i] != nullptr && each.link() != nullptr) task(*links_[i], each.now());
    });
  }
}

std::string GeoReplication::peer(std::string_view name, std::string_view action) {
  crdt::RegionId region = 0;
  std::string known;
  {
    const std::lock_guard lock(mutex_);
    for (const geo::PeerStatus& p : merged_peers()) {
      if (p.name == name || std::to_string(p.region) == name) region = p.region;
      known += (known.empty() ? "" : ", ") + p.name;
    }
  }
  if (region == 0) {
    return "unknown region '" + std::string(name) +
           "'; known are: " + (known.empty() ? "none yet" : known);
  }
  if (action == "pause" || action == "resume") {
    const bool paused = action == "pause";
    on_every_link([region, paused](GeoLink& link, crdt::Millis now) {
      link.replicator().set_paused(region, paused, now);
    });
    return {};
  }
  if (action == "forget") {
    on_every_link([region](GeoLink& link, crdt::Millis) { link.replicator().forget(region); });
    return {};
  }
  return "GEO PEER takes PAUSE, RESUME or FORGET";
}

// ---- Waiting ----

std::string GeoReplication::token(crdt::Stamp written) {
  const auto settings = node_.config().snapshot();
  std::map<crdt::RegionId, crdt::Stamp> stamps;
  if (written) stamps[settings->region_id] = written;
  const std::lock_guard lock(mutex_);
  for (const Picture& p : pictures_) {
    for (const auto& [region, stamp] : p.seen) {
      stamps[region] = std::max(stamps[region], stamp);
    }
  }
  return encode_token(stamps);
}

int64_t GeoReplication::regions_with(crdt::Stamp write) const {
  if (!write) return 0;
  std::map<crdt::RegionId, crdt::Stamp> least;
  for (const Picture& p : pictures_) {
    for (const auto& [region, stamp] : p.applied) {
      const auto [it, first] = least.emplace(region, stamp);
      if (!first) it->second = std::min(it->second, stamp);
    }
  }
  return std::count_if(least.begin(), least.end(),
                       [&](const auto& each) { return each.second >= write; });
}

bool GeoReplication::covered(const Waiter& w) const {
  const crdt::RegionId self = node_.config().snapshot()->region_id;
  for (const auto& [region, stamp] : w.need) {
    if (region == self) continue;
    for (const Picture& p : pictures_) {
      if (!p.coverage.covers(stamp)) return false;
    }
  }
  return true;
}

std::string GeoReplication::add_waiter(uint64_t client, Waiter waiter) {
  {
    const std::lock_guard lock(mutex_);
    if (waiters_.size() >= kWaitersMax) return "ERR too many commands wait for other regions";
    waiters_.insert_or_assign(client, std::move(waiter));
    waiting_ = static_cast<int>(waiters_.size());
  }
  on_every_link([](GeoLink& link, crdt::Millis now) {
    link.shard().seal();
    link.shard().ship();  // before the beacon that tells of it
    link.replicator().nudge(now);
    link.tick(now);
  });
  return {};
}

void GeoReplication::forget_waiter(uint64_t client) {
  const std::lock_guard lock(mutex_);
  waiters_.erase(client);
  waiting_ = static_cast<int>(waiters_.size());
}

void GeoReplication::end_wait(uint64_t client) {
  const std::lock_guard lock(mutex_);
  const auto found = waiters_.find(client);
  if (found != waiters_.end()) found->second.until = 0;
}

void GeoReplication::settle_waiters() {
  std::vector<std::function<void()>> settled;
  {
    const std::lock_guard lock(mutex_);
    const crdt::Millis now = steady_ms();
    for (auto it = waiters_.begin(); it != waiters_.end();) {
      Waiter& w = it->second;
      const bool counts = w.regions != 0;
      const int64_t have = counts ? regions_with(w.write) : 0;
      const bool met = counts ? have >= w.regions : covered(w);
      if (!met && now < w.until) {
        ++it;
        continue;
      }
      settled.push_back([done = std::move(w.done), met, have] { done(met, have); });
      it = waiters_.erase(it);
    }
    waiting_ = static_cast<int>(waiters_.size());
  }
  for (const auto& each : settled) each();
}

std::string GeoReplication::await(const command::Session& session, std::string_view token,
                                  crdt::Millis timeout, std::function<void(bool)> done) {
  Waiter w;
  if (!decode_token(token, w.need)) {
    return "ERR not a token of GEO TOKEN: it looks like " + std::string(kTokenPrefix) +
           "-1:18f3a2...";
  }
  w.until = timeout == 0 ? INT64_MAX : steady_ms() + timeout;
  w.done = [done = std::move(done)](bool met, int64_t) { done(met); };
  return add_waiter(session.id, std::move(w));
}

std::string GeoReplication::wait_regions(const command::Session& session, int64_t n,
                                         crdt::Millis timeout, std::function<void(int64_t)> done) {
  const crdt::Stamp write = session.last_write;
  {
    const std::lock_guard lock(mutex_);
    // Nothing written means nothing to wait for: every known region has it.
    if (n <= 0 || !write) {
      const int64_t have =
          write ? regions_with(write) : static_cast<int64_t>(merged_peers().size());
      done(have);
      return {};
    }
  }
  Waiter w;
  w.write = write;
  w.regions = n;
  w.until = timeout == 0 ? INT64_MAX : steady_ms() + timeout;
  w.done = [done = std::move(done)](bool, int64_t count) { done(count); };
  return add_waiter(session.id, std::move(w));
}

}  // namespace atl::shard
