#include <gtest/gtest.h>

#include "bit_flips.h"
#include "format/checksum.h"
#include "format/decode.h"
#include "format/segment.h"
#include "support/segment_image.h"

namespace cairn::format {
namespace {

using test::log_header;

Bytes encoded(const SegmentHeader& header) { return Bytes(bytes_of(encode_segment_header(header))); }

SegmentHeader compacted_header() {
  SegmentHeader header;
  header.kind = SegmentKind::kCompacted;
  header.id = SegmentId(9);
  header.salt = 77;
  header.first_seq = SeqNo(10);
  header.last_seq = SeqNo(20);
  header.generation = 2;
  header.superblock = test::small_superblock();
  return header;
}

template <class Change>
Result<SegmentHeader> decode_changed(const SegmentHeader& header, Change change) {
  auto disk = encode_segment_header(header);
  change(disk);
  disk.checksum = checksum(bytes_of(disk).substr(0, 504));
  return decode_segment_header(bytes_of(disk));
}

TEST(SegmentHeader, RoundTripsEveryField) {
  const SegmentHeader in = log_header();
  const SegmentHeader out = decode_segment_header(encoded(in)).value();
  EXPECT_EQ(encoded(out), encoded(in));
  EXPECT_EQ(out.kind, SegmentKind::kLog);
  EXPECT_EQ(out.id, in.id);
  EXPECT_EQ(out.salt, in.salt);
  EXPECT_EQ(out.previous_id, in.previous_id);
  EXPECT_EQ(out.previous_mark, in.previous_mark);
  EXPECT_EQ(out.previous_mark_offset, in.previous_mark_offset);
  EXPECT_EQ(out.previous_mark_checksum, in.previous_mark_checksum);
  EXPECT_EQ(out.first_seq, in.first_seq);
  EXPECT_EQ(out.next_ino, in.next_ino);
  EXPECT_EQ(out.proven_id, in.proven_id);
  EXPECT_EQ(out.superblock, in.superblock);
  const SegmentHeader compacted = decode_segment_header(encoded(compacted_header())).value();
  EXPECT_EQ(compacted.last_seq, SeqNo(20));
  EXPECT_EQ(compacted.generation, 2u);
}

TEST(SegmentHeader, EveryBitFlipIsRefused) {
  const Bytes bytes = encoded(log_header());
  test::expect_every_bit_flip_refused(bytes, bytes.size(), [](ByteView b) { return !decode_segment_header(b); });
}

TEST(SegmentHeader, EveryCutIsRefused) {
  const Bytes bytes = encoded(log_header());
  for (size_t cut = 0; cut < bytes.size(); ++cut) EXPECT_FALSE(decode_segment_header(bytes.substr(0, cut))) << cut;
}

TEST(SegmentHeader, EveryRangeIsChecked) {
  const auto refused = [](auto change) { return test::is_corrupt(decode_changed(log_header(), change)); };
  EXPECT_TRUE(decode_changed(log_header(), [](auto&) {}));
  EXPECT_TRUE(refused([](auto& d) { d.kind = 0; }));
  EXPECT_TRUE(refused([](auto& d) { d.kind = 4; }));
  EXPECT_TRUE(refused([](auto& d) { d.prepared = 2; }));
  EXPECT_TRUE(refused([](auto& d) { d.id = 0; }));
  EXPECT_TRUE(refused([](auto& d) { d.previous_id = 7; }));  // itself
  EXPECT_TRUE(refused([](auto& d) { d.proven_id = 7; }));
  EXPECT_TRUE(refused([](auto& d) { d.previous_mark_offset = 8193; }));
  EXPECT_TRUE(refused([](auto& d) { d.first_seq = 0; }));
  EXPECT_TRUE(refused([](auto& d) { d.last_seq = 1; }));
  EXPECT_TRUE(refused([](auto& d) { d.generation = 1; }));
  EXPECT_TRUE(refused([](auto& d) { d.zero0[1] = 1; }));
  EXPECT_TRUE(refused([](auto& d) { d.zero1[0] = 1; }));
  EXPECT_TRUE(refused([](auto& d) { d.zero2[247] = 1; }));
  EXPECT_TRUE(refused([](auto& d) { d.superblock.mode = 0; }));
}

TEST(SegmentHeader, ACompactedOneNeedsItsRange) {
  const auto refused = [](auto change) { return !decode_changed(compacted_header(), change); };
  EXPECT_TRUE(refused([](auto& d) { d.first_seq = 0; }));
  EXPECT_TRUE(refused([](auto& d) { d.last_seq = 9; }));
  EXPECT_TRUE(refused([](auto& d) { d.generation = 0; }));
  EXPECT_TRUE(refused([](auto& d) { d.previous_id = 1; }));
}

class HeaderBlock : public testing::Test {
 protected:
  void SetUp() override { encode_segment_header_block(log_header(), block_.data()); }
  Bytes prepared_block() {
    SegmentHeader header = log_header();
    header.prepared = true;
    Bytes block(kSegmentHeaderSize, '\0');
    encode_segment_header_block(header, block.data());
    return block;
  }
  Bytes block_ = Bytes(kSegmentHeaderSize, 'x');
};

TEST_F(HeaderBlock, OneSoundCopyIsEnough) {
  for (const size_t at : {size_t{100}, kSegmentHeaderCopyOffset + 100}) {
    Bytes damaged = block_;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    EXPECT_TRUE(decode_segment_header_block(damaged)) << at;
  }
  block_[100] = block_[kSegmentHeaderCopyOffset + 100] = 1;
  EXPECT_FALSE(decode_segment_header_block(block_));
}

TEST_F(HeaderBlock, TheOneInUseCountsWhicheverSectorACrashLeftBehind) {
  const Bytes prepared = prepared_block();
  const Bytes first_new = block_.substr(0, 512) + prepared.substr(512);
  const Bytes second_new = prepared.substr(0, 2048) + block_.substr(2048);
  EXPECT_FALSE(decode_segment_header_block(first_new)->prepared);
  EXPECT_FALSE(decode_segment_header_block(second_new)->prepared);
  EXPECT_TRUE(decode_segment_header_block(prepared)->prepared);
}

TEST_F(HeaderBlock, ANewerVersionIsNotCalledDamage) {
  block_[8] = block_[kSegmentHeaderCopyOffset + 8] = 9;
  EXPECT_EQ(decode_segment_header_block(block_).error().code, ErrorCode::kUnsupported);
  block_[0] = 0;
  EXPECT_EQ(decode_segment_header_block(block_).error().code, ErrorCode::kUnsupported);
}

TEST_F(HeaderBlock, ShortBlocksAreRefusedOrReadAsFarAsTheyGo) {
  for (size_t cut = 0; cut < 512; ++cut) EXPECT_FALSE(decode_segment_header_block(block_.substr(0, cut)));
  EXPECT_TRUE(decode_segment_header_block(block_.substr(0, 512)));
}

TEST(SegmentFileName, RoundTripsAndRefusesEverythingElse) {
  EXPECT_EQ(segment_file_name(SegmentId(0xa7)), "00000000000000a7.seg");
  EXPECT_EQ(parse_segment_file_name("00000000000000a7.seg"), SegmentId(0xa7));
  EXPECT_EQ(parse_segment_file_name(segment_file_name(SegmentId(UINT64_MAX - 1))), SegmentId(UINT64_MAX - 1));
  EXPECT_FALSE(parse_segment_file_name(segment_file_name(SegmentId(UINT64_MAX)))) << "ids could not go on above it";
  for (const char* name : {"", ".seg", "00000000000000a7", "00000000000000A7.seg", "0000000000000a7.seg",
                           "000000000000000a7.seg", "00000000000000g7.seg", "00000000000000a7.tab",
                           "0000000000000000.seg", "-0000000000000a7.seg", "00000000000000a7.seg "}) {
    EXPECT_FALSE(parse_segment_file_name(name)) << name;
  }
  EXPECT_EQ(new_segment_file_name(SegmentId(0xa7)), "00000000000000a7.new");
  EXPECT_EQ(parse_new_segment_file_name("00000000000000a7.new"), SegmentId(0xa7));
  EXPECT_FALSE(parse_new_segment_file_name("00000000000000a7.seg"));
}

}  // namespace
}  // namespace cairn::format
