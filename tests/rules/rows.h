// The table of what concurrent commands mean, as rows that run: what regions do while no link
// between them is up, and what every one of them answers when all has arrived.
//
// A row runs in two regions and in three, where the third listens or has a script of its own. Each
// part is played by each region, and either of A and B is the earlier. What was written then
// arrives in every way that there is (see Arrival) and in every order that keeps each region's own.
// In the end all regions answer the same, their digests are equal and nothing is kept that only
// merging would need; and when everything is deleted, nothing at all.
#pragma once

#include <string_view>
#include <vector>

#include "crdt/stamp.h"

namespace atl::tests {

// Scripts as Regions::write() takes them, answers as Regions::shown() gives them.
struct Row {
  const char* name;
  std::string_view before = {};  // seen by all
  std::string_view a, b;
  std::string_view c = {};  // empty: the third region listens; else there are always three
  std::string_view want;
  std::string_view if_a_is_later = {};  // empty: the same
  std::string_view logged = {};         // the rule in the conflict log; empty: nothing
  std::string_view logged_if_a_is_later = {};
  crdt::Millis at = 0;         // since the start; 0: that is all
  std::string_view then = {};  // what all answer at that time
  // All that may be seen anywhere while it arrives; empty: whatever comes first.
  std::vector<std::string_view> moments = {};
};

std::vector<Row> string_rows();
std::vector<Row> key_rows();
std::vector<Row> deadline_rows();
std::vector<Row> hash_rows();
std::vector<Row> set_rows();
std::vector<Row> sorted_set_rows();
std::vector<Row> list_rows();
std::vector<Row> transaction_rows();

}  // namespace atl::tests
