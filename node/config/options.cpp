// The table of options, and what follows from it alone.
#include <algorithm>

#include "node/config/config.h"
#include "node/config/event_classes.h"
#include "node/config/option.h"
#include "node/config/text.h"

namespace atl::config {
namespace {

constexpr std::int64_t kIntMax = std::numeric_limits<int>::max();
constexpr std::int64_t kKib = 1 << 10;
constexpr std::int64_t kMib = 1 << 20;
constexpr std::size_t kRegionNameMax = 32;

template <typename T>
constexpr EnumValue named(std::string_view name, T value) {
  return {name, static_cast<std::int64_t>(value)};
}

constexpr EnumValue kPolicies[] = {
    named("volatile-lru", EvictionPolicy::kVolatileLru),
    named("volatile-lfu", EvictionPolicy::kVolatileLfu),
    named("volatile-random", EvictionPolicy::kVolatileRandom),
    named("volatile-ttl", EvictionPolicy::kVolatileTtl),
    named("allkeys-lru", EvictionPolicy::kAllkeysLru),
    named("allkeys-lfu", EvictionPolicy::kAllkeysLfu),
    named("allkeys-random", EvictionPolicy::kAllkeysRandom),
    named("noeviction", EvictionPolicy::kNoeviction),
};
constexpr EnumValue kCompressions[] = {named("lz4", GeoCompression::kLz4),
                                       named("zstd", GeoCompression::kZstd),
                                       named("no", GeoCompression::kNo)};
constexpr EnumValue kFsyncs[] = {named("everysec", AppendFsync::kEverysec),
                                 named("always", AppendFsync::kAlways),
                                 named("no", AppendFsync::kNo)};
constexpr EnumValue kTlsAuthClients[] = {named("no", TlsAuthClients::kNo),
                                         named("yes", TlsAuthClients::kYes),
                                         named("optional", TlsAuthClients::kOptional)};
constexpr EnumValue kLogLevels[] = {
    named("debug", LogLevel::kDebug), named("verbose", LogLevel::kVerbose),
    named("notice", LogLevel::kNotice), named("warning", LogLevel::kWarning)};
constexpr EnumValue kDebugCommands[] = {named("no", DebugCommand::kNo),
                                        named("yes", DebugCommand::kYes),
                                        named("local", DebugCommand::kLocal)};
constexpr EnumValue kAclPubsubDefaults[] = {
    named("allchannels", AclPubsubDefault::kAllChannels),
    named("resetchannels", AclPubsubDefault::kResetChannels)};
constexpr EnumValue kGeoModes[] = {named("active-active", GeoMode::kActiveActive)};
constexpr EnumValue kDeletePolicies[] = {named("last-write-wins", DeletePolicy::kLastWriteWins)};

bool all_of_set(std::string_view text, std::string_view allowed) {
  return text.find_first_not_of(allowed) == std::string_view::npos;
}

std::optional<std::string> check_region(std::string_view name) {
  if (!name.empty() && name.size() <= kRegionNameMax &&
      all_of_set(name, "abcdefghijklmnopqrstuvwxyz0123456789-")) {
    return std::nullopt;
  }
  return "argument must be 1 to 32 characters of a-z, 0-9 and '-'";
}

std::optional<std::string> check_subject(std::string_view subject) {
  const bool tokens = !subject.empty() && subject.size() <= 64 && subject.front() != '.' &&
                      subject.back() != '.' && subject.find("..") == std::string_view::npos &&
                      all_of_set(lower(subject), "abcdefghijklmnopqrstuvwxyz0123456789-_.");
  if (tokens) return std::nullopt;
  return "argument must be a NATS subject without wildcards: letters, digits, '-', '_' and single "
         "dots between them, 64 characters at most";
}

std::optional<std::string> check_nats_url(std::string_view url) {
  for (std::string_view scheme : {"nats://", "tls://"}) {
    if (url.starts_with(scheme) && url.size() > scheme.size()) return std::nullopt;
  }
  return "argument must be a list of NATS URLs such as nats://127.0.0.1:4222 or tls://host:4222";
}

std::optional<std::string> check_tls_protocols(std::string_view protocols) {
  for (const std::string& name : split_at(lower(protocols), " ")) {
    if (name != "tlsv1" && name != "tlsv1.1" && name != "tlsv1.2" && name != "tlsv1.3") {
      return "Invalid tls-protocols specified. Use a combination of 'TLSv1', 'TLSv1.1', 'TLSv1.2' "
             "and 'TLSv1.3'.";
    }
  }
  return std::nullopt;
}

std::optional<std::string> check_file_name(std::string_view name) {
  if (!name.empty() && name.find('/') == std::string_view::npos) return std::nullopt;
  return "dbfilename can't be a path, just a filename";
}

constexpr std::string_view kNetwork = "Network and clients";
constexpr std::string_view kTls = "TLS for clients";
constexpr std::string_view kProcess = "Process";
constexpr std::string_view kMemorySection = "Memory";
constexpr std::string_view kPersistence = "Persistence";
constexpr std::string_view kObservation = "Observation";
constexpr std::string_view kGeo = "Between regions";

constexpr Option kOptions[] = {
    {.section = kNetwork,
     .name = "port",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::port>(),
     .standard = "6379",
     .apply = Apply::kAtStart,
     .max = 65535,
     .help = "TCP port for clients; 0 listens on no TCP port."},
    {.section = kNetwork,
     .name = "bind",
     .kind = Kind::kList,
     .field = &Settings::bind,
     .standard = "127.0.0.1 -::1",
     .apply = Apply::kAtStart,
     .max = 16,
     .help = "Addresses, or names of IPv4 ones, to listen on; a leading '-' skips an address that "
             "this machine lacks, "
             "* means all IPv4 and ::* all IPv6 addresses."},
    {.section = kNetwork,
     .name = "unixsocket",
     .field = &Settings::unixsocket,
     .apply = Apply::kAtStart,
     .help = "Path of a Unix socket to listen on; empty for none."},
    {.section = kNetwork,
     .name = "unixsocketperm",
     .kind = Kind::kOctal,
     .field = number_field<&Settings::unixsocketperm>(),
     .standard = "0",
     .apply = Apply::kAtStart,
     .max = 0777,
     .help = "Mode bits of the Unix socket, in octal; 0 leaves what the umask gives."},
    {.section = kNetwork,
     .name = "tcp-backlog",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::tcp_backlog>(),
     .standard = "511",
     .apply = Apply::kAtStart,
     .max = kIntMax,
     .help = "Length of the queue of connections that wait to be accepted."},
    {.section = kNetwork,
     .name = "tcp-keepalive",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::tcp_keepalive>(),
     .standard = "300",
     .max = kIntMax,
     .unit = "s",
     .help = "Silence after which TCP probes a client; 0 never probes."},
    {.section = kNetwork,
     .name = "timeout",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::timeout>(),
     .standard = "0",
     .max = kIntMax,
     .unit = "s",
     .help = "Closes a client that was idle for so long; 0 never does."},
    {.section = kNetwork,
     .name = "maxclients",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::maxclients>(),
     .standard = "10000",
     .min = 1,
     .max = std::numeric_limits<std::uint32_t>::max(),
     .help = "Clients connected at the same time."},
    {.section = kNetwork,
     .name = "protected-mode",
     .kind = Kind::kYesNo,
     .field = number_field<&Settings::protected_mode>(),
     .standard = "yes",
     .help = "While the user 'default' needs no password, serve only clients of this machine."},
    {.section = kNetwork,
     .name = "requirepass",
     .field = &Settings::requirepass,
     .secrecy = Secrecy::kSecret,
     .help = "Password of the user 'default', which clients must give with AUTH; empty for none. "
             "Ignored where a 'user default' line or an aclfile says otherwise."},
    {.section = kNetwork,
     .name = "user",
     .kind = Kind::kUsers,
     .field = &Settings::users,
     .apply = Apply::kAtStart,
     .secrecy = Secrecy::kSecret,
     .help =
         "A user and what it may do, as for ACL SETUSER; one line each. ACL SETUSER changes "
         "users at run time, CONFIG REWRITE keeps them. Users are this node's own: they are not "
         "replicated to other regions."},
    {.section = kNetwork,
     .name = "aclfile",
     .field = &Settings::aclfile,
     .apply = Apply::kAtStart,
     .help =
         "File of users, one 'user' line each, instead of such lines here; relative to dir. ACL "
         "LOAD reads it again, ACL SAVE writes it."},
    {.section = kNetwork,
     .name = "acllog-max-len",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::acllog_max_len>(),
     .standard = "128",
     .max = kIntMax,
     .help = "Entries that ACL LOG keeps in memory."},
    {.section = kNetwork,
     .name = "acl-pubsub-default",
     .kind = Kind::kEnum,
     .field = number_field<&Settings::acl_pubsub_default>(),
     .standard = "resetchannels",
     .values = kAclPubsubDefaults,
     .help = "Whether a new user may use all Pub/Sub channels or none."},
    {.section = kNetwork,
     .name = "proto-max-bulk-len",
     .kind = Kind::kMemory,
     .field = number_field<&Settings::proto_max_bulk_len>(),
     .standard = "512mb",
     .min = kMib,
     .unit = "bytes",
     .help = "Largest single string in a request."},
    {.section = kNetwork,
     .name = "client-query-buffer-limit",
     .kind = Kind::kMemory,
     .field = number_field<&Settings::client_query_buffer_limit>(),
     .standard = "1gb",
     .min = kMib,
     .unit = "bytes",
     .help = "Closes a client whose unfinished requests exceed this."},
    {.section = kNetwork,
     .name = "client-output-buffer-limit",
     .kind = Kind::kBufferLimits,
     .field = &Settings::client_output_buffer_limit,
     .standard = "normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60",
     .help = "Per class of client (normal, replica, pubsub): closes it when its unread replies "
             "exceed the hard limit, or the soft limit for so many seconds; 0 for no limit."},
    {.section = kNetwork,
     .name = "tracking-table-max-keys",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::tracking_table_max_keys>(),
     .standard = "1000000",
     .help = "Keys of which CLIENT TRACKING remembers who has read them; beyond it, clients are "
             "told to drop keys chosen at random. 0 for no limit."},

    {.section = kTls,
     .name = "tls-port",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::tls_port>(),
     .standard = "0",
     .apply = Apply::kAtStart,
     .max = 65535,
     .help =
         "TCP port for clients that speak TLS; 0 for none. Needs tls-cert-file and tls-key-file; "
         "port 0 leaves this one alone. Redis can change it at run time, Atoll cannot."},
    {.section = kTls,
     .name = "tls-cert-file",
     .field = &Settings::tls_cert_file,
     .apply = Apply::kAtEverySet,
     .help =
         "PEM file with the certificate that clients are shown, and its chain; relative to dir. "
         "CONFIG SET reads the files again for new connections, also under their old names."},
    {.section = kTls,
     .name = "tls-key-file",
     .field = &Settings::tls_key_file,
     .apply = Apply::kAtEverySet,
     .help = "PEM file with the private key of tls-cert-file."},
    {.section = kTls,
     .name = "tls-key-file-pass",
     .field = &Settings::tls_key_file_pass,
     .apply = Apply::kAtEverySet,
     .secrecy = Secrecy::kSecret,
     .help = "Passphrase of tls-key-file; empty for none."},
    {.section = kTls,
     .name = "tls-dh-params-file",
     .field = &Settings::tls_dh_params_file,
     .apply = Apply::kAtEverySet,
     .help = "PEM file with Diffie-Hellman parameters for old clients; empty: fitting ones are "
             "chosen."},
    {.section = kTls,
     .name = "tls-ca-cert-file",
     .field = &Settings::tls_ca_cert_file,
     .apply = Apply::kAtEverySet,
     .help = "PEM file with who may sign the certificates of clients."},
    {.section = kTls,
     .name = "tls-ca-cert-dir",
     .field = &Settings::tls_ca_cert_dir,
     .apply = Apply::kAtEverySet,
     .help = "Directory of such files, named by their hashes (openssl rehash)."},
    {.section = kTls,
     .name = "tls-auth-clients",
     .kind = Kind::kEnum,
     .field = number_field<&Settings::tls_auth_clients>(),
     .standard = "yes",
     .values = kTlsAuthClients,
     .help = "Whether a client must show a certificate of tls-ca-cert-file or tls-ca-cert-dir: "
             "always, never, or only a good one if any (optional)."},
    {.section = kTls,
     .name = "tls-protocols",
     .field = &Settings::tls_protocols,
     .check = check_tls_protocols,
     .help = "Versions of TLS to accept, as in 'TLSv1.2 TLSv1.3'; empty for these two."},
    {.section = kTls,
     .name = "tls-ciphers",
     .field = &Settings::tls_ciphers,
     .help = "Ciphers for TLS 1.2 and older, as OpenSSL's ciphers(1) writes them; empty for its "
             "default."},
    {.section = kTls,
     .name = "tls-ciphersuites",
     .field = &Settings::tls_ciphersuites,
     .help = "Ciphers for TLS 1.3, separated by colons; empty for OpenSSL's default."},
    {.section = kTls,
     .name = "tls-prefer-server-ciphers",
     .kind = Kind::kYesNo,
     .field = number_field<&Settings::tls_prefer_server_ciphers>(),
     .standard = "no",
     .help = "Take the server's order of ciphers and not the client's."},
    {.section = kTls,
     .name = "tls-session-caching",
     .kind = Kind::kYesNo,
     .field = number_field<&Settings::tls_session_caching>(),
     .standard = "yes",
     .help = "Let clients resume sessions, which spares both sides most of a handshake."},
    {.section = kTls,
     .name = "tls-session-cache-size",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::tls_session_cache_size>(),
     .standard = "20480",
     .max = kIntMax,
     .help = "Sessions kept here, for clients that do not keep their own; 0 for no limit."},
    {.section = kTls,
     .name = "tls-session-cache-timeout",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::tls_session_cache_timeout>(),
     .standard = "300",
     .max = kIntMax,
     .unit = "s",
     .help = "How long a session may be resumed."},

    {.section = kProcess,
     .name = "threads",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::threads>(),
     .standard = "1",
     .apply = Apply::kAtStart,
     .origin = Origin::kAtoll,
     .min = 1,
     .max = 64,
     .help = "Threads that serve clients; each owns its share of the keys and one core's worth of "
             "work."},
    {.section = kProcess,
     .name = "databases",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::databases>(),
     .standard = "16",
     .apply = Apply::kAtStart,
     .min = 1,
     .max = 255,
     .help = "Numbered databases for SELECT."},
    {.section = kProcess,
     .name = "hz",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::hz>(),
     .standard = "10",
     .min = 1,
     .max = 500,
     .unit = "per second",
     .help = "Accepted for compatibility: periodic work runs 10 times a second, and up to 1,000 "
             "times while there is much of it."},
    {.section = kProcess,
     .name = "daemonize",
     .kind = Kind::kYesNo,
     .field = number_field<&Settings::daemonize>(),
     .standard = "no",
     .apply = Apply::kAtStart,
     .help = "Run in the background."},
    {.section = kProcess,
     .name = "pidfile",
     .field = &Settings::pidfile,
     .apply = Apply::kAtStart,
     .help = "File that holds the process id while the server runs; empty for none."},
    {.section = kProcess,
     .name = "loglevel",
     .kind = Kind::kEnum,
     .field = number_field<&Settings::loglevel>(),
     .standard = "notice",
     .values = kLogLevels,
     .help = "The least important kind of message to log."},
    {.section = kProcess,
     .name = "logfile",
     .field = &Settings::logfile,
     .apply = Apply::kAtStart,
     .help = "File to log to; empty for standard output."},
    {.section = kProcess,
     .name = "shutdown-timeout",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::shutdown_timeout>(),
     .standard = "10",
     .max = kIntMax,
     .unit = "s",
     .help = "How long a shutdown waits for other regions to have what this one acknowledged."},
    {.section = kProcess,
     .name = "enable-debug-command",
     .kind = Kind::kEnum,
     .field = number_field<&Settings::enable_debug_command>(),
     .standard = "local",
     .apply = Apply::kAtStart,
     .values = kDebugCommands,
     .help = "Who may use DEBUG: nobody, everybody, or clients of this machine."},

    {.section = kMemorySection,
     .name = "maxmemory",
     .kind = Kind::kMemory,
     .field = number_field<&Settings::maxmemory>(),
     .standard = "0",
     .unit = "bytes",
     .help = "Memory for data; beyond it maxmemory-policy decides. 0 for no limit."},
    {.section = kMemorySection,
     .name = "maxmemory-policy",
     .kind = Kind::kEnum,
     .field = number_field<&Settings::maxmemory_policy>(),
     .standard = "noeviction",
     .values = kPolicies,
     .help = "What to evict at maxmemory: any key or those with a TTL, by age, by frequency, at "
             "random or by TTL; noeviction refuses writes."},
    {.section = kMemorySection,
     .name = "maxmemory-samples",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::maxmemory_samples>(),
     .standard = "5",
     .min = 1,
     .max = 64,
     .help = "Keys compared to choose one to evict."},
    {.section = kMemorySection,
     .name = "lfu-log-factor",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::lfu_log_factor>(),
     .standard = "10",
     .max = kIntMax,
     .help = "How slowly the access counter of the lfu policies saturates."},
    {.section = kMemorySection,
     .name = "lfu-decay-time",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::lfu_decay_time>(),
     .standard = "1",
     .max = kIntMax,
     .unit = "minutes",
     .help = "Time after which an unused key's access counter falls by one; 0 never."},
    {.section = kMemorySection,
     .name = "active-expire-effort",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::active_expire_effort>(),
     .standard = "1",
     .min = 1,
     .max = 10,
     .help = "How hard to look for expired keys that nobody reads."},
    {.section = kMemorySection,
     .name = "lazyfree-lazy-eviction",
     .kind = Kind::kYesNo,
     .field = number_field<&Settings::lazyfree_lazy_eviction>(),
     .standard = "no",
     .help = "Accepted for compatibility."},
    {.section = kMemorySection,
     .name = "lazyfree-lazy-expire",
     .kind = Kind::kYesNo,
     .field = number_field<&Settings::lazyfree_lazy_expire>(),
     .standard = "no",
     .help = "Accepted for compatibility."},
    {.section = kMemorySection,
     .name = "lazyfree-lazy-server-del",
     .kind = Kind::kYesNo,
     .field = number_field<&Settings::lazyfree_lazy_server_del>(),
     .standard = "no",
     .help = "Accepted for compatibility."},
    {.section = kMemorySection,
     .name = "lazyfree-lazy-user-del",
     .kind = Kind::kYesNo,
     .field = number_field<&Settings::lazyfree_lazy_user_del>(),
     .standard = "no",
     .help = "Accepted for compatibility."},
    {.section = kMemorySection,
     .name = "lazyfree-lazy-user-flush",
     .kind = Kind::kYesNo,
     .field = number_field<&Settings::lazyfree_lazy_user_flush>(),
     .standard = "no",
     .help = "Accepted for compatibility."},

    {.section = kPersistence,
     .name = "dir",
     .field = &Settings::dir,
     .standard = ".",
     .apply = Apply::kAtStart,
     .help = "Directory of the log and the snapshots."},
    {.section = kPersistence,
     .name = "dbfilename",
     .field = &Settings::dbfilename,
     .standard = "dump.rdb",
     .apply = Apply::kAtStart,
     .check = check_file_name,
     .help = "Accepted for compatibility; Atoll writes no RDB file."},
    {.section = kPersistence,
     .name = "appendonly",
     .kind = Kind::kYesNo,
     .field = number_field<&Settings::appendonly>(),
     .standard = "no",
     .apply = Apply::kAtStart,
     .help = "Log every write to disk before it counts as done."},
    {.section = kPersistence,
     .name = "appendfsync",
     .kind = Kind::kEnum,
     .field = number_field<&Settings::appendfsync>(),
     .standard = "everysec",
     .values = kFsyncs,
     .help =
         "When the log is synced: once a second, before every reply, or when the kernel likes."},
    {.section = kPersistence,
     .name = "auto-aof-rewrite-percentage",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::auto_aof_rewrite_percentage>(),
     .standard = "100",
     .unit = "%",
     .help =
         "Snapshot, and trim the log, when since the last one it has grown by this share of what "
         "the data takes in memory; 0 never for that reason."},
    {.section = kPersistence,
     .name = "auto-aof-rewrite-min-size",
     .kind = Kind::kMemory,
     .field = number_field<&Settings::auto_aof_rewrite_min_size>(),
     .standard = "256mb",
     .unit = "bytes",
     .help = "Not for less than this."},
    {.section = kPersistence,
     .name = "save",
     .kind = Kind::kSave,
     .field = &Settings::save,
     .standard = "3600 1 300 100 60 10000",
     .help = "Snapshot after so many seconds if so many keys have changed, in pairs; \"\" for no "
             "automatic snapshots."},
    {.section = kPersistence,
     .name = "stop-writes-on-bgsave-error",
     .kind = Kind::kYesNo,
     .field = number_field<&Settings::stop_writes_on_bgsave_error>(),
     .standard = "yes",
     .help = "Refuse writes while the last snapshot has failed."},

    {.section = kObservation,
     .name = "slowlog-log-slower-than",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::slowlog_log_slower_than>(),
     .standard = "10000",
     .min = -1,
     .unit = "us",
     .help = "SLOWLOG keeps commands that ran longer; 0 all of them, -1 none."},
    {.section = kObservation,
     .name = "slowlog-max-len",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::slowlog_max_len>(),
     .standard = "128",
     .help = "Entries that SLOWLOG keeps."},
    {.section = kObservation,
     .name = "latency-monitor-threshold",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::latency_monitor_threshold>(),
     .standard = "0",
     .unit = "ms",
     .help = "LATENCY records events that took longer; 0 records none."},
    {.section = kProcess,
     .name = "busy-reply-threshold",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::busy_reply_threshold>(),
     .standard = "5000",
     .unit = "ms",
     .help = "A script that has run this long is slow: other clients get BUSY, and SCRIPT KILL may "
             "end it; 0 never."},
    {.section = kProcess,
     .name = "lua-time-limit",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::busy_reply_threshold>(),
     .standard = "5000",
     .visibility = Visibility::kHidden,
     .unit = "ms",
     .help = "Redis' earlier name of busy-reply-threshold."},

    {.section = kObservation,
     .name = "notify-keyspace-events",
     .field = &Settings::notify_keyspace_events,
     .check = check_event_classes,
     .canonical = canonical_event_classes,
     .help = "Keyspace notifications of what happens in this region, by Redis' letters: K "
             "__keyspace@<db>__ channels, E __keyevent@<db>__ channels, g generic commands, $ "
             "strings, x expired, e evicted, n new keys, m misses, A all but n and m; empty for "
             "none."},

    {.section = kGeo,
     .name = "region",
     .field = &Settings::region,
     .standard = "local",
     .apply = Apply::kAtStart,
     .origin = Origin::kAtoll,
     .check = check_region,
     .help = "Name of the region this node serves, as people and GEO STATUS call it."},
    {.section = kGeo,
     .name = "region-id",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::region_id>(),
     .standard = "0",
     .apply = Apply::kAtStart,
     .origin = Origin::kAtoll,
     .max = 255,
     .help = "Number of the region, 1 to 255, different in every region and never changed: it is "
             "part of every stamp. 0 for a single region, which "
             "stamps as region 1. A dir is of one region; another is refused."},
    {.section = kGeo,
     .name = "geo-nats-url",
     .kind = Kind::kUrls,
     .field = &Settings::geo_nats_url,
     .apply = Apply::kAtStart,
     .origin = Origin::kAtoll,
     .secrecy = Secrecy::kSecret,
     .max = 16,
     .check = check_nats_url,
     .help = "This region's NATS servers, through which it reaches the others; empty for a single "
             "region without replication."},
    {.section = kGeo,
     .name = "geo-nats-tls-ca-cert-file",
     .field = &Settings::geo_nats_tls_ca_cert_file,
     .apply = Apply::kAtStart,
     .origin = Origin::kAtoll,
     .help = "PEM file with who may sign the certificates of the servers of geo-nats-url; empty: "
             "whom the system trusts. One tls:// URL there makes every connection TLS."},
    {.section = kGeo,
     .name = "geo-nats-tls-cert-file",
     .field = &Settings::geo_nats_tls_cert_file,
     .apply = Apply::kAtStart,
     .origin = Origin::kAtoll,
     .help = "PEM file with the certificate (and its chain) that this node shows the NATS servers; "
             "needs geo-nats-tls-key-file."},
    {.section = kGeo,
     .name = "geo-nats-tls-key-file",
     .field = &Settings::geo_nats_tls_key_file,
     .apply = Apply::kAtStart,
     .origin = Origin::kAtoll,
     .help = "PEM file with the private key of geo-nats-tls-cert-file."},
    {.section = kGeo,
     .name = "geo-nats-credentials-file",
     .field = &Settings::geo_nats_credentials_file,
     .apply = Apply::kAtStart,
     .origin = Origin::kAtoll,
     .help = "NATS' .creds file of this node's user, where the servers know users by JWT. A user "
             "and password, or a token, stand in the URL instead."},
    {.section = kGeo,
     .name = "geo-subject-prefix",
     .field = &Settings::geo_subject_prefix,
     .standard = "atoll",
     .apply = Apply::kAtStart,
     .origin = Origin::kAtoll,
     .check = check_subject,
     .help = "First part of the NATS subjects in use; the same in all regions of one cache, "
             "different for caches that share NATS servers."},
    {.section = kGeo,
     .name = "geo-mode",
     .kind = Kind::kEnum,
     .field = number_field<&Settings::geo_mode>(),
     .standard = "active-active",
     .apply = Apply::kAtStart,
     .origin = Origin::kAtoll,
     .values = kGeoModes,
     .help = "How regions share the work: active-active takes writes in every region."},
    {.section = kGeo,
     .name = "delete-policy",
     .kind = Kind::kEnum,
     .field = number_field<&Settings::delete_policy>(),
     .standard = "last-write-wins",
     .apply = Apply::kAtStart,
     .origin = Origin::kAtoll,
     .values = kDeletePolicies,
     .help = "Who wins when one region deletes what another one sets at the same time: the later "
             "of the two."},
    {.section = kGeo,
     .name = "geo-max-clock-skew",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::geo_max_clock_skew>(),
     .standard = "500",
     .origin = Origin::kAtoll,
     .max = 3600 * 1000,
     .unit = "ms",
     .help = "A region whose clock runs further ahead than this raises an alarm; its writes are "
             "applied all the same."},
    {.section = kGeo,
     .name = "geo-flush-interval",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::geo_flush_interval>(),
     .standard = "2",
     .origin = Origin::kAtoll,
     .max = 1000,
     .unit = "ms",
     .help = "The longest a write waits for others to share its batch; 0 sends after every turn of "
             "the event loop."},
    {.section = kGeo,
     .name = "geo-beacon-interval",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::geo_beacon_interval>(),
     .standard = "1000",
     .origin = Origin::kAtoll,
     .min = 10,
     .max = 60 * 1000,
     .unit = "ms",
     .help = "How often a region tells the others how far it is; loss on a quiet link is noticed "
             "within this time."},
    {.section = kGeo,
     .name = "geo-batch-bytes",
     .kind = Kind::kMemory,
     .field = number_field<&Settings::geo_batch_bytes>(),
     .standard = "128kb",
     .origin = Origin::kAtoll,
     .min = 4 * kKib,
     .max = 256 * kKib,
     .unit = "bytes",
     .help = "A batch of writes to other regions leaves early when it reaches this size."},
    {.section = kGeo,
     .name = "geo-outbox-limit",
     .kind = Kind::kMemory,
     .field = number_field<&Settings::geo_outbox_limit>(),
     .standard = "256mb",
     .origin = Origin::kAtoll,
     .min = 256 * kKib,
     .unit = "bytes",
     .help = "Log kept for regions that lag; one that falls further behind heals slot by slot."},
    {.section = kGeo,
     .name = "geo-backlog-size",
     .kind = Kind::kMemory,
     .field = number_field<&Settings::geo_backlog_size>(),
     .standard = "64mb",
     .origin = Origin::kAtoll,
     .min = 256 * kKib,
     .unit = "bytes",
     .help = "The same in memory, with appendonly no."},
    {.section = kGeo,
     .name = "geo-horizon",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::geo_horizon>(),
     .standard = "86400",
     .origin = Origin::kAtoll,
     .min = 1,
     .max = kIntMax,
     .unit = "s",
     .help = "A region silent for longer no longer holds back the removal of deleted keys' "
             "tombstones; when it returns it heals slot by slot first."},
    {.section = kGeo,
     .name = "geo-horizon-bytes",
     .kind = Kind::kMemory,
     .field = number_field<&Settings::geo_horizon_bytes>(),
     .standard = "256mb",
     .origin = Origin::kAtoll,
     .min = 256 * kKib,
     .unit = "bytes",
     .help = "The same as a bound on the memory that held-back tombstones may take."},
    {.section = kGeo,
     .name = "geo-conflict-log-len",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::geo_conflict_log_len>(),
     .standard = "1024",
     .origin = Origin::kAtoll,
     .max = 1000 * 1000,
     .help = "Conflicts that GEO CONFLICTS remembers, per node; 0 remembers none."},
    {.section = kGeo,
     .name = "geo-compression",
     .kind = Kind::kEnum,
     .field = number_field<&Settings::geo_compression>(),
     .standard = "lz4",
     .apply = Apply::kAtStart,
     .origin = Origin::kAtoll,
     .values = kCompressions,
     .help =
         "How to compress batches that become smaller by it: zstd makes them smaller by a sixth "
         "than lz4 does and takes twice the CPU here, four times there."},
    {.section = kGeo,
     .name = "geo-regional-channels",
     .kind = Kind::kList,
     .field = &Settings::geo_regional_channels,
     .origin = Origin::kAtoll,
     .max = 256,
     .help =
         "Prefixes of channels whose messages PUBLISH and SPUBLISH keep in this region; * keeps "
         "all of them. Set it alike in every region: each decides for what it sends."},
    {.section = kGeo,
     .name = "debug-clock-offset",
     .kind = Kind::kNumber,
     .field = number_field<&Settings::debug_clock_offset>(),
     .standard = "0",
     .origin = Origin::kAtoll,
     .visibility = Visibility::kHidden,
     .min = -std::int64_t{366} * 86400 * 1000,
     .max = std::int64_t{366} * 86400 * 1000,
     .unit = "ms",
     .help = "Added to the wall clock, to test clocks that disagree."},
    {.section = kGeo,
     .name = "debug-disable-rule",
     .kind = Kind::kList,
     .field = &Settings::debug_disable_rule,
     .apply = Apply::kAtStart,
     .origin = Origin::kAtoll,
     .visibility = Visibility::kHidden,
     .help = "Rules of replication to switch off, to test that their absence is noticed."},
};

consteval bool rows_are_sound() {
  for (const Option& option : kOptions) {
    if (option.name.empty() || option.help.empty() || option.section.empty()) return false;
    if (!option.help.ends_with('.')) return false;
    if (option.min > option.max) return false;
    if ((option.kind == Kind::kEnum) == option.values.empty()) return false;
    int same = 0;
    for (const Option& other : kOptions) same += other.name == option.name ? 1 : 0;
    if (same != 1) return false;
  }
  return true;
}
static_assert(rows_are_sound());

}  // namespace

std::span<const Option> options() {
  return kOptions;
}

const Option* find_option(std::string_view name) {
  const std::string wanted = lower(name);
  const auto* row = std::find_if(std::begin(kOptions), std::end(kOptions),
                                 [&](const Option& option) { return option.name == wanted; });
  return row == std::end(kOptions) ? nullptr : row;
}

bool is_secret(std::string_view option) {
  const Option* row = find_option(option);
  return row != nullptr && row->secrecy == Secrecy::kSecret;
}

}  // namespace atl::config
