// Where settings come from: files with their includes, standard input and the command line, all
// turned into one list of directives that remember their place, for load() and CONFIG REWRITE.
//
// Reading and judging are apart: this knows lines, quotes and includes; settle() knows the table.
// All functions keep no state and block on the file system.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "node/config/config.h"
#include "node/config/files.h"

namespace atl::config {

enum class Source : std::uint8_t { kFile, kCommandLine };

struct Directive {
  Source source = Source::kFile;
  std::string name;  // lower case
  std::vector<std::string> words;
  std::string file;  // "" for the command line, "standard input" for that
  int line = 0;
  std::string text;  // as written

  LoadError error(std::string reason) const;
  std::string place() const;  // "file:line"
};

// One line as a directive: nothing for blank lines and comments.
// Returns a LoadError's reason in `fault` when its quotes do not balance.
std::optional<Directive> parse_line(std::string_view line, std::optional<std::string>& fault);

// Appends the directives of `text`, which came from `file`; `include` is followed at once, so that
// order is what a reader of the files would expect. Include patterns are relative to the working
// directory, as for Redis.
std::optional<LoadError> read_text(const std::string& text, const std::string& file,
                                   std::vector<Directive>& into);
std::optional<LoadError> read_file(const std::string& path, std::vector<Directive>& into);
std::optional<LoadError> read_standard_input(std::vector<Directive>& into);

// Requires: args[0] begins with "--" if there is one.
std::optional<LoadError> read_command_line(const std::vector<std::string>& args,
                                           std::vector<Directive>& into);

// Sets `into` to the defaults plus the directives in order, and checks that it all fits together.
std::optional<LoadError> settle(const std::vector<Directive>& directives, Settings& into);

}  // namespace atl::config
