// SLOWLOG and LATENCY.
#include <algorithm>
#include <cstdio>
#include <limits>

#include "node/admin/admin.h"
#include "node/admin/replies.h"
#include "node/command/check.h"

namespace atl::admin {
namespace {

using command::LatencySample;

void slowlog_get(Context& ctx) {
  constexpr int64_t kDefaultCount = 10;
  constexpr std::string_view kBadCount = "ERR count should be greater than or equal to -1";
  if (ctx.args.size() > 3) {
    write_subcommand_syntax_error(ctx);
    return;
  }
  int64_t count = kDefaultCount;
  if (ctx.args.size() == 3) {
    if (!read_number(ctx, ctx.args[2], kBadCount, count)) return;
    if (count < -1) {
      ctx.out.error(kBadCount);
      return;
    }
  }
  const auto entries = ctx.node.slowlog(count);
  ctx.out.array(static_cast<int64_t>(entries.size()));
  for (const command::SlowEntry& entry : entries) {
    ctx.out.array(6);
    ctx.out.integer(entry.id);
    ctx.out.integer(entry.unix_time_s);
    ctx.out.integer(entry.micros);
    ctx.out.array(static_cast<int64_t>(entry.args.size()));
    for (const std::string& arg : entry.args) ctx.out.bulk(arg);
    ctx.out.bulk(entry.address);
    ctx.out.bulk(entry.client_name);
  }
}

void slowlog_len(Context& ctx) {
  ctx.out.integer(ctx.node.slowlog_length());
}

void slowlog_reset(Context& ctx) {
  ctx.node.slowlog_reset();
  ctx.out.ok();
}

void slowlog_help(Context& ctx) {
  static constexpr std::string_view kLines[] = {
      "GET [<count>]",
      "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
      "    Entries are made of:",
      "    id, timestamp, time in microseconds, arguments array, client IP and port,",
      "    client name",
      "LEN",
      "    Return the length of the slowlog.",
      "RESET",
      "    Reset the slowlog.",
  };
  write_help(ctx, kLines);
}

int64_t highest(const std::vector<LatencySample>& samples) {
  int64_t millis = 0;
  for (const LatencySample& sample : samples) millis = std::max(millis, sample.millis);
  return millis;
}

void latency_latest(Context& ctx) {
  auto events = ctx.node.latency();
  std::erase_if(events, [](const auto& event) { return event.second.empty(); });
  ctx.out.array(static_cast<int64_t>(events.size()));
  for (const auto& [name, samples] : events) {
    ctx.out.array(4);
    ctx.out.bulk(name);
    ctx.out.integer(samples.back().unix_time_s);
    ctx.out.integer(samples.back().millis);
    ctx.out.integer(highest(samples));
  }
}

void latency_history(Context& ctx) {
  const auto events = ctx.node.latency();
  const auto it = events.find(std::string(ctx.args[2]));
  if (it == events.end()) {
    ctx.out.array(0);
    return;
  }
  ctx.out.array(static_cast<int64_t>(it->second.size()));
  for (const LatencySample& sample : it->second) {
    ctx.out.array(2);
    ctx.out.integer(sample.unix_time_s);
    ctx.out.integer(sample.millis);
  }
}

void latency_reset(Context& ctx) {
  const auto names = ctx.args.subspan(2);
  ctx.out.integer(ctx.node.latency_reset({names.begin(), names.end()}));
}

void latency_histogram(Context& ctx) {
  std::vector<std::string> names;
  for (const std::string_view name : ctx.args.subspan(2)) names.push_back(lower_case(name));
  const auto histograms = ctx.node.latency_histogram(names);
  ctx.out.map(static_cast<int64_t>(histograms.size()));
  for (const auto& [name, histogram] : histograms) {
    const auto& [calls, buckets] = histogram;
    ctx.out.bulk(name);
    ctx.out.map(2);
    ctx.out.bulk("calls");
    ctx.out.integer(calls);
    ctx.out.bulk("histogram_usec");
    ctx.out.map(static_cast<int64_t>(buckets.size()));
    for (const auto& [bound, cumulative] : buckets) {
      ctx.out.integer(bound);
      ctx.out.integer(cumulative);
    }
  }
}

// One line of LATENCY DOCTOR. Requires: samples is not empty.
std::string spikes_line(int number, const std::string& event,
                        const std::vector<LatencySample>& samples) {
  const auto count = static_cast<int64_t>(samples.size());
  int64_t sum = 0;
  for (const LatencySample& sample : samples) sum += sample.millis;
  const int64_t average = sum / count;
  int64_t deviation = 0;
  for (const LatencySample& sample : samples) deviation += std::abs(sample.millis - average);
  const int64_t span = samples.back().unix_time_s - samples.front().unix_time_s;
  char period[32];
  std::snprintf(period, sizeof period, "%.2f",
                static_cast<double>(std::max<int64_t>(span, 1)) / static_cast<double>(count));
  return std::to_string(number) + ". " + event + ": " + std::to_string(count) +
         " latency spikes (average " + std::to_string(average) + "ms, mean deviation " +
         std::to_string(deviation / count) + "ms, period " + period + " sec). Worst event " +
         std::to_string(highest(samples)) + "ms.\n";
}

void latency_doctor(Context& ctx) {
  std::string report;
  int number = 0;
  for (const auto& [event, samples] : ctx.node.latency()) {
    if (!samples.empty()) report += spikes_line(++number, event, samples);
  }
  if (number > 0) {
    report = "Latency spikes were observed on this node:\n\n" + report +
             "\nSLOWLOG GET shows which commands are too slow to execute; a slow disk shows as "
             "aof events.\n";
  } else {
    const auto threshold = ctx.node.config_get({"latency-monitor-threshold"});
    const bool off = !threshold.empty() && threshold.front().second == "0";
    report = off ? "Latency monitoring is disabled on this node. You may use \"CONFIG SET "
                   "latency-monitor-threshold <milliseconds>\" in order to enable it.\n"
                 : "No latency spike was observed during the lifetime of this node.\n";
  }
  ctx.out.verbatim("txt", report);
}

void latency_help(Context& ctx) {
  static constexpr std::string_view kLines[] = {
      "DOCTOR",
      "    Return a human readable latency analysis report.",
      "HISTORY <event>",
      "    Return time-latency samples for the <event> class.",
      "LATEST",
      "    Return the latest latency samples for all events.",
      "RESET [<event> ...]",
      "    Reset latency data of one or more <event> classes.",
      "    (default: reset all data for all event classes)",
      "HISTOGRAM [COMMAND ...]",
      "    Return a cumulative distribution of latencies in the format of a histogram for the "
      "specified command names.",
      "    If no commands are specified then all histograms are replied.",
  };
  write_help(ctx, kLines);
}

constexpr Arg kCountArgs[] = {{.name = "count", .type = ArgType::kInteger, .optional = true}};
constexpr Arg kEventArgs[] = {{.name = "event"}};
constexpr Arg kEventsArgs[] = {{.name = "event", .optional = true, .multiple = true}};
constexpr Arg kCommandsArgs[] = {{.name = "command", .optional = true, .multiple = true}};

constexpr CommandSpec row(std::string_view name, int arity, uint32_t flags, std::string_view since,
                          std::string_view summary, command::Handler handler,
                          std::span<const Arg> args = {}) {
  return {.name = name,
          .arity = arity,
          .route = Route::kConnection,
          .flags = flags,
          .group = "server",
          .since = since,
          .complexity = "O(N) where N is the number of entries returned",
          .summary = summary,
          .args = args,
          .handler = handler};
}

constexpr uint32_t kSlowlog = kAnyTime | command::kAdmin;

constexpr CommandSpec kLatencySubcommands[] = {
    row("latency|doctor", 2, kOperator, "2.8.13",
        "Returns a human-readable latency analysis report.", latency_doctor),
    row("latency|help", 2, kAnyTime, "2.8.13", kHelpSummary, latency_help),
    row("latency|histogram", -2, kOperator, "7.0.0",
        "Returns the cumulative distribution of latencies of a subset or all commands.",
        latency_histogram, kCommandsArgs),
    row("latency|history", 3, kOperator, "2.8.13",
        "Returns timestamp-latency samples for an event.", latency_history, kEventArgs),
    row("latency|latest", 2, kOperator, "2.8.13",
        "Returns the latest latency samples for all events.", latency_latest),
    row("latency|reset", -2, kOperator, "2.8.13", "Resets the latency data for one or more events.",
        latency_reset, kEventsArgs),
};

constexpr CommandSpec kSlowlogSubcommands[] = {
    row("slowlog|get", -2, kSlowlog, "2.2.12", "Returns the slow log's entries.", slowlog_get,
        kCountArgs),
    row("slowlog|help", 2, kAnyTime, "6.2.0", kHelpSummary, slowlog_help),
    row("slowlog|len", 2, kSlowlog, "2.2.12", "Returns the number of entries in the slow log.",
        slowlog_len),
    row("slowlog|reset", 2, kSlowlog, "2.2.12", "Clears all entries from the slow log.",
        slowlog_reset),
};

constexpr CommandSpec kLatencyCommands[] = {
    {.name = "latency",
     .arity = -2,
     .route = Route::kConnection,
     .group = "server",
     .since = "2.8.13",
     .complexity = kContainerComplexity,
     .summary = "A container for latency diagnostics commands.",
     .differences = "No GRAPH.",
     .subcommands = kLatencySubcommands},
    {.name = "slowlog",
     .arity = -2,
     .route = Route::kConnection,
     .group = "server",
     .since = "2.2.12",
     .complexity = kContainerComplexity,
     .summary = "A container for slow log commands.",
     .subcommands = kSlowlogSubcommands},
};
static_assert(command::rows_sound(kLatencyCommands));

}  // namespace

std::span<const CommandSpec> latency_commands() {
  return kLatencyCommands;
}

}  // namespace atl::admin
