#include "node/shard/logging.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <mutex>

namespace atl::shard {

namespace {

// Redis' mark of the level.
class LevelMark final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& out) override {
    const char mark = message.level <= spdlog::level::trace   ? '.'
                      : message.level == spdlog::level::debug ? '-'
                      : message.level == spdlog::level::info  ? '*'
                                                              : '#';
    out.push_back(mark);
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<LevelMark>();
  }
};

std::mutex setup_mutex;
std::string current_file;

void install(spdlog::sink_ptr sink) {
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<LevelMark>('*').set_pattern("%P:M %d %b %Y %H:%M:%S.%e %* %v");
  auto logger = std::make_shared<spdlog::logger>("atoll", std::move(sink));
  logger->set_formatter(std::move(formatter));
  logger->flush_on(spdlog::level::info);
  logger->set_level(spdlog::get_level());
  spdlog::set_default_logger(std::move(logger));
}

spdlog::sink_ptr open_sink(const std::string& file) {
  if (file.empty()) return std::make_shared<spdlog::sinks::stdout_sink_mt>();
  return std::make_shared<spdlog::sinks::basic_file_sink_mt>(file);
}

}  // namespace

void set_log_level(config::LogLevel level) {
  switch (level) {
    case config::LogLevel::kDebug:
      return spdlog::set_level(spdlog::level::trace);
    case config::LogLevel::kVerbose:
      return spdlog::set_level(spdlog::level::debug);
    case config::LogLevel::kNotice:
      return spdlog::set_level(spdlog::level::info);
    case config::LogLevel::kWarning:
      return spdlog::set_level(spdlog::level::warn);
  }
}

std::string set_up_logging(const config::Settings& settings) {
  const std::lock_guard lock(setup_mutex);
  try {
    install(open_sink(settings.logfile));
    current_file = settings.logfile;
  } catch (const spdlog::spdlog_ex& error) {
    return "Can't open the log file: " + std::string(error.what());
  }
  set_log_level(settings.loglevel);
  return {};
}

void reopen_log() {
  const std::lock_guard lock(setup_mutex);
  if (current_file.empty()) return;
  try {
    install(open_sink(current_file));
  } catch (const spdlog::spdlog_ex& error) {
    spdlog::error("Can't reopen the log file: {}", error.what());
  }
}

}  // namespace atl::shard
