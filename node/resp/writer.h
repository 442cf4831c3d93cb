// Writes replies in RESP2 or RESP3 to an OutBuffer; the only place that knows the reply syntax.
//
// Command code names what it means (map, set, null, double) and the writer chooses the bytes that
// the client's protocol has for it, so no handler asks for the protocol to format a reply.
// Appending allocates nothing while the buffer has room. A reply whose number of elements is known
// only at the end is opened with begin_*() and closed with end_*(), nested ones innermost first.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "node/resp/out_buffer.h"

namespace atl::resp {

enum class Protocol : std::uint8_t { kResp2 = 2, kResp3 = 3 };

// Longest text that format_integer and format_double write.
inline constexpr std::size_t kIntegerTextMax = 20;
inline constexpr std::size_t kDoubleTextMax = 32;

// Decimal digits of `value` at `out`; returns the length.
std::size_t format_integer(std::int64_t value, char* out);
// The shortest text that reads back as `value`, laid out as Redis 7.2's d2string does: "3", "0.1",
// "1e+22", "inf", "-inf", "nan". Returns the length.
std::size_t format_double(double value, char* out);

// Threads: confined to the OutBuffer's. Owns nothing. Lifetime: shorter than the buffer's.
class Writer {
 public:
  // An open aggregate whose length is to follow.
  struct Deferred {
    OutBuffer::Mark mark;
  };

  explicit Writer(OutBuffer& out, Protocol protocol = Protocol::kResp2)
      : out_(&out), protocol_(protocol) {}

  Protocol protocol() const { return protocol_; }
  void set_protocol(Protocol protocol) { protocol_ = protocol; }
  bool resp3() const { return protocol_ == Protocol::kResp3; }
  OutBuffer& buffer() { return *out_; }

  void ok() { out_->append("+OK\r\n"); }
  void simple(std::string_view text);
  // `message` begins with its code ("ERR ...", "WRONGTYPE ..."), without '-'. CR and LF become
  // blanks, so that foreign text in a message cannot forge a reply.
  void error(std::string_view message);
  void integer(std::int64_t value);
  void bulk(std::string_view value);
  // As bulk(), but a large value is moved and not copied.
  void bulk_owned(std::string&& value);
  void bulk_integer(std::int64_t value);     // the number as a bulk string
  void null();                               // RESP2: null bulk
  void null_array();                         // RESP2: null array
  void boolean(bool value);                  // RESP2: integer 1 or 0
  void dbl(double value);                    // RESP2: bulk
  void big_number(std::string_view digits);  // RESP2: bulk
  // Text with a format of three letters ("txt", "mkd"); RESP2: bulk. Requires: ext.size() == 3.
  void verbatim(std::string_view ext, std::string_view text);

  void array(std::int64_t count) { header('*', count); }
  void map(std::int64_t pairs);   // RESP2: array of 2 * pairs
  void set(std::int64_t count);   // RESP2: array
  void push(std::int64_t count);  // RESP2: array

  Deferred begin_array() { return {out_->open_gap(kHeaderMax)}; }
  void end_array(Deferred open, std::int64_t count);
  Deferred begin_map() { return begin_array(); }
  void end_map(Deferred open, std::int64_t pairs);
  Deferred begin_set() { return begin_array(); }
  void end_set(Deferred open, std::int64_t count);

  // Errors written so far, and the code of the last one: for statistics.
  std::uint32_t errors() const { return errors_; }
  std::string_view last_error_code() const { return {error_code_, error_code_size_}; }

  // Bytes that are a reply already, encoded by a writer of the same protocol elsewhere.
  void append_raw(std::string_view encoded) { out_->append(encoded); }

 private:
  static constexpr std::size_t kHeaderMax = 1 + kIntegerTextMax + 2;

  void header(char type, std::int64_t count);
  void end(Deferred open, char type, std::int64_t count);
  void line(char type, std::string_view text);

  static constexpr std::size_t kErrorCodeMax = 23;

  OutBuffer* out_;
  Protocol protocol_;
  std::uint8_t error_code_size_ = 0;
  char error_code_[kErrorCodeMax];
  std::uint32_t errors_ = 0;
};

}  // namespace atl::resp
