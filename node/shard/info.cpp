// INFO: Redis' sections and field names, and a section of our own, geo.
#include <fcntl.h>
#include <jemalloc/jemalloc.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>
#include <filesystem>
#include <set>

#include "node/admin/admin.h"
#include "node/script/script_cache.h"
#include "node/shard/cycle_clock.h"
#include "node/shard/node.h"
#include "node/shard/scripting.h"
#include "node/shard/services.h"
#include "node/shard/shard.h"

namespace atl::shard {

namespace {

// What one shard contributes. Counters are summed.
struct ShardReport {
  struct CommandFigures {
    uint64_t calls = 0, cycles = 0, rejected = 0, failed = 0;
    std::vector<uint64_t> histogram;
  };
  ShardTotals stats;
  std::vector<CommandFigures> commands;
  crdt::StoreStats store;
  struct Db {
    uint64_t keys = 0, expires = 0;
  };
  std::vector<Db> dbs;
  uint64_t memory = 0, tombstones = 0, pending = 0, guarded = 0, dirty_slots = 0;
  uint64_t bytes_in = 0, bytes_out = 0;
  uint64_t query_closes = 0, output_closes = 0;
  // Hashes of what somebody here listens to: the same may have listeners on other threads.
  std::array<std::vector<uint64_t>, kTopicKinds> topics;
  uint64_t published_dropped = 0;
  uint64_t tracking = 0, tracked_keys = 0, tracked_items = 0, tracked_prefixes = 0;
  uint64_t script_memory = 0;
  uint64_t clients = 0, blocked = 0, watching = 0, max_input = 0, max_output = 0, client_memory = 0;
};

std::unique_ptr<ShardReport> report_of(Shard& shard) {
  auto report = std::make_unique<ShardReport>();
  const ShardStats& stats = shard.stats();
  report->stats = stats;
  for (const CommandStat& stat : stats.commands) {
    ShardReport::CommandFigures figures{stat.calls, stat.cycles, stat.rejected, stat.failed, {}};
    if (figures.calls != 0) figures.histogram.assign(stat.histogram.begin(), stat.histogram.end());
    report->commands.push_back(std::move(figures));
  }
  crdt::Store& store = shard.store();
  report->store = store.stats();
  for (int db = 0; db < shard.settings().databases; ++db) {
    const auto id = static_cast<crdt::DbId>(db);
    report->dbs.push_back({store.visible_keys(id), store.keys_with_deadline(id)});
  }
  report->memory = store.memory_bytes();
  report->tombstones = store.tombstones();
  report->pending = store.pending();
  report->guarded = store.guarded();
  report->dirty_slots = store.dirty_slots();
  const net::NetTotals& net = shard.reactor().totals();
  report->bytes_in = net.bytes_in - stats.net_in_base;
  report->bytes_out = net.bytes_out - stats.net_out_base;
  report->query_closes = net.query_limit_closes;
  report->output_closes = net.output_limit_closes;
  for (size_t kind = 0; kind < kTopicKinds; ++kind) {
    const auto& topics = shard.pubsub().subscriptions().topics(static_cast<TopicKind>(kind));
    for (const auto& [name, topic] : topics) {
      report->topics[kind].push_back(std::hash<std::string_view>{}(name));
    }
  }
  report->published_dropped = shard.pubsub().dropped();
  report->tracked_keys = shard.tracking().keys();
  report->tracked_items = shard.tracking().items();
  report->tracked_prefixes = shard.tracking().prefixes();
  report->script_memory = shard.scripting().memory();
  shard.for_each_client([&](Client& client) {
    const net::ConnectionStats figures = client.connection().stats();
    ++report->clients;
    if (client.blocked()) ++report->blocked;
    if (!client.watches.empty()) ++report->watching;
    if (client.tracking) ++report->tracking;
    report->max_input = std::max<uint64_t>(report->max_input, figures.query_bytes);
    report->max_output = std::max<uint64_t>(report->max_output, figures.output_memory);
    report->client_memory += figures.total_memory + sizeof(Client) + client.transaction.bytes;
  });
  return report;
}

void add(ShardReport& sum, const ShardReport& part) {
  sum.stats.add(part.stats);
  sum.commands.resize(part.commands.size());
  for (size_t i = 0; i < part.commands.size(); ++i) {
    auto& to = sum.commands[i];
    const auto& from = part.commands[i];
    to.calls += from.calls;
    to.cycles += from.cycles;
    to.rejected += from.rejected;
    to.failed += from.failed;
    to.histogram.resize(std::max(to.histogram.size(), from.histogram.size()));
    for (size_t b = 0; b < from.histogram.size(); ++b) to.histogram[b] += from.histogram[b];
  }
  sum.store.expired += part.store.expired;
  sum.store.expired_elements += part.store.expired_elements;
  sum.store.evicted += part.store.evicted;
  sum.store.merged_deltas += part.store.merged_deltas;
  sum.store.conflicts += part.store.conflicts;
  sum.dbs.resize(part.dbs.size());
  for (size_t i = 0; i < part.dbs.size(); ++i) {
    sum.dbs[i].keys += part.dbs[i].keys;
    sum.dbs[i].expires += part.dbs[i].expires;
  }
  sum.memory += part.memory;
  sum.tombstones += part.tombstones;
  sum.pending += part.pending;
  sum.guarded += part.guarded;
  sum.dirty_slots += part.dirty_slots;
  sum.bytes_in += part.bytes_in;
  sum.bytes_out += part.bytes_out;
  sum.query_closes += part.query_closes;
  sum.output_closes += part.output_closes;
  for (size_t kind = 0; kind < kTopicKinds; ++kind) {
    sum.topics[kind].insert(sum.topics[kind].end(), part.topics[kind].begin(),
                            part.topics[kind].end());
  }
  sum.published_dropped += part.published_dropped;
  sum.tracking += part.tracking;
  sum.tracked_keys += part.tracked_keys;
  sum.tracked_items += part.tracked_items;
  sum.tracked_prefixes = std::max(sum.tracked_prefixes, part.tracked_prefixes);  // of all
  sum.script_memory += part.script_memory;
  sum.clients += part.clients;
  sum.blocked += part.blocked;
  sum.watching += part.watching;
  sum.max_input = std::max(sum.max_input, part.max_input);
  sum.max_output = std::max(sum.max_output, part.max_output);
  sum.client_memory += part.client_memory;
}

size_t distinct(std::vector<uint64_t> hashes) {
  std::sort(hashes.begin(), hashes.end());
  return static_cast<size_t>(std::unique(hashes.begin(), hashes.end()) - hashes.begin());
}

std::string human(double bytes) {
  char text[32];
  const char* units = "BKMGTP";
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < 6) {
    bytes /= 1024;
    ++unit;
  }
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f%c" : "%.2f%c", bytes, units[unit]);
  return text;
}

size_t mallctl_size(const char* name) {
  size_t value = 0;
  size_t size = sizeof value;
  return mallctl(name, &value, &size, nullptr, 0) == 0 ? value : 0;
}

class Text {
 public:
  Text(const Node& node, const config::Settings& settings, const ShardReport& sum)
      : node_(const_cast<Node&>(node)), settings_(settings), sum_(sum) {}

  void server();
  void listeners();
  void clients();
  void memory();
  void persistence();
  void stats();
  void replication();
  void cpu();
  void modules() { head("Modules"); }
  void commandstats();
  void errorstats();
  void latencystats();
  void cluster();
  void keyspace();
  void geo();

  std::string take() { return std::move(out_); }

 private:
  void head(std::string_view name) {
    if (!out_.empty()) out_ += "\r\n";
    out_ += "# ";
    out_ += name;
    out_ += "\r\n";
  }
  void line(std::string_view name, std::string_view value) {
    out_ += name;
    out_ += ':';
    out_ += value;
    out_ += "\r\n";
  }
  template <class T>
  requires std::is_integral_v<T>
  void line(std::string_view name, T value) { line(name, std::string_view(std::to_string(value))); }
  __attribute__((format(printf, 3, 4))) void format(std::string_view name, const char* format,
                                                    ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    std::vsnprintf(text, sizeof text, format, args);
    va_end(args);
    line(name, std::string_view(text));
  }

  Node& node_;
  const config::Settings& settings_;
  const ShardReport& sum_;
  std::string out_;
};

void Text::server() {
  head("Server");
  utsname os{};
  uname(&os);
  line("redis_version", admin::kRedisVersion);
  line("redis_git_sha1", "00000000");
  line("redis_git_dirty", 0);
  line("redis_build_id", "0");
  line("redis_mode", "standalone");
  line("atoll_version", kVersion);
  format("os", "%s %s %s", os.sysname, os.release, os.machine);
  line("arch_bits", 64);
  line("monotonic_clock", "X86 TSC or steady clock");
  line("multiplexing_api", "epoll");
  line("atomicvar_api", "c11-builtin");
  line("gcc_version", __VERSION__);
  line("process_id", getpid());
  line("process_supervised", "no");
  line("run_id", node_.run_id());
  line("tcp_port", node_.port() != 0 ? node_.port() : node_.tls_port());
  line("server_time_usec", node_.wall_ms() * 1000);
  const auto up = std::chrono::duration_cast<std::chrono::seconds>(
      std::chrono::steady_clock::now() - node_.started());
  line("uptime_in_seconds", up.count());
  line("uptime_in_days", up.count() / 86400);
  line("hz", settings_.hz);
  line("configured_hz", settings_.hz);
  line("lru_clock", (node_.wall_ms() / 1000) & 0xffffff);
  line("executable", std::filesystem::read_symlink("/proc/self/exe").string());
  line("config_file", node_.config().file());
  line("io_threads_active", node_.shard_count() > 1 ? 1 : 0);
  line("atoll_threads", node_.shard_count());
  listeners();
}

// Numbered by kind, as in Redis.
void Text::listeners() {
  std::string bound;
  for (const std::string& address : settings_.bind) bound.append(",bind=").append(address);
  const auto on_port = [&](std::string_view name, int port) {
    return std::string("name=").append(name).append(bound).append(",port=") + std::to_string(port);
  };
  if (node_.port() != 0) line("listener0", on_port("tcp", node_.port()));
  if (!settings_.unixsocket.empty()) {
    line("listener1", std::string("name=unix,bind=").append(settings_.unixsocket));
  }
  if (node_.tls_port() != 0) line("listener2", on_port("tls", node_.tls_port()));
}

void Text::clients() {
  head("Clients");
  line("connected_clients", sum_.clients);
  line("cluster_connections", 0);
  line("maxclients", settings_.maxclients);
  line("client_recent_max_input_buffer", sum_.max_input);
  line("client_recent_max_output_buffer", sum_.max_output);
  line("blocked_clients", sum_.blocked);
  line("tracking_clients", sum_.tracking);
  line("clients_in_timeout_table", 0);
  line("watching_clients", sum_.watching);
}

void Text::memory() {
  head("Memory");
  uint64_t epoch = 1;
  size_t size = sizeof epoch;
  mallctl("epoch", &epoch, &size, &epoch, size);
  const size_t allocated = mallctl_size("stats.allocated");
  const size_t active = mallctl_size("stats.active");
  const size_t resident = mallctl_size("stats.resident");
  const size_t rss = resident_memory();
  const auto used = static_cast<double>(sum_.memory);
  const auto maximum = static_cast<double>(settings_.maxmemory);
  node_.note_memory(sum_.memory);
  const auto peak = static_cast<double>(node_.peak_memory());
  line("used_memory", sum_.memory);
  line("used_memory_human", human(used));
  line("used_memory_rss", rss);
  line("used_memory_rss_human", human(static_cast<double>(rss)));
  line("used_memory_peak", node_.peak_memory());
  line("used_memory_peak_human", human(peak));
  format("used_memory_peak_perc", "%.2f%%", peak > 0 ? used * 100 / peak : 0.0);
  line("used_memory_overhead", sum_.client_memory);
  line("used_memory_startup", 0);
  line("used_memory_dataset", sum_.memory);
  line("used_memory_dataset_perc", "100.00%");
  line("allocator_allocated", allocated);
  line("allocator_active", active);
  line("allocator_resident", resident);
  line("total_system_memory", static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                                  static_cast<uint64_t>(sysconf(_SC_PAGESIZE)));
  const uint64_t scripts = node_.scripts().bytes();
  line("used_memory_vm_eval", sum_.script_memory);
  line("used_memory_lua", sum_.script_memory);
  line("used_memory_lua_human", human(static_cast<double>(sum_.script_memory)));
  line("used_memory_scripts_eval", scripts);
  line("number_of_cached_scripts", node_.scripts().size());
  line("number_of_functions", 0);
  line("number_of_libraries", 0);
  line("used_memory_vm_functions", 0);
  line("used_memory_vm_total", sum_.script_memory);
  line("used_memory_vm_total_human", human(static_cast<double>(sum_.script_memory)));
  line("used_memory_functions", 0);
  line("used_memory_scripts", scripts);
  line("used_memory_scripts_human", human(static_cast<double>(scripts)));
  line("maxmemory", settings_.maxmemory);
  line("maxmemory_human", human(maximum));
  const auto policy = node_.config().get("maxmemory-policy");
  line("maxmemory_policy", policy.empty() ? "" : policy.front().second);
  format("allocator_frag_ratio", "%.2f",
         allocated > 0 ? static_cast<double>(active) / static_cast<double>(allocated) : 1.0);
  line("allocator_frag_bytes", static_cast<int64_t>(active) - static_cast<int64_t>(allocated));
  format("mem_fragmentation_ratio", "%.2f",
         allocated > 0 ? static_cast<double>(rss) / static_cast<double>(allocated) : 1.0);
  line("mem_fragmentation_bytes", static_cast<int64_t>(rss) - static_cast<int64_t>(allocated));
  line("mem_not_counted_for_evict", allocated > sum_.memory ? allocated - sum_.memory : 0);
  line("mem_clients_normal", sum_.client_memory);
  line("mem_aof_buffer", node_.storage() != nullptr ? node_.storage()->queued_bytes() : 0);
  line("mem_allocator", "jemalloc-" + std::to_string(JEMALLOC_VERSION_MAJOR) + "." +
                            std::to_string(JEMALLOC_VERSION_MINOR) + "." +
                            std::to_string(JEMALLOC_VERSION_BUGFIX));
  line("active_defrag_running", 0);
  line("lazyfree_pending_objects", 0);
}

void Text::persistence() {
  head("Persistence");
  Snapshots& snapshots = node_.snapshots();
  persist::Storage* storage = node_.storage();
  line("loading", node_.loading() ? 1 : 0);
  line("async_loading", 0);
  if (node_.loading()) {
    const auto up = std::chrono::steady_clock::now() - node_.started();
    line("loading_start_time",
         node_.wall_ms() / 1000 - std::chrono::duration_cast<std::chrono::seconds>(up).count());
    line("loading_eta_seconds", 1);
  }
  line("rdb_changes_since_last_save", snapshots.changes_since());
  line("rdb_bgsave_in_progress", snapshots.running() ? 1 : 0);
  line("rdb_last_save_time", snapshots.last_save_unix_s());
  line("rdb_last_bgsave_status", snapshots.last_failed() ? "err" : "ok");
  line("rdb_last_bgsave_time_sec", snapshots.last_took_s());
  line("rdb_current_bgsave_time_sec", -1);
  line("rdb_saves", snapshots.passes());
  line("rdb_last_load_keys_expired", 0);
  line("aof_enabled", node_.logging() ? 1 : 0);
  line("aof_rewrite_in_progress", node_.logging() && snapshots.running() ? 1 : 0);
  line("aof_rewrite_scheduled", 0);
  line("aof_last_rewrite_time_sec", snapshots.last_took_s());
  line("aof_current_rewrite_time_sec", -1);
  line("aof_last_bgrewrite_status", snapshots.last_failed() ? "err" : "ok");
  const bool failing = storage != nullptr && !storage->healthy();
  line("aof_last_write_status", failing ? "err" : "ok");
  if (storage != nullptr && node_.logging()) {
    line("aof_current_size", storage->own_bytes() + storage->remote_bytes());
    line("aof_pending_bio_fsync",
         static_cast<int64_t>(storage->written_ticket() - storage->durable_ticket()));
    line("aof_buffer_length", storage->queued_bytes());
  }
  line("snapshot_dirty_slots", sum_.dirty_slots);
  if (storage != nullptr) {
    const persist::RecoveryReport& report = storage->report();
    line("storage_write_failures", storage->failures());
    line("recovery_clean_shutdown", report.clean_shutdown ? 1 : 0);
    line("recovery_tail_was_cut", report.tail_was_cut ? 1 : 0);
    line("recovery_damaged_slots", node_.recovery().damaged.size());
  }
}

void Text::stats() {
  head("Stats");
  const ShardTotals& s = sum_.stats;
  line("total_connections_received", s.connections);
  line("total_commands_processed", s.processed);
  line("instantaneous_ops_per_sec", static_cast<int64_t>(s.ops_per_s));
  line("total_net_input_bytes", sum_.bytes_in);
  line("total_net_output_bytes", sum_.bytes_out);
  format("instantaneous_input_kbps", "%.2f", s.in_per_s / 1024);
  format("instantaneous_output_kbps", "%.2f", s.out_per_s / 1024);
  line("rejected_connections", node_.refused_clients());
  line("sync_full", 0);
  line("sync_partial_ok", 0);
  line("sync_partial_err", 0);
  line("expired_keys", sum_.store.expired);
  line("expired_subkeys", sum_.store.expired_elements);
  line("evicted_keys", sum_.store.evicted);
  line("keyspace_hits", s.hits);
  line("keyspace_misses", s.misses);
  line("pubsub_channels", distinct(sum_.topics[static_cast<size_t>(TopicKind::kChannel)]));
  line("pubsub_patterns", distinct(sum_.topics[static_cast<size_t>(TopicKind::kPattern)]));
  line("pubsubshard_channels",
       distinct(sum_.topics[static_cast<size_t>(TopicKind::kShardChannel)]));
  line("pubsub_dropped", sum_.published_dropped);
  line("latest_fork_usec", 0);
  line("total_forks", 0);
  line("tracking_total_keys", sum_.tracked_keys);
  line("tracking_total_items", sum_.tracked_items);
  line("tracking_total_prefixes", sum_.tracked_prefixes);
  line("unexpected_error_replies", 0);
  line("total_error_replies", s.error_replies);
  const acl::DenialCounts& denied = node_.access_control().counts();
  line("acl_access_denied_auth", denied.auth.load());
  line("acl_access_denied_cmd", denied.command.load());
  line("acl_access_denied_key", denied.key.load());
  line("acl_access_denied_channel", denied.channel.load());
  line("client_query_buffer_limit_disconnections", sum_.query_closes);
  line("client_output_buffer_limit_disconnections", sum_.output_closes);
  line("forwarded_commands", s.forwarded);
  line("barriers", s.barriers);
  line("event_loop_turns", s.turns);
  line("log_batches", s.batches);
  line("log_batch_bytes", s.batch_bytes);
}

void Text::replication() {
  head("Replication");
  line("role", "master");
  line("connected_slaves", 0);
  line("master_failover_state", "no-failover");
  line("master_replid", node_.run_id());
  line("master_replid2", "0000000000000000000000000000000000000000");
  line("master_repl_offset", 0);
  line("second_repl_offset", -1);
  line("repl_backlog_active", 0);
  line("repl_backlog_size", settings_.geo_backlog_size);
  line("repl_backlog_first_byte_offset", 0);
  line("repl_backlog_histlen", 0);
}

void Text::cpu() {
  head("CPU");
  rusage self{}, children{};
  getrusage(RUSAGE_SELF, &self);
  getrusage(RUSAGE_CHILDREN, &children);
  const auto put = [&](std::string_view name, const timeval& t) {
    format(name, "%ld.%06ld", static_cast<long>(t.tv_sec), static_cast<long>(t.tv_usec));
  };
  put("used_cpu_sys", self.ru_stime);
  put("used_cpu_user", self.ru_utime);
  put("used_cpu_sys_children", children.ru_stime);
  put("used_cpu_user_children", children.ru_utime);
}

void Text::commandstats() {
  head("Commandstats");
  const double per_us = cycles_per_us();
  for (size_t i = 0; i < sum_.commands.size(); ++i) {
    const auto& stat = sum_.commands[i];
    if (stat.calls == 0 && stat.rejected == 0) continue;
    const double us = static_cast<double>(stat.cycles) / per_us;
    format("cmdstat_" + node_.commands().at(i).name,
           "calls=%llu,usec=%.0f,usec_per_call=%.2f,rejected_calls=%llu,failed_calls=%llu",
           static_cast<unsigned long long>(stat.calls), us,
           stat.calls == 0 ? 0.0 : us / static_cast<double>(stat.calls),
           static_cast<unsigned long long>(stat.rejected),
           static_cast<unsigned long long>(stat.failed));
  }
}

void Text::errorstats() {
  head("Errorstats");
  for (const auto& [code, count] : sum_.stats.errors) {
    line("errorstat_" + code, "count=" + std::to_string(count));
  }
}

void Text::latencystats() {
  head("Latencystats");
  for (size_t i = 0; i < sum_.commands.size(); ++i) {
    const auto& stat = sum_.commands[i];
    if (stat.calls == 0) continue;
    // Upper bound of the bucket in which the percentile falls.
    const auto percentile = [&](double p) {
      const auto wanted = static_cast<uint64_t>(p / 100 * static_cast<double>(stat.calls));
      uint64_t seen = 0;
      for (size_t b = 0; b < stat.histogram.size(); ++b) {
        seen += stat.histogram[b];
        if (seen > wanted || seen == stat.calls) return static_cast<double>(uint64_t{1} << b);
      }
      return 0.0;
    };
    format("latency_percentiles_usec_" + node_.commands().at(i).name,
           "p50=%.3f,p99=%.3f,p99.9=%.3f", percentile(50), percentile(99), percentile(99.9));
  }
}

void Text::cluster() {
  head("Cluster");
  line("cluster_enabled", 0);
}

void Text::keyspace() {
  head("Keyspace");
  for (size_t db = 0; db < sum_.dbs.size(); ++db) {
    if (sum_.dbs[db].keys == 0) continue;
    format("db" + std::to_string(db), "keys=%llu,expires=%llu,avg_ttl=0",
           static_cast<unsigned long long>(sum_.dbs[db].keys),
           static_cast<unsigned long long>(sum_.dbs[db].expires));
  }
}

void Text::geo() {
  head("Geo");
  line("geo_enabled", node_.replication() != nullptr ? 1 : 0);
  line("geo_region", settings_.region);
  line("geo_region_id", static_cast<int>(settings_.region_id));
  line("geo_tombstones", sum_.tombstones);
  line("geo_pending", sum_.pending);
  line("geo_metadata_entries", sum_.guarded);
  line("geo_merged_deltas", sum_.store.merged_deltas);
  line("geo_conflicts", sum_.store.conflicts);
  if (node_.replication() == nullptr) return;
  for (const auto& [name, value] : node_.replication()->info()) line(name, value);
}

struct Section {
  std::string_view name;
  void (Text::*write)();
  bool by_default;
};
constexpr Section kSections[] = {
    {"server", &Text::server, true},
    {"clients", &Text::clients, true},
    {"memory", &Text::memory, true},
    {"persistence", &Text::persistence, true},
    {"stats", &Text::stats, true},
    {"replication", &Text::replication, true},
    {"cpu", &Text::cpu, true},
    {"modules", &Text::modules, true},
    {"commandstats", &Text::commandstats, false},
    {"errorstats", &Text::errorstats, true},
    {"latencystats", &Text::latencystats, false},
    {"cluster", &Text::cluster, true},
    {"keyspace", &Text::keyspace, true},
    {"geo", &Text::geo, true},
};

}  // namespace

void Services::info(std::vector<std::string> sections, std::function<void(std::string)> done) {
  using Part = std::shared_ptr<ShardReport>;
  Shard* shard = &shard_;
  node().gather<Part>(
      shard_, [](Shard& each) { return Part(report_of(each)); },
      [shard, sections = std::move(sections), done = std::move(done)](std::vector<Part> parts) {
        ShardReport sum;
        for (const Part& part : parts) add(sum, *part);
        std::set<std::string> wanted;
        for (const std::string& section : sections) {
          std::string lower;
          for (const char c : section) lower.push_back(static_cast<char>(std::tolower(c)));
          wanted.insert(std::move(lower));
        }
        const bool all = wanted.contains("all") || wanted.contains("everything");
        const bool defaults = wanted.empty() || wanted.contains("default");
        Text text(shard->node(), shard->settings(), sum);
        for (const Section& section : kSections) {
          if (all || (defaults && section.by_default) ||
              wanted.contains(std::string(section.name))) {
            (text.*section.write)();
          }
        }
        done(text.take());
      });
}

}  // namespace atl::shard
