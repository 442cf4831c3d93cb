#include "crdt/version_vector.h"

namespace atl::crdt {

namespace {

// What a coverage says of one stamp. The lesser, the more is known.
enum Level : uint8_t { kCovered, kSettled, kOpen };

Level level_at(const Coverage& c, uint64_t raw) {
  if (raw > c.upto.raw) return kOpen;
  for (const Gap& g : c.gaps) {
    if (raw > g.after.raw && raw < g.until.raw) return g.settled ? kSettled : kOpen;
  }
  return kCovered;
}

// Where the level changes: the first stamps of stretches.
void add_edges(const Coverage& c, std::vector<uint64_t>& edges) {
  edges.push_back(c.upto.raw + 1);
  for (const Gap& g : c.gaps) {
    edges.push_back(g.after.raw + 1);
    edges.push_back(g.until.raw);
  }
}

Coverage from_stretches(RegionId region, const std::vector<std::pair<uint64_t, Level>>& stretches) {
  Coverage out{region, {}, {}};
  std::vector<Gap> gaps;
  for (size_t i = 0; i < stretches.size(); ++i) {
    const auto [first, level] = stretches[i];
    const bool last = i + 1 == stretches.size();
    const uint64_t end = last ? UINT64_MAX : stretches[i + 1].first;
    if (level != kCovered) {
      gaps.push_back({Stamp{first - 1}, Stamp{end}, level == kSettled});
      continue;
    }
    out.upto = Stamp{last ? UINT64_MAX : end - 1};
    out.gaps = gaps;  // what lies above the last covered stretch is no gap
  }
  while (out.gaps.size() > kGapsMax) {
    out.gaps[1] = {out.gaps[0].after, out.gaps[1].until,
                   out.gaps[0].settled && out.gaps[1].settled};
    out.gaps.erase(out.gaps.begin());
  }
  return out;
}

template <class Pick>
Coverage combine(const Coverage& a, const Coverage& b, Pick pick) {
  std::vector<uint64_t> edges{1};
  add_edges(a, edges);
  add_edges(b, edges);
  std::sort(edges.begin(), edges.end());
  std::vector<std::pair<uint64_t, Level>> stretches;
  uint64_t before = 0;
  for (const uint64_t edge : edges) {
    if (edge == before) continue;  // 0 is no stamp: the edge above the greatest one
    before = edge;
    const Level level = pick(level_at(a, edge), level_at(b, edge));
    if (stretches.empty() || stretches.back().second != level) stretches.emplace_back(edge, level);
  }
  return from_stretches(a.region, stretches);
}

}  // namespace

void Coverage::unite(const Coverage& other) {
  if (gaps == other.gaps) {
    upto = std::max(upto, other.upto);
  } else {
    *this = combine(*this, other, [](Level a, Level b) { return std::min(a, b); });
  }
}

void Coverage::intersect(const Coverage& other) {
  const Stamp least = std::min(upto, other.upto);
  if (gaps == other.gaps && (gaps.empty() || gaps.back().until <= least)) {
    upto = least;
  } else {
    *this = combine(*this, other, [](Level a, Level b) { return std::max(a, b); });
  }
}

void Coverage::cut(Stamp at) {
  if (at >= upto) return;
  while (!gaps.empty() && gaps.back().until > at) {
    at = std::min(at, gaps.back().after);
    gaps.pop_back();
  }
  upto = at;
}

void Coverage::except(const Gap& gap) {
  Coverage others{region, Stamp::max(), {}};
  if (gap.after < gap.until) others.gaps.push_back(gap);
  intersect(others);
}

bool Coverage::includes(const Coverage& other) const {
  if (gaps.empty()) return other.upto <= upto;
  std::vector<uint64_t> edges{1};
  add_edges(*this, edges);
  add_edges(other, edges);
  return std::all_of(edges.begin(), edges.end(), [&](uint64_t edge) {
    return edge == 0 || level_at(other, edge) != kCovered || level_at(*this, edge) == kCovered;
  });
}

bool Coverage::sound() const {
  if (gaps.size() > kGapsMax) return false;
  Stamp before;
  for (const Gap& g : gaps) {
    if (g.after >= g.until || g.after < before || g.until > upto) return false;
    before = Stamp{g.until.raw - 1};
  }
  return true;
}

}  // namespace atl::crdt
