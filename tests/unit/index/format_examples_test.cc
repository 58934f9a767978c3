// The examples of src/format/FORMAT.md, byte for byte: whoever changes the bytes changes the document, and the version.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "format/checksum.h"
#include "index/manifest.h"
#include "index/table.h"

namespace cairn::index {
namespace {

Bytes from_hex(ByteView text) {
  Bytes bytes;
  Bytes digits;
  for (const char c : text) {
    if (c != ' ') digits.push_back(c);
    if (digits.size() == 2) {
      bytes.push_back(static_cast<char>(std::stoi(digits, nullptr, 16)));
      digits.clear();
    }
  }
  return bytes;
}

TEST(FormatExamples, Table) {
  format::TableTrailer trailer;
  trailer.id = 7;
  trailer.salt = 0x5a17;
  TableBuilder builder(trailer);
  format::IndexEntry entry;
  entry.segment = SegmentId(2);
  entry.seq = SeqNo(300);
  entry.offset = 4096;
  entry.has_small = true;
  entry.small = "hello";
  entry.stored_length = entry.raw_length = 5;
  entry.value_checksum = format::checksum("hello");
  builder.add("key1", entry);
  format::IndexEntry erase;
  erase.type = format::RecordType::kErase;
  erase.segment = SegmentId(2);
  erase.seq = SeqNo(299);
  erase.offset = 4152;
  erase.value_checksum = format::checksum("");
  builder.add("key1", erase);
  format::IndexEntry large;
  large.codec = format::Codec::kLz4;
  large.segment = SegmentId(2);
  large.seq = SeqNo(310);
  large.offset = 4200;
  large.stored_length = 1000;
  large.raw_length = 4096;
  large.value_checksum = 0x1122334455667788;
  builder.add("key2", large);
  const Bytes table = builder.finish();
  EXPECT_EQ(table.substr(0, 0x55),
            from_hex("00 04 6b 65 79 31 ac 02 21 02 80 04 00 05 05 fd dc 62 5c 55 e8 55 95 68 65 6c 6c 6f 04 00 ab 02"
                     "02 02 87 04 00 00 00 c2 94 d3 38 05 80 06 2d 03 01 32 b6 02 09 02 8d 04 00 e8 07 80 20 88 77 66"
                     "55 44 33 22 11 00 00 00 00 01 00 00 00 d9 7e a6 ca 99 2f 18 97"));
  EXPECT_EQ(table.substr(0x9d, 0x13), from_hex("00 00 55 00 00 00 00 01 00 00 00 30 96 8c e9 b4 71 85 82"));
  EXPECT_EQ(table.size(), 0xb0u + 256);
  EXPECT_EQ(format::place_seed(0x5a17, 7, 0), 0x8d4851607494bdb5u);
  EXPECT_EQ(Table::hash("key1"), 0x78f19cdc30c98bb8u);
  EXPECT_EQ(Table::hash("key2"), 0x49c2eb55e07de939u);
}

// As FORMAT.md tells a stranger to do it.
TEST(FormatExamples, Filter) {
  format::TableTrailer trailer;
  trailer.id = 7;
  TableBuilder builder(trailer);
  constexpr uint64_t kKeys = 1000;
  for (uint64_t i = 0; i < kKeys; ++i) {
    format::IndexEntry entry;
    entry.seq = SeqNo(i + 1);
    entry.segment = SegmentId(1);
    builder.add(fmt::format("{:04}", i), entry);
  }
  const Bytes table = builder.finish();
  const auto decoded = format::decode_table_trailer(ByteView(table).substr(table.size() - 256), table.size()).value();
  const uint64_t lines = (decoded.filter_length - 8) / 64;
  EXPECT_EQ(lines, (10 * kKeys + 511) / 512);
  for (uint64_t i = 0; i < kKeys; ++i) {
    const uint64_t h = format::checksum(fmt::format("{:04}", i), 0x4853414859454b);
    const ByteView line = ByteView(table).substr(decoded.filter_offset + (((h >> 32) * lines) >> 32) * 64, 64);
    uint64_t x = h % (uint64_t{1} << 32);
    for (int probe = 0; probe < 6; ++probe) {
      const uint64_t bit = x >> 23;
      ASSERT_TRUE(line[bit / 8] >> (bit % 8) & 1) << i;
      x = x * 0x9e3779b9 % (uint64_t{1} << 32);
    }
  }
}

TEST(FormatExamples, Manifest) {
  Manifest m;
  m.number = 2;
  m.next_segment = SegmentId(3);
  m.next_table = TableId(2);
  m.next_seq = SeqNo(311);
  m.next_ino = 65537;
  m.last_log = SegmentId(2);
  m.last_mark = CommitNo(4);
  m.last_mark_offset = 8192;
  m.last_mark_checksum = 0xfeed;
  ManifestSegment segment;
  segment.id = SegmentId(2);
  segment.covered = true;
  segment.range = {SeqNo(299), SeqNo(310)};
  segment.salt = 0x1234;
  segment.file_size = 16384;
  segment.entries = 3;
  segment.record_bytes = 1200;
  m.segments.push_back(segment);
  m.runs.push_back({{{TableId(1), 900, 3, "key1", "key2", ""}}});
  m.retired = {SegmentId(1)};
  EXPECT_EQ(encode_manifest(m, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}),
            from_hex("43 49 52 4e 4d 41 4e 31 01 00 00 00 00 00 00 00 04 01 00 00 00 00 00 00 01 02 03 04 05 06 07 08"
                     "09 0a 0b 0c 0d 0e 0f 10 02 00 00 00 00 00 00 00 03 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00"
                     "37 01 00 00 00 00 00 00 01 00 01 00 00 00 00 00 02 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00"
                     "00 20 00 00 00 00 00 00 ed fe 00 00 00 00 00 00 01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00"
                     "01 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00 01 01 00 00 00 00 00 00 2b 01 00 00 00 00 00 00"
                     "36 01 00 00 00 00 00 00 34 12 00 00 00 00 00 00 00 40 00 00 00 00 00 00 03 00 00 00 00 00 00 00"
                     "b0 04 00 00 00 00 00 00 01 00 00 00 01 00 00 00 00 00 00 00 84 03 00 00 00 00 00 00 03 00 00 00"
                     "00 00 00 00 04 00 04 00 00 00 00 00 6b 65 79 31 6b 65 79 32 01 00 00 00 00 00 00 00 ff ab f1 5e"
                     "73 98 81 19"));
}

}  // namespace
}  // namespace cairn::index
