#include "format/checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "format/decode.h"
#include "format/le.h"

namespace cairn::format {

// XXH3 with a seed of 0 is XXH3 without one, so both of the format's uses are this one call.
uint64_t checksum(ByteView bytes, uint64_t seed) { return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed); }

uint64_t place_seed(uint64_t salt, uint64_t id, uint64_t offset) {
  struct Place {
    Le64 salt;
    Le64 id;
    Le64 offset;
  };
  static_assert(sizeof(Place) == 24);
  // The place is hashed instead of its bytes being fed to the checksum: seeds cost nothing, and a record is then hashed
  // where it lies.
  return checksum(bytes_of(Place{salt, id, offset}));
}

}  // namespace cairn::format
