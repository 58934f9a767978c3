#include <gtest/gtest.h>

#include "bit_flips.h"
#include "format/checksum.h"
#include "format/decode.h"
#include "format/table.h"
#include "format/varint.h"

namespace cairn::format {
namespace {

constexpr uint64_t kTrailerOffset = 20000;
constexpr uint64_t kFileSize = kTrailerOffset + kTableTrailerSize;

TableTrailer footer() {
  TableTrailer trailer;
  trailer.kind = TableKind::kFooter;
  trailer.id = 5;
  trailer.salt = 0x5a17;
  trailer.base = 12288;
  trailer.filter_offset = 18000;
  trailer.filter_length = 72;
  trailer.index_offset = 18072;
  trailer.index_length = 100;
  trailer.entries = 20;
  trailer.erases = 3;
  trailer.range = {SeqNo(100), SeqNo(119)};
  trailer.record_bytes = 5000;
  trailer.last_mark = CommitNo(4);
  trailer.last_mark_offset = 8192;
  trailer.last_mark_checksum = 0xabc;
  trailer.next_ino = 9;
  return trailer;
}

template <class Change>
bool refused(Change change) {
  auto disk = encode_table_trailer(footer(), kTrailerOffset);
  change(disk);
  disk.checksum = checksum(bytes_of(disk).substr(0, 248), place_seed(disk.salt, disk.id, kTrailerOffset));
  return !decode_table_trailer(bytes_of(disk), kFileSize);
}

TEST(TableTrailer, RoundTripsEveryField) {
  const auto disk = encode_table_trailer(footer(), kTrailerOffset);
  const TableTrailer out = decode_table_trailer(bytes_of(disk), kFileSize).value();
  EXPECT_EQ(bytes_of(encode_table_trailer(out, kTrailerOffset)), bytes_of(disk));
  EXPECT_EQ(out.kind, TableKind::kFooter);
  EXPECT_EQ(out.range, footer().range);
  EXPECT_EQ(out.last_mark_checksum, 0xabcu);
}

TEST(TableTrailer, EveryBitFlipIsRefused) {
  const Bytes bytes(bytes_of(encode_table_trailer(footer(), kTrailerOffset)));
  test::expect_every_bit_flip_refused(bytes, bytes.size(),
                                      [](ByteView b) { return !decode_table_trailer(b, kFileSize); });
}

TEST(TableTrailer, IsBoundToTheEndOfItsFile) {
  const auto disk = encode_table_trailer(footer(), kTrailerOffset);
  EXPECT_FALSE(decode_table_trailer(bytes_of(disk), kFileSize + 8));
  EXPECT_FALSE(decode_table_trailer(bytes_of(disk), kFileSize - 8));
  EXPECT_FALSE(decode_table_trailer(bytes_of(disk), 255));
  EXPECT_FALSE(decode_table_trailer(bytes_of(disk).substr(1), kFileSize));
}

TEST(TableTrailer, EveryRangeIsChecked) {
  EXPECT_FALSE(refused([](auto&) {}));
  EXPECT_TRUE(refused([](auto& d) { d.version = 0; }));
  EXPECT_TRUE(refused([](auto& d) { d.kind = 0; }));
  EXPECT_TRUE(refused([](auto& d) { d.kind = 3; }));
  EXPECT_TRUE(refused([](auto& d) { d.kind = 2; }));  // a run begins at 0
  EXPECT_TRUE(refused([](auto& d) { d.id = 0; }));
  EXPECT_TRUE(refused([](auto& d) { d.base = 0; }));
  EXPECT_TRUE(refused([](auto& d) { d.base = 12289; }));
  EXPECT_TRUE(refused([](auto& d) { d.base = 20480; }));
  EXPECT_TRUE(refused([](auto& d) { d.filter_offset = 12287; }));
  EXPECT_TRUE(refused([](auto& d) { d.filter_length = 73; }));
  EXPECT_TRUE(refused([](auto& d) { d.filter_length = UINT64_MAX; }));
  EXPECT_TRUE(refused([](auto& d) { d.filter_length = 7; }));
  EXPECT_FALSE(refused([](auto& d) { d.filter_length = 0; }));
  EXPECT_TRUE(refused([](auto& d) { d.index_offset = 17999; }));
  EXPECT_TRUE(refused([](auto& d) { d.index_length = kTrailerOffset - 18072 + 1; }));
  EXPECT_TRUE(refused([](auto& d) { d.index_length = UINT64_MAX; }));
  EXPECT_TRUE(refused([](auto& d) { d.index_length = 7; }));
  EXPECT_TRUE(refused([](auto& d) { d.entries = 6000; }));  // do not fit
  EXPECT_TRUE(refused([](auto& d) { d.erases = 21; }));
  EXPECT_TRUE(refused([](auto& d) { d.first_seq = 0; }));
  EXPECT_TRUE(refused([](auto& d) { d.last_seq = 99; }));
  EXPECT_FALSE(refused([](auto& d) { d.last_seq = 99, d.entries = 0, d.erases = 0; }));
  EXPECT_TRUE(refused([](auto& d) { d.record_bytes = 12288 - 4096 + 1; }));
  EXPECT_TRUE(refused([](auto& d) { d.zero0[0] = 1; }));
  EXPECT_TRUE(refused([](auto& d) { d.zero1[103] = 1; }));
}

TEST(TableTrailer, ANewerVersionIsUnsupported) {
  auto disk = encode_table_trailer(footer(), kTrailerOffset);
  disk.version = 7;
  EXPECT_EQ(decode_table_trailer(bytes_of(disk), kFileSize).error().code, ErrorCode::kUnsupported);
}

TEST(TableEntry, SharesTheFrontOfTheKeyBefore) {
  IndexEntry entry;
  entry.seq = SeqNo(300);
  entry.segment = SegmentId(7);
  entry.offset = 4096;
  entry.stored_length = entry.raw_length = 2;
  entry.value_checksum = 0x0807060504030201;
  entry.has_small = true;
  entry.small = "hi";
  Bytes out;
  encode_entry(out, "prefix-a", "prefix-bc", entry);
  using namespace std::literals;
  EXPECT_EQ(out,
            "\x07\x02"
            "bc"
            "\xac\x02\x21\x07\x80\x04\x00\x02\x02\x01\x02\x03\x04\x05\x06\x07\x08hi"sv);
}

TEST(TableEntry, IsNeverLongerThanTheRoomReservedForIt) {
  IndexEntry entry;
  entry.seq = kMaxSeq;
  entry.type = RecordType::kPut;
  entry.segment = SegmentId(UINT64_MAX);
  entry.offset = UINT64_MAX & ~uint64_t{7};
  entry.sub_index = UINT32_MAX;
  entry.has_small = true;
  const Bytes small(kMaxInlineValue, 's');
  entry.small = small;
  entry.stored_length = entry.raw_length = kMaxInlineValue;
  Bytes out;
  encode_entry(out, {}, Bytes(kMaxKeyLength, 'k'), entry);
  EXPECT_LE(out.size(), max_entry_size(kMaxKeyLength, kMaxInlineValue));
}

}  // namespace
}  // namespace cairn::format
