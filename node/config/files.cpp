#include "node/config/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "node/config/config.h"

namespace atl::config {
namespace {

// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_;
};

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

bool write_and_sync(const std::string& path, mode_t mode, std::string_view bytes) {
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  return file.valid() && write_all(file.get(), bytes) && ::fchmod(file.get(), mode) == 0 &&
         ::fsync(file.get()) == 0;
}

bool sync_directory(const std::string& path) {
  const Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return directory.valid() && ::fsync(directory.get()) == 0;
}

}  // namespace

std::optional<std::string> replace_file(const std::string& file, std::string_view bytes,
                                        unsigned new_file_mode) {
  static std::atomic<unsigned> sequence{0};
  std::error_code failed;
  const auto path = std::filesystem::weakly_canonical(file, failed);  // keeps a symlink a symlink
  if (failed) return failed.message();
  struct ::stat status {};
  const bool exists = ::stat(path.c_str(), &status) == 0;
  const mode_t mode = exists ? status.st_mode & 07777 : new_file_mode;
  const std::string temporary =
      path.string() + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(++sequence);
  if (!write_and_sync(temporary, mode, bytes) || ::rename(temporary.c_str(), path.c_str()) != 0) {
    const std::string fault = std::strerror(errno);
    ::unlink(temporary.c_str());
    return fault;
  }
  if (!sync_directory(path.parent_path().string())) return std::strerror(errno);
  return std::nullopt;
}

FileContent slurp(const std::string& path) {
  std::error_code failed;
  if (std::filesystem::is_directory(path, failed)) return {std::nullopt, std::strerror(EISDIR)};
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in) return {std::nullopt, std::strerror(errno != 0 ? errno : ENOENT)};
  std::string content;
  char block[1 << 16];
  while (in.read(block, sizeof block) || in.gcount() > 0) {
    content.append(block, static_cast<std::size_t>(in.gcount()));
    if (content.size() > Config::kFileBytesMax) return {std::nullopt, std::strerror(EFBIG)};
  }
  if (in.bad()) return {std::nullopt, std::strerror(EIO)};
  return {std::move(content), ""};
}

}  // namespace atl::config
