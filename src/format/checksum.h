// XXH3-64, the only checksum of the format.
#pragma once

#include <cstdint>

#include "base/types.h"
#include "cairn/bytes.h"

namespace cairn::format {

// XXH3-64 of `bytes` with `seed`.
uint64_t checksum(ByteView bytes, uint64_t seed = 0);

// What binds a checksum to its place: XXH3-64 of the 24 bytes salt, id, offset (little-endian). A copy of the same
// bytes at another offset, in another file, or stored as the content of a file does not verify.
uint64_t place_seed(uint64_t salt, uint64_t id, uint64_t offset);

}  // namespace cairn::format
