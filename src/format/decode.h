// What every decoder of the format needs: copying a struct out of bytes, looking for zeros, refusing newer versions.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include <fmt/format.h>

#include "cairn/bytes.h"
#include "cairn/result.h"

namespace cairn::format {

// The bytes of a struct of Le fields, as they lie on disk.
template <class T>
ByteView bytes_of(const T& disk) {
  static_assert(std::is_trivially_copyable_v<T> && alignof(T) == 1);
  return {reinterpret_cast<const char*>(&disk), sizeof(T)};
}

// Copies a struct of Le fields from the front of `bytes`. Needs bytes.size() >= sizeof(T).
template <class T>
T load(ByteView bytes) {
  static_assert(std::is_trivially_copyable_v<T> && alignof(T) == 1);
  T disk;
  std::memcpy(&disk, bytes.data(), sizeof(T));
  return disk;
}

inline bool all_zero(ByteView bytes) {
  // Comparing the bytes with themselves, one further, runs at the speed of memcmp.
  return bytes.empty() || (bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

// kUnsupported for a version newer than `known`, kCorrupt for 0, which no version is.
inline Result<void> check_version(uint32_t version, uint32_t known) {
  if (version > known) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("format version {} is newer than this program's {}", version, known));
  }
  if (version == 0) return fail(ErrorCode::kCorrupt, "format version 0");
  return {};
}

}  // namespace cairn::format
