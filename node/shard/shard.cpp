#include "node/shard/shard.h"

#include <pthread.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "node/shard/cycle_clock.h"
#include "node/shard/disabled_rules.h"
#include "node/shard/node.h"
#include "node/shard/scripting.h"
#include "node/shard/services.h"

namespace atl::shard {

namespace {

constexpr std::chrono::milliseconds kParkedPatience{1};
constexpr size_t kUnsealedBytesMax = size_t{16} << 20;

crdt::Store::Options store_options(const Node& node, const config::Settings& settings,
                                   crdt::SlotRange slots) {
  return {.region = settings.region_id != 0 ? settings.region_id : crdt::RegionId{1},
          .slots = slots,
          .databases = static_cast<crdt::DbId>(settings.databases),
          .max_clock_skew = settings.geo_max_clock_skew.count(),
          .replicated = node.logging() || settings.geo_enabled()};
}

crdt::Millis steady_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

thread_local const Shard* on_this_thread = nullptr;

}  // namespace

Shard::Shard(Node& node, ShardIndex index, crdt::SlotRange slots,
             std::shared_ptr<const config::Settings> settings)
    : node_(node),
      index_(index),
      settings_(std::move(settings)),
      pubsub_(*this),
      tracking_(*this),
      reactor_(io_),
      store_(store_options(node, *settings_, slots)),
      stats_(node.commands().size()),
      services_(std::make_unique<Services>(*this)),
      dispatcher_(*this),
      scripting_(std::make_unique<Scripting>(*this)),
      key_events_(*this),
      key_waits_(*this),
      ticker_(io_),
      snapshot_timer_(io_),
      link_timer_(io_),
      seal_timer_(io_) {
  random_ += index * 0x9e3779b97f4a7c15ULL;
  store_.set_now(node.wall_ms());
  disable_rules(settings_->debug_disable_rule, store_.canary());
  store_.on_conflict([this](crdt::Conflict&& conflict) {
    conflicts_.push_back(std::move(conflict));
    while (conflicts_.size() > static_cast<size_t>(settings_->geo_conflict_log_len)) {
      conflicts_.pop_front();
    }
  });
  reactor_.set_session_factory(
      [this](net::Connection& connection) -> std::unique_ptr<net::ConnectionHandler> {
        if (stopping_) connection.suspend();
        return std::make_unique<Client>(*this, connection);
      });
  reactor_.set_turn_end([this] { end_turn(); });
  apply_settings(settings_);
}

Shard::~Shard() = default;

void Shard::set_link(std::unique_ptr<ReplicationLink> link) {
  link_ = std::move(link);
}

void Shard::apply_settings(std::shared_ptr<const config::Settings> settings) {
  settings_ = std::move(settings);
  net::ReactorSettings& net = reactor_.settings();
  net.idle_timeout = settings_->timeout;
  net.tcp_keepalive = settings_->tcp_keepalive;
  net.query_buffer_max = static_cast<size_t>(settings_->client_query_buffer_limit);
  net.output_limits = output_limits(config::ClientClass::kNormal);
  net.log = [](std::string_view line) { spdlog::warn("{}", line); };
  for_each_client([&](Client& client) {
    client.follow_class();
    client.limit_parser();
  });
  key_events_.follow(settings_->notify_keyspace_events);
  follow_listeners();
  // The new policy may sync much later, and nobody is to wait for that.
  if (settings_->appendfsync != config::AppendFsync::kAlways && !holding_.empty()) {
    node_.storage()->flush_now();
  }
  outgoing_.resize(node_.shard_count_planned());
  store_.access_policy().lfu_log_factor = settings_->lfu_log_factor;
  store_.access_policy().lfu_decay_minutes = settings_->lfu_decay_time;
  store_.access_policy().lfu = settings_->maxmemory_policy == config::EvictionPolicy::kAllkeysLfu ||
                               settings_->maxmemory_policy == config::EvictionPolicy::kVolatileLfu;
}

void Shard::follow_listeners() {
  const bool tracking = tracking_.wants_changes();
  expires_named_keys_ = tracking || events() != nullptr;
  if (!tracking && !key_waits_.wants_changes()) return store_.on_change({});
  store_.on_change([this](crdt::Change change, crdt::DbId db, std::string_view key) {
    if (tracking_.wants_changes()) tracking_.on_change(change, key);
    if (change == crdt::Change::kKey) key_waits_.on_change(db, key);
  });
}

net::OutputLimits Shard::output_limits(config::ClientClass client_class) const {
  const config::BufferLimit& limit = settings_->output_limit(client_class);
  return {static_cast<size_t>(limit.hard_bytes), static_cast<size_t>(limit.soft_bytes),
          limit.soft_for};
}

void Shard::run() {
  on_this_thread = this;
  pthread_setname_np(pthread_self(), ("atoll-shard-" + std::to_string(index_)).c_str());
  measured_at_ = std::chrono::steady_clock::now();
  schedule_tick();
  reactor_.run();
}

bool Shard::is_this_thread() const {
  return on_this_thread == this;
}

void Shard::stop_loop() {
  reactor_.stop();
}

bool Shard::users_are_stale() const {
  return users_generation_ != node_.access_control().generation();
}

void Shard::refresh_users() {
  if (!users_are_stale()) return;
  const std::shared_ptr<const acl::Users> users = node_.access_control().users();
  users_generation_ = users->generation;
  for_each_client([&](Client& client) {
    if (client.follow(*users)) return;
    if (client.monitoring) return client.connection().close_now();
    // Whoever ended itself, by ACL DELUSER or LOAD, is to read so.
    if (client.waiting == Waiting::kAnswer && !client.blocked()) {
      client.close_after_answer = true;
    } else {
      client.connection().close_after_reply();
    }
  });
}

Client* Shard::find_client(uint64_t id) {
  net::Connection* connection = reactor_.find(id);
  return connection == nullptr ? nullptr : static_cast<Client*>(&connection->handler());
}

void Shard::for_each_client(const std::function<void(Client&)>& visit) {
  reactor_.for_each([&](net::Connection& c) { visit(static_cast<Client&>(c.handler())); });
}

// ---- Mail ----

void Shard::post(std::function<void()> task) {
  deliver({{}, nullptr, std::move(task)});
}
void Shard::post_letters(std::function<void()> task) {
  deliver({{}, nullptr, std::move(task), true});
}
void Shard::mail(std::vector<std::unique_ptr<Forward>> forwards) {
  deliver({std::move(forwards), nullptr, nullptr});
}
void Shard::mail(std::shared_ptr<Barrier> barrier) {
  deliver({{}, std::move(barrier), nullptr});
}

void Shard::deliver(Mail mail) {
  {
    const std::lock_guard lock(inbox_mutex_);
    inbox_.push_back(std::move(mail));
    if (inbox_scheduled_) return;
    inbox_scheduled_ = true;
  }
  reactor_.post([this] { open_mail(); });
}

void Shard::open_mail() {
  begin_turn();
  {
    const std::lock_guard lock(inbox_mutex_);
    opened_.swap(inbox_);
    inbox_scheduled_ = false;
  }
  for (next_mail_ = 0; next_mail_ < opened_.size();) handle(opened_[next_mail_++]);
  opened_.clear();
}

// What is not handled yet is looked at again in the inbox, by this turn's turns within or a later
// one.
void Shard::put_back() {
  std::vector<Mail> rest;
  if (next_mail_ > 0 && next_mail_ <= opened_.size()) {
    auto& forwards = opened_[next_mail_ - 1].forwards;
    if (next_forward_ < forwards.size()) {
      const auto from = forwards.begin() + static_cast<std::ptrdiff_t>(next_forward_);
      rest.emplace_back().forwards.assign(std::make_move_iterator(from),
                                          std::make_move_iterator(forwards.end()));
      forwards.resize(next_forward_);
    }
  }
  for (size_t i = next_mail_; i < opened_.size(); ++i) rest.push_back(std::move(opened_[i]));
  if (rest.empty()) return;
  opened_.resize(std::min(next_mail_, opened_.size()));
  const std::lock_guard lock(inbox_mutex_);
  inbox_.insert(inbox_.begin(), std::make_move_iterator(rest.begin()),
                std::make_move_iterator(rest.end()));
  if (inbox_scheduled_) return;
  inbox_scheduled_ = true;
  reactor_.post([this] { open_mail(); });
}

void Shard::handle(Mail& mail) {
  if (mail.task) return mail.task();
  if (mail.barrier) {
    begin_busy(true);  // before the thread parks, perhaps for long
    arrive(*mail.barrier);
    return end_busy();
  }
  if (!mail.forwards.empty()) dispatcher_.start_timing();
  for (next_forward_ = 0; next_forward_ < mail.forwards.size();) {
    std::unique_ptr<Forward> forward = std::move(mail.forwards[next_forward_++]);
    if (forward->answered) {
      dispatcher_.answer(std::move(forward));
    } else {
      dispatcher_.execute(*forward);
      if (const auto wait = dispatcher_.take_wait()) [[unlikely]] {
        key_waits_.park(std::move(forward), *wait);
      } else {
        forward->answered = true;
        answered_.push_back(std::move(forward));
      }
    }
  }
}

void Shard::arrive(Barrier& barrier) {
  barrier.arrive(index_, [this] { serve_while_busy(kParkedPatience); });
  if (barrier.leader() == index_) node_.barriers().finished(barrier);
}

void Shard::send(ShardIndex target, std::unique_ptr<Forward> forward) {
  if (pubsub_.has_letters(target)) {  // they were written before
    seal_if_synchronous();
    pubsub_.post_letters(target);
  }
  outgoing_[target].push_back(std::move(forward));
}

void Shard::post_forwards(ShardIndex target) {
  if (outgoing_[target].empty()) return;
  node_.shard(target).mail(std::move(outgoing_[target]));
  outgoing_[target].clear();
}

void Shard::answer(std::unique_ptr<Forward> forward) {
  if (forward->origin == index_) return dispatcher().answer(std::move(forward));
  answered_.push_back(std::move(forward));
}

void Shard::at_keeper(const Client& client, std::function<void(KeyWaits&)> task) {
  if (client.keeper == index_) return task(key_waits_);
  post_forwards(client.keeper);
  Shard* keeper = &node_.shard(client.keeper);
  keeper->post([keeper, task = std::move(task)] { task(keeper->key_waits()); });
}

// Letters go before the answers: who has an answer may cause an event elsewhere, which must not
// come before the events of what was answered.
void Shard::flush_mail() {
  if (tracking_.has_news()) [[unlikely]]
    tracking_.deliver();
  pubsub_.post_letters();
  for (auto& forward : answered_) {
    forward->ticket = owed_ticket();
    const ShardIndex origin = forward->origin;
    outgoing_[origin].push_back(std::move(forward));
  }
  answered_.clear();
  for (size_t i = 0; i < outgoing_.size(); ++i) post_forwards(static_cast<ShardIndex>(i));
}

// ---- The turn ----

void Shard::begin_turn() {
  if (turn_begun_) return;
  turn_begun_ = true;
  sealed_in_turn_ = false;
  disk_failing_ = (node_.attention() & kDiskFailing) != 0;
  store_.set_now(std::max(store_.now(), node_.wall_ms()));
  size_t others = 0;
  for (size_t i = 0; i < node_.shard_count(); ++i) {
    if (i != index_) others += node_.shard(i).memory();
  }
  others_memory_ = others;
}

void Shard::touch(Client& client) {
  if (client.touched || settings_->appendfsync != config::AppendFsync::kAlways) return;
  client.touched = true;
  touched_.push_back(client.session.id);
}

void Shard::end_turn() {
  if (key_waits_.has_ready()) [[unlikely]]
    key_waits_.serve();
  turn_begun_ = false;
  ++stats_.turns;
  if (seal_is_due()) {
    seal();
  } else if (store_.has_unsealed()) {
    arm_seal_timer();
  }
  ship();
  pubsub_.ship();
  flush_mail();
  if (link_ != nullptr && link_->has_work()) schedule_link_work();
  settle_replies();
  memory_.store(store_.memory_bytes(), std::memory_order_relaxed);
}

bool Shard::seal_is_due() {
  if (!store_.has_unsealed()) return false;
  if (node_.logging() && settings_->appendfsync == config::AppendFsync::kAlways) return true;
  if (store_.unsealed_bytes() >= static_cast<size_t>(settings_->geo_batch_bytes)) return true;
  const crdt::Millis now = steady_ms();
  if (unsealed_since_ == 0) unsealed_since_ = now;
  return now - unsealed_since_ >= settings_->geo_flush_interval.count();
}

void Shard::arm_seal_timer() {
  if (seal_timer_armed_) return;
  seal_timer_armed_ = true;
  const crdt::Millis left = unsealed_since_ + settings_->geo_flush_interval.count() - steady_ms();
  reactor_.arm(seal_timer_, std::chrono::milliseconds(std::max<crdt::Millis>(left, 1)),
               [this](const boost::system::error_code& error) {
                 seal_timer_armed_ = false;
                 if (!error) begin_turn();  // the end of this turn seals
               });
}

persist::RecordSpan Shard::span_of(crdt::Stamp from, crdt::Stamp to) const {
  return {from.raw, to.raw, index_, static_cast<uint16_t>(node_.shard_count())};
}

persist::Ticket Shard::seal() {
  if (!store_.has_unsealed()) return ticket_;
  crdt::SharedBatch batch(store_.seal());
  unsealed_since_ = 0;
  ++stats_.batches;
  stats_.batch_bytes += batch.bytes->size();
  if (node_.logging()) {
    ticket_ = node_.storage()->append_own(span_of(batch.header.from, batch.header.to), batch.bytes);
    sealed_in_turn_ = true;
    if (node_.storage()->congested()) node_.set_attention(kLogCongested, true);
  }
  if (link_) sealed_.push_back(std::move(batch));
  return ticket_;
}

void Shard::ship() {
  if (link_) {
    for (const crdt::SharedBatch& batch : sealed_) link_->on_sealed(batch);
  }
  sealed_.clear();
}

persist::Ticket Shard::seal_if_synchronous() {
  if (!node_.logging() || settings_->appendfsync != config::AppendFsync::kAlways) return 0;
  return seal();
}

void Shard::after_write() {
  if (key_waits_.has_ready()) [[unlikely]]
    key_waits_.serve();
  if (store_.unsealed_bytes() >= kUnsealedBytesMax) seal();
}

void Shard::log_remote(uint64_t producer, crdt::Stamp from, crdt::Stamp to,
                       crdt::SharedBytes bytes) {
  if (!node_.logging()) return;
  ticket_ = node_.storage()->append_remote(producer, span_of(from, to), std::move(bytes));
}

void Shard::store_positions(const std::vector<crdt::Store::Position>& positions) {
  node_.storage()->put_meta(positions_meta(index_, node_.shard_count()),
                            encode_positions(positions));
}

void Shard::settle_replies() {
  std::erase_if(touched_, [this](uint64_t id) {
    Client* client = find_client(id);
    if (client != nullptr && client->connection().corked()) return false;
    if (client != nullptr) hold_until_durable(*client);
    return true;
  });
}

void Shard::hold_until_durable(Client& client) {
  client.touched = false;
  if (!node_.logging()) return;
  client.ticket = std::max(client.ticket, owed_ticket());
  const persist::Storage* storage = node_.storage();
  if (storage->durable_ticket() >= client.ticket) return;
  net::Connection& connection = client.connection();
  connection.hold_output();
  if (client.holds.empty()) holding_.push_back(client.session.id);
  client.holds.push_back({connection.output_position(), client.ticket});
  // The policy changed in this turn.
  if (settings_->appendfsync != config::AppendFsync::kAlways) node_.storage()->flush_now();
}

// While the disk fails writes are refused, and reads and refusals are answered: they would wait for
// ever.
persist::Ticket Shard::owed_ticket() const {
  return disk_failing_ && !sealed_in_turn_ ? persist::Ticket{0} : ticket_;
}

void Shard::drop_held_replies() {
  for (const uint64_t id : std::exchange(holding_, {})) {
    Client* client = find_client(id);
    if (client == nullptr) continue;
    client->holds.clear();
    client->connection().close_now();
  }
}

void Shard::on_log_progress(persist::Ticket durable) {
  std::erase_if(holding_, [&](uint64_t id) {
    Client* client = find_client(id);
    if (client == nullptr) return true;
    uint64_t upto = 0;
    while (!client->holds.empty() && client->holds.front().ticket <= durable) {
      upto = client->holds.front().position;
      client->holds.pop_front();
    }
    if (client->holds.empty()) {
      client->connection().release_output();
      return true;
    }
    if (upto != 0) client->connection().release_output(upto);
    return false;
  });
}

// ---- While a script is slow ----

void Shard::begin_busy(bool batch_may_end) {
  if (batch_may_end) seal_if_synchronous();
  if (batch_may_end || settings_->appendfsync != config::AppendFsync::kAlways) {
    flush_mail();
  } else {
    for (const uint64_t id : touched_) {
      Client* client = find_client(id);
      if (client == nullptr || client->connection().corked()) continue;
      client->connection().cork();
      corked_.push_back(id);
    }
  }
  settle_replies();
  put_back();
}

void Shard::serve_while_busy(std::chrono::milliseconds patience) {
  if (busy_dispatcher_ == nullptr) busy_dispatcher_ = std::make_unique<Dispatcher>(*this, kBusy);
  serving_ = busy_dispatcher_.get();
  answer_mail_while_busy();
  settle_replies();
  if (!holding_.empty()) on_log_progress(node_.storage()->durable_ticket());
  reactor_.serve_sockets(patience);
  serving_ = &dispatcher_;
}

// Commands that others had sent before the script was slow are refused, and answers to clients of
// this thread are handed on, unless letters came before them.
void Shard::answer_mail_while_busy() {
  for (size_t i = 0; i < outgoing_.size(); ++i) post_forwards(static_cast<ShardIndex>(i));
  std::vector<std::unique_ptr<Forward>> refused, answers;
  std::vector<std::shared_ptr<Barrier>> barriers;
  {
    const std::lock_guard lock(inbox_mutex_);
    bool in_order = true;
    for (Mail& mail : inbox_) {
      if (mail.letters) in_order = false;
      if (mail.barrier) barriers.push_back(std::move(mail.barrier));
      std::erase_if(mail.forwards, [&](std::unique_ptr<Forward>& forward) {
        if (forward->answered) {
          if (!in_order) return false;
          answers.push_back(std::move(forward));
          return true;
        }
        if (forward->command->spec->route == command::Route::kReceivers) return false;
        refused.push_back(std::move(forward));
        return true;
      });
    }
    std::erase_if(inbox_, [](const Mail& mail) {
      return mail.forwards.empty() && !mail.barrier && !mail.task;
    });
  }
  for (auto& forward : answers) dispatcher().answer(std::move(forward));
  for (auto& forward : refused) {
    resp::Writer(forward->reply, forward->protocol).error(kBusyError);
    forward->answered = true;
    const ShardIndex origin = forward->origin;
    std::vector<std::unique_ptr<Forward>> back;
    back.push_back(std::move(forward));
    node_.shard(origin).mail(std::move(back));
  }
  for (const auto& barrier : barriers) {
    barrier->refuse();
    arrive(*barrier);
  }
}

void Shard::end_busy() {
  for (const uint64_t id : std::exchange(corked_, {})) {
    if (Client* client = find_client(id)) client->connection().uncork();
  }
  if (busy_dispatcher_ == nullptr) return;
  dispatcher_.take_over(*busy_dispatcher_);
  busy_dispatcher_.reset();
  reactor_.post([this] { dispatcher_.resume_paused(); });
}

// ---- Stopping ----

void Shard::stop_reading() {
  stopping_ = true;
  for_each_client([](Client& client) { client.connection().suspend(); });
}

void Shard::read_again() {
  stopping_ = false;
  for_each_client([this](Client& client) { dispatcher_.resume(client); });
}

bool Shard::quiet() const {
  bool quiet = true;
  reactor_.for_each([&](net::Connection& connection) {
    const auto& client = static_cast<const Client&>(connection.handler());
    if (client.owes_replies() || client.waiting == Waiting::kBarrier ||
        client.waiting == Waiting::kDrain) {
      quiet = false;
    }
  });
  return quiet;
}

void Shard::reset_stats() {
  for (CommandStat& stat : stats_.commands) {
    stat.calls.reset();
    stat.cycles.reset();
    stat.rejected.reset();
    stat.failed.reset();
    for (Counter& bucket : stat.histogram) bucket.reset();
  }
  static_cast<ShardTotals&>(stats_) = {};
  stats_.net_in_base = reactor_.totals().bytes_in;
  stats_.net_out_base = reactor_.totals().bytes_out;
  measured_ops_ = 0;
  store_.stats() = {};
}

}  // namespace atl::shard
