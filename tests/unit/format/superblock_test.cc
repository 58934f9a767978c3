#include "format/superblock.h"

#include <gtest/gtest.h>

#include "bit_flips.h"
#include "format/checksum.h"
#include "format/decode.h"
#include "support/segment_image.h"

namespace cairn::format {
namespace {

using test::small_superblock;

Bytes encoded(const Superblock& superblock) { return Bytes(bytes_of(encode_superblock(superblock))); }

// The struct with one field changed and the checksum made right again: as a hostile or foreign writer would.
template <class Change>
Result<Superblock> decode_changed(Change change) {
  auto disk = encode_superblock(small_superblock());
  change(disk);
  disk.checksum = checksum(bytes_of(disk).substr(0, 120));
  return decode_superblock(bytes_of(disk));
}

TEST(Superblock, RoundTripsBothModes) {
  Superblock superblock = small_superblock();
  EXPECT_EQ(decode_superblock(encoded(superblock)).value(), superblock);
  superblock.mode = Mode::kCache;
  superblock.limit = uint64_t{1} << 40;
  superblock.compression = {Codec::kZstd, 19};
  superblock.created_seconds = -1;
  EXPECT_EQ(decode_superblock(encoded(superblock)).value(), superblock);
}

TEST(Superblock, EveryBitFlipIsRefused) {
  const Bytes file = encoded(small_superblock()) + Bytes(4096 - 128, '\0');
  test::expect_every_bit_flip_refused(file, file.size(), [](ByteView b) { return !decode_superblock(b); });
}

TEST(Superblock, EveryCutIsRefused) {
  const Bytes bytes = encoded(small_superblock());
  for (size_t cut = 0; cut < bytes.size(); ++cut) EXPECT_FALSE(decode_superblock(bytes.substr(0, cut))) << cut;
}

TEST(Superblock, ANewerVersionIsUnsupportedWhateverElseChanged) {
  auto disk = encode_superblock(small_superblock());
  disk.version = kFormatVersion + 1;
  const auto result = decode_superblock(bytes_of(disk));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(result.error().message, "format version 2 is newer than this program's 1");
}

TEST(Superblock, EveryRangeIsChecked) {
  const auto refused = [](auto change) { return test::is_corrupt(decode_changed(change)); };
  EXPECT_TRUE(decode_changed([](auto&) {}));
  EXPECT_TRUE(refused([](auto& d) { d.version = 0; }));
  EXPECT_TRUE(refused([](auto& d) { d.size = 129; }));
  EXPECT_TRUE(refused([](auto& d) { d.mode = 2; }));
  EXPECT_TRUE(refused([](auto& d) { d.codec = 3; }));
  EXPECT_TRUE(refused([](auto& d) { d.level = 1; }));  // lz4 has none
  EXPECT_TRUE(refused([](auto& d) { d.codec = 2, d.level = 0; }));
  EXPECT_TRUE(refused([](auto& d) { d.codec = 2, d.level = 20; }));
  EXPECT_TRUE(refused([](auto& d) { d.zero0[4] = 1; }));
  EXPECT_TRUE(refused([](auto& d) { d.zero1[47] = 1; }));
  EXPECT_TRUE(refused([](auto& d) { d.segment_size = (64u << 10) - 4096; }));
  EXPECT_TRUE(refused([](auto& d) { d.segment_size = (1u << 30) + 4096; }));
  EXPECT_TRUE(refused([](auto& d) { d.segment_size = (256u << 10) + 512; }));
  EXPECT_TRUE(refused([](auto& d) { d.chunk_size = 2048; }));
  EXPECT_TRUE(refused([](auto& d) { d.chunk_size = 12288; }));
  EXPECT_TRUE(refused([](auto& d) { d.chunk_size = 64 << 10; }));  // more than an eighth of the segment
  EXPECT_TRUE(decode_changed([](auto& d) { d.chunk_size = 32 << 10; }));
  EXPECT_TRUE(refused([](auto& d) { d.limit = 1; }));  // cas has no limit
  EXPECT_TRUE(refused([](auto& d) { d.mode = 0; }));   // and a cache has one
}

TEST(SuperblockDeathTest, WhatCouldNotBeReadIsNeverWritten) {
  Superblock superblock = small_superblock();
  superblock.segment_size += 1;
  EXPECT_DEATH(encode_superblock(superblock), "CHECK");
}

TEST(Superblock, UuidIsPrintedInTheUsualForm) {
  EXPECT_EQ(uuid_text(small_superblock().uuid), "a0a1a2a3-a4a5-a6a7-a8a9-aaabacadaeaf");
}

}  // namespace
}  // namespace cairn::format
