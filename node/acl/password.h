// Passwords of users: only their SHA-256 is kept, written as 64 lower-case hexadecimal digits,
// which is also how ACL files and ACL GETUSER show them.
//
// SHA-256 without salt, because it is what Redis' ACL files hold and they are to be exchanged. It
// protects what ACL GENPASS makes (256 random bits); it does not protect a short word.
//
// All functions are pure and may be called from any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace atl::acl {

inline constexpr size_t kPasswordHashChars = 64;

std::string hash_password(std::string_view clear);
bool is_password_hash(std::string_view text);

// Takes as long for every `a` of one length, so that time does not tell how much was right.
bool equal_in_constant_time(std::string_view a, std::string_view b);

// From the system's cryptographic generator; empty if that fails.
std::string random_hex(size_t digits);

}  // namespace atl::acl
