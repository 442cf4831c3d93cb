// Replicator: what comes in from other regions.
#include "geo/replicator.h"

#include <algorithm>
#include <utility>

namespace atl::geo {

namespace {

constexpr Millis kComplainEveryMs = 10'000;
constexpr size_t kComplaintsMax = 1000;

bool listed(const std::vector<RegionId>& list, RegionId region) {
  return std::find(list.begin(), list.end(), region) != list.end();
}

}  // namespace

const char* peer_state_name(PeerState state) {
  switch (state) {
    case PeerState::kConnecting:
      return "connecting";
    case PeerState::kLive:
      return "live";
    case PeerState::kPulling:
      return "pulling";
    case PeerState::kHealing:
      return "healing";
    case PeerState::kAway:
      return "away";
    case PeerState::kPaused:
      return "paused";
    case PeerState::kLapsed:
      return "lapsed";
  }
  return "unknown";
}

Counters& Counters::operator+=(const Counters& o) {
  for (const auto field :
       {&Counters::batches_sent, &Counters::bytes_sent, &Counters::deltas_sent,
        &Counters::batches_applied, &Counters::bytes_applied, &Counters::duplicates,
        &Counters::gaps, &Counters::slot_gaps, &Counters::pulls, &Counters::heals,
        &Counters::slots_joined, &Counters::digest_mismatches, &Counters::malformed,
        &Counters::id_conflicts, &Counters::refused, &Counters::aside_dropped,
        &Counters::skew_alarms}) {
    this->*field += o.*field;
  }
  return *this;
}

Replicator::Replicator(crdt::Store& store, Host& host, const Options& options, const Start& start,
                       Millis now)
    : store_(store), host_(host), options_(options), start_(start), started_at_(now) {
  for (const auto& [id, name] : start.regions) {
    if (id == options_.self.region) continue;
    Region r;
    r.name = name;
    r.known_since = now;
    regions_.emplace(id, r);
  }
  store_.set_gaps(start.gaps);
  life_ = began_with_nothing() ? start.gaps.front().until : start.first;
  listening_ = start.listen;
  beacon_at_ = now - options.beacon_interval;
  next_request_ = start.first.raw + 1;  // replies to an earlier run match nothing
}

// ---- Incoming ----

void Replicator::complain(const std::string& key, Host::Level level, const std::string& text,
                          Millis now) {
  if (complained_.size() >= kComplaintsMax) complained_.clear();  // a peer chooses the words
  auto [it, fresh] = complained_.try_emplace(key, now);
  if (!fresh && now - it->second < kComplainEveryMs) return;
  it->second = now;
  host_.report(level, text);
}

void Replicator::on_malformed(const std::string& reason, Millis now) {
  ++counters_.malformed;
  complain("malformed:" + reason, Host::Level::kError,
           "A message between regions was refused, nothing of it was applied: " + reason, now);
}

// Two live nodes that claim one region id would stamp different writes alike.
bool Replicator::contested(const Sender& s, Millis now) {
  const auto it = regions_.find(s.address.region);
  if (it == regions_.end()) return false;
  Region& r = it->second;
  const bool other_name = !r.name.empty() && r.name != s.region_name;
  const bool other_node = r.node != 0 && r.node != s.address.node;
  const bool alive = r.heard_at >= 0 && now - r.heard_at < away_after();
  if (alive && (other_name || other_node)) return true;
  if (other_name) {
    r.name = s.region_name;
    remember();
  }
  return false;
}

bool Replicator::admit(const Sender& s, Millis now) {
  const Address& self = options_.self;
  if (s.address.region == self.region) {
    if (s.address.node == self.node) return false;  // our own words
    ++counters_.id_conflicts;
    complain("own id", Host::Level::kError,
             "Another node claims this region's id " + std::to_string(self.region) + " (region '" +
                 s.region_name +
                 "'): its messages are ignored. Give every region its own region-id.",
             now);
    return false;
  }
  if (s.address.region == 0 || s.address.shard >= s.address.shard_count ||
      s.slots.first > s.slots.last || s.slots.last >= crdt::kSlotCount) {
    on_malformed("a sender without a sound identity", now);
    return false;
  }
  if (s.region_name == options_.region_name) {
    ++counters_.id_conflicts;
    complain("own name", Host::Level::kError,
             "Region id " + std::to_string(s.address.region) + " calls itself '" + s.region_name +
                 "', as this region does: its messages are ignored. Region names must differ.",
             now);
    return false;
  }
  if (contested(s, now)) {
    ++counters_.id_conflicts;
    complain("contested " + std::to_string(s.address.region), Host::Level::kError,
             "Two nodes use region id " + std::to_string(s.address.region) + " ('" +
                 name_of(s.address.region) + "' and '" + s.region_name +
                 "'): the later one is ignored.",
             now);
    return false;
  }
  Region& r = region(s.address.region, s.region_name, now);
  r.node = s.address.node;
  r.heard_at = now;
  r.skew_ms = s.wall_ms - now;
  const bool skewed = std::abs(r.skew_ms) > options_.max_clock_skew;
  if (skewed && !r.alarmed) {
    ++counters_.skew_alarms;
    host_.report(Host::Level::kWarning, "The clock of region '" + r.name +
                                            "' differs from ours by " + std::to_string(r.skew_ms) +
                                            " ms.");
  }
  r.alarmed = skewed;
  r.paused_there = listed(s.paused, self.region);
  if (r.paused || r.paused_there) {
    ++counters_.refused;
    return false;
  }
  return true;
}

Replicator::Region& Replicator::region(RegionId id, const std::string& name, Millis now) {
  auto [it, fresh] = regions_.try_emplace(id);
  if (fresh) {
    it->second.name = name;
    it->second.known_since = now;
    host_.report(Host::Level::kInfo,
                 "Region '" + name + "' (id " + std::to_string(id) + ") joined.");
    remember();
  } else if (it->second.name.empty()) {
    it->second.name = name;
    remember();
  }
  return it->second;
}

// A region that is new, or lost its disk, does not know who there is. One that it has not heard of
// yet counts for stability, and may be the only one that has its own last writes: what others have
// seen names it. (One that was forgotten here is known to the store; what regions this one knows is
// on its disk, unless it began without any.)
void Replicator::learn_regions(const crdt::VersionVector& seen, Millis now) {
  for (const crdt::Coverage& c : seen.items()) {
    if (c.region == options_.self.region || !c.upto || regions_.contains(c.region)) continue;
    const bool knows_nobody = start_.listen && gaps_open();
    if (!knows_nobody && store_.coverage().at(c.region)) continue;
    regions_[c.region].known_since = now;
    host_.report(Host::Level::kInfo, "Region id " + std::to_string(c.region) +
                                         " has written, and was not heard of here before.");
    remember();
  }
}

void Replicator::remember() {
  std::vector<std::pair<RegionId, std::string>> all;
  for (const auto& [id, r] : regions_) all.emplace_back(id, r.name);
  host_.remember_regions(all);
}

std::string Replicator::name_of(RegionId id) const {
  const auto it = regions_.find(id);
  return it == regions_.end() ? "#" + std::to_string(id) : it->second.name;
}

Replicator::Feed& Replicator::feed_of(const Sender& s, Millis now) {
  const uint64_t producer = s.address.producer();
  auto it = feeds_.find(producer);
  if (it == feeds_.end()) {
    // Another division of that region into shards, or another node: the old feeds are history.
    std::erase_if(feeds_, [&](const auto& f) {
      const Sender& old = f.second.sender;
      return old.address.region == s.address.region && old.slots.overlaps(s.slots);
    });
    std::erase_if(heals_, [&](const Heal& h) {
      return h.from.region == s.address.region && find_feed(h.from.producer()) == nullptr;
    });
    it = feeds_.try_emplace(producer).first;
  }
  // After a restart a late message of a run with other shards may have taken a part of its slots.
  const auto* position = store_.position(producer);
  if (position == nullptr || position->slots != s.slots) {
    store_.register_producer(producer, s.address.region, s.slots);
    host_.remember_positions();
  }
  Feed& feed = it->second;
  if (feed.sender.incarnation < s.incarnation) {
    introduce_ = true;
    for (Heal& heal : heals_) {
      if (heal.from == s.address) begin_slot_again(heal);
    }
    feed.aside.clear();
    feed.aside_bytes = 0;
    feed.pulling = false;
    feed.has.reset();
    feed.observed.reset();
    feed.observed_upto = {};
    feed.durable.reset();
  }
  feed.sender = s;
  feed.heard_at = now;
  return feed;
}

Replicator::Feed* Replicator::find_feed(uint64_t producer) {
  const auto it = feeds_.find(producer);
  return it == feeds_.end() ? nullptr : &it->second;
}

void Replicator::listen(const Message& m) {
  crdt::HybridClock& clock = store_.clock();
  clock.observe(m.sender.incarnation);
  if (const auto* beacon = std::get_if<Beacon>(&m.body)) {
    clock.observe(beacon->head);
    for (const crdt::Coverage& c : beacon->applied.items()) clock.observe(c.upto);
    for (const Beacon::Position& p : beacon->positions) clock.observe(p.seen.upto);
  }
}

// Whether all that this region knows of its stamps is what it has stamped since its disk was lost.
bool Replicator::began_with_nothing() const {
  return !store_.gaps().empty() && !store_.gaps().front().after;
}

// An earlier life of this region, of which its disk says nothing, had stamped later than this one
// has begun: to whoever has seen that, what was written since is a duplicate.
void Replicator::begin_above(Stamp seen, Millis now) {
  if (seen <= store_.clock().last()) return;
  if (store_.has_unsealed()) host_.seal();  // what it says of itself is of before the wider gap
  store_.clock().observe(seen);
  const Stamp since = std::exchange(life_, store_.clock().next(now));
  set_gaps({{{}, life_}});
  store_.write_again(since);
}

void Replicator::stop_listening(Millis now) {
  listening_ = false;
  life_ = start_.first = store_.clock().next(now);
  next_request_ = start_.first.raw + 1;
  store_.begin_incarnation(start_.first);
  host_.began(start_.first);
  set_gaps({{{}, start_.first}});
}

// What an earlier run of a node still has under way is refused: this one asks who has anything of
// it, and is told once. It may have been divided into other shards, which must not come back.
bool Replicator::is_of_earlier_run(const Sender& s) const {
  return std::any_of(feeds_.begin(), feeds_.end(), [&](const auto& f) {
    const Sender& known = f.second.sender;
    return known.address.region == s.address.region && known.address.node == s.address.node &&
           known.slots.overlaps(s.slots) && s.incarnation < known.incarnation;
  });
}

void Replicator::on_message(const Message& m, Millis now) {
  // To all shards with subscribers, whatever their slots, and no part of any stream.
  if (const auto* published = std::get_if<Published>(&m.body)) {
    if (admit(m.sender, now) && !listening_) host_.published(*published);
    return;
  }
  if (!admit(m.sender, now) || !m.sender.slots.overlaps(options_.slots)) return;
  if (listening_) {
    listen(m);
    return;
  }
  if (is_of_earlier_run(m.sender)) return;
  Feed& feed = feed_of(m.sender, now);
  std::visit([&](const auto& body) { handle(feed, body, now); }, m.body);
}

Stamp Replicator::position(const Feed& feed) const {
  const auto* p = store_.position(feed.sender.address.producer());
  return p == nullptr ? Stamp{} : p->upto;
}

// ---- Deltas ----

// A stream rests on what its region has collected, and for whom it did not know it did not wait: a
// deletion in there no longer lists the increments that it had observed, and theirs may come later.
// So what is there when two regions meet comes by slots, unless that is nothing. (Slots of which
// the other one has evicted do not stand for what it has seen: its log is read after all.)
bool Replicator::meets(const Feed& feed, Stamp sealed) const {
  if (feed.met || position(feed) || canary_.no_slot_heal) return false;
  if (sealed) return true;
  const auto of_others = [&](const Beacon::Position& p) {
    const RegionId r = p.seen.region;
    return p.seen.upto && r != options_.self.region && r != feed.sender.address.region;
  };
  return feed.has && std::any_of(feed.has->begin(), feed.has->end(), of_others);
}

void Replicator::handle(Feed& feed, const BatchMessage& m, Millis now) {
  // What the sender has seen of an earlier life of this region its full beacon tells first.
  if (regions_[feed.sender.address.region].lapsed || (began_with_nothing() && !feed.has)) {
    ++counters_.refused;
    return;
  }
  const crdt::BatchReader reader(*m.bytes);
  if (reader.ok() && reader.header().region != feed.sender.address.region) {
    on_malformed("a batch of another region than its sender's", now);
  } else if (reader.ok() && meets(feed, reader.header().to)) {
    if (put_aside(feed, m.bytes, now)) pull(feed, now);
  } else if (take(feed, m.bytes, now)) {
    drain_aside(feed, now);
  }
}

// Merges a batch if it continues what we have; puts it aside if it does not.
bool Replicator::take(Feed& feed, const SharedBytes& bytes, Millis now) {
  const uint64_t producer = feed.sender.address.producer();
  const crdt::BatchHeader header = crdt::BatchReader(*bytes).header();
  SlotId gap_slot = 0;
  std::string error;
  switch (store_.apply(producer, *bytes, &gap_slot, &error)) {
    case crdt::Store::Applied::kApplied:
      feed.sealed = std::max(feed.sealed, header.to);
      ++counters_.batches_applied;
      counters_.bytes_applied += bytes->size();
      ack_due_ = true;
      host_.log_remote(producer, header.from, header.to, bytes);
      return true;
    case crdt::Store::Applied::kDuplicate:
      ++counters_.duplicates;
      return true;
    case crdt::Store::Applied::kGap:
      ++counters_.gaps;
      if (put_aside(feed, bytes, now)) pull(feed, now);
      return false;
    case crdt::Store::Applied::kSlotGap:
      feed.sealed = std::max(feed.sealed, header.to);
      ++counters_.slot_gaps;
      start_heal(feed, {gap_slot, gap_slot}, "a slot's previous delta is missing", now);
      return false;
    case crdt::Store::Applied::kMalformed:
      on_malformed(error, now);
      return false;
  }
  return false;
}

// False if it is malformed: then nothing is believed of what it says of how far its region has
// come, which would be asked for again and again.
bool Replicator::put_aside(Feed& feed, const SharedBytes& bytes, Millis now) {
  std::string error;
  if (!crdt::BatchReader::validate(*bytes, &error)) {
    on_malformed(error, now);
    return false;
  }
  const crdt::BatchHeader header = crdt::BatchReader(*bytes).header();
  feed.sealed = std::max(feed.sealed, header.to);
  if (feed.aside_bytes + bytes->size() > kAsideBytesMax) {
    ++counters_.aside_dropped;  // the pull brings it
    return true;
  }
  const auto at = std::upper_bound(feed.aside.begin(), feed.aside.end(), header.to,
                                   [](Stamp to, const Aside& a) { return to < a.to; });
  feed.aside.insert(at, Aside{header.from, header.to, bytes});
  feed.aside_bytes += bytes->size();
  return true;
}

void Replicator::drain_aside(Feed& feed, Millis now) {
  while (!feed.aside.empty() && feed.aside.front().from <= position(feed)) {
    const Aside next = std::move(feed.aside.front());
    feed.aside.pop_front();
    feed.aside_bytes -= next.bytes->size();
    if (!take(feed, next.bytes, now)) return;
  }
}

void Replicator::pull(Feed& feed, Millis now) {
  if (canary_.no_pull || regions_[feed.sender.address.region].lapsed) return;
  if (feed.pulling && now - feed.pull_sent_at < options_.pull_timeout) return;
  if (healing_from(feed.sender.address)) return;
  if (meets(feed, feed.sealed)) {
    if (Heal* heal = start_heal(feed, feed.sender.slots, "we had not met", now)) {
      heal->log_follows = true;
    }
    return;
  }
  feed.pulling = true;
  feed.pull_sent_at = now;
  feed.pull_from = position(feed);
  ++counters_.pulls;
  host_.send(feed.sender.address, message(Pull{feed.pull_from}, now));
}

void Replicator::handle(Feed& feed, const Pull& m, Millis) {
  const Address to = feed.sender.address;
  host_.read_log(m.from, kBatchesBytesMax, [this, to, from = m.from](LogPage page) {
    PullReply reply;
    reply.from = from;
    reply.reaches_back = page.reaches_back;
    reply.upto = page.upto;
    reply.more = page.more;
    if (page.reaches_back) {
      std::vector<std::string_view> views;
      for (const SharedBytes& bytes : page.batches) views.push_back(*bytes);
      for (crdt::Batch& b : crdt::coalesce(views)) {
        reply.batches.push_back(crdt::share(std::move(b.bytes)));
      }
    }
    host_.send(to, message(std::move(reply), store_.now()));
  });
}

void Replicator::handle(Feed& feed, const PullReply& m, Millis now) {
  if (!feed.pulling || regions_[feed.sender.address.region].lapsed) return;
  if (m.from != feed.pull_from) return;  // a repeated one, or of a question we did not ask
  feed.pulling = false;
  if (!m.reaches_back) {
    start_heal(feed, feed.sender.slots, "its log no longer reaches back to what is missing", now);
    return;
  }
  for (const auto& bytes : m.batches) {
    std::string error;
    if (!crdt::BatchReader::validate(*bytes, &error) ||
        crdt::BatchReader(*bytes).header().region != feed.sender.address.region) {
      on_malformed("in a pulled batch: " + error, now);
      return;
    }
    pass_over(feed, crdt::BatchReader(*bytes).header().from);
    if (!take(feed, bytes, now)) return;
  }
  pass_over(feed, m.upto);
  Region& r = regions_[feed.sender.address.region];
  r.repaired_at = now;
  r.repaired = "replay";
  ack_due_ = true;
  drain_aside(feed, now);
  if (m.more || feed.sealed > position(feed)) pull(feed, now);
}

// The log has nothing up to there. Whether something was lost (its end in a crash, while a slot's
// snapshot has what stood there) the next batch or beacon tells: nothing is known to be here that
// was not before.
void Replicator::pass_over(const Feed& feed, Stamp upto) {
  if (upto <= position(feed)) return;
  store_.advance(feed.sender.address.producer(), {feed.sender.address.region, upto, {{{}, upto}}});
}

// ---- Beacons ----

void Replicator::handle(Feed& feed, const Beacon& m, Millis now) {
  // What it has seen of an earlier life of this region comes first, shard by shard.
  if (began_with_nothing() && !feed.has && m.positions.empty()) return;
  feed.sealed = std::max(feed.sealed, m.sealed);
  feed.lapsed = m.lapsed;
  const RegionId origin = feed.sender.address.region;
  // What it has seen of us raises our clock: no stamp of ours may repeat one that it has.
  Stamp seen = m.applied.at(options_.self.region);
  for (const Beacon::Position& p : m.positions) {
    if (p.seen.region != options_.self.region || !p.slots.overlaps(options_.slots)) continue;
    seen = std::max(seen, p.seen.upto);
  }
  begin_above(seen, now);
  store_.clock().observe(seen);
  // And its own clock does: behind a fast clock elsewhere, an idle region would hold back
  // stability.
  store_.clock().observe(m.head);
  feed.acked = std::max(feed.acked, m.applied.at(options_.self.region));
  if (!m.positions.empty()) feed.has = m.positions;
  if (has_more_of_us(feed) && !canary_.no_gap) {
    if (Heal* heal =
            start_heal(feed, feed.sender.slots, "it has writes of ours that we lost", now)) {
      heal->fills_gaps = true;
      heal->log_follows = true;
    }
  }
  learn_regions(m.applied, now);
  if (gaps_open()) settle_gaps(now);
  // Before what follows: two regions may each have lapsed for the other.
  if (listed(m.lapsed, options_.self.region)) {
    if (Heal* heal = start_heal(feed, feed.sender.slots, "we were away beyond its horizon", now)) {
      heal->ends_lapse = true;
    }
    return;
  }
  if (regions_[origin].lapsed) return;
  if (m.sealed > position(feed) || meets(feed, feed.sealed)) {
    pull(feed, now);
    return;
  }
  crdt::Coverage told = m.applied.of(origin);
  // A head within a gap is of before the sender began above it. One before what is here may be of
  // an earlier run, from before it had the gap.
  if (m.head >= position(feed) && !crdt::Coverage::within(told.gaps, m.head)) {
    told.cut(m.head);
    told.upto = m.head;
    store_.advance(feed.sender.address.producer(), told);
  }
  // While a gap of it is open, what it has seen since says nothing of what it had seen when it
  // wrote what may be in there.
  const auto* known = store_.position(feed.sender.address.producer());
  if (known != nullptr && !known->coverage().open()) {
    feed.durable = m.durable;
    feed.wall = feed.sender.wall_ms;
  }
  if (!m.positions.empty()) note_observed(feed, m);
  if (m.want_ack) ack_due_ = true;
  check_lost_origins(feed, m, now);
  compare_digests(feed, m, now);
}

}  // namespace atl::geo
