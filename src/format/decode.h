// What every decoder of the format needs: copying a struct out of bytes, looking for zeros, refusing newer versions.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include <fmt/format.h>

#include "base/check.h"
#include "cairn/bytes.h"
#include "cairn/result.h"

namespace cairn::format {

// The bytes of a struct of Le fields, as they lie on disk. They live as long as `disk`. Alignment 1 is what keeps
// padding out, so nothing of the stack ever gets into a file (hazard 10).
template <class T>
ByteView bytes_of(const T& disk) {
  static_assert(std::is_trivially_copyable_v<T> && alignof(T) == 1);
  return {reinterpret_cast<const char*>(&disk), sizeof(T)};
}

// Copies a struct of Le fields from the front of `bytes`. Needs bytes.size() >= sizeof(T): every decoder looks at the
// size first. The copy is no more trusted than the bytes.
template <class T>
T load(ByteView bytes) {
  DCHECK(bytes.size() >= sizeof(T));
  static_assert(std::is_trivially_copyable_v<T> && alignof(T) == 1);
  T disk;
  std::memcpy(&disk, bytes.data(), sizeof(T));
  return disk;
}

// For padding and unused fields, which have to be zero, so that a later version may give them a meaning. True for no
// bytes.
inline bool all_zero(ByteView bytes) {
  // Comparing the bytes with themselves, one further, runs at the speed of memcmp.
  return bytes.empty() || (bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

// kUnsupported for a version newer than `known`, kCorrupt for 0, which no version is. Comes before the checksum in
// every decoder: a newer version may compute it over other bytes, and "take a newer program" is a better answer than
// "corrupt".
inline Result<void> check_version(uint32_t version, uint32_t known) {
  if (version > known) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("format version {} is newer than this program's {}", version, known));
  }
  if (version == 0) return fail(ErrorCode::kCorrupt, "format version 0");
  return {};
}

}  // namespace cairn::format
