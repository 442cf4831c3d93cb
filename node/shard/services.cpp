#include "node/shard/services.h"

#include <jemalloc/jemalloc.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "node/acl/access_control.h"
#include "node/admin/client_text.h"
#include "node/shard/cycle_clock.h"
#include "node/shard/node.h"
#include "node/shard/shard.h"

namespace atl::shard {

namespace {

constexpr std::string_view kNoRegion = "this node has no region: set region-id and geo-nats-url";

}  // namespace

Node& Services::node() const {
  return shard_.node();
}

Client* Services::current() {
  return shard_.dispatcher().current();
}

command::NodeServices::Done Services::defer(command::Context&) {
  return defer_current();
}

command::NodeServices::Done Services::defer_current() {
  current()->waiting = Waiting::kAnswer;
  Shard* shard = &shard_;
  return [shard, id = current()->session.id](Reply reply) {
    shard->post([shard, id, reply = std::move(reply)] {
      Client* client = shard->find_client(id);
      if (client == nullptr || client->waiting != Waiting::kAnswer) return;
      client->waiting = Waiting::kNothing;
      resp::Writer out(client->reply_buffer(), client->protocol);
      reply(out);
      if (client->close_after_answer) return client->connection().close_after_reply();
      shard->dispatcher().resume(*client);
    });
  };
}

void Services::wait_for_keys(command::Context&, crdt::CollectionType type, crdt::Millis timeout) {
  shard_.dispatcher().wait_for_keys({type, timeout});
}

void Services::unblock_client(uint64_t id, Unblock how, std::function<void(bool)> done) {
  node().gather<bool>(
      shard_,
      [id, how](Shard& shard) {
        Client* client = shard.find_client(id);
        if (client == nullptr || !client->blocked()) return false;
        if (client->waiting == Waiting::kKeys) {
          shard.at_keeper(*client, [id, how](KeyWaits& waits) { waits.unblock(id, how); });
        } else {
          shard.node().replication()->end_wait(id);
        }
        return true;
      },
      [done = std::move(done)](const std::vector<bool>& found) {
        done(std::find(found.begin(), found.end(), true) != found.end());
      });
}

// ---- Configuration ----

std::vector<std::pair<std::string, std::string>> Services::config_get(
    const std::vector<std::string_view>& patterns) {
  return node().config().get(std::vector<std::string>(patterns.begin(), patterns.end()));
}

std::string Services::config_set(
    const std::vector<std::pair<std::string_view, std::string_view>>& pairs) {
  std::vector<config::Config::NameValue> values;
  for (const auto& [name, value] : pairs) values.emplace_back(name, value);
  return node().config().set(values).value_or("");
}

std::string Services::config_rewrite() {
  return node().config().rewrite(access_control().describe_for_config()).value_or("");
}

void Services::config_reset_stat() {
  access_control().counts().reset();
  for (size_t i = 0; i < node().shard_count(); ++i) {
    Shard* target = &node().shard(i);
    target->post([target] { target->reset_stats(); });
  }
}

// ---- Server ----

void Services::snapshot(std::function<void(std::string)> done) {
  Shard* shard = &shard_;
  node().snapshots().request([shard, done = std::move(done)](std::string error) {
    shard->post([done, error] { done(error); });
  });
}

bool Services::snapshot_running() const {
  return node().snapshots().running();
}
int64_t Services::last_save_unix_s() const {
  return node().snapshots().last_save_unix_s();
}
std::string Services::shutdown(const ShutdownOptions& options) {
  if (options.abort) return node().request_shutdown(options);
  return node().request_shutdown(options, [done = defer_current()] {
    done([](resp::Writer& out) { out.error("ERR Errors trying to SHUTDOWN. Check logs."); });
  });
}

std::string Services::memory_stats_text() {
  std::string text;
  malloc_stats_print([](void* to, const char* part) { *static_cast<std::string*>(to) += part; },
                     &text, nullptr);
  return text;
}

void Services::memory_purge() {
  char name[32];
  std::snprintf(name, sizeof name, "arena.%d.purge", MALLCTL_ARENAS_ALL);
  mallctl(name, nullptr, nullptr, nullptr, 0);
}

size_t Services::used_memory() const {
  return node().used_memory();
}
int Services::databases() const {
  return shard_.settings().databases;
}

int64_t Services::unix_micros() const {
  return NodeServices::unix_micros() + shard_.settings().debug_clock_offset.count() * 1000;
}

bool Services::set_active_expire(bool on) {
  for (size_t i = 0; i < node().shard_count(); ++i) {
    Shard* target = &node().shard(i);
    target->post([target, on] { target->set_active_expire(on); });
  }
  return true;
}

size_t resident_memory() {
  std::ifstream statm("/proc/self/statm");
  size_t pages = 0, resident = 0;
  statm >> pages >> resident;
  return resident * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

// ---- Clients ----

void Services::clients(command::ClientFilter filter,
                       std::function<void(std::vector<command::ClientInfo>)> done) {
  filter.skip_me = false;
  using List = std::vector<command::ClientInfo>;
  node().gather<List>(
      shard_,
      [filter](Shard& shard) {
        List list;
        shard.for_each_client([&](Client& client) {
          if (client.matches(filter, 0)) list.push_back(client.info());
        });
        return list;
      },
      [done = std::move(done)](std::vector<List> lists) {
        List all;
        for (List& list : lists) std::move(list.begin(), list.end(), std::back_inserter(all));
        std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
        done(std::move(all));
      });
}

command::ClientInfo Services::client_info(command::Context&) {
  return current()->info();
}

void Services::kill_clients(command::Context& ctx, command::ClientFilter filter,
                            std::function<void(int64_t)> done) {
  const uint64_t caller = ctx.session.id;
  node().gather<int64_t>(
      shard_,
      [filter, caller](Shard& shard) {
        int64_t killed = 0;
        shard.for_each_client([&](Client& client) {
          if (!client.matches(filter, caller)) return;
          ++killed;
          if (client.session.id == caller) {
            client.close_after_answer = true;
          } else {
            client.connection().close_now();
          }
        });
        return killed;
      },
      [done = std::move(done)](std::vector<int64_t> killed) {
        int64_t sum = 0;
        for (const int64_t n : killed) sum += n;
        done(sum);
      });
}

void Services::pause(crdt::Millis ms, command::PauseMode mode) {
  node().pause(ms, mode);
}
void Services::unpause() {
  node().unpause();
}

void Services::set_reply_mode(command::Context&, command::ReplyMode mode) {
  Client& client = *current();
  if (mode == command::ReplyMode::kSkip) {
    client.skip_next = client.reply_mode == command::ReplyMode::kOn;
    return;
  }
  client.reply_mode = mode;
  client.skip_this = false;
}

void Services::close_after_reply(command::Context&) {
  current()->connection().close_after_reply();
}

void Services::reset_connection(command::Context&) {
  Client& client = *current();
  client.transaction.clear();
  client.watches.clear();
  client.reply_mode = command::ReplyMode::kOn;
  client.skip_next = client.skip_this = false;
  if (client.monitoring) node().add_monitors(-1);
  client.monitoring = false;
  shard_.pubsub().subscriptions().remove_all(client);
  shard_.tracking().leave(client);
  client.follow_class();
  client.log_out(*access_control().users());
}

void Services::monitor(command::Context&) {
  Client& client = *current();
  if (client.monitoring) return;
  client.monitoring = true;
  client.follow_class();
  node().add_monitors(1);
}

// ---- Near caches ----

const command::TrackingMode* Services::tracking(command::Context&) {
  const Client& client = *current();
  return client.tracking ? &client.tracking->mode : nullptr;
}

void Services::track(command::Context&, command::TrackingMode mode) {
  Client& client = *current();
  if (client.tracking) {
    mode.prefixes.merge(client.tracking->mode.prefixes);
    mode.caching = client.tracking->mode.caching;
  } else {
    client.tracking = std::make_unique<ClientTracking>();
  }
  client.tracking->mode = std::move(mode);
  const command::TrackingMode& now = client.tracking->mode;
  for (size_t i = 0; i < node().shard_count(); ++i) {
    Shard& shard = node().shard(i);
    if (shard.find_client(now.redirect) != nullptr) client.tracking->redirect_home = shard.index();
    shard.tracking().add(client.session.id, {shard_.index(), now.prefixes});
  }
}

void Services::stop_tracking(command::Context&) {
  Client& client = *current();
  client.tracking.reset();
  for (size_t i = 0; i < node().shard_count(); ++i) {
    node().shard(i).tracking().remove(client.session.id);
  }
}

bool Services::client_exists(uint64_t id) {
  for (size_t i = 0; i < node().shard_count(); ++i) {
    if (node().shard(i).find_client(id) != nullptr) return true;
  }
  return false;
}

void Services::set_caching(command::Context&) {
  current()->tracking->mode.caching = true;
}

// ---- Access control ----

acl::AccessControl& Services::access_control() {
  return node().access_control();
}

std::string Services::user_name(command::Context&) {
  return current()->user().name();
}

bool Services::may_read_any_key(command::Context& ctx) {
  const Client& client = *current();
  return client.rights() == Rights::kAll ||
         client.user().may_read_any_key(acl::catalog().id_of(ctx.spec), ctx.spec, ctx.args);
}

std::string Services::authenticate(command::Context& ctx, std::string_view name,
                                   std::string_view password) {
  Client& client = *current();
  const std::shared_ptr<const acl::Users> users = access_control().users();
  std::shared_ptr<const acl::User> user = users->find(name);
  // Nobody's password is checked too: time does not tell who there is.
  const acl::User nobody(std::string(name), acl::ChannelDefault::kNone);
  const bool accepted = (user ? *user : nobody).accepts(password);
  if (accepted) {
    client.log_in(std::move(user), *users);
    return {};
  }
  const auto context =
      ctx.in_transaction ? acl::DenialContext::kMulti : acl::DenialContext::kTopLevel;
  log_denial({acl::Reason::kAuth, context, std::string(ctx.args[0]), std::string(name),
              admin::client_line(client.info())});
  return "WRONGPASS invalid username-password pair or user is disabled.";
}

void Services::run_blocking(std::function<std::string()> task,
                            std::function<void(std::string)> done) {
  Shard* shard = &shard_;
  node().post_main([shard, task = std::move(task), done = std::move(done)] {
    shard->post([done, result = task()] { done(result); });
  });
}

void Services::log_denial(acl::Denial denial) {
  access_control().counts().add(denial.reason);
  access_control().log().add(std::move(denial), shard_.now());
}

// ---- Slow log and latency ----

std::vector<command::SlowEntry> Services::slowlog(int64_t count) {
  return node().slow_log().newest(count);
}
int64_t Services::slowlog_length() {
  return node().slow_log().length();
}
void Services::slowlog_reset() {
  node().slow_log().reset();
}
std::map<std::string, std::vector<command::LatencySample>> Services::latency() {
  return node().latency().samples();
}
int64_t Services::latency_reset(const std::vector<std::string>& events) {
  return node().latency().reset(events);
}

std::map<std::string, std::pair<int64_t, std::map<int64_t, int64_t>>> Services::latency_histogram(
    const std::vector<std::string>& commands) {
  std::map<std::string, std::pair<int64_t, std::map<int64_t, int64_t>>> out;
  const CommandIndex& index = node().commands();
  for (size_t id = 0; id < index.size(); ++id) {
    const std::string& name = index.at(id).name;
    const auto wanted = [&](const std::string& w) {
      return w == name || (name.size() > w.size() && name.starts_with(w) && name[w.size()] == '|');
    };
    if (!commands.empty() && std::none_of(commands.begin(), commands.end(), wanted)) continue;
    int64_t calls = 0;
    std::map<int64_t, int64_t> buckets;
    for (size_t b = 0; b < kHistogramBuckets; ++b) {
      int64_t in_bucket = 0;
      for (size_t s = 0; s < node().shard_count(); ++s) {
        in_bucket += static_cast<int64_t>(node().shard(s).stats().commands[id].histogram[b]);
      }
      calls += in_bucket;
      if (in_bucket != 0) buckets[int64_t{1} << b] = calls;
    }
    if (calls != 0) out[name] = {calls, std::move(buckets)};
  }
  return out;
}

// ---- Between regions ----

void Services::geo_status(std::function<void(std::vector<PeerRow>)> done) {
  if (node().replication() == nullptr) return done({});
  node().replication()->status(std::move(done));
}

void Services::geo_digest(std::optional<crdt::SlotId> slot, std::function<void(std::string)> done) {
  const crdt::Millis at = shard_.now();
  node().gather<uint64_t>(
      shard_,
      [slot, at](Shard& shard) {
        const crdt::SlotRange range = shard.store().options().slots;
        if (slot) return range.contains(*slot) ? shard.store().slot_digest(*slot, at) : 0;
        uint64_t sum = 0;
        for (uint32_t s = range.first; s <= range.last; ++s) {
          sum += shard.store().slot_digest(static_cast<crdt::SlotId>(s), at);
        }
        return sum;
      },
      [done = std::move(done)](std::vector<uint64_t> parts) {
        uint64_t sum = 0;
        for (const uint64_t part : parts) sum += part;
        char hex[17];
        std::snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(sum));
        done(hex);
      });
}

void Services::geo_conflicts(size_t count, std::function<void(std::vector<crdt::Conflict>)> done) {
  using List = std::vector<crdt::Conflict>;
  node().gather<List>(
      shard_, [](Shard& shard) { return List(shard.conflicts().begin(), shard.conflicts().end()); },
      [count, done = std::move(done)](std::vector<List> lists) {
        List all;
        for (List& list : lists) std::move(list.begin(), list.end(), std::back_inserter(all));
        std::stable_sort(all.begin(), all.end(),
                         [](const auto& a, const auto& b) { return a.at > b.at; });
        if (all.size() > count) all.resize(count);
        done(std::move(all));
      });
}

std::string Services::geo_peer(std::string_view region, std::string_view action) {
  if (node().replication() == nullptr) return std::string(kNoRegion);
  return node().replication()->peer(region, action);
}

void Services::geo_token(command::Context& ctx, std::function<void(std::string)> done) {
  if (node().replication() == nullptr) return done({});
  node().gather<int>(
      shard_,
      [](Shard& shard) {
        shard.link()->publish(shard.now());
        return 0;
      },
      [this, written = ctx.session.last_write, done = std::move(done)](const std::vector<int>&) {
        done(node().replication()->token(written));
      });
}

std::string Services::region_name(crdt::RegionId region) const {
  if (region == shard_.settings().region_id) return shard_.settings().region;
  if (node().replication() == nullptr) return {};
  return node().replication()->region_name(region);
}

std::string Services::geo_await(command::Context& ctx, std::string_view token, crdt::Millis timeout,
                                std::function<void(bool)> done) {
  if (node().replication() == nullptr) return "ERR " + std::string(kNoRegion);
  return node().replication()->await(ctx.session, token, timeout, std::move(done));
}

std::string Services::wait_regions(command::Context& ctx, int64_t n, crdt::Millis timeout,
                                   std::function<void(int64_t)> done) {
  if (node().replication() == nullptr) {
    done(0);
    return {};
  }
  return node().replication()->wait_regions(ctx.session, n, timeout, std::move(done));
}

}  // namespace atl::shard
