// Compression of values: lz4, zstd, or stored as they are.
#pragma once

#include <cstdint>

#include "cairn/bytes.h"
#include "cairn/result.h"

namespace cairn::format {

// The longest value that a record holds, before compression (bytes): a quarter of the largest segment, as no batch is
// larger. Longer ones are extents. Bounds what a stored length can make a reader allocate.
inline constexpr uint32_t kMaxRawLength = 256u << 20;

enum class Codec : uint8_t { kNone = 0, kLz4 = 1, kZstd = 2 };

struct Compression {
  Codec codec = Codec::kLz4;
  int level = 0;  // zstd: 1..19; ignored otherwise
};

// Compresses `raw` into `out` and returns the codec that was used: kNone (and `out` untouched) unless the result saves
// at least one eighth (12.5 %). Every failure of a compressor means kNone: the value is then stored as it is.
Codec compress(Compression how, ByteView raw, Bytes& out);

// Decompresses exactly raw_len bytes into `out` (room for raw_len). kCorrupt if the bytes do not give exactly that.
// The caller has bounded raw_len (kMaxRawLength at most). kOutOfMemory. Needs codec != kNone.
Result<void> decompress(Codec codec, ByteView stored, char* out, uint32_t raw_len);

}  // namespace cairn::format
