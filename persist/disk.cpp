#include "persist/disk.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <string>
#include <utility>

namespace atl::persist {

namespace {

using rocksdb::DataVerificationInfo;
using rocksdb::FileOptions;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

/// RocksDB would reserve a whole memtable's worth of disk for each write-ahead log.
constexpr std::size_t kPreallocationBytesMax = std::size_t{4} << 20;

IOStatus passing(const IOStatus& status) {
  if (!status.IsIOError()) return status;
  // Without the sub-code NoSpace, see make_file_system(); the text keeps it.
  const char* text = status.getState();
  std::string message = text != nullptr ? text : status.ToString();
  if (status.IsNoSpace() && message.find("No space") == std::string::npos) {
    message += ": No space left on device";
  }
  IOStatus result = IOStatus::IOError(message);
  result.SetRetryable(true);
  return result;
}

IOStatus ask(DiskFaults* faults, DiskOperation operation, const std::string& path) {
  if (faults == nullptr) return IOStatus::OK();
  switch (faults->decide(operation, path)) {
    case DiskVerdict::kProceed:
      return IOStatus::OK();
    case DiskVerdict::kNoSpace:
      return passing(IOStatus::NoSpace("While writing " + path, "No space left on device"));
    case DiskVerdict::kIoError:
      return passing(IOStatus::IOError("While writing " + path, "Input/output error"));
  }
  return IOStatus::OK();
}

class SeamFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  SeamFile(std::unique_ptr<FSWritableFile>&& file, std::string path, DiskFaults* faults)
      : FSWritableFileOwnerWrapper(std::move(file)), path_(std::move(path)), faults_(faults) {}

  IOStatus Append(const Slice& bytes, const IOOptions& options, IODebugContext* debug) override {
    const IOStatus verdict = ask(faults_, DiskOperation::kAppend, path_);
    return verdict.ok() ? passing(target()->Append(bytes, options, debug)) : verdict;
  }
  IOStatus Append(const Slice& bytes, const IOOptions& options, const DataVerificationInfo& check,
                  IODebugContext* debug) override {
    const IOStatus verdict = ask(faults_, DiskOperation::kAppend, path_);
    return verdict.ok() ? passing(target()->Append(bytes, options, check, debug)) : verdict;
  }
  // With direct I/O these are what writes.
  IOStatus PositionedAppend(const Slice& bytes, uint64_t at, const IOOptions& options,
                            IODebugContext* debug) override {
    const IOStatus verdict = ask(faults_, DiskOperation::kAppend, path_);
    return verdict.ok() ? passing(target()->PositionedAppend(bytes, at, options, debug)) : verdict;
  }
  IOStatus PositionedAppend(const Slice& bytes, uint64_t at, const IOOptions& options,
                            const DataVerificationInfo& check, IODebugContext* debug) override {
    const IOStatus verdict = ask(faults_, DiskOperation::kAppend, path_);
    return verdict.ok() ? passing(target()->PositionedAppend(bytes, at, options, check, debug))
                        : verdict;
  }
  IOStatus Flush(const IOOptions& options, IODebugContext* debug) override {
    return passing(target()->Flush(options, debug));
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    const IOStatus verdict = ask(faults_, DiskOperation::kSync, path_);
    return verdict.ok() ? passing(target()->Sync(options, debug)) : verdict;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    const IOStatus verdict = ask(faults_, DiskOperation::kSync, path_);
    return verdict.ok() ? passing(target()->Fsync(options, debug)) : verdict;
  }
  void SetPreallocationBlockSize(std::size_t size) override {
    target()->SetPreallocationBlockSize(std::min(size, kPreallocationBytesMax));
  }

 private:
  const std::string path_;
  DiskFaults* const faults_;
};

class SeamFileSystem : public rocksdb::FileSystemWrapper {
 public:
  explicit SeamFileSystem(DiskFaults* faults)
      : FileSystemWrapper(rocksdb::FileSystem::Default()), faults_(faults) {}

  const char* Name() const override { return "AtollSeamFileSystem"; }

  IOStatus NewWritableFile(const std::string& path, const FileOptions& options,
                           std::unique_ptr<FSWritableFile>* file, IODebugContext* debug) override {
    return wrap(path, file, [&] { return target()->NewWritableFile(path, options, file, debug); });
  }
  IOStatus ReopenWritableFile(const std::string& path, const FileOptions& options,
                              std::unique_ptr<FSWritableFile>* file,
                              IODebugContext* debug) override {
    return wrap(path, file,
                [&] { return target()->ReopenWritableFile(path, options, file, debug); });
  }
  IOStatus ReuseWritableFile(const std::string& path, const std::string& old_path,
                             const FileOptions& options, std::unique_ptr<FSWritableFile>* file,
                             IODebugContext* debug) override {
    return wrap(path, file,
                [&] { return target()->ReuseWritableFile(path, old_path, options, file, debug); });
  }
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                      IODebugContext* debug) override {
    const IOStatus verdict = ask(faults_, DiskOperation::kRename, to);
    return verdict.ok() ? passing(target()->RenameFile(from, to, options, debug)) : verdict;
  }

 private:
  template <typename Open>
  IOStatus wrap(const std::string& path, std::unique_ptr<FSWritableFile>* file, Open open) {
    const IOStatus verdict = ask(faults_, DiskOperation::kOpen, path);
    if (!verdict.ok()) return verdict;
    IOStatus status = passing(open());
    if (status.ok()) *file = std::make_unique<SeamFile>(std::move(*file), path, faults_);
    return status;
  }

  DiskFaults* const faults_;
};

class SpdlogLogger : public rocksdb::Logger {
 public:
  SpdlogLogger() : Logger(rocksdb::InfoLogLevel::WARN_LEVEL) {}

  using rocksdb::Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    Logv(rocksdb::InfoLogLevel::INFO_LEVEL, format, arguments);
  }
  void Logv(const rocksdb::InfoLogLevel level, const char* format, va_list arguments) override {
    if (level < rocksdb::InfoLogLevel::WARN_LEVEL || level == rocksdb::InfoLogLevel::HEADER_LEVEL) {
      return;
    }
    char line[1024];
    std::vsnprintf(line, sizeof line, format, arguments);
    spdlog::log(
        level == rocksdb::InfoLogLevel::WARN_LEVEL ? spdlog::level::warn : spdlog::level::err,
        "rocksdb: {}", line);
  }
};

}  // namespace

std::shared_ptr<rocksdb::FileSystem> make_file_system(DiskFaults* faults) {
  return std::make_shared<SeamFileSystem>(faults);
}

std::shared_ptr<rocksdb::Logger> make_logger() {
  return std::make_shared<SpdlogLogger>();
}

}  // namespace atl::persist
