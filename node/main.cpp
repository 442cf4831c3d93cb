// atoll: the one program. Wiring only; the parts are in the folders.
//
//   atoll server [config|-] [--name value ...]   serve
//   atoll server --help                          every option
//   atoll commands --markdown                    the command table, for the README
//   atoll config --markdown                      the table of options, for the README
//   atoll --version | help
//
// Exit codes: 0 done; 1 cannot start, or data could not be written at the end; 2 wrong usage.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "node/command/markdown.h"
#include "node/config/config.h"
#include "node/shard/geo_replication.h"
#include "node/shard/logging.h"
#include "node/shard/node.h"

// jemalloc reads this. What was freed goes back to the system after a second and not after ten,
// also where nobody allocates or frees any more: growing tables leave a percent or two behind.
// (Huge pages for all, thp:always, took 3 to 6 % off the CPU at pipeline 1 and nothing at 16, for 5
// more bytes a key: not worth it.)
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf = "dirty_decay_ms:1000,background_thread:true";
}

namespace {

using atl::config::Config;
using atl::config::Settings;
using atl::shard::Node;

constexpr std::string_view kUsage =
    "Usage: atoll <command>\n"
    "\n"
    "  server [config|-] [--name value ...]   serve; redis.conf syntax, --name overrides the file\n"
    "  server --help                          list every option\n"
    "  commands --markdown                    the command table\n"
    "  config --markdown                      the table of options\n"
    "  --version                              the version\n"
    "  help                                   this text\n";

// Descriptors for maxclients and for what the node itself opens.
constexpr rlim_t kOwnDescriptors = 256;

void raise_descriptor_limit(uint32_t clients) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t wanted = clients + kOwnDescriptors;
  if (limit.rlim_cur >= wanted) return;
  limit.rlim_cur = std::min(wanted, limit.rlim_max);
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted) {
    spdlog::warn("Only {} file descriptors are allowed, so fewer than maxclients ({}) clients fit",
                 limit.rlim_cur, clients);
  }
}

// Leaves the terminal. Before any thread is made.
bool daemonize() {
  const pid_t child = fork();
  if (child < 0) return false;
  if (child > 0) std::_Exit(0);
  setsid();
  const int null = open("/dev/null", O_RDWR);
  if (null < 0) return false;
  for (const int fd : {0, 1, 2}) dup2(null, fd);
  if (null > 2) close(null);
  return true;
}

class PidFile {
 public:
  explicit PidFile(std::string path) : path_(std::move(path)) {
    if (path_.empty()) return;
    std::ofstream file(path_);
    file << getpid() << '\n';
    if (!file) {
      spdlog::warn("Can't write the pid file {}", path_);
      path_.clear();
    }
  }
  ~PidFile() {
    if (!path_.empty()) unlink(path_.c_str());
  }
  PidFile(const PidFile&) = delete;
  PidFile& operator=(const PidFile&) = delete;

 private:
  std::string path_;
};

std::string default_pidfile(const Settings& settings) {
  if (!settings.pidfile.empty()) return settings.pidfile;
  return settings.daemonize ? "/var/run/atoll.pid" : "";
}

int serve(const std::vector<std::string>& args) {
  for (const std::string& arg : args) {
    if (arg == "--help" || arg == "-h") {
      std::cout << atl::config::help_text();
      return 0;
    }
  }
  Config config;
  if (const auto error = config.load(args)) {
    std::cerr << error->message() << std::endl;
    return 1;
  }
  const auto settings = config.snapshot();
  if (settings->daemonize && !daemonize()) {
    std::cerr << "Can't become a daemon: " << std::strerror(errno) << std::endl;
    return 1;
  }
  if (const std::string error = atl::shard::set_up_logging(*settings); !error.empty()) {
    std::cerr << error << std::endl;
    return 1;
  }
  std::signal(SIGPIPE, SIG_IGN);
  spdlog::info("Atoll {} starting, {} thread(s)", atl::shard::kVersion, settings->threads);
  raise_descriptor_limit(settings->maxclients);
  const PidFile pidfile(default_pidfile(*settings));
  atl::shard::NodeOptions options;
  if (settings->geo_enabled()) options.replication = atl::shard::make_geo_replication;
  Node node(config, std::move(options));
  if (const auto error = node.start()) {
    spdlog::critical("{}", *error);
    if (!settings->logfile.empty()) std::cerr << *error << std::endl;
    return 1;
  }
  return node.run();
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  const std::string command = args.empty() ? "help" : args[0];
  const std::vector<std::string> rest(args.begin() + (args.empty() ? 0 : 1), args.end());
  if (command == "server") return serve(rest);
  if (command == "--version" || command == "-v" || command == "version") {
    std::cout << "atoll " << atl::shard::kVersion << std::endl;
    return 0;
  }
  if (command == "help" || command == "--help" || command == "-h") {
    std::cout << kUsage;
    return args.empty() ? 2 : 0;
  }
  const bool markdown = rest.size() == 1 && rest[0] == "--markdown";
  if (command == "commands" && markdown) {
    atl::shard::register_all_commands();
    std::cout << atl::command::command_table_markdown();
    return 0;
  }
  if (command == "config" && markdown) {
    std::cout << atl::config::markdown_table();
    return 0;
  }
  std::cerr << "Unknown command: " << command << "\n\n" << kUsage;
  return 2;
}
