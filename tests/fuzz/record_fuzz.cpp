// Foreign bytes as a record of the log, and as a slot: the first byte is the key's length, then key
// and value. Each input is tried as it is and with the right checksum, so that what lies behind the
// checksum is reached too.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "persist/format.h"

namespace {

void demand(bool condition) {
  if (!condition) std::abort();
}

void parse(std::string_view key, std::string_view value) {
  namespace format = atl::persist::format;
  std::string why;
  const auto record = format::parse_record(key, value, &why);
  if (!record) {
    demand(!why.empty());
    return;
  }
  const std::string_view bytes = record->view.bytes;
  demand(bytes.data() >= value.data());
  demand(bytes.data() + bytes.size() <= value.data() + value.size());
  demand(record->view.span.from < record->view.span.to);
}

void parse_slot(std::string_view key, std::string_view value) {
  namespace format = atl::persist::format;
  const auto slot = format::parse_slot(key, value);
  if (!slot) return;
  demand(slot->bytes.data() + slot->bytes.size() <= value.data() + value.size());
  demand((slot->parts.pass == 0) == (slot->parts.count == 0));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace format = atl::persist::format;
  if (size == 0) return 0;
  const std::string_view all(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string_view key = all.substr(0, data[0]);
  const std::string_view value = all.substr(key.size());
  format::parse_log_key(key);
  parse(key, value);
  format::unseal(key, value);
  format::slot_of_part(key);
  parse_slot(key, value);
  if (value.size() >= format::kPartsBytes) {
    const std::string_view parts = value.substr(0, format::kPartsBytes);
    const auto sum = format::checksum(key, parts, value.substr(parts.size()));
    parse_slot(key, std::string(value) + std::string(sum.data(), sum.size()));
  }
  if (value.size() < sizeof(format::Header)) return 0;
  const std::string_view header = value.substr(0, sizeof(format::Header));
  const auto sum = format::checksum(key, header, value.substr(header.size()));
  parse(key, std::string(value) + std::string(sum.data(), sum.size()));
  return 0;
}
