// A node in a process of its own, for tests that end it with SIGKILL.
//
//     serve_until_killed DIR THREADS
//
// Serves under `appendfsync always`; once it does, DIR/port holds the port.
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>

#include "tests/unit/shard/harness.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: serve_until_killed DIR THREADS\n", stderr);
    return 2;
  }
  const std::string dir = argv[1];
  try {
    const atl::shard::TestNode node(
        dir,
        {{"threads", argv[2]}, {"appendonly", "yes"}, {"appendfsync", "always"}, {"save", ""}});
    std::ofstream(dir + "/port.tmp") << node.port() << std::endl;
    std::filesystem::rename(dir + "/port.tmp", dir + "/port");
    for (;;) pause();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "serve_until_killed: %s\n", error.what());
    return 1;
  }
}
