#include <gtest/gtest.h>

#include "bit_flips.h"
#include "format/checksum.h"
#include "format/decode.h"
#include "format/segment.h"

namespace cairn::format {
namespace {

constexpr RecordPlace kPlace{0x1111, SegmentId(5), 8192};

RecordHeader put_header(ByteView stored) {
  RecordHeader header;
  header.type = RecordType::kPut;
  header.seq = SeqNo(42);
  header.flags = kBatchFirst | kBatchLast;
  header.value_checksum = checksum(stored);
  return header;
}

Bytes encoded(RecordHeader header, ByteView key, ByteView stored, const RecordPlace& place = kPlace) {
  Bytes bytes(record_size(key.size(), stored.size()), 'x');
  encode_record(header, key, stored, place, bytes.data());
  return bytes;
}

// A record whose header was changed and given a right checksum again.
template <class Change>
Result<Record> decode_changed(Change change, RecordHeader header = put_header("value"), Bytes value = "value") {
  Bytes bytes = encoded(header, "key", value);
  auto disk = load<RecordHeaderDisk>(bytes);
  change(disk);
  bytes.replace(0, sizeof disk, bytes_of(disk));
  const uint64_t covered = std::min<uint64_t>(32 + disk.key_length, bytes.size() - 8);
  disk.checksum = checksum(ByteView(bytes).substr(8, covered), place_seed(kPlace.salt, kPlace.id.value, kPlace.offset));
  bytes.replace(0, sizeof disk, bytes_of(disk));
  return decode_record(bytes, kPlace);
}

TEST(Record, RoundTripsEveryLengthOfKeyAndValue) {
  for (const size_t key_length : {0u, 1u, 7u, 8u, 255u, kMaxKeyLength}) {
    for (size_t value_length = 0; value_length < 20; ++value_length) {
      const Bytes key(key_length, 'k'), value(value_length, 'v');
      const Bytes bytes = encoded(put_header(value), key, value);
      const auto record = decode_record(bytes, kPlace);
      ASSERT_TRUE(record);
      EXPECT_EQ(record->key, key);
      EXPECT_EQ(record->stored, value);
      EXPECT_EQ(record->header.seq, SeqNo(42));
      EXPECT_EQ(record->header.raw_length, value_length);
      EXPECT_EQ(record->header.flags, kBatchFirst | kBatchLast);
      EXPECT_TRUE(value_verifies(record->header, record->stored));
      EXPECT_EQ(bytes.size() % 8, 0u);
      EXPECT_TRUE(all_zero(ByteView(bytes).substr(40 + key_length + value_length)));
    }
  }
}

TEST(Record, EveryBitFlipIsRefused) {
  const Bytes bytes = encoded(put_header("value"), "key", "value");
  test::expect_every_bit_flip_refused(bytes, 40 + 3 + 5, [](ByteView b) {
    const auto record = decode_record(b, kPlace);
    return !record || !value_verifies(record->header, record->stored);
  });
}

TEST(Record, IsBoundToItsPlace) {
  const Bytes bytes = encoded(put_header("value"), "key", "value");
  EXPECT_TRUE(is_record_header(bytes, kPlace));
  for (const RecordPlace& other : {RecordPlace{0x1112, SegmentId(5), 8192}, RecordPlace{0x1111, SegmentId(6), 8192},
                                   RecordPlace{0x1111, SegmentId(5), 8200}}) {
    EXPECT_FALSE(decode_record_header(bytes, other));
    EXPECT_FALSE(is_record_header(bytes, other));
  }
}

TEST(Record, EveryCutIsRefusedAndAMissingValueSaidSo) {
  const Bytes bytes = encoded(put_header("value"), "key", "value");
  for (size_t cut = 0; cut < 48; ++cut) {
    const auto record = decode_record(bytes.substr(0, cut), kPlace);
    ASSERT_FALSE(record) << cut;
    EXPECT_EQ(record.error().code, cut < 43 ? ErrorCode::kCorrupt : ErrorCode::kRange) << cut;
    EXPECT_EQ(decode_record_header(bytes.substr(0, cut), kPlace).has_value(), cut >= 43) << cut;
  }
}

TEST(Record, EveryRangeIsChecked) {
  EXPECT_TRUE(decode_changed([](auto&) {}));
  EXPECT_FALSE(decode_changed([](auto& d) { d.type = 0; }));
  EXPECT_FALSE(decode_changed([](auto& d) { d.type = 6; }));
  EXPECT_FALSE(decode_changed([](auto& d) { d.codec = 3; }));
  EXPECT_FALSE(decode_changed([](auto& d) { d.flags = 4; }));
  EXPECT_FALSE(decode_changed([](auto& d) { d.seq = 0; }));
  EXPECT_FALSE(decode_changed([](auto& d) { d.zero[2] = 1; }));
  EXPECT_FALSE(decode_changed([](auto& d) { d.raw_length = 6; }));  // not compressed, so equal
  EXPECT_FALSE(decode_changed([](auto& d) { d.codec = 1; }));       // compressed, so shorter
  EXPECT_TRUE(decode_changed([](auto& d) { d.codec = 1, d.raw_length = kMaxRawLength; }));
  EXPECT_FALSE(decode_changed([](auto& d) { d.codec = 1, d.raw_length = kMaxRawLength + 1; }));
  EXPECT_FALSE(decode_changed([](auto& d) { d.key_length = kMaxKeyLength + 1; }));
  EXPECT_FALSE(decode_changed([](auto& d) { d.type = static_cast<uint8_t>(RecordType::kErase); }));   // has a value
  EXPECT_FALSE(decode_changed([](auto& d) { d.type = static_cast<uint8_t>(RecordType::kExtent); }));  // not 32 bytes
  EXPECT_FALSE(decode_changed([](auto& d) { d.type = static_cast<uint8_t>(RecordType::kMark); }));
}

TEST(Record, AValueThatReachesBeyondTheBytesIsNotACorruptHeader) {
  const auto far = decode_changed([](auto& d) { d.stored_length = d.raw_length = kMaxRawLength; });
  ASSERT_FALSE(far);
  EXPECT_EQ(far.error().code, ErrorCode::kRange);
}

TEST(Record, SearchAndDecoderAgreeOnEveryChange) {
  const Bytes bytes = encoded(put_header("value"), "key", "value");
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    Bytes damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    EXPECT_EQ(is_record_header(damaged, kPlace), decode_record_header(damaged, kPlace).has_value());
  }
}

TEST(RecordDeathTest, WhatCouldNotBeReadIsNeverWritten) {
  EXPECT_DEATH(encoded(put_header(""), Bytes(kMaxKeyLength + 1, 'k'), ""), "CHECK");
  RecordHeader erase = put_header("");
  erase.type = RecordType::kErase;
  EXPECT_DEATH(encoded(erase, "key", "value"), "CHECK");
  RecordHeader unsequenced = put_header("");
  unsequenced.seq = {};
  EXPECT_DEATH(encoded(unsequenced, "key", ""), "CHECK");
}

CommitMark sample_mark() {
  CommitMark mark;
  mark.number = CommitNo(9);
  mark.range = {SeqNo(5), SeqNo(8)};
  mark.records_checksum = 0xabc;
  mark.previous_offset = 8192;
  mark.previous_checksum = 0xdef;
  mark.durable_offset = 12288;
  mark.next_ino = 77;
  mark.start_offset = 16384;
  return mark;
}

template <class Change>
bool mark_refused(Change change) {
  auto disk = encode_commit_mark(sample_mark());
  change(disk);
  return !decode_commit_mark(bytes_of(disk));
}

TEST(CommitMark, RoundTripsEveryField) {
  const auto disk = encode_commit_mark(sample_mark());
  const CommitMark out = decode_commit_mark(bytes_of(disk)).value();
  EXPECT_EQ(bytes_of(encode_commit_mark(out)), bytes_of(disk));
  EXPECT_EQ(out.number, CommitNo(9));
  EXPECT_EQ(out.range, (SeqRange{SeqNo(5), SeqNo(8)}));
  EXPECT_EQ(out.durable_offset, 12288u);
  EXPECT_EQ(out.start_offset, 16384u);
}

TEST(CommitMark, AnEmptyRangeIsLastBeforeFirstByOne) {
  EXPECT_FALSE(mark_refused([](auto& d) { d.last_seq = 4; }));
  EXPECT_TRUE(mark_refused([](auto& d) { d.last_seq = 3; }));
  EXPECT_TRUE(mark_refused([](auto& d) { d.first_seq = 0, d.last_seq = UINT64_MAX; }));
}

TEST(CommitMark, EveryRangeIsChecked) {
  EXPECT_FALSE(mark_refused([](auto&) {}));
  EXPECT_TRUE(mark_refused([](auto& d) { d.number = 0; }));
  EXPECT_TRUE(mark_refused([](auto& d) { d.zero = 1; }));
  EXPECT_TRUE(mark_refused([](auto& d) { d.start_offset = 0; }));
  EXPECT_TRUE(mark_refused([](auto& d) { d.start_offset = 16385; }));
  EXPECT_TRUE(mark_refused([](auto& d) { d.previous_offset = 16384; }));
  EXPECT_TRUE(mark_refused([](auto& d) { d.previous_offset = 4097; }));
  EXPECT_TRUE(mark_refused([](auto& d) { d.durable_offset = 16385; }));
  EXPECT_FALSE(mark_refused([](auto& d) { d.durable_offset = 16384; }));
  EXPECT_FALSE(decode_commit_mark(Bytes(79, '\1')));
  EXPECT_FALSE(decode_commit_mark(Bytes(81, '\1')));
}

TEST(ExtentPointer, RoundTripsAndChecksEveryRange) {
  const ExtentPointer pointer{SegmentId(3), 1'000'000, 0x5a17, 131072};
  const auto refused = [&](auto change) {
    auto disk = encode_extent_pointer(pointer);
    change(disk);
    return !decode_extent_pointer(bytes_of(disk));
  };
  const auto out = decode_extent_pointer(bytes_of(encode_extent_pointer(pointer))).value();
  EXPECT_EQ(out.segment, pointer.segment);
  EXPECT_EQ(out.length, pointer.length);
  EXPECT_EQ(out.salt, pointer.salt);
  EXPECT_EQ(out.piece_size, pointer.piece_size);
  EXPECT_TRUE(refused([](auto& d) { d.segment_id = 0; }));
  EXPECT_TRUE(refused([](auto& d) { d.length = 0; }));
  EXPECT_TRUE(refused([](auto& d) { d.length = kMaxExtentLength + 1; }));
  EXPECT_TRUE(refused([](auto& d) { d.piece_size = kMinPieceSize - 1; }));
  EXPECT_TRUE(refused([](auto& d) { d.piece_size = kMaxRawLength + 1; }));
  EXPECT_TRUE(refused([](auto& d) { d.zero = 1; }));
  EXPECT_FALSE(decode_extent_pointer(Bytes(31, '\1')));
}

}  // namespace
}  // namespace cairn::format
