// One client talking to the command table over stores of its own: what the tests of this folder
// share. Replies come back decoded, in one line each:
//
//   +OK   -ERR text   :1   "bulk"   nil   nil*   [a, b]   {k: v}   ~[set]   ="verbatim"   ,1.5
#pragma once

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "node/command/command.h"
#include "node/command/node_services.h"

namespace atl::command::testing {

// Stores with equal shares of the slots; `only` narrows what stores() hands out.
class Stores : public Keyspace {
 public:
  explicit Stores(size_t count);
  explicit Stores(const crdt::Store::Options& only);  // one, of which the slots may be few
  crdt::Store& store(crdt::SlotId slot) override;
  std::span<crdt::Store* const> stores() override { return views_; }
  void set_now(crdt::Millis now);

 private:
  std::vector<std::unique_ptr<crdt::Store>> owned_;
  std::vector<crdt::Store*> views_;
};

// The part of a keyspace that Route::kSlotCursor gives: one store.
class OneStore : public Keyspace {
 public:
  explicit OneStore(crdt::Store& store) : store_(&store) {}
  crdt::Store& store(crdt::SlotId slot) override;
  std::span<crdt::Store* const> stores() override { return {&store_, 1}; }

 private:
  crdt::Store* store_;
};

// A client of a node with `stores` shards. Time stands still but for advance().
class Client {
 public:
  static constexpr crdt::Millis kStart = 1'800'000'000'000;

  explicit Client(size_t stores = 1);
  explicit Client(const crdt::Store::Options& store);  // of one that has peers
  ~Client();

  // Splits at blanks, with "..." and '...' around arguments that hold some.
  std::string run(std::string_view line);
  std::string run(const std::vector<std::string>& args);
  void use_resp3() { protocol_ = resp::Protocol::kResp3; }
  void use_resp2() { protocol_ = resp::Protocol::kResp2; }
  void advance(crdt::Millis ms);
  crdt::Millis now() const { return now_; }

  Stores& stores() { return stores_; }
  Session& session() { return session_; }
  NodeServices& node() { return *node_; }
  void set_value_bytes_max(uint64_t bytes) { value_bytes_max_ = bytes; }
  // Deltas that commands have produced since the last call.
  uint32_t take_deltas();

 private:
  Stores stores_;
  Session session_;
  std::unique_ptr<NodeServices> node_;
  resp::Protocol protocol_ = resp::Protocol::kResp2;
  crdt::Millis now_ = kStart;
  uint64_t value_bytes_max_ = 512u << 20;
  uint64_t random_ = 1;
};

std::vector<std::string> split_words(std::string_view line);
// Decodes one reply; anything left over or malformed fails the test.
std::string decode_reply(std::string_view bytes);

}  // namespace atl::command::testing
