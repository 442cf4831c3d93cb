#include "node/admin/explain.h"

#include "node/admin/stamp_text.h"
#include "node/command/collections.h"

namespace atl::admin {
namespace {

std::string shown(std::string_view value) {
  if (value.size() <= kExplainValueBytes) return std::string(value);
  return std::string(value.substr(0, kExplainValueBytes)) + "... (" + std::to_string(value.size()) +
         " bytes)";
}

std::string_view kind_name(crdt::BaseKind kind) {
  switch (kind) {
    case crdt::BaseKind::kNone:
      return "none";
    case crdt::BaseKind::kDeleted:
      return "deleted";
    case crdt::BaseKind::kValue:
      return "value";
    case crdt::BaseKind::kCollection:
      return "collection";
  }
  return "none";
}

std::string total_text(const crdt::Total& total) {
  return total.is_float ? crdt::format_real(total.real) : std::to_string(total.integer);
}

// Of a collection the value is its type.
std::string base_value(const crdt::KeyState& state) {
  if (state.kind != crdt::BaseKind::kCollection) return shown(state.value);
  const auto type = static_cast<crdt::CollectionType>(state.value.empty() ? 0 : state.value[0]);
  return std::string(command::type_name(type));
}

std::string deadline_text(crdt::Millis deadline) {
  return deadline == crdt::kNoDeadline ? "none" : format_time(deadline);
}

class Layout {
 public:
  Layout(resp::Writer& out, const RegionNames& names) : out_(out), names_(names) {}

  std::string stamp(crdt::Stamp s) const {
    return format_stamp(s, s ? names_(s.region()) : std::string());
  }
  void field(std::string_view name, std::string_view value) {
    out_.bulk(name);
    out_.bulk(value);
  }
  void field(std::string_view name, crdt::Stamp value) { field(name, stamp(value)); }
  void yes_no(std::string_view name, bool value) {
    out_.bulk(name);
    out_.boolean(value);
  }

  void slot_vector(const crdt::VersionVector& vector) {
    out_.bulk("slot-vector");
    out_.array(static_cast<int64_t>(vector.items().size()));
    for (const crdt::Coverage& c : vector.items()) {
      // A region is named also where nothing has come from it yet.
      std::string line = c.upto ? stamp(c.upto) : "never@" + std::to_string(c.region);
      for (const crdt::Gap& gap : c.gaps) {
        if (!gap.settled) line += " gap " + stamp(gap.after) + " to " + stamp(gap.until);
      }
      out_.bulk(line);
    }
  }

  void base(const crdt::KeyState& state) {
    out_.bulk("base");
    out_.map(4);
    field("kind", kind_name(state.kind));
    field("stamp", state.base);
    field("value", base_value(state));
    field("floor", state.base_floor);
  }

  void contributions(const crdt::KeyState& state) {
    out_.bulk("contributions");
    out_.array(static_cast<int64_t>(state.contributions.size()));
    for (const crdt::Contribution& c : state.contributions) {
      out_.map(5);
      field("birth", c.birth);
      field("last", c.last);
      field("total", total_text(c.total));
      field("base-saw", c.seen_last);
      field("base-saw-total", total_text(c.seen_total));
    }
  }

  void ttl(const crdt::KeyState& state) {
    out_.bulk("ttl");
    out_.array(static_cast<int64_t>(state.ttl.size()));
    for (const crdt::TtlMark& mark : state.ttl) {
      out_.map(5);
      field("stamp", mark.stamp);
      field("deadline", deadline_text(mark.deadline));
      field("set-on", mark.base);
      yes_no("counts", crdt::applies(mark, state.kind, state.base));
      yes_no("live", mark.live);
    }
  }

 private:
  resp::Writer& out_;
  const RegionNames& names_;
};

}  // namespace

void write_explained(resp::Writer& out, const Explained& explained, const RegionNames& names) {
  const crdt::KeyState& state = explained.state;
  const bool holds_value = crdt::exists(state);
  const crdt::Millis deadline = crdt::deadline_of(state);
  const bool visible = holds_value && deadline > explained.now;
  Layout layout(out, names);
  const crdt::Collection* collection = explained.collection;
  out.map(collection == nullptr ? 11 : 13);
  layout.field("key", explained.ref.key);
  out.bulk("db");
  out.integer(explained.ref.db);
  out.bulk("slot");
  out.integer(explained.ref.slot);
  layout.slot_vector(explained.slot_vector);
  layout.yes_no("visible", visible);
  layout.yes_no("tombstone", state.kind == crdt::BaseKind::kDeleted && !holds_value);
  out.bulk("value");
  if (visible && collection == nullptr) {
    out.bulk(shown(crdt::visible_value(state)));
  } else {
    out.null();
  }
  if (collection != nullptr) {
    layout.field("type", command::type_name(collection->type()));
    out.bulk("elements");
    out.integer(static_cast<int64_t>(collection->size()));
  }
  layout.field("deadline", deadline_text(deadline));
  layout.base(state);
  layout.contributions(state);
  layout.ttl(state);
}

}  // namespace atl::admin
