// The values of every option as plain typed fields, for the code that obeys them.
//
// A Settings is a value: Config publishes it as std::shared_ptr<const Settings>, a shard keeps the
// pointer it was given and reads fields without a lock; a CONFIG SET makes a new one. The rejected
// alternative, one struct of atomics, would let a reader see half of a CONFIG SET.
//
// A field is zero until the table in options.cpp fills it: use default_settings(), never
// Settings{}, for "as if nothing had been configured". The table is the only list of defaults.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace atl::config {

enum class EvictionPolicy : std::uint8_t {
  kVolatileLru,
  kVolatileLfu,
  kVolatileRandom,
  kVolatileTtl,
  kAllkeysLru,
  kAllkeysLfu,
  kAllkeysRandom,
  kNoeviction,
};

enum class AppendFsync : std::uint8_t { kAlways, kEverysec, kNo };
enum class GeoCompression : std::uint8_t { kNo, kLz4, kZstd };
enum class TlsAuthClients : std::uint8_t { kNo, kYes, kOptional };
enum class LogLevel : std::uint8_t { kDebug, kVerbose, kNotice, kWarning };
enum class DebugCommand : std::uint8_t { kNo, kLocal, kYes };
enum class AclPubsubDefault : std::uint8_t { kAllChannels, kResetChannels };
enum class GeoMode : std::uint8_t { kActiveActive };
enum class DeletePolicy : std::uint8_t { kLastWriteWins };

// Index into Settings::client_output_buffer_limit.
enum class ClientClass : std::uint8_t { kNormal, kReplica, kPubsub };
inline constexpr std::size_t kClientClasses = 3;

// A client is closed when its pending output exceeds `hard` bytes, or `soft` bytes for `soft_for`
// without a break. 0 means no limit.
struct BufferLimit {
  std::int64_t hard_bytes = 0;
  std::int64_t soft_bytes = 0;
  std::chrono::seconds soft_for{0};
  bool operator==(const BufferLimit&) const = default;
};

// Snapshot once `after` has passed and at least `changes` keys have changed.
struct SavePoint {
  std::chrono::seconds after{0};
  std::int64_t changes = 0;
  bool operator==(const SavePoint&) const = default;
};

// A `user` line as written: a name and access rules, which only node/acl understands.
struct UserLine {
  std::vector<std::string> words;
  std::string place;  // "file:line", for errors
  bool operator==(const UserLine& other) const { return words == other.words; }
};

struct Settings {
  // Network and clients.
  std::uint16_t port{};            // 0: no TCP listener
  std::vector<std::string> bind;   // as written; a leading '-' means "if the address exists"
  std::string unixsocket;          // empty: none
  std::uint32_t unixsocketperm{};  // mode bits; 0: leave what umask gives
  int tcp_backlog{};
  std::chrono::seconds tcp_keepalive{};  // 0: off
  std::chrono::seconds timeout{};        // idle clients; 0: never
  std::uint32_t maxclients{};
  bool protected_mode{};
  std::string requirepass;      // empty: no password
  std::string aclfile;          // empty: none; relative to `dir`
  std::vector<UserLine> users;  // in the order of the file, names unique
  std::int64_t acllog_max_len{};
  AclPubsubDefault acl_pubsub_default{};
  std::int64_t proto_max_bulk_len{};
  std::int64_t client_query_buffer_limit{};
  std::array<BufferLimit, kClientClasses> client_output_buffer_limit{};
  std::int64_t tracking_table_max_keys{};  // 0: no limit

  // TLS for clients. Names of files are relative to `dir`; empty: none, or OpenSSL's default.
  std::uint16_t tls_port{};  // 0: no TLS listener
  std::string tls_cert_file, tls_key_file;
  std::string tls_key_file_pass;
  std::string tls_ca_cert_file, tls_ca_cert_dir;
  TlsAuthClients tls_auth_clients{};
  std::string tls_protocols;
  std::string tls_ciphers;
  std::string tls_ciphersuites;
  std::string tls_dh_params_file;
  bool tls_prefer_server_ciphers{};
  bool tls_session_caching{};
  int tls_session_cache_size{};
  std::chrono::seconds tls_session_cache_timeout{};

  // The process.
  int threads{};
  int databases{};
  int hz{};
  bool daemonize{};
  std::string pidfile;
  LogLevel loglevel{};
  std::string logfile;  // empty: standard output
  std::chrono::seconds shutdown_timeout{};
  DebugCommand enable_debug_command{};

  // Memory.
  std::int64_t maxmemory{};  // bytes; 0: no limit
  EvictionPolicy maxmemory_policy{};
  int maxmemory_samples{};
  int lfu_log_factor{};
  int lfu_decay_time{};  // minutes
  int active_expire_effort{};
  bool lazyfree_lazy_eviction{};
  bool lazyfree_lazy_expire{};
  bool lazyfree_lazy_server_del{};
  bool lazyfree_lazy_user_del{};
  bool lazyfree_lazy_user_flush{};

  // Persistence.
  std::string dir;  // absolute once loaded
  std::string dbfilename;
  bool appendonly{};
  AppendFsync appendfsync{};
  int auto_aof_rewrite_percentage{};
  std::int64_t auto_aof_rewrite_min_size{};  // bytes
  std::vector<SavePoint> save;               // empty: no automatic snapshots
  bool stop_writes_on_bgsave_error{};

  // Observation.
  std::int64_t slowlog_log_slower_than{};  // microseconds; 0: log all, -1: log none
  std::int64_t slowlog_max_len{};
  std::chrono::milliseconds latency_monitor_threshold{};  // 0: off
  std::chrono::milliseconds busy_reply_threshold{};       // of scripts; 0: never
  std::string notify_keyspace_events;                     // letters (event_classes.h); empty: none

  // Between regions.
  std::string region;
  std::uint8_t region_id{};               // 0: geo-replication off
  std::vector<std::string> geo_nats_url;  // empty: geo-replication off
  std::string geo_nats_tls_ca_cert_file;
  std::string geo_nats_tls_cert_file, geo_nats_tls_key_file;
  std::string geo_nats_credentials_file;
  std::string geo_subject_prefix;
  GeoMode geo_mode{};
  DeletePolicy delete_policy{};
  std::chrono::milliseconds geo_max_clock_skew{};
  std::chrono::milliseconds geo_flush_interval{};
  std::chrono::milliseconds geo_beacon_interval{};
  std::int64_t geo_batch_bytes{};
  std::int64_t geo_outbox_limit{};  // bytes
  std::int64_t geo_backlog_size{};  // bytes
  std::chrono::seconds geo_horizon{};
  std::int64_t geo_horizon_bytes{};
  std::int64_t geo_conflict_log_len{};
  GeoCompression geo_compression{};
  std::vector<std::string> geo_regional_channels;  // prefixes; "*": every channel
  std::chrono::milliseconds debug_clock_offset{};  // added to the wall clock, for tests of skew
  std::vector<std::string> debug_disable_rule;     // node/shard/disabled_rules.h

  bool operator==(const Settings&) const = default;

  // True when this node exchanges deltas with other regions.
  bool geo_enabled() const { return region_id != 0 && !geo_nats_url.empty(); }
  const BufferLimit& output_limit(ClientClass c) const {
    return client_output_buffer_limit[static_cast<std::size_t>(c)];
  }
};

// Why settings cannot be, and whose fault it is.
struct Conflict {
  std::string_view option;
  std::string reason;
};

// Every field at the default of its row in the table.
Settings default_settings();

}  // namespace atl::config
