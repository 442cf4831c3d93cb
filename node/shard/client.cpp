#include "node/shard/client.h"

#include <algorithm>
#include <chrono>

#include "node/shard/node.h"
#include "node/shard/shard.h"

namespace atl::shard {

Client::Client(Shard& shard, net::Connection& connection) : shard_(shard), connection_(connection) {
  session.id = connection.id();
  // Not the shard's snapshot, which may be behind: who connects now must not profit from it.
  log_out(*shard.node().access_control().users());
  ++shard.stats().connections;
}

net::InputProgress Client::on_input(net::Connection&, std::span<char> input) {
  return shard_.dispatcher().on_input(*this, input);
}

void Client::on_peer_closed(net::Connection& connection) {
  // What is under way is still answered; what only waits for something is not.
  if (blocked() || waiting == Waiting::kPause) connection.close_after_reply();
}

void Client::on_close(net::Connection&, net::CloseReason reason) {
  // Unless all threads end, and the others may have.
  if (reason != net::CloseReason::kShutdown) shard_.tracking().leave(*this);
  if (waiting == Waiting::kKeys && reason != net::CloseReason::kShutdown) {
    shard_.at_keeper(*this, [id = session.id](KeyWaits& waits) { waits.forget(id); });
  }
  shard_.pubsub().subscriptions().remove_all(*this);
  if (monitoring) shard_.node().add_monitors(-1);
  monitoring = false;
  Replication* replication = shard_.node().replication();
  if (blocked() && replication != nullptr) replication->forget_waiter(session.id);
}

void Client::log_in(std::shared_ptr<const acl::User> user, const acl::Users& users) {
  user_ = std::move(user);
  session.authenticated = true;
  weigh_rights(users);
}

void Client::log_out(const acl::Users& users) {
  user_ = users.default_user();
  session.authenticated = !user_->login_required();
  weigh_rights(users);
}

bool Client::follow(const acl::Users& users) {
  std::shared_ptr<const acl::User> now = users.find(user_->name());
  if (now && now->incarnation() == user_->incarnation() && may_hear_on(*now)) {
    user_ = std::move(now);
    weigh_rights(users);
    return true;
  }
  session.authenticated = false;
  rights_ = Rights::kNone;
  limit_parser();
  return false;
}

bool Client::may_hear_on(const acl::User& user) const {
  if (topics == nullptr) return true;
  for (const auto& of_kind : topics->of_kind) {
    for (const Topic* topic : of_kind) {
      const auto use = topic->kind == TopicKind::kPattern ? acl::ChannelUse::kPattern
                                                          : acl::ChannelUse::kChannel;
      if (!user.may_use_channel(topic->name, use)) return false;
    }
  }
  return true;
}

void Client::weigh_rights(const acl::Users& users) {
  if (!session.authenticated && users.default_user()->login_required()) {
    rights_ = Rights::kNone;
  } else {
    rights_ = user_->unlimited() ? Rights::kAll : Rights::kSome;
  }
  limit_parser();
}

void Client::limit_parser() {
  parser.set_limits({shard_.settings().proto_max_bulk_len, may_command()});
}

bool Client::blocked() const {
  if (waiting == Waiting::kKeys) return true;
  return waiting == Waiting::kAnswer && (last_command->spec->flags & command::kBlocking) != 0;
}

resp::OutBuffer& Client::reply_buffer() {
  if (discards()) [[unlikely]]
    return shard_.dispatcher().discarded();
  shard_.touch(*this);
  return replies.empty() ? connection_.output() : replies.tail();
}

resp::OutBuffer& Client::push_buffer() {
  shard_.touch(*this);
  return replies.empty() ? connection_.output() : replies.tail();
}

void Client::push(std::string_view frame, persist::Ticket pushed_ticket) {
  if (connection_.closing()) return;
  if (shard_.dispatcher().current() == this) {
    shard_.dispatcher().push_later(frame);
    return;
  }
  ticket = std::max(ticket, pushed_ticket);
  push_buffer().append(frame);
}

void Client::follow_class() {
  session.subscribed = topics != nullptr && !topics->empty();
  connection_.set_idle_exempt(monitoring || session.subscribed);
  connection_.set_output_limits(shard_.output_limits(
      session.subscribed ? config::ClientClass::kPubsub : config::ClientClass::kNormal));
}

command::ClientInfo Client::info() const {
  using std::chrono::duration_cast;
  using std::chrono::milliseconds;
  const net::ConnectionStats stats = connection_.stats();
  command::ClientInfo info;
  info.id = session.id;
  info.address = connection_.peer_address();
  info.local_address = connection_.local_address();
  info.fd = connection_.fd();
  info.name = session.name;
  info.age_ms = duration_cast<milliseconds>(stats.age).count();
  info.idle_ms = duration_cast<milliseconds>(stats.idle).count();
  std::string flags;
  if (monitoring) flags += 'O';
  if (session.subscribed) flags += 'P';
  if (transaction.open) flags += 'x';
  if (blocked()) flags += 'b';
  if (tracking) flags += 't';
  if (tracking && tracking->mode.redirect_broken) flags += 'R';
  if (tracking && tracking->mode.broadcasts) flags += 'B';
  if (connection_.unix_domain()) flags += 'U';
  if (session.no_evict) flags += 'e';
  if (session.no_touch) flags += 'T';
  if (!flags.empty()) info.flags = std::move(flags);
  info.db = session.db;
  info.channels = topic_count(TopicKind::kChannel);
  info.patterns = topic_count(TopicKind::kPattern);
  info.shard_channels = topic_count(TopicKind::kShardChannel);
  info.user = user_->name();
  info.multi = transaction.open ? static_cast<int>(transaction.queued.size()) : -1;
  info.watching = static_cast<int>(watches.size());
  info.query_buffer = stats.query_bytes;
  info.query_buffer_free = stats.query_free;
  info.argv_bytes = parser.partial_bytes();
  info.multi_bytes = transaction.bytes;
  info.output_buffer = stats.output_tail_bytes;
  info.output_list = stats.output_chunks;
  info.output_bytes = stats.output_memory;
  info.total_bytes = stats.total_memory + sizeof(Client) + transaction.bytes;
  info.last_command = last_command == nullptr ? std::string("NULL") : last_command->name;
  info.resp = static_cast<int>(protocol);
  if (tracking) info.redirect = static_cast<int64_t>(tracking->mode.redirect);
  info.lib_name = session.lib_name;
  info.lib_version = session.lib_version;
  return info;
}

bool Client::matches(const command::ClientFilter& filter, uint64_t caller) const {
  if (filter.skip_me && session.id == caller) return false;
  if (filter.id && *filter.id != session.id) return false;
  if (!filter.ids.empty() &&
      std::find(filter.ids.begin(), filter.ids.end(), session.id) == filter.ids.end()) {
    return false;
  }
  if (filter.address && *filter.address != connection_.peer_address()) return false;
  if (filter.local_address && *filter.local_address != connection_.local_address()) {
    return false;
  }
  if (!filter.user.empty() && filter.user != user_->name()) return false;
  if (!filter.type.empty() && filter.type != (session.subscribed ? "pubsub" : "normal")) {
    return false;
  }
  const auto age = std::chrono::duration_cast<std::chrono::seconds>(connection_.stats().age);
  return !filter.max_age_s || age.count() >= *filter.max_age_s;
}

}  // namespace atl::shard
