#include "node/script/script.h"

#include <openssl/evp.h>

#include <algorithm>

namespace atl::script {

namespace {

struct Named {
  std::string_view name;
  uint32_t flag;
};
constexpr Named kFlags[] = {{"no-writes", kNoWrites},
                            {"allow-oom", kAllowOom},
                            {"allow-stale", kAllowStale},
                            {"no-cluster", kNoCluster},
                            {"allow-cross-slot-keys", kAllowCrossSlotKeys}};

constexpr std::string_view kFlagsOption = "flags=";

// Takes what stands before `separator`, and the separator.
std::string_view take_word(std::string_view& text, char separator) {
  const size_t end = std::min(text.find(separator), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return word;
}

void read_flags(std::string_view list, Header& header) {
  while (!list.empty()) {
    const std::string_view word = take_word(list, ',');
    const auto* found = std::find_if(std::begin(kFlags), std::end(kFlags),
                                     [&](const Named& each) { return each.name == word; });
    if (found == std::end(kFlags)) {
      header.error.assign("ERR Unexpected flag in script shebang: ").append(word);
      return;
    }
    header.flags |= found->flag;
  }
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

Digest digest_of(std::string_view text) {
  Digest digest;
  unsigned size = 0;
  EVP_Digest(text.data(), text.size(), digest.bytes.data(), &size, EVP_sha1(), nullptr);
  return digest;
}

std::string hex(const Digest& digest) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const uint8_t byte : digest.bytes) {
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 15]);
  }
  return text;
}

std::optional<Digest> parse_digest(std::string_view text) {
  Digest digest;
  if (text.size() != 2 * digest.bytes.size()) return std::nullopt;
  for (size_t i = 0; i < digest.bytes.size(); ++i) {
    const int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    digest.bytes[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return digest;
}

Header parse_header(std::string_view text) {
  Header header;
  if (!text.starts_with("#!")) return header;
  header.present = true;
  const size_t end = text.find('\n');
  if (end == std::string_view::npos) {
    header.error = "ERR Invalid script shebang";
    return header;
  }
  header.size = end;
  std::string_view line = text.substr(0, end);
  const std::string_view engine = take_word(line, ' ');
  if (engine != "#!lua") {
    header.error.assign("ERR Unexpected engine in script shebang: ").append(engine);
    return header;
  }
  while (!line.empty() && header.error.empty()) {
    const std::string_view option = take_word(line, ' ');
    if (option.empty()) continue;
    if (option.starts_with(kFlagsOption)) {
      read_flags(option.substr(kFlagsOption.size()), header);
    } else {
      header.error.assign("ERR Unknown lua shebang option: ").append(option);
    }
  }
  return header;
}

}  // namespace atl::script
