// What commands may ask of the node, as one shard offers it.
//
// There is one Services per shard, so it knows on whose thread it is called and which client's
// command is running. What concerns other shards is asked by message and answered on this one.
// info.cpp writes INFO.
//
// *Threads*: its shard's, like every handler.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "node/acl/denial_log.h"
#include "node/command/node_services.h"
#include "node/shard/client.h"

namespace atl::shard {

class Node;
class Shard;

class Services final : public command::NodeServices {
 public:
  explicit Services(Shard& shard) : shard_(shard) {}

  // The client whose command runs; null where it runs for another shard's client.
  Client* current();
  Shard& shard() { return shard_; }

  Done defer(command::Context& ctx) override;
  void wait_for_keys(command::Context& ctx, crdt::CollectionType type,
                     crdt::Millis timeout) override;
  void unblock_client(uint64_t id, Unblock how, std::function<void(bool)> done) override;

  std::vector<std::pair<std::string, std::string>> config_get(
      const std::vector<std::string_view>& patterns) override;
  std::string config_set(
      const std::vector<std::pair<std::string_view, std::string_view>>& pairs) override;
  std::string config_rewrite() override;
  void config_reset_stat() override;

  void info(std::vector<std::string> sections, std::function<void(std::string)> done) override;
  void snapshot(std::function<void(std::string)> done) override;
  bool snapshot_running() const override;
  int64_t last_save_unix_s() const override;
  std::string shutdown(const ShutdownOptions& options) override;
  std::string memory_stats_text() override;
  void memory_purge() override;
  size_t used_memory() const override;
  int databases() const override;
  int64_t unix_micros() const override;
  bool set_active_expire(bool on) override;

  void clients(command::ClientFilter filter,
               std::function<void(std::vector<command::ClientInfo>)> done) override;
  command::ClientInfo client_info(command::Context& ctx) override;
  void kill_clients(command::Context& ctx, command::ClientFilter filter,
                    std::function<void(int64_t)> done) override;
  void pause(crdt::Millis ms, command::PauseMode mode) override;
  void unpause() override;
  void set_reply_mode(command::Context& ctx, command::ReplyMode mode) override;
  void close_after_reply(command::Context& ctx) override;
  void reset_connection(command::Context& ctx) override;
  void monitor(command::Context& ctx) override;

  const command::TrackingMode* tracking(command::Context& ctx) override;
  void track(command::Context& ctx, command::TrackingMode mode) override;
  void stop_tracking(command::Context& ctx) override;
  bool client_exists(uint64_t id) override;
  void set_caching(command::Context& ctx) override;

  acl::AccessControl& access_control() override;
  std::string user_name(command::Context& ctx) override;
  bool may_read_any_key(command::Context& ctx) override;
  std::string authenticate(command::Context& ctx, std::string_view user,
                           std::string_view password) override;
  void run_blocking(std::function<std::string()> task,
                    std::function<void(std::string)> done) override;
  // Counts and logs what was refused to a client.
  void log_denial(acl::Denial denial);

  std::vector<command::SlowEntry> slowlog(int64_t count) override;
  int64_t slowlog_length() override;
  void slowlog_reset() override;
  std::map<std::string, std::vector<command::LatencySample>> latency() override;
  int64_t latency_reset(const std::vector<std::string>& events) override;
  std::map<std::string, std::pair<int64_t, std::map<int64_t, int64_t>>> latency_histogram(
      const std::vector<std::string>& commands) override;

  void geo_status(std::function<void(std::vector<PeerRow>)> done) override;
  void geo_digest(std::optional<crdt::SlotId> slot, std::function<void(std::string)> done) override;
  void geo_conflicts(size_t count, std::function<void(std::vector<crdt::Conflict>)> done) override;
  std::string geo_peer(std::string_view region, std::string_view action) override;
  void geo_token(command::Context& ctx, std::function<void(std::string)> done) override;
  std::string region_name(crdt::RegionId region) const override;
  std::string geo_await(command::Context& ctx, std::string_view token, crdt::Millis timeout,
                        std::function<void(bool)> done) override;
  std::string wait_regions(command::Context& ctx, int64_t n, crdt::Millis timeout,
                           std::function<void(int64_t)> done) override;

 private:
  Node& node() const;
  Done defer_current();

  Shard& shard_;
};

// Resident memory of the process in bytes, 0 where /proc is not to be had.
size_t resident_memory();

}  // namespace atl::shard
