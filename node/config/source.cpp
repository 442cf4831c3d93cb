#include "node/config/source.h"

#include <glob.h>

#include <filesystem>
#include <iostream>
#include <iterator>
#include <set>
#include <utility>

#include "node/config/option.h"
#include "node/config/text.h"

namespace atl::config {
namespace {

using Directives = std::vector<Directive>;

constexpr const char* kUnbalanced = "Unbalanced quotes in configuration line";

std::optional<LoadError> read_nested(const std::string& path, int depth, Directives& into);

// The files that an include names. A pattern may match none, a plain name stands for itself so
// that a missing file is an error.
std::vector<std::string> expand(const std::string& pattern) {
  if (pattern.find_first_of("*?[") == std::string::npos) return {pattern};
  std::vector<std::string> paths;
  glob_t found{};
  if (::glob(pattern.c_str(), 0, nullptr, &found) == 0) {
    paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  }
  ::globfree(&found);
  return paths;
}

std::optional<LoadError> follow_include(const Directive& include, int depth, Directives& into) {
  if (include.words.size() != 1) return include.error("include: wrong number of arguments");
  if (depth >= Config::kIncludeDepthMax) {
    return include.error("include: nested more than " + std::to_string(Config::kIncludeDepthMax) +
                         " deep; does a file include itself?");
  }
  for (const std::string& path : expand(include.words[0])) {
    auto error = read_nested(path, depth + 1, into);
    if (!error) continue;
    // A file that cannot be opened is the fault of the line that asks for it.
    if (error->line == 0) return include.error(error->reason);
    return error;
  }
  return std::nullopt;
}

std::optional<LoadError> read_lines(const std::string& text, const std::string& file, int depth,
                                    Directives& into) {
  int number = 0;
  for (std::size_t from = 0; from < text.size();) {
    const std::size_t to = std::min(text.find('\n', from), text.size());
    const std::string_view line = std::string_view(text).substr(from, to - from);
    from = to + 1;
    ++number;
    std::optional<std::string> fault;
    auto directive = parse_line(line, fault);
    if (fault) return LoadError{file, number, std::string(trimmed(line)), *fault};
    if (!directive) continue;
    directive->file = file;
    directive->line = number;
    if (directive->name != "include") {
      into.push_back(std::move(*directive));
    } else if (auto error = follow_include(*directive, depth, into)) {
      return error;
    }
  }
  return std::nullopt;
}

std::optional<LoadError> read_nested(const std::string& path, int depth, Directives& into) {
  FileContent read = slurp(path);
  if (!read.content) {
    return LoadError{path, 0, "", "can't open config file '" + path + "': " + read.fault};
  }
  return read_lines(*read.content, path, depth, into);
}

// Save points of one source add up; those of a later source replace them all.
std::optional<std::string> assign_in_order(const Option& option, const Directive& directive,
                                           std::set<Source>& saves_of, Settings& into) {
  if (option.kind == Kind::kUsers) {
    auto fault = assign(option, directive.words, into);
    if (!fault) into.users.back().place = directive.place();
    return fault;
  }
  if (option.kind != Kind::kSave) return assign(option, directive.words, into);
  const auto earlier = into.save;
  if (auto fault = assign(option, directive.words, into)) return fault;
  const bool continues = !saves_of.insert(directive.source).second;
  if (continues && !into.save.empty()) {
    into.save.insert(into.save.begin(), earlier.begin(), earlier.end());
  }
  return std::nullopt;
}

std::optional<LoadError> apply_one(const Directive& directive, std::set<Source>& saves_of,
                                   Settings& into) {
  const Option* option = find_option(directive.name);
  if (option == nullptr) {
    return directive.error("Bad directive or wrong number of arguments: unknown option '" +
                           directive.name + "'" + hint_for_unknown(directive.name));
  }
  if (directive.words.empty()) {
    return directive.error("Bad directive or wrong number of arguments: '" + directive.name +
                           "' needs a value");
  }
  if (auto fault = assign_in_order(*option, directive, saves_of, into)) {
    LoadError error = directive.error(std::move(*fault));
    if (option->secrecy == Secrecy::kSecret) error.text = directive.name + " (value not shown)";
    return error;
  }
  return std::nullopt;
}

// A file brought over from Redis has many lines to remove: the first is in the error anyway.
std::string other_unknown(const Directives& directives, const LoadError& first) {
  std::string names;
  for (const Directive& d : directives) {
    const bool is_first = d.file == first.file && d.line == first.line && d.text == first.text;
    if (is_first || find_option(d.name) != nullptr) continue;
    names += (names.empty() ? "" : ", ") + d.name;
    if (d.line != 0) names += " (line " + std::to_string(d.line) + ")";
  }
  return names.empty() ? "" : "\nUnknown too: " + names;
}

std::string absolute_path(const std::string& path) {
  std::error_code failed;
  const auto absolute = std::filesystem::absolute(path, failed).lexically_normal();
  if (failed) return path;
  // "a/b/." normalises to "a/b/": the slash says nothing more.
  return absolute.has_filename() || absolute == absolute.root_path()
             ? absolute.string()
             : absolute.parent_path().string();
}

}  // namespace

std::string Directive::place() const {
  return line == 0 ? "the command line" : file + ':' + std::to_string(line);
}

LoadError Directive::error(std::string reason) const {
  return LoadError{file, line, text, std::move(reason)};
}

std::optional<Directive> parse_line(std::string_view line, std::optional<std::string>& fault) {
  const std::string_view text = trimmed(line);
  if (text.empty() || text.front() == '#') return std::nullopt;
  auto words = split_args(text);
  if (!words) {
    fault = kUnbalanced;
    return std::nullopt;
  }
  Directive directive;
  directive.name = lower(words->front());
  directive.words.assign(std::make_move_iterator(words->begin() + 1),
                         std::make_move_iterator(words->end()));
  directive.text = std::string(text);
  return directive;
}

std::optional<LoadError> read_text(const std::string& text, const std::string& file,
                                   Directives& into) {
  return read_lines(text, file, 0, into);
}

std::optional<LoadError> read_file(const std::string& path, Directives& into) {
  return read_nested(path, 0, into);
}

std::optional<LoadError> read_standard_input(Directives& into) {
  std::string text(std::istreambuf_iterator<char>(std::cin), {});
  return read_lines(text, "standard input", 0, into);
}

std::optional<LoadError> read_command_line(const std::vector<std::string>& args, Directives& into) {
  Directives given;
  for (const std::string& arg : args) {
    if (arg.starts_with("--")) {
      Directive directive;
      directive.source = Source::kCommandLine;
      directive.name = lower(std::string_view(arg).substr(2));
      directive.text = arg;
      given.push_back(std::move(directive));
    } else {
      given.back().words.push_back(arg);
      given.back().text += ' ' + quote_word(arg);
    }
  }
  for (Directive& directive : given) {
    // As in Redis 7, `--save` with nothing behind it means `--save ""`.
    if (directive.name == "save" && directive.words.empty()) directive.words.emplace_back();
    if (directive.name != "include") {
      into.push_back(std::move(directive));
    } else if (auto error = follow_include(directive, 0, into)) {
      return error;
    }
  }
  return std::nullopt;
}

std::optional<LoadError> settle(const Directives& directives, Settings& into) {
  Settings settings = default_settings();
  std::set<Source> saves_of;
  for (const Directive& directive : directives) {
    if (auto error = apply_one(directive, saves_of, settings)) {
      const bool unknown = find_option(directive.name) == nullptr;
      if (unknown) error->reason += other_unknown(directives, *error);
      return error;
    }
  }
  if (const auto conflict = find_conflict(settings)) {
    LoadError error{"", 0, "", conflict->reason};
    for (const Directive& directive : directives) {
      if (directive.name != conflict->option) continue;
      const bool secret = is_secret(directive.name);
      error = directive.error(conflict->reason);
      if (secret) error.text = directive.name + " (value not shown)";
    }
    return error;
  }
  settings.dir = absolute_path(settings.dir);
  into = std::move(settings);
  return std::nullopt;
}

}  // namespace atl::config
