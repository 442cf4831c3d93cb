// Positions of a list's items: a total order in which a place can be made between any two, and that
// every region agrees on.
//
// A position is a path in a tree: each step goes to the left or to the right of what was there,
// under the stamp of the write that made it, with the item's number in a write of several.
//
//     LPUSH, RPUSH      one step from the root; a later stamp stands further out
//     LINSERT           one step more than one of the two neighbours
//
// What stands to the left of an item comes before it, the rest after it: an in-order walk. So items
// that two regions push at once all stay, those of one write stay together, and a place between two
// neighbours is found although others were between them and are gone: the path holds all that the
// order needs, and nothing need be kept of what was removed.
//
// Encoded, it is the element's name: a step is the stamp (8 bytes, most significant first), then a
// varint of 2 * number + side. *Threads*: any.
//
// Source: M. Weidner and M. Kleppmann, "The Art of the Fugue: Minimizing Interleaving in
// Collaborative Text Editing", 2023. Differs: paths, not tombstones, keep the tree; a stamp and a
// number name a node.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "crdt/stamp.h"

namespace atl::crdt {

enum class Side : uint8_t { kLeft = 0, kRight = 1 };

// Outermost on that side. Of one write the later numbers stand further out.
std::string position_at_end(Side side, Stamp stamp, uint32_t number);
// Between two neighbours; `after` comes right after `before`. Either may be empty: an end.
std::string position_between(std::string_view before, std::string_view after, Stamp stamp,
                             uint32_t number);
// <0, 0, >0. Requires: both are positions.
int compare_positions(std::string_view a, std::string_view b);
// For foreign bytes.
bool is_position(std::string_view bytes);

}  // namespace atl::crdt
