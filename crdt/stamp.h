// Stamps: the 8-byte timestamp that orders every write in every region.
//
// One stamp is the last-writer-wins timestamp of a value, the dot of a contribution and the
// causal id of a delta. Layout, most significant bits first:
//
//     | 44 bits: milliseconds of the hybrid logical clock | 12 bits: logical | 8 bits: region |
//
// so that comparing two stamps as integers compares time, then logical counter, then region.
// The logical counter overflows into the milliseconds. 44 bits of milliseconds last until 2527.
//
// Source: S. Kulkarni et al., "Logical Physical Clocks", 2014. We pack the logical part into
// the low bits of one word instead of sending it beside the time.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace atl::crdt {

using RegionId = uint8_t;  // 1..255; 0 is "no region" and never stamps anything
using SlotId = uint16_t;   // 0..16383
using DbId = uint8_t;      // numbered database, 0..15 by default
using Millis = int64_t;    // milliseconds since the Unix epoch, or a duration in milliseconds

inline constexpr uint32_t kSlotCount = 16384;
// The year 2248. No clock is moved beyond by what it hears, so that none can be made to overflow.
inline constexpr Millis kLatestMs = Millis{1} << 43;

struct Stamp {
  uint64_t raw = 0;  // 0: before everything, "never"

  static constexpr Stamp make(Millis ms, uint32_t logical, RegionId region) {
    return Stamp{((static_cast<uint64_t>(ms) << 12) + logical) << 8 | region};
  }
  // The greatest stamp whose milliseconds are below `ms`, whatever the region.
  static constexpr Stamp before(Millis ms) {
    return Stamp{ms <= 0 ? 0 : (static_cast<uint64_t>(ms) << 20) - 1};
  }
  static constexpr Stamp max() { return Stamp{~uint64_t{0}}; }

  constexpr Millis ms() const { return static_cast<Millis>(raw >> 20); }
  constexpr uint32_t logical() const { return static_cast<uint32_t>(raw >> 8) & 0xfff; }
  constexpr RegionId region() const { return static_cast<RegionId>(raw); }
  // Time and logical counter without the region: dense within one region.
  constexpr uint64_t tick() const { return raw >> 8; }
  static constexpr Stamp from_tick(uint64_t tick, RegionId region) {
    return Stamp{tick << 8 | region};
  }

  constexpr explicit operator bool() const { return raw != 0; }
  constexpr auto operator<=>(const Stamp&) const = default;
};

// A region's hybrid logical clock.
//
// *Threads*: confined to the owner of the slots it stamps. *Invariants*: (1) every stamp from
// next() is greater than every stamp returned or observed before; (2) observing never moves the
// clock back; (3) wall time that goes back does not move the clock back.
class HybridClock {
 public:
  explicit HybridClock(RegionId region) : region_(region) {}

  RegionId region() const { return region_; }

  Stamp next(Millis wall_ms) {
    const uint64_t wall_tick = static_cast<uint64_t>(wall_ms) << 12;
    tick_ = wall_tick > tick_ ? wall_tick : tick_ + 1;
    return Stamp::from_tick(tick_, region_);
  }

  // A stamp that every later next() exceeds and that no earlier one does. Advances with idle
  // time, so that a region which writes nothing still lets others' vectors pass.
  Stamp floor(Millis wall_ms) {
    const uint64_t wall_tick = static_cast<uint64_t>(wall_ms) << 12;
    if (wall_tick > tick_) tick_ = wall_tick;
    return Stamp::from_tick(tick_, region_);
  }

  void observe(Stamp remote) {
    if (remote.tick() > tick_ && remote.ms() <= kLatestMs) tick_ = remote.tick();
  }

  Stamp last() const { return Stamp::from_tick(tick_, region_); }

 private:
  uint64_t tick_ = 0;
  RegionId region_;
};

}  // namespace atl::crdt

template <>
struct std::hash<atl::crdt::Stamp> {
  size_t operator()(const atl::crdt::Stamp& s) const noexcept {
    return std::hash<uint64_t>{}(s.raw);
  }
};
