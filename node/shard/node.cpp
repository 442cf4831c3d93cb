#include "node/shard/node.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <random>
#include <utility>

#include "node/admin/admin.h"
#include "node/shard/disabled_rules.h"
#include "node/shard/logging.h"
#include "node/shard/pubsub_commands.h"
#include "node/shard/script_commands.h"
#include "node/shard/scripting.h"
#include "node/shard/services.h"
#include "node/shard/transaction_commands.h"

namespace atl::shard {

namespace {

constexpr auto kMinuteHandInterval = std::chrono::milliseconds(100);

void register_commands_once() {
  static std::once_flag once;
  std::call_once(once, [] {
    admin::register_admin_commands();
    command::register_commands(transaction_commands());
    command::register_commands(pubsub_commands());
    command::register_commands(script_commands());
  });
}

std::string random_hex(size_t digits) {
  std::random_device device;
  std::string text;
  while (text.size() < digits) text.push_back("0123456789abcdef"[device() & 15]);
  return text;
}

persist::Fsync fsync_of(config::AppendFsync policy) {
  switch (policy) {
    case config::AppendFsync::kAlways:
      return persist::Fsync::kAlways;
    case config::AppendFsync::kEverysec:
      return persist::Fsync::kEverySecond;
    case config::AppendFsync::kNo:
      break;
  }
  return persist::Fsync::kNo;
}

acl::ChannelDefault channel_default(const config::Settings& settings) {
  return settings.acl_pubsub_default == config::AclPubsubDefault::kAllChannels
             ? acl::ChannelDefault::kAll
             : acl::ChannelDefault::kNone;
}

}  // namespace

void register_all_commands() {
  register_commands_once();
}

Node::Node(config::Config& config, NodeOptions options)
    : config_(config),
      options_(std::move(options)),
      gate_(config.snapshot()->maxclients),
      signals_(main_io_),
      minute_hand_(main_io_),
      run_id_(random_hex(40)),
      started_(std::chrono::steady_clock::now()) {
  register_commands_once();
  commands_ = std::make_unique<CommandIndex>();
  access_control_ = std::make_unique<acl::AccessControl>();
  scripts_ = std::make_unique<script::ScriptCache>();
}

Node::~Node() {
  if (running_) stop();
  listener_.reset();
  for (auto& shard : shards_) shard->set_link(nullptr);
  replication_.reset();
  // After a start that failed it is still open, and its listener goes to the shards.
  if (owned_storage_) {
    const persist::Outcome closed = owned_storage_->close();
    if (!closed.ok()) spdlog::error("{}", closed.error);
  }
  shards_.clear();
  snapshots_.reset();  // its timer belongs to main_io_, which is gone before other members are
}

crdt::Millis Node::wall_ms() const {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count() + clock_offset_ms_;
}

// ---- Start ----

std::optional<std::string> Node::open_storage() {
  const auto settings = config_.snapshot();
  persist::Options options;
  options.dir = settings->dir;
  options.fsync = fsync_of(settings->appendfsync);
  options.faults = options_.disk_faults;
  options.slot_bytes_max = options_.slot_bytes_max;
  options.queue_bytes_max = options_.queue_bytes_max;
  persist::OpenResult opened = persist::Storage::open(options);
  if (!opened.storage) return opened.error;
  owned_storage_ = std::move(opened.storage);
  owned_storage_->set_listener([this](const persist::Progress& p) { on_storage_progress(p); });
  storage_.store(owned_storage_.get(), std::memory_order_release);
  return std::nullopt;
}

std::optional<std::string> Node::open_storage_if_wanted() {
  const auto settings = config_.snapshot();
  std::error_code ignored;
  const bool stored = std::filesystem::exists(settings->dir + "/atoll-data", ignored);
  if (settings->appendonly || !settings->save.empty() || stored) return open_storage();
  if (!options_.replication) return std::nullopt;
  // Nothing was asked to be kept; a place for the clock bound is wanted, yet not a condition.
  if (const auto error = open_storage()) {
    spdlog::warn(
        "After a restart only the wall clock will keep this region from stamping as it "
        "did before, because nothing can be kept on disk: {}",
        *error);
  }
  return std::nullopt;
}

std::string Node::ensure_storage() {
  if (storage() != nullptr) return {};
  if (const auto error = open_storage()) return *error;
  return check_region().value_or("");
}

void Node::make_shards() {
  const auto settings = config_.snapshot();
  const auto count = static_cast<uint32_t>(std::max(settings->threads, 1));
  shard_count_planned_ = count;
  for (uint32_t i = 0; i < count; ++i) {
    // The slots that owner() maps to i.
    shards_.push_back(std::make_unique<Shard>(*this, static_cast<ShardIndex>(i),
                                              shard_slots(i, count), settings));
  }
}

std::optional<std::string> Node::open_listener() {
  const auto settings = config_.snapshot();
  update_gate();
  std::vector<net::Reactor*> reactors;
  for (auto& shard : shards_) reactors.push_back(&shard->reactor());
  listener_ = std::make_unique<net::Listener>(
      reactors, gate_, [](std::string_view line) { spdlog::warn("{}", line); });
  net::ListenOptions options;
  options.bind = settings->bind;
  options.port = settings->port;
  options.any_port = options_.any_port;
  options.tls_port = settings->tls_port;
  options.tls = tls_context_;
  options.backlog = settings->tcp_backlog;
  options.unixsocket = settings->unixsocket;
  options.unixsocket_mode = settings->unixsocketperm;
  if (auto error = listener_->open(options)) return error;
  port_ = listener_->port();
  tls_port_ = listener_->tls_port();
  return std::nullopt;
}

std::string Node::ports_text() const {
  std::string text;
  if (port_ != 0 || tls_port_ == 0) text.append("port ").append(std::to_string(port_));
  if (tls_port_ == 0) return text;
  return text.append(text.empty() ? "port " : " and port ")
      .append(std::to_string(tls_port_))
      .append(" (TLS)");
}

std::optional<std::string> Node::start() {
  const auto settings = config_.snapshot();
  clock_offset_ms_ = settings->debug_clock_offset.count();
  if (auto error = check_rules(settings->debug_disable_rule)) return error;
  for (const std::string& rule : settings->debug_disable_rule) {
    spdlog::warn("The rule '{}' is switched off: this node is a test and will lose data", rule);
  }
  if (const auto fault = renew_tls(*settings)) return "Failed to configure TLS: " + fault->reason;
  if (auto error = read_users()) return error;
  if (auto error = open_storage_if_wanted()) return error;
  logging_ = settings->appendonly;
  snapshots_ = std::make_unique<Snapshots>(*this, main_io_);
  barriers_ = std::make_unique<BarrierQueue>(
      [this](ShardIndex shard, std::shared_ptr<Barrier> b) { shards_[shard]->mail(std::move(b)); });
  make_shards();
  if (auto error = recover_shards()) return error;
  if (auto error = begin_continuity()) return error;
  config_.set_guard([this](const config::Change& change) { return judge_change(change); });
  config_.subscribe([this](const config::Change& change) { apply_settings(change); });
  if (options_.replication) replication_ = options_.replication(*this);
  if (replication_) {
    if (std::string error = replication_->check(); !error.empty()) return error;
    not_ready_ = shards_.size();
    set_attention(kListening, !recovery_.recovered.stamps_known);
    for (auto& shard : shards_) {
      shard->set_link(replication_->make_link(*shard, recovery_.recovered));
    }
  }
  if (auto error = open_listener()) return error;
  running_ = true;
  for (auto& shard : shards_) threads_.emplace_back([s = shard.get()] { s->run(); });
  if (replication_) replication_->start();
  if (options_.handle_signals) watch_signals();
  schedule_minute_hand();
  if (loading()) {
    spdlog::info(
        "Listening on {}. Nothing on disk says what this region has written before: commands wait "
        "for what other regions know of it",
        ports_text());
  } else {
    spdlog::info("Ready to accept connections on {}", ports_text());
  }
  return std::nullopt;
}

std::optional<std::string> Node::read_users() {
  const auto settings = config_.snapshot();
  acl::AccessControl::Setup setup;
  setup.password = settings->requirepass;
  setup.channels = channel_default(*settings);
  if (!settings->aclfile.empty()) {
    setup.file = (std::filesystem::path(settings->dir) / settings->aclfile).string();
  }
  for (const config::UserLine& line : settings->users) {
    setup.users.push_back({line.words, line.place});
  }
  const std::string error = access_control_->begin(setup);
  for (const std::string& warning : access_control_->warnings()) spdlog::warn("{}", warning);
  if (!error.empty()) return error;
  access_control_->log().set_length_max(static_cast<size_t>(settings->acllog_max_len));
  access_control_->set_listener([this] { on_users_changed(); });
  return std::nullopt;
}

// Every shard finds out by itself before it reads a client's next input; this is for clients that
// send none, whose connections may have to end.
void Node::on_users_changed() {
  update_gate();
  for (auto& shard : shards_) {
    shard->post([s = shard.get()] { s->refresh_users(); });
  }
}

void Node::update_gate() {
  const std::lock_guard lock(gate_mutex_);
  const bool open_to_all = access_control_->users()->default_user()->nopass();
  gate_.set_local_only(config_.snapshot()->protected_mode && open_to_all);
}

void Node::shard_ready() {
  if (--not_ready_ != 0 || !loading()) return;
  set_attention(kListening, false);
  spdlog::info("Ready to accept connections on {}", ports_text());
}

void Node::raise_incarnation(crdt::Stamp first) {
  uint64_t before = incarnation_;
  while (before < first.raw && !incarnation_.compare_exchange_weak(before, first.raw)) {
  }
}

// What is here was stamped as one region's, and would be taken for another's.
std::optional<std::string> Node::check_region() {
  if (storage() == nullptr) return std::nullopt;
  const crdt::RegionId region = shards_.front()->store().region();
  const std::string bytes(1, static_cast<char>(region));
  const auto stored = storage()->get_meta(kRegionIdMeta);
  if (!stored) storage()->put_meta(kRegionIdMeta, bytes);
  if (!stored || *stored == bytes) return std::nullopt;
  const std::string written = std::to_string(static_cast<uint8_t>(stored->at(0)));
  return "The data in '" + config_.snapshot()->dir + "' was written as region " + written +
         (written == "1" ? " (which a node without region-id is, too)" : "") +
         ". Start with region-id " + written + ", or with another dir";
}

std::optional<std::string> Node::recover_shards() {
  // Whatever comes of this start, the next one must know.
  if (storage() != nullptr && storage()->report().tail_was_cut) {
    storage()->erase_meta(kIncarnationMeta);
    if (storage()->report().own_log_was_cut) storage()->put_meta(kLogCutMeta, "1");
  }
  if (auto error = check_region()) return error;
  std::vector<crdt::Store*> stores;
  for (auto& shard : shards_) stores.push_back(&shard->store());
  const auto begin = std::chrono::steady_clock::now();
  recovery_ = recover(storage(), stores, wall_ms(), config_.snapshot()->geo_max_clock_skew.count());
  if (!recovery_.error.empty()) return "Cannot load the data: " + recovery_.error;
  incarnation_ = recovery_.incarnation.raw;
  for (const crdt::SlotId slot : recovery_.damaged) {
    spdlog::error("The snapshot of slot {} is damaged: what the log holds of it was loaded", slot);
  }
  if (storage() != nullptr && storage()->report().tail_was_cut) {
    spdlog::warn("The log was cut at its last whole record: {}", storage()->report().tail_detail);
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  if (storage() != nullptr) {
    spdlog::info("DB loaded from disk: {:.3f} seconds, {} slots, {} log records", took.count(),
                 recovery_.slots, recovery_.records);
  }
  return std::nullopt;
}

// A run without replication keeps up what one with it has left: there may be another.
std::optional<std::string> Node::begin_continuity() {
  if (!options_.replication && !recovery_.recovered.clock_bound) return std::nullopt;
  continuity_ = std::make_unique<Continuity>(
      storage(), recovery_.recovered,
      Continuity::Options{.logging = logging_,
                          .listens = options_.replication && !recovery_.recovered.stamps_known});
  const std::string error = continuity_->begin();
  return error.empty() ? std::nullopt : std::optional(error);
}

// ---- Main thread ----

void Node::watch_signals() {
  signals_.add(SIGTERM);
  signals_.add(SIGINT);
  signals_.add(SIGHUP);
  await_signal();
}

void Node::await_signal() {
  signals_.async_wait([this](const boost::system::error_code& error, int number) {
    if (error) return;
    if (number == SIGHUP) {
      reopen_log();
      spdlog::info("Log file reopened");
      return await_signal();
    }
    if (shutdown_asked_) std::_Exit(1);
    spdlog::warn("Received {} scheduling shutdown...", number == SIGINT ? "SIGINT" : "SIGTERM");
    request_shutdown({});
    await_signal();
  });
}

void Node::schedule_minute_hand() {
  minute_hand_.expires_after(kMinuteHandInterval);
  minute_hand_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    snapshots_->tick();
    note_memory(used_memory());
    if (storage() != nullptr && !storage()->congested()) set_attention(kLogCongested, false);
    schedule_minute_hand();
  });
}

int Node::run() {
  for (;;) {
    while (!shutdown_asked_) main_io_.run_one();
    const ShutdownOptions how = shutdown_;
    if (const std::optional<int> code = shut_down(how)) return *code;
    if (shutdown_.force && !how.force) continue;  // asked for meanwhile
    shutdown_asked_ = false;
    for (const auto& refused : std::exchange(shutdown_refused_, {})) refused();
  }
}

std::string Node::request_shutdown(const ShutdownOptions& options, std::function<void()> refused) {
  if (options.abort) return "No shutdown in progress.";
  post_main([this, options, refused = std::move(refused)]() mutable {
    shutdown_ = options;
    if (refused) shutdown_refused_.push_back(std::move(refused));
    shutdown_asked_ = true;
  });
  return {};
}

void Node::post_main(std::function<void()> task) {
  boost::asio::post(main_io_, std::move(task));
}

RunningScript::Kill Node::kill_scripts() {
  // Of several the answer that says most: one that was killed, else one that cannot be.
  auto outcome = RunningScript::Kill::kNoneIsSlow;
  for (auto& shard : shards_) {
    outcome = std::max(outcome, shard->scripting().running().try_kill());
  }
  return outcome;
}

// ---- Settings, memory, attention: any thread ----

void Node::apply_settings(const config::Change& change) {
  const std::shared_ptr<const config::Settings> after = change.after;
  gate_.set_limit(after->maxclients);
  if (change.has("requirepass")) access_control_->set_default_password(after->requirepass);
  access_control_->set_channel_default(channel_default(*after));
  access_control_->log().set_length_max(static_cast<size_t>(after->acllog_max_len));
  update_gate();
  clock_offset_ms_ = after->debug_clock_offset.count();
  if (change.has("loglevel")) set_log_level(after->loglevel);
  if (change.has("appendfsync") && storage() != nullptr) {
    storage()->set_fsync(fsync_of(after->appendfsync));
  }
  if (listener_) listener_->set_tls(tls_context_);
  if (change.has("port") || change.has("bind")) {
    shards_[0]->post([this] {
      if (auto error = open_listener()) spdlog::error("{}", *error);
    });
  }
  for (auto& shard : shards_) {
    // What the client that set it sends next finds it in force: here at once, and elsewhere that
    // comes after this.
    if (shard->is_this_thread()) {
      shard->apply_settings(after);
    } else {  // which may have later ones already
      shard->post([this, s = shard.get()] { s->apply_settings(config_.snapshot()); });
    }
  }
  update_disk_attention();
}

size_t Node::used_memory() const {
  size_t sum = 0;
  for (const auto& shard : shards_) sum += shard->memory();
  return sum;
}

void Node::note_memory(size_t used) {
  if (used > peak_memory()) peak_memory_.store(used, std::memory_order_relaxed);
}

void Node::set_attention(uint32_t bits, bool on) {
  if (on) {
    attention_.fetch_or(bits);
  } else if ((attention() & bits) != 0) {
    attention_.fetch_and(~bits);
  }
}

void Node::on_storage_progress(const persist::Progress& progress) {
  const bool failed_before = (attention() & kDiskFailing) != 0;
  update_disk_attention();
  if (!failed_before && !owned_storage_->healthy()) {
    for (auto& shard : shards_) {
      shard->post([s = shard.get()] { s->drop_held_replies(); });
    }
  }
  // Whatever the policy is now: replies may be held from when it was `always`. Under the others
  // this moves once a second or less.
  if (progress.durable == told_durable_) return;
  told_durable_ = progress.durable;
  for (auto& shard : shards_) {
    shard->post([s = shard.get(), durable = progress.durable] { s->on_log_progress(durable); });
  }
}

void Node::update_disk_attention() {
  const persist::Storage* disk = storage();
  const auto settings = config_.snapshot();
  const bool log_failing = logging_ && disk != nullptr && !disk->healthy();
  const bool snapshot_failing = settings->stop_writes_on_bgsave_error && !settings->save.empty() &&
                                snapshots_ != nullptr && snapshots_->last_failed();
  set_attention(kDiskFailing, log_failing || snapshot_failing);
}

void Node::pause(crdt::Millis ms, command::PauseMode mode) {
  // As Redis: a second PAUSE never makes the first shorter or weaker.
  const crdt::Millis until = steady_ms() + ms;
  if (until > pause_until()) pause_until_.store(until);
  const bool all = mode == command::PauseMode::kAll;
  set_attention(all ? kPauseAll : kPauseWrites, true);
}

void Node::unpause() {
  pause_until_ = 0;
  set_attention(kPauseAll | kPauseWrites, false);
  for (auto& shard : shards_) {
    shard->post([s = shard.get()] { s->dispatcher().resume_paused(); });
  }
}

void Node::check_pause() {
  if ((attention() & (kPauseAll | kPauseWrites)) == 0) return;
  if (steady_ms() >= pause_until()) unpause();
}

void Node::add_monitors(int n) {
  set_attention(kMonitored, (monitors_ += n) > 0);
}

crdt::Millis Node::steady_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace atl::shard
