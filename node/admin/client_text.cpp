#include "node/admin/client_text.h"

namespace atl::admin {

std::string client_line(const command::ClientInfo& client) {
  std::string line;
  const auto text = [&line](std::string_view name, std::string_view value) {
    if (!line.empty()) line += ' ';
    line += name;
    line += '=';
    line += value;
  };
  const auto number = [&text](std::string_view name, auto value) {
    text(name, std::to_string(value));
  };
  number("id", client.id);
  text("addr", client.address);
  text("laddr", client.local_address);
  number("fd", client.fd);
  text("name", client.name);
  number("age", client.age_ms / 1000);
  number("idle", client.idle_ms / 1000);
  text("flags", client.flags);
  number("db", static_cast<unsigned>(client.db));
  number("sub", client.channels);
  number("psub", client.patterns);
  number("ssub", client.shard_channels);
  number("multi", client.multi);
  number("qbuf", client.query_buffer);
  number("qbuf-free", client.query_buffer_free);
  number("argv-mem", client.argv_bytes);
  number("multi-mem", client.multi_bytes);
  number("rbs", client.reply_buffer);
  number("rbp", client.reply_buffer_peak);
  number("obl", client.output_buffer);
  number("oll", client.output_list);
  number("omem", client.output_bytes);
  number("tot-mem", client.total_bytes);
  text("events", "r");
  text("cmd", client.last_command.empty() ? "NULL" : std::string_view(client.last_command));
  text("user", client.user);
  number("redir", client.redirect);
  number("resp", client.resp);
  text("lib-name", client.lib_name);
  text("lib-ver", client.lib_version);
  return line;
}

}  // namespace atl::admin
