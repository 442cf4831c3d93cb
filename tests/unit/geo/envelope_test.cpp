// Messages survive the wire, in parts and compressed, and nothing that is not whole and sound does.
#include "geo/envelope.h"

#include <gtest/gtest.h>
#include <xxhash.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "geo/envelope.pb.h"

namespace atl::geo {
namespace {

Message example(Body body) {
  Message m;
  m.sender.address = {2, 0xabcdef0123456789, 1, 3};
  m.sender.region_name = "eu";
  m.sender.slots = {5461, 10922};
  m.sender.incarnation = Stamp::make(1'700'000'000'000, 7, 2);
  m.sender.wall_ms = 1'700'000'000'123;
  m.sender.paused = {3};
  m.body = std::move(body);
  return m;
}

Message over_the_wire(const Message& m, Compression compression = Compression::kLz4) {
  Assembler assembler;
  Message out;
  std::string error;
  const auto payloads = encode(m, 77, compression);
  for (size_t i = 0; i < payloads.size(); ++i) {
    const auto result = assembler.add("subject", payloads[i], out, error);
    EXPECT_EQ(result, i + 1 == payloads.size() ? Assembler::Result::kMessage
                                               : Assembler::Result::kIncomplete)
        << error;
  }
  return out;
}

std::shared_ptr<const std::string> bytes(size_t n, uint64_t seed) {
  std::mt19937_64 random(seed);
  auto out = std::make_shared<std::string>(n, '\0');
  for (char& c : *out) c = static_cast<char>(random());
  return out;
}

TEST(Envelope, EveryFieldOfABeaconArrives) {
  Beacon b;
  b.sealed = Stamp{11};
  b.head = Stamp{12};
  b.applied.set({1, Stamp{100}, {}});
  b.applied.set({2, Stamp{200}, {{Stamp{110}, Stamp{120}, true}, {Stamp{150}, Stamp{180}}}});
  b.durable.set({1, Stamp{90}, {}});
  b.positions.push_back({77, {3, 9}, {2, Stamp{199}, {{Stamp{150}, Stamp{180}}}}});
  b.lapsed = {9};
  b.want_ack = true;
  b.digests_at = -4;
  b.digests.push_back({16383, 0xfeedface, {Stamp{1}, Stamp{2}}});
  const Message sent = example(b);
  const Message got = over_the_wire(sent);
  EXPECT_EQ(got.sender.address, sent.sender.address);
  EXPECT_EQ(got.sender.region_name, "eu");
  EXPECT_EQ(got.sender.slots, sent.sender.slots);
  EXPECT_EQ(got.sender.incarnation, sent.sender.incarnation);
  EXPECT_EQ(got.sender.wall_ms, sent.sender.wall_ms);
  EXPECT_EQ(got.sender.paused, sent.sender.paused);
  const auto& r = std::get<Beacon>(got.body);
  EXPECT_EQ(r.sealed, b.sealed);
  EXPECT_EQ(r.head, b.head);
  EXPECT_EQ(r.applied, b.applied);
  EXPECT_EQ(r.durable, b.durable);
  EXPECT_EQ(r.lapsed, b.lapsed);
  ASSERT_EQ(r.positions.size(), 1u);
  EXPECT_EQ(r.positions[0].producer, 77u);
  EXPECT_EQ(r.positions[0].slots, (crdt::SlotRange{3, 9}));
  EXPECT_EQ(r.positions[0].seen, b.positions[0].seen);
  EXPECT_TRUE(r.want_ack);
  EXPECT_EQ(r.digests_at, -4);
  ASSERT_EQ(r.digests.size(), 1u);
  EXPECT_EQ(r.digests[0].slot, 16383);
  EXPECT_EQ(r.digests[0].digest, 0xfeedfaceu);
  EXPECT_EQ(r.digests[0].changed, (std::vector<Stamp>{Stamp{1}, Stamp{2}}));
}

TEST(Envelope, EveryFieldOfTheRepairMessagesArrives) {
  const auto pull = std::get<Pull>(over_the_wire(example(Pull{Stamp{42}})).body);
  EXPECT_EQ(pull.from, Stamp{42});

  const auto reply = std::get<PullReply>(
      over_the_wire(example(PullReply{Stamp{1}, true, Stamp{9}, true, {bytes(10, 1), bytes(0, 2)}}))
          .body);
  EXPECT_EQ(reply.from, Stamp{1});
  EXPECT_TRUE(reply.reaches_back && reply.more);
  EXPECT_EQ(reply.upto, Stamp{9});
  ASSERT_EQ(reply.batches.size(), 2u);
  EXPECT_EQ(*reply.batches[0], *bytes(10, 1));

  SlotRequest asked{8, {3, 5}, {}, 0, true, {}, {{}, {Stamp{1}, Stamp{2}}, {}}};
  asked.seen.set({2, Stamp{99}, {{Stamp{5}, Stamp{9}, true}}});
  const auto request = std::get<SlotRequest>(over_the_wire(example(asked)).body);
  EXPECT_EQ(request.seen, asked.seen);
  EXPECT_EQ(request.id, 8u);
  EXPECT_EQ(request.slots, (SlotRange{3, 5}));
  EXPECT_TRUE(request.whole);
  ASSERT_EQ(request.changed.size(), 3u);
  EXPECT_EQ(request.changed[1].size(), 2u);

  SlotReply slots{8, {3, 4}, {bytes(100, 3)}, {}, true};
  slots.covered.raise(1, Stamp{77});
  const auto answered = std::get<SlotReply>(over_the_wire(example(slots)).body);
  EXPECT_EQ(answered.id, 8u);
  EXPECT_EQ(answered.answered, (SlotRange{3, 4}));
  EXPECT_EQ(answered.covered.at(1), Stamp{77});
  EXPECT_TRUE(answered.evicted);
  EXPECT_EQ(*answered.slots.at(0), *bytes(100, 3));

  const crdt::ElementsPlace place{3, "set", crdt::CollectionType::kSet, std::string("\0\1\2\3", 4)};
  const auto rest = std::get<SlotRequest>(
      over_the_wire(example(SlotRequest{9, {5, 5}, place, 7, false, {}, {}})).body);
  EXPECT_EQ(rest.rest, place);
  EXPECT_EQ(rest.part, 7u);
  const auto part = std::get<SlotReply>(
      over_the_wire(example(SlotReply{9, {5, 5}, {}, {}, false, 7, true})).body);
  EXPECT_EQ(part.part, 7u);
  EXPECT_TRUE(part.more);

  EXPECT_TRUE(std::holds_alternative<Healed>(over_the_wire(example(Healed{})).body));
}

TEST(Envelope, WhatWasPublishedArrivesInOrder) {
  const std::string binary("\0\xff\r\n", 4);
  const Published sent{{{"a", "1", false}, {binary, binary, true}, {"", "", false}}};
  const auto got = std::get<Published>(over_the_wire(example(sent)).body);
  ASSERT_EQ(got.items.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(got.items[i].channel, sent.items[i].channel);
    EXPECT_EQ(got.items[i].payload, sent.items[i].payload);
    EXPECT_EQ(got.items[i].sharded, sent.items[i].sharded);
  }
}

TEST(Envelope, LargeMessagesTravelInPartsInAnyOrderAndRepeated) {
  const Message sent = example(BatchMessage{bytes(3 * kPartBytes + 17, 5)});
  auto payloads = encode(sent, 9, Compression::kZstd);
  ASSERT_EQ(payloads.size(), 4u);
  for (const auto& p : payloads) EXPECT_LE(p.size(), kPartBytes + 128);
  std::swap(payloads[0], payloads[3]);
  payloads.insert(payloads.begin() + 1, payloads[0]);
  Assembler assembler;
  Message got;
  std::string error;
  for (size_t i = 0; i + 1 < payloads.size(); ++i) {
    EXPECT_EQ(assembler.add("s", payloads[i], got, error), Assembler::Result::kIncomplete);
  }
  ASSERT_EQ(assembler.add("s", payloads.back(), got, error), Assembler::Result::kMessage) << error;
  EXPECT_EQ(*std::get<BatchMessage>(got.body).bytes, *std::get<BatchMessage>(sent.body).bytes);
}

TEST(Envelope, PartsAreAsSmallAsAskedFor) {
  const Message sent = example(BatchMessage{bytes(20'000'000, 5)});
  Assembler assembler;
  Message got;
  std::string error;
  auto result = Assembler::Result::kIncomplete;
  for (const auto& p : encode(sent, 9, Compression::kOff, kPartBytesMin)) {
    EXPECT_LE(p.size(), kPartBytesMin + kEnvelopeBytesMax);
    ASSERT_EQ(result, Assembler::Result::kIncomplete);
    result = assembler.add("s", p, got, error);
  }
  ASSERT_EQ(result, Assembler::Result::kMessage) << error;
  EXPECT_EQ(*std::get<BatchMessage>(got.body).bytes, *std::get<BatchMessage>(sent.body).bytes);
}

// A fuzzer that begins with messages of another protocol tests the check of the version and nothing
// else. With ATOLL_WRITE_CORPUS messages of this one are written where there are none.
TEST(Envelope, FuzzersBeginWithThisProtocol) {
  const crdt::ElementsPlace place{0, "set", crdt::CollectionType::kSet, std::string("\1\2\3\4", 4)};
  Beacon beacon;
  beacon.applied.set({2, Stamp{200}, {{Stamp{110}, Stamp{120}, true}}});
  beacon.positions.push_back({77, {3, 9}, {2, Stamp{199}, {}}});
  beacon.digests.push_back({16383, 0xfeedface, {Stamp{1}, Stamp{2}}});
  const std::pair<const char*, Body> bodies[] = {
      {"batch", BatchMessage{bytes(20, 1)}},
      {"beacon", beacon},
      {"pull", Pull{Stamp{42}}},
      {"pull-reply", PullReply{Stamp{1}, true, Stamp{9}, true, {bytes(10, 1)}}},
      {"slot-request", SlotRequest{8, {3, 5}, {}, 0, true, {}, {{}, {Stamp{1}}}}},
      {"slot-request-rest", SlotRequest{9, {5, 5}, place, 7, false, {}, {}}},
      {"slot-reply", SlotReply{8, {3, 4}, {bytes(30, 3)}, {}, true}},
      {"slot-reply-part", SlotReply{9, {5, 5}, {bytes(30, 4)}, {}, false, 7, true}},
      {"healed", Healed{}},
      {"published", Published{{{"channel", "payload", true}}}},
  };
  for (const auto& [name, body] : bodies) {
    const auto path = std::filesystem::path(ATOLL_CORPUS_DIR) / "envelope_fuzz" / name;
    if (std::getenv("ATOLL_WRITE_CORPUS") != nullptr && !std::filesystem::exists(path)) {
      const auto payloads = encode(example(body), 7, Compression::kOff);
      std::ofstream(path, std::ios::binary) << payloads.at(0);
    }
    std::ifstream file(path, std::ios::binary);
    const std::string payload{std::istreambuf_iterator<char>(file), {}};
    Assembler assembler;
    Message got;
    std::string error;
    EXPECT_EQ(assembler.add("s", payload, got, error), Assembler::Result::kMessage)
        << name << ": " << error;
    EXPECT_EQ(got.body.index(), body.index()) << name;
  }
}

TEST(Envelope, PartsOfTwoSendersDoNotMix) {
  const auto a = encode(example(BatchMessage{bytes(kPartBytes + 5, 1)}), 9, Compression::kOff);
  const auto b = encode(example(BatchMessage{bytes(kPartBytes + 5, 2)}), 9, Compression::kOff);
  Assembler assembler;
  Message got;
  std::string error;
  EXPECT_EQ(assembler.add("a", a[0], got, error), Assembler::Result::kIncomplete);
  EXPECT_EQ(assembler.add("b", b[1], got, error), Assembler::Result::kIncomplete);
  EXPECT_EQ(assembler.add("b", b[0], got, error), Assembler::Result::kMessage) << error;
  EXPECT_EQ(*std::get<BatchMessage>(got.body).bytes, *bytes(kPartBytes + 5, 2));
}

// Announcing parts costs memory as well, though none of them ever comes.
TEST(Envelope, AnnouncedPartsCount) {
  constexpr uint32_t kParts = 4000;
  wire::Envelope announced;
  announced.set_protocol(kProtocolVersion);
  announced.set_content_id(5);
  announced.set_parts(kParts);
  announced.set_checksum(XXH3_64bits("", 0));
  Assembler assembler;
  Message got;
  std::string error;
  EXPECT_EQ(assembler.add("s", announced.SerializeAsString(), got, error),
            Assembler::Result::kIncomplete);
  const size_t bytes_then = assembler.pending_bytes();
  EXPECT_GE(bytes_then, kParts * sizeof(std::string));
  for (const auto& part :
       encode(example(BatchMessage{bytes(3 * kPartBytes, 1)}), 9, Compression::kOff)) {
    assembler.add("s", part, got, error);
  }
  EXPECT_EQ(assembler.pending_bytes(), bytes_then) << "a whole one leaves nothing";
}

TEST(Envelope, CompressionPaysOrIsLeftOut) {
  const Message even = example(BatchMessage{crdt::share(std::string(64 * 1024, 'x'))});
  const Message noise = example(BatchMessage{bytes(64 * 1024, 8)});
  EXPECT_GT(encode(even, 1, Compression::kOff)[0].size(), 64u * 1024);
  for (const Compression how : {Compression::kLz4, Compression::kZstd}) {
    EXPECT_LT(encode(even, 1, how)[0].size(), 4096u);
    EXPECT_EQ(*std::get<BatchMessage>(over_the_wire(even, how).body).bytes,
              *std::get<BatchMessage>(even.body).bytes);
    EXPECT_LT(encode(noise, 1, how)[0].size(), 65u * 1024);
    EXPECT_EQ(*std::get<BatchMessage>(over_the_wire(noise, how).body).bytes,
              *std::get<BatchMessage>(noise.body).bytes);
  }
}

TEST(Envelope, DamagedCompressionIsRefused) {
  const Message even = example(BatchMessage{crdt::share(std::string(64 * 1024, 'x'))});
  for (const Compression how : {Compression::kLz4, Compression::kZstd}) {
    wire::Envelope good;
    ASSERT_TRUE(good.ParseFromString(encode(even, 1, how)[0]));
    ASSERT_NE(good.compression(), wire::Envelope::NONE);
    const auto refuse = [&](auto&& change) {
      wire::Envelope e = good;
      change(e);
      e.set_checksum(XXH3_64bits(e.content().data(), e.content().size()));
      Assembler assembler;
      Message m;
      std::string error;
      EXPECT_EQ(assembler.add("s", e.SerializeAsString(), m, error), Assembler::Result::kError);
      EXPECT_NE(error.find("compress"), std::string::npos) << error;
    };
    refuse([](auto& e) { e.set_plain_bytes(e.plain_bytes() - 1); });
    refuse([](auto& e) { e.set_plain_bytes(e.plain_bytes() + 1); });
    refuse([](auto& e) { e.set_plain_bytes(kContentBytesMax + 1); });
    refuse([](auto& e) { e.mutable_content()->pop_back(); });
    refuse([](auto& e) { e.set_compression(static_cast<wire::Envelope::Compression>(9)); });
  }
}

// Switching off any one check of Assembler::add lets one of these through.
TEST(Envelope, WhatIsNotSoundIsRefusedWithAReason) {
  const std::string good = encode(example(Pull{Stamp{1}}), 1, Compression::kOff)[0];
  const auto refuse = [](const std::string& payload, const std::string& part_of_reason) {
    Assembler assembler;
    Message m;
    std::string error;
    EXPECT_EQ(assembler.add("s", payload, m, error), Assembler::Result::kError);
    EXPECT_NE(error.find(part_of_reason), std::string::npos) << error;
  };
  const auto changed = [&](auto&& change, bool checksum = true) {
    wire::Envelope e;
    EXPECT_TRUE(e.ParseFromString(good));
    change(e);
    if (checksum) e.set_checksum(XXH3_64bits(e.content().data(), e.content().size()));
    return e.SerializeAsString();
  };
  const auto with_content = [&](auto&& change) {
    return changed([&](wire::Envelope& e) {
      wire::Content c;
      EXPECT_TRUE(c.ParseFromString(e.content()));
      change(c);
      e.set_content(c.SerializeAsString());
    });
  };
  refuse("\xff\xff\xff garbage", "not an envelope");
  refuse(changed([](auto& e) { e.set_protocol(1); }), "protocol version 1");
  refuse(changed([](auto& e) { e.mutable_content()->at(3) ^= 1; }, false), "checksum");
  refuse(changed([](auto& e) { e.set_content("\xff\xff"); }), "not a message");
  refuse(changed([](auto& e) { e.set_compression(wire::Envelope::ZSTD); }), "not decompress");
  refuse(changed([](auto& e) {
           e.set_content_id(4);
           e.set_parts(1);
         }),
         "part number");
  refuse(changed([](auto& e) {
           e.set_content_id(4);
           e.set_parts(4'000'000'000u);
         }),
         "part number");
  refuse(with_content([](auto& c) { c.clear_body(); }), "without a body");
  refuse(with_content([](auto& c) { c.mutable_sender()->set_region(256); }), "region id");
  refuse(with_content([](auto& c) { c.mutable_sender()->set_last_slot(16384); }), "slot");
  refuse(with_content([](auto& c) { c.mutable_sender()->set_shard(70'000); }), "shard");
  refuse(with_content([](auto& c) { c.mutable_slot_reply()->set_first_slot(99'999); }), "slot");
  refuse(with_content([](auto& c) {
           wire::Coverage* seen = c.mutable_beacon()->add_applied();
           seen->set_upto(50);
           seen->add_gaps()->set_until(60);
         }),
         "unsound gaps");
}

TEST(Envelope, EveryTruncationIsRefusedOrIncomplete) {
  const std::string good = encode(example(BatchMessage{bytes(300, 4)}), 1, Compression::kOff)[0];
  for (size_t n = 0; n < good.size(); ++n) {
    Assembler assembler;
    Message m;
    std::string error;
    EXPECT_NE(assembler.add("s", good.substr(0, n), m, error), Assembler::Result::kMessage) << n;
  }
}

TEST(Address, AnotherDivisionIntoShardsIsAnotherProducer) {
  const Address a{1, 5, 0, 1};
  EXPECT_NE(a.producer(), (Address{1, 5, 0, 2}).producer());
  EXPECT_NE(a.producer(), (Address{1, 6, 0, 1}).producer());
  EXPECT_NE(a.producer(), (Address{2, 5, 0, 1}).producer());
  EXPECT_EQ(a.producer(), (Address{1, 5, 0, 1}).producer());
}

}  // namespace
}  // namespace atl::geo
