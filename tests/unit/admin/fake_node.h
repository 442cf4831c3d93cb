// A NodeServices that answers from its fields and remembers what it was asked, and a session that
// runs rows against it. Asynchronous answers are given at once, or held until release().
#pragma once

#include <deque>
#include <stdexcept>

#include "node/acl/access_control.h"
#include "node/admin/admin.h"
#include "node/command/node_services.h"

namespace atl::admin {

// The table of this folder's families, for whoever asks it.
inline void register_families() {
  [[maybe_unused]] static const bool once = [] {
    register_admin_commands();
    return true;
  }();
}

class FakeNode : public command::NodeServices {
 public:
  Done defer(command::Context&) override {
    ++deferred;
    return [this](Reply reply) { replies.push_back(std::move(reply)); };
  }

  void wait_for_keys(command::Context&, crdt::CollectionType, crdt::Millis) override {}
  void unblock_client(uint64_t id, Unblock how, std::function<void(bool)> done) override {
    asked = "unblock " + std::to_string(id) + (how == Unblock::kError ? " error" : " timeout");
    done(id == 7);
  }

  std::vector<std::pair<std::string, std::string>> config_get(
      const std::vector<std::string_view>& patterns) override {
    std::vector<std::pair<std::string, std::string>> found;
    for (const auto& [name, value] : settings) {
      for (const std::string_view p : patterns) {
        if (p == name) found.emplace_back(name, value);
      }
    }
    return found;
  }
  std::string config_set(
      const std::vector<std::pair<std::string_view, std::string_view>>& pairs) override {
    if (!error.empty()) return error;
    for (const auto& [name, value] : pairs) settings[std::string(name)] = value;
    return "";
  }
  std::string config_rewrite() override { return error; }
  void config_reset_stat() override { asked = "resetstat"; }

  void info(std::vector<std::string> sections, std::function<void(std::string)> done) override {
    asked = "info";
    for (const std::string& section : sections) asked += " " + section;
    done("# Server\r\nredis_version:7.2.0\r\n");
  }
  void snapshot(std::function<void(std::string)> done) override {
    ++snapshots;
    done(error);
  }
  bool snapshot_running() const override { return running; }
  int64_t last_save_unix_s() const override { return 1795225586; }
  std::string shutdown(const ShutdownOptions& options) override {
    shutdown_options = options;
    return error;
  }
  std::string memory_stats_text() override { return ""; }
  void memory_purge() override {}
  size_t used_memory() const override { return 0; }
  int databases() const override { return 16; }
  int64_t unix_micros() const override { return 1795225599247731; }
  bool set_active_expire(bool on) override {
    active_expire = on;
    return true;
  }

  void clients(command::ClientFilter filter,
               std::function<void(std::vector<command::ClientInfo>)> done) override {
    last_filter = filter;
    done(connected);
  }
  command::ClientInfo client_info(command::Context&) override { return connected.at(0); }
  void kill_clients(command::Context&, command::ClientFilter filter,
                    std::function<void(int64_t)> done) override {
    last_filter = filter;
    done(kill_result);
  }
  void pause(crdt::Millis ms, command::PauseMode mode) override {
    asked = "pause " + std::to_string(ms) + (mode == command::PauseMode::kAll ? " all" : " write");
  }
  void unpause() override { asked = "unpause"; }
  void set_reply_mode(command::Context&, command::ReplyMode mode) override {
    asked = "reply " + std::to_string(static_cast<int>(mode));
  }
  void close_after_reply(command::Context&) override { asked = "close"; }
  void reset_connection(command::Context& ctx) override {
    asked = "reset";
    ctx.session.authenticated = !users.users()->default_user()->login_required();
  }
  acl::AccessControl& access_control() override { return users; }
  std::string user_name(command::Context&) override { return user; }
  std::string authenticate(command::Context& ctx, std::string_view name,
                           std::string_view secret) override {
    const auto found = users.users()->find(name);
    if (!found || !found->accepts(secret)) {
      return "WRONGPASS invalid username-password pair or user is disabled.";
    }
    user = name;
    ctx.session.authenticated = true;
    return "";
  }
  void run_blocking(std::function<std::string()> task,
                    std::function<void(std::string)> done) override {
    done(task());
  }
  void monitor(command::Context&) override { asked = "monitor"; }

  const command::TrackingMode* tracking(command::Context&) override {
    return tracked ? &*tracked : nullptr;
  }
  void track(command::Context&, command::TrackingMode mode) override {
    if (tracked) mode.prefixes.merge(tracked->prefixes);
    tracked = std::move(mode);
  }
  void stop_tracking(command::Context&) override { tracked.reset(); }
  bool client_exists(uint64_t id) override { return id == 7; }
  void set_caching(command::Context&) override { tracked->caching = true; }

  std::vector<command::SlowEntry> slowlog(int64_t count) override {
    asked = "slowlog " + std::to_string(count);
    return slow;
  }
  int64_t slowlog_length() override { return static_cast<int64_t>(slow.size()); }
  void slowlog_reset() override { slow.clear(); }
  std::map<std::string, std::vector<command::LatencySample>> latency() override { return spikes; }
  int64_t latency_reset(const std::vector<std::string>& events) override {
    return static_cast<int64_t>(events.size());
  }
  std::map<std::string, std::pair<int64_t, std::map<int64_t, int64_t>>> latency_histogram(
      const std::vector<std::string>& commands) override {
    if (!commands.empty() && commands[0] != "set") return {};
    return {{"set", {3, {{8, 1}, {16, 3}}}}};
  }

  void geo_status(std::function<void(std::vector<PeerRow>)> done) override {
    done({PeerRow{{{"region", "eu"}, {"state", "connected"}}}});
  }
  void geo_digest(std::optional<crdt::SlotId> slot,
                  std::function<void(std::string)> done) override {
    done(slot ? "slot" + std::to_string(*slot) : "00ff");
  }
  void geo_conflicts(size_t count, std::function<void(std::vector<crdt::Conflict>)> done) override {
    conflicts_asked = count;
    crdt::Conflict conflict;
    conflict.key = "k";
    conflict.rule = "SET || SET";
    conflict.winner = crdt::Stamp::make(1000, 7, 2);
    conflict.loser = crdt::Stamp::make(999, 0, 3);
    conflict.loser_value = "old";
    conflict.at = 2000;
    done({conflict});
  }
  std::string geo_peer(std::string_view region, std::string_view action) override {
    asked = std::string(region) + " " + std::string(action);
    return error;
  }
  void geo_token(command::Context&, std::function<void(std::string)> done) override {
    done("token");
  }
  std::string region_name(crdt::RegionId region) const override { return region == 2 ? "eu" : ""; }
  std::string geo_await(command::Context&, std::string_view token, crdt::Millis timeout,
                        std::function<void(bool)> done) override {
    if (token == "bad") return "ERR malformed token";
    done(timeout != 1);
    return "";
  }
  std::string wait_regions(command::Context&, int64_t n, crdt::Millis timeout,
                           std::function<void(int64_t)> done) override {
    if (n == 99) return "ERR too many wait";
    asked = std::to_string(n) + " " + std::to_string(timeout);
    done(2);
    return "";
  }

  std::deque<Reply> replies;
  int deferred = 0;
  int snapshots = 0;
  bool running = false;
  bool active_expire = true;
  std::string asked, error;
  std::optional<command::TrackingMode> tracked;
  bool registered = (register_families(), true);  // before users
  acl::AccessControl users;
  std::string user = "default";
  std::map<std::string, std::string> settings;
  ShutdownOptions shutdown_options;
  std::vector<command::ClientInfo> connected;
  command::ClientFilter last_filter;
  int64_t kill_result = 0;
  size_t conflicts_asked = 0;
  std::vector<command::SlowEntry> slow;
  std::map<std::string, std::vector<command::LatencySample>> spikes;
};

class OneStore : public command::Keyspace {
 public:
  crdt::Store* one = nullptr;
  crdt::Store& store(crdt::SlotId) override { return *one; }
  std::span<crdt::Store* const> stores() override { return {&one, 1}; }
};

// The row that a request runs, found as the table's dispatch does it.
inline const command::CommandSpec& row_of(const std::vector<std::string>& words) {
  const auto lower = [](std::string s) {
    for (char& c : s) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return s;
  };
  for (const auto family :
       {connection_commands(), client_commands(), server_commands(), config_commands(),
        latency_commands(), debug_commands(), acl_commands(), geo_commands()}) {
    for (const command::CommandSpec& spec : family) {
      if (spec.name != lower(words[0])) continue;
      if (spec.subcommands.empty()) return spec;
      for (const command::CommandSpec& sub : spec.subcommands) {
        if (sub.name == lower(words[0]) + "|" + lower(words.at(1))) return sub;
      }
    }
  }
  throw std::runtime_error("no row for " + words[0]);
}

// A connection: run() returns the bytes that the client reads.
class Client {
 public:
  explicit Client(resp::Protocol protocol = resp::Protocol::kResp2) : writer_(out_, protocol) {
    session.id = 3;
    session.authenticated = true;
  }

  std::string run(const std::vector<std::string>& words) {
    std::vector<std::string_view> views(words.begin(), words.end());
    command::Context ctx{.args = views,
                         .out = writer_,
                         .session = session,
                         .keyspace = keyspace,
                         .node = node,
                         .spec = row_of(words)};
    ctx.now = 1795225599247;
    ctx.in_transaction = in_transaction;
    ctx.spec.handler(ctx);
    while (!node.replies.empty()) {
      node.replies.front()(writer_);
      node.replies.pop_front();
    }
    const std::string bytes = out_.flatten();
    out_.clear();
    return bytes;
  }
  // Words are separated by blanks.
  std::string operator()(const std::string& request) {
    std::vector<std::string> words;
    for (size_t at = 0; at < request.size();) {
      const size_t end = std::min(request.find(' ', at), request.size());
      words.push_back(request.substr(at, end - at));
      at = end + 1;
    }
    return run(words);
  }

  FakeNode node;
  OneStore keyspace;
  command::Session session;
  bool in_transaction = false;

 private:
  resp::OutBuffer out_;
  resp::Writer writer_;
};

}  // namespace atl::admin
