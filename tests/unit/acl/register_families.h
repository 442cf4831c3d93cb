#pragma once

namespace atl::acl {

// Before anything else asks the command table. May be called again.
void register_families();

}  // namespace atl::acl
