// Whole files that people write and the node rewrites: the configuration, the ACL file.
//
// Both functions keep no state and block on the disk: not for a thread that serves.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace atl::config {

// The whole content of `path`, or why not (strerror's text). Bounds: Config::kFileBytesMax.
struct FileContent {
  std::optional<std::string> content;
  std::string fault;
};
FileContent slurp(const std::string& path);

// Returns strerror's text, or nothing once `bytes` are durable under `file`. Durability: a crash
// leaves the old content or the new; on failure the old file is untouched. A file that exists keeps
// its mode.
std::optional<std::string> replace_file(const std::string& file, std::string_view bytes,
                                        unsigned new_file_mode);

}  // namespace atl::config
