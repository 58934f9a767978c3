// The superblock: what a store is and its geometry, fixed at mkfs. FORMAT.md, "Superblock".
// Fixed, because a geometry that followed the options of each open would lose data (hazard 32); only a cache's limit
// can be changed, by replacing the file. What is lost with it comes back from the newest segment header
// (store/rebuild.cc).
#pragma once

#include <array>
#include <cstdint>

#include "cairn/bytes.h"
#include "cairn/options.h"
#include "cairn/result.h"
#include "format/codec.h"
#include "format/le.h"

namespace cairn::format {

inline constexpr uint64_t kSuperblockMagic = 0x31'53'46'4e'52'49'41'43;  // "CAIRNFS1" as bytes on disk
// Of the whole store: record, segment, table and manifest. A reader refuses what is newer, and opens all older ones for
// ever.
inline constexpr uint32_t kFormatVersion = 1;
inline constexpr char kSuperblockFile[] = "superblock";

// 128 bytes. The file `superblock` is this struct and zeros up to 4096 bytes; every segment header carries a copy.
struct SuperblockDisk {
  Le64 magic;                          //   0  kSuperblockMagic
  Le32 version;                        //   8  kFormatVersion; a reader refuses a greater one
  Le32 size;                           //  12  128
  std::array<unsigned char, 16> uuid;  //  16  random
  uint8_t mode;                        //  32  0 cache, 1 cas
  uint8_t codec;                       //  33  Codec for new values
  uint8_t level;                       //  34  zstd level, else 0
  uint8_t zero0[5];                    //  35
  Le64 segment_size;                   //  40  bytes, multiple of 4096, 64 KiB..1 GiB
  Le64 chunk_size;                     //  48  bytes, power of two, 4 KiB..segment_size/8
  Le64 limit;                          //  56  bytes, cache mode; 0 = none (cas)
  Le64 created_seconds;                //  64  since 1970
  uint8_t zero1[48];                   //  72
  Le64 checksum;                       // 120  XXH3-64 of bytes 0..119, seed 0
};
static_assert(sizeof(SuperblockDisk) == 128 && alignof(SuperblockDisk) == 1);

// The same as values. After decoding every one of them is in its range, so geometry needs no further checks.
struct Superblock {
  // Tells stores apart: a segment of another one is not taken for ours.
  std::array<unsigned char, 16> uuid{};
  Mode mode = Mode::kCas;
  // For values that are written from now on; each record says how it was stored.
  Compression compression;
  uint64_t segment_size = 0;  // bytes
  uint64_t chunk_size = 0;    // bytes
  uint64_t limit = 0;         // bytes; 0 = none
  int64_t created_seconds = 0;
  // All fields. Copies in segment headers may differ from the file's in `limit` alone.
  friend bool operator==(const Superblock& a, const Superblock& b);
};

// CHECKs the ranges: make_store() has refused what a user asked for and cannot have.
SuperblockDisk encode_superblock(const Superblock& superblock);
// Checks size, magic, version, checksum, then every range. kUnsupported for a newer version, kCorrupt otherwise. The
// message says what is wrong, without naming a file (the caller does). `bytes` may go on behind the struct (the file,
// up to 4096): with zeros.
Result<Superblock> decode_superblock(ByteView bytes);
// "2b1c8d0e-..." for people.
Bytes uuid_text(const std::array<unsigned char, 16>& uuid);

}  // namespace cairn::format
