#include "node/shard/observation.h"

#include <algorithm>
#include <cstdio>

#include "node/command/args.h"
#include "node/config/config.h"

namespace atl::shard {

namespace {

std::string cut(std::string_view arg) {
  if (arg.size() <= SlowLog::kArgBytesMax) return std::string(arg);
  return std::string(arg.substr(0, SlowLog::kArgBytesMax)) + "... (" +
         std::to_string(arg.size() - SlowLog::kArgBytesMax) + " more bytes)";
}

void append_quoted(std::string_view text, std::string& out) {
  out.push_back('"');
  for (const char c : text) {
    switch (c) {
      case '\\':
      case '"':
        out.push_back('\\');
        out.push_back(c);
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\a':
        out += "\\a";
        break;
      case '\b':
        out += "\\b";
        break;
      default:
        if (c >= 0x20 && c < 0x7f) {
          out.push_back(c);
        } else {
          char hex[5];
          std::snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned char>(c));
          out += hex;
        }
    }
  }
  out.push_back('"');
}

}  // namespace

void SlowLog::add(int64_t micros, command::Args args, std::string_view address,
                  std::string_view name, int64_t unix_time_s, size_t length_max) {
  command::SlowEntry entry;
  entry.micros = micros;
  entry.unix_time_s = unix_time_s;
  entry.address = address;
  entry.client_name = name;
  const size_t kept = args.size() > kArgsMax ? kArgsMax - 1 : args.size();
  const std::vector<std::string_view> shown = without_secrets(args);
  for (size_t i = 0; i < kept; ++i) entry.args.push_back(cut(shown[i]));
  if (kept < args.size()) {
    entry.args.push_back("... (" + std::to_string(args.size() - kept) + " more arguments)");
  }
  const std::lock_guard lock(mutex_);
  entry.id = next_id_++;
  entries_.push_front(std::move(entry));
  while (entries_.size() > length_max) entries_.pop_back();
}

std::vector<command::SlowEntry> SlowLog::newest(int64_t count) const {
  const std::lock_guard lock(mutex_);
  const size_t n = count < 0 ? entries_.size() : std::min<size_t>(entries_.size(), count);
  return {entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(n)};
}

int64_t SlowLog::length() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int64_t>(entries_.size());
}

void SlowLog::reset() {
  const std::lock_guard lock(mutex_);
  entries_.clear();
}

void LatencyMonitor::add(std::string_view event, int64_t millis, int64_t unix_time_s) {
  const std::lock_guard lock(mutex_);
  auto it = events_.find(event);
  if (it == events_.end()) it = events_.emplace(std::string(event), 0).first;
  auto& samples = it->second;
  if (!samples.empty() && samples.back().unix_time_s == unix_time_s) {
    samples.back().millis = std::max(samples.back().millis, millis);
    return;
  }
  samples.push_back({unix_time_s, millis});
  if (samples.size() > kSamplesMax) samples.pop_front();
}

std::map<std::string, std::vector<command::LatencySample>> LatencyMonitor::samples() const {
  const std::lock_guard lock(mutex_);
  std::map<std::string, std::vector<command::LatencySample>> out;
  for (const auto& [event, samples] : events_) {
    out[event].assign(samples.begin(), samples.end());
  }
  return out;
}

int64_t LatencyMonitor::reset(const std::vector<std::string>& events) {
  const std::lock_guard lock(mutex_);
  if (events.empty()) {
    const auto n = static_cast<int64_t>(events_.size());
    events_.clear();
    return n;
  }
  int64_t n = 0;
  for (const std::string& event : events) n += static_cast<int64_t>(events_.erase(event));
  return n;
}

std::vector<std::string_view> without_secrets(command::Args args) {
  constexpr std::string_view kRedacted = "(redacted)";
  std::vector<std::string_view> out(args.begin(), args.end());
  const auto is = [&](size_t at, std::string_view word) {
    return at < out.size() && command::is_word(out[at], word);
  };
  if (is(0, "auth")) {
    std::fill(out.begin() + 1, out.end(), kRedacted);
  } else if (is(0, "hello")) {
    for (size_t i = 2; i + 2 < out.size(); ++i) {
      if (!is(i, "auth")) continue;
      out[i + 1] = out[i + 2] = kRedacted;
      break;
    }
  } else if (is(0, "acl") && is(1, "setuser")) {
    std::fill(out.begin() + 2, out.end(), kRedacted);
  } else if (is(0, "config") && is(1, "set")) {
    for (size_t i = 2; i + 1 < out.size(); i += 2) {
      if (config::is_secret(out[i])) out[i + 1] = kRedacted;
    }
  }
  return out;
}

std::string monitor_line(int64_t unix_us, int db, std::string_view address, command::Args args) {
  char head[64];
  std::snprintf(head, sizeof head, "+%lld.%06lld [%d ", static_cast<long long>(unix_us / 1000000),
                static_cast<long long>(unix_us % 1000000), db);
  std::string line = head;
  if (address.starts_with('/')) line += "unix:";
  line += address;
  line += ']';
  for (const std::string_view arg : without_secrets(args)) {
    line += ' ';
    append_quoted(arg, line);
  }
  line += "\r\n";
  return line;
}

}  // namespace atl::shard
