// Runs one fuzz target without libFuzzer: every file of the corpus, then its own mutations of
// them for some time.
//
//     batch_fuzz CORPUS_DIR [SECONDS]      ATOLL_SEED chooses the mutations (printed first)
//     batch_fuzz FILE...                   runs single inputs, such as a saved crash
//
// A target that aborts or faults leaves its input in crash-<seed>.bin in the working directory.
// The mutations know nothing of coverage: they flip, cut, splice and overwrite with numbers that
// break length fields. Built with clang, the same targets link against libFuzzer instead.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr size_t kInputBytesMax = 16 * 1024;

std::string current_input;
char crash_path[64];

// Only what a signal handler may do: write the input and fall through to the default action.
void save_input(int signal_number) {
  const int fd = open(crash_path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
  if (fd >= 0) {
    [[maybe_unused]] const ssize_t n = write(fd, current_input.data(), current_input.size());
    close(fd);
  }
  std::signal(signal_number, SIG_DFL);
  std::raise(signal_number);
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  size_t below(size_t n) { return static_cast<size_t>(next() % n); }

 private:
  uint64_t state_;
};

void run(const std::string& input) {
  current_input = input;
  // A copy of the exact size: a sanitizer then sees every read past the end.
  const std::vector<uint8_t> exact(input.begin(), input.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void mutate_once(std::string& input, const std::vector<std::string>& corpus, Random& random) {
  static constexpr uint8_t kNasty[] = {0x00, 0x01, 0x7f, 0x80, 0xff, 0xfe, 0x40, 0x20};
  const size_t at = input.empty() ? 0 : random.below(input.size());
  switch (random.below(7)) {
    case 0:
      if (!input.empty()) input[at] = static_cast<char>(input[at] ^ (1 << random.below(8)));
      break;
    case 1:
      if (!input.empty()) input[at] = static_cast<char>(random.next());
      break;
    case 2:
      if (!input.empty()) input[at] = static_cast<char>(kNasty[random.below(sizeof kNasty)]);
      break;
    case 3:
      input.erase(at, 1 + random.below(8));
      break;
    case 4:
      input.insert(at, 1 + random.below(8), static_cast<char>(random.next()));
      break;
    case 5: {
      const std::string& other = corpus[random.below(corpus.size())];
      if (other.empty()) break;
      const size_t from = random.below(other.size());
      input.replace(at, random.below(32), other.substr(from, 1 + random.below(64)));
      break;
    }
    default:
      if (random.below(4) == 0) input.resize(at);
  }
  if (input.size() > kInputBytesMax) input.resize(kInputBytesMax);
}

int run_files(int count, char** files) {
  for (int i = 0; i < count; ++i) run(read_file(files[i]));
  std::printf("ran %d inputs\n", count);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const char* seed_text = std::getenv("ATOLL_SEED");
  const uint64_t seed = seed_text == nullptr ? 1 : std::strtoull(seed_text, nullptr, 10);
  std::snprintf(crash_path, sizeof crash_path, "crash-%llu.bin",
                static_cast<unsigned long long>(seed));
  for (const int s : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) std::signal(s, save_input);
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s CORPUS_DIR [SECONDS] | FILE...\n", argv[0]);
    return 2;
  }
  if (!std::filesystem::is_directory(argv[1])) return run_files(argc - 1, argv + 1);

  std::vector<std::string> corpus;
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  for (const auto& path : paths) corpus.push_back(read_file(path));
  if (corpus.empty()) {
    std::fprintf(stderr, "%s: no corpus in %s\n", argv[0], argv[1]);
    return 2;
  }
  std::printf("ATOLL_SEED=%llu, %zu inputs\n", static_cast<unsigned long long>(seed),
              corpus.size());
  std::fflush(stdout);
  for (const std::string& input : corpus) run(input);

  using Clock = std::chrono::steady_clock;
  const double seconds = argc > 2 ? std::strtod(argv[2], nullptr) : 1.0;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  Random random(seed);
  uint64_t runs = 0;
  while (Clock::now() < end) {
    std::string input = corpus[random.below(corpus.size())];
    for (size_t i = 1 + random.below(6); i > 0; --i) mutate_once(input, corpus, random);
    run(input);
    ++runs;
  }
  std::printf("%llu mutations\n", static_cast<unsigned long long>(runs));
  return 0;
}
