// One client's TLS: stands where recv() and send() stand for a client without it.
//
//   socket ── recv ──► [thread's 64 KB] ──► OpenSSL ──► room          read()
//   socket ◄── send ── OpenSSL ◄── up to 16 KB of replies             write()
//                  └── unsent_: what the kernel did not take          flush()
//
// Why not SSL_set_fd(): it takes two recv() for every record, and a write that was cut off must be
// repeated with the same bytes, though a hold may have come between. Why not OpenSSL's memory BIOs:
// they copy every byte once more and grow without bound. So the BIO is this object.
//
// The handshake runs within read(), step by step as its bytes come.
//
// Invariants
//  1. read() gives less than the room only when nothing is left, here or in OpenSSL, that the
//     kernel would not report again.
//  2. No reply is sealed while something sealed waits: what OpenSSL was given has left or leaves
//     whole, and is never asked for again.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "node/net/tls_context.h"

struct ssl_st;
struct bio_method_st;

namespace atl::net {

// Threads: its connection's. Owns: the keys of the session, not the socket. Bounds: kUnsentMax out;
// in, what one read() took from the kernel and had no room for; OpenSSL's own, a record each way.
class TlsSession {
 public:
  static constexpr std::size_t kRecordBytes = 16 * 1024;
  // A client that makes us say more than this without reading it is cut off: by renewing keys, or
  // by a chain of certificates that no socket takes.
  static constexpr std::size_t kUnsentMax = 256 * 1024;

  // Throws std::bad_alloc.
  TlsSession(const TlsContext& context, int fd);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  // As recv() on a non-blocking socket: the bytes read, 0 at the peer's end, -1 and errno; EAGAIN
  // if nothing is there. `scratch` belongs to the thread and is used during the call.
  ssize_t read(std::span<char> room, std::span<char> scratch);
  // Seals the front of `bytes`, a record at most, and sends it. Returns how many were sealed, or
  // -1 if the socket broke. Requires: established(), not blocked().
  ssize_t write(std::string_view bytes);
  // Sends what waits. False if the socket broke.
  bool flush();
  // Tells the peer that no more comes, where it can be told.
  void say_goodbye();

  bool established() const { return established_; }
  // The kernel takes no more now, and reports when it does.
  bool blocked() const { return !unsent_.empty(); }
  // read() has met the peer's end or a fault, and will say so.
  bool over() const { return ended_ || broken_; }
  // The fault, for people.
  const std::string& fault() const { return fault_; }
  std::size_t memory() const;

 private:
  friend struct SessionBio;

  bool open_record(std::span<char> room, std::size_t& got);
  void judge_failure(int error);
  // What OpenSSL calls: as recv() and send().
  int take(char* into, std::size_t size);
  int give(std::string_view bytes);
  bool receive();
  bool send_some(std::string_view& bytes);

  ssl_st* const ssl_;
  const int fd_;
  std::span<const char> incoming_;  // received and not yet taken: in the scratch, or in kept_
  std::span<char> scratch_;         // during read()
  std::string kept_;                // incoming_ between two reads
  std::string unsent_;
  std::string fault_;
  bool established_ = false;
  bool drained_ = false;  // the kernel had no more at the last recv() of this read()
  bool socket_end_ = false;
  bool ended_ = false;
  bool broken_ = false;
};

}  // namespace atl::net
