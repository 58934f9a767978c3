// Segments without commits (compacted ones, extents), and headers.
#include <gtest/gtest.h>

#include "log/segment_reader.h"
#include "unit/log/scan_helpers.h"

namespace cairn::log {
namespace {

using test::ImageRecord;
using test::SegmentImageBuilder;

format::SegmentHeader compacted_header() {
  format::SegmentHeader header;
  header.kind = format::SegmentKind::kCompacted;
  header.id = SegmentId(12);
  header.salt = 0xc0;
  header.first_seq = SeqNo(10);
  header.last_seq = SeqNo(99);
  header.generation = 1;
  header.superblock = test::small_superblock();
  return header;
}

// Records of a few sequence numbers, not in their order, padded to a block.
SegmentImageBuilder compacted() {
  SegmentImageBuilder segment(compacted_header());
  for (const uint64_t seq : {40u, 12u, 99u, 10u}) {
    format::RecordHeader record;
    record.seq = SeqNo(seq);
    segment.append(record, "key" + std::to_string(seq), Bytes(seq * 7 + 1, 'v'));
  }
  return segment;
}

Bytes padded(const SegmentImageBuilder& segment) {
  Bytes bytes = segment.bytes();
  bytes.resize((bytes.size() + 4095) / 4096 * 4096);
  return bytes;
}

TEST(ScanCompacted, EveryRecordCountsAndTheEndIsBehindTheLast) {
  const auto segment = compacted();
  const Bytes bytes = padded(segment);
  for (const ScanOptions& options : {ScanOptions{}, sealed_at(bytes.size())}) {
    const SegmentScan scan = scan_bytes(bytes, segment.header(), options);
    expect_records(scan, segment, [](const ImageRecord&) { return true; });
    EXPECT_EQ(scan.end, bytes.size());
    EXPECT_EQ(damage_text(scan), "");
    EXPECT_FALSE(scan.torn_tail);
  }
}

TEST(ScanCompacted, EveryFlippedBitIsReportedAndTakesOneRecord) {
  const auto segment = compacted();
  const Bytes bytes = padded(segment);
  for (uint64_t offset = 0; offset < bytes.size(); ++offset) {
    SCOPED_TRACE(offset);
    Bytes damaged = bytes;
    damaged[offset] = static_cast<char>(damaged[offset] ^ (1 << offset % 8));
    const SegmentScan scan = scan_bytes(damaged, segment.header(), sealed_at(bytes.size()));
    EXPECT_TRUE(is_reported(scan, offset)) << damage_text(scan);
    expect_records(scan, segment,
                   [&](const ImageRecord& record) { return offset < record.offset || offset >= record.value_end; });
    if (HasFailure()) break;
  }
}

TEST(ScanCompacted, ARecordOutsideTheRangeThatTheSegmentOwnsIsDamage) {
  for (const uint64_t outside : {9u, 100u}) {
    auto segment = compacted();
    format::RecordHeader record;
    record.seq = SeqNo(outside);
    segment.append(record, "stray", "x");
    const Bytes bytes = padded(segment);
    const SegmentScan scan = scan_bytes(bytes, segment.header(), sealed_at(bytes.size()));
    expect_records(scan, segment, [](const ImageRecord& r) { return r.key != "stray"; });
    EXPECT_TRUE(is_reported(scan, segment.records().back().offset));
  }
}

TEST(ScanCompacted, WithoutItsFooterOnlyGapsBetweenRecordsAreDamage) {
  const auto segment = compacted();
  const Bytes bytes = padded(segment) + Bytes(5000, '\x77');  // a footer that cannot be read
  const SegmentScan whole = scan_bytes(bytes, segment.header());
  expect_records(whole, segment, [](const ImageRecord&) { return true; });
  EXPECT_EQ(damage_text(whole), "");
  Bytes damaged = bytes;
  damaged[segment.records()[1].offset] ^= 1;
  EXPECT_TRUE(is_reported(scan_bytes(damaged, segment.header()), segment.records()[1].offset));
}

class Extent : public testing::Test {
 protected:
  void SetUp() override {
    header_.kind = format::SegmentKind::kExtent;
    header_.id = SegmentId(9);
    header_.salt = 0xe7;
    header_.superblock = test::small_superblock();
    while (value_.size() < 20'000) value_ += "line " + std::to_string(value_.size()) + "\n";
    value_.replace(8'000, 4'000, Bytes(4'000, '\0'));
    write({format::Codec::kLz4, 0});
  }
  void write(format::Compression compression) {
    file_ = std::make_unique<test::MemoryFile>();
    ASSERT_TRUE(write_extent(*file_, header_, kKey, value_, kPiece, compression));
    pointer_ = {header_.id, value_.size(), header_.salt, kPiece};
  }
  RecordSource source() const { return {*file_, name_, header_.salt, header_.id, *buffers_}; }
  Result<Value> read(uint64_t offset, uint64_t length) { return read_extent(source(), pointer_, kKey, offset, length); }

  static constexpr uint32_t kPiece = 4096;
  static constexpr char kKey[] = "key";
  format::SegmentHeader header_;
  Bytes value_;
  std::unique_ptr<test::MemoryFile> file_;
  format::ExtentPointer pointer_;
  const std::string name_ = "9.seg";
  std::shared_ptr<io::BufferPool> buffers_ = std::make_shared<io::BufferPool>();
};

TEST_F(Extent, AnyRangeReadsBack) {
  for (const format::Codec codec : {format::Codec::kNone, format::Codec::kLz4, format::Codec::kZstd}) {
    write({codec, codec == format::Codec::kZstd ? 3 : 0});
    EXPECT_EQ(file_->syncs(), 1);
    EXPECT_EQ(file_->bytes().size() % 4096, 0u);
    for (const uint64_t offset : {uint64_t{0}, uint64_t{1}, uint64_t{4095}, uint64_t{4096}, value_.size() - 1}) {
      for (const uint64_t length : {uint64_t{0}, uint64_t{1}, uint64_t{4096}, uint64_t{4097}, value_.size()}) {
        const uint64_t fits = std::min(length, value_.size() - offset);
        const auto got = read(offset, fits);
        ASSERT_TRUE(got) << got.error().message;
        EXPECT_EQ(got->view(), ByteView(value_).substr(offset, fits)) << offset << "+" << fits;
      }
    }
  }
}

TEST_F(Extent, EveryFlippedBitOfAPieceIsRefusedWhereItIsTouchedAndSeenByScan) {
  const Bytes good = file_->bytes();
  for (uint64_t offset = 0; offset < good.size(); ++offset) {
    SCOPED_TRACE(offset);
    file_->bytes()[offset] = static_cast<char>(good[offset] ^ (1 << offset % 8));
    const auto header = read_segment_header(*file_, "9.seg", header_.id, nullptr);
    const SegmentScan scan = scan_bytes(file_->bytes(), *header, sealed_at(good.size()));
    EXPECT_TRUE(is_reported(scan, offset)) << damage_text(scan);
    const auto got = read(0, value_.size());
    EXPECT_TRUE(!got || got->view() == value_);
    file_->bytes()[offset] = good[offset];
    if (HasFailure()) break;
  }
}

TEST_F(Extent, DamageToOnePieceLeavesTheOthersReadable) {
  file_->bytes()[format::extent_piece_offset(3, kPiece, 1) + 50] ^= 1;
  EXPECT_TRUE(read(0, kPiece));
  EXPECT_FALSE(read(0, kPiece + 1));
  EXPECT_FALSE(read(kPiece, 1));
  EXPECT_EQ(read(2 * kPiece, 100)->view(), value_.substr(2 * kPiece, 100));
}

// In header, key and value, first and last byte: of a read of everything, and of those that touch a part of the piece.
TEST_F(Extent, DamageToAnyPieceIsSeenByWhoReadsIt) {
  for (const format::Codec codec : {format::Codec::kNone, format::Codec::kLz4}) {
    write({codec, 0});
    const uint64_t pieces = (value_.size() + kPiece - 1) / kPiece;
    for (uint64_t i = 0; i < pieces; ++i) {
      const uint64_t begin = format::extent_piece_offset(3, kPiece, i);
      const auto record =
          format::decode_record(ByteView(file_->bytes()).substr(begin), {header_.salt, header_.id, begin});
      ASSERT_TRUE(record);
      const uint64_t stored = record->header.stored_length;
      for (const uint64_t at : {uint64_t{0}, uint64_t{20}, uint64_t{40}, uint64_t{43}, 43 + stored / 2, 42 + stored}) {
        file_->bytes()[begin + at] ^= 4;
        const std::string where = std::to_string(i) + " " + std::to_string(at);
        EXPECT_EQ(read(0, value_.size()).error().code, ErrorCode::kCorrupt) << where;
        EXPECT_EQ(read(i * kPiece + 10, 5).error().code, ErrorCode::kCorrupt) << where;
        EXPECT_TRUE(read(i * kPiece + 10, 5).error().message.starts_with("9.seg: record at " + std::to_string(begin)));
        for (uint64_t other = 0; other < pieces; ++other) {
          const uint64_t length = std::min<uint64_t>(kPiece, value_.size() - other * kPiece);
          if (other == i) continue;
          EXPECT_EQ(read(other * kPiece, length)->view(), ByteView(value_).substr(other * kPiece, length)) << where;
        }
        file_->bytes()[begin + at] ^= 4;
      }
    }
    EXPECT_EQ(read(0, value_.size())->view(), value_);
  }
}

TEST_F(Extent, ACutFileOrABadBlockIsAnErrorOfItsPieces) {
  write({format::Codec::kNone, 0});
  const Bytes good = file_->bytes();
  const uint64_t third = format::extent_piece_offset(3, kPiece, 2);
  for (const uint64_t size : {third + 20, third + 41, third + 43, third + 2000}) {
    file_->bytes() = good.substr(0, size);
    EXPECT_EQ(read(kPiece, kPiece)->view(), ByteView(value_).substr(kPiece, kPiece));
    EXPECT_EQ(read(2 * kPiece, kPiece).error().code, ErrorCode::kCorrupt) << size;
    EXPECT_EQ(read(2 * kPiece + 3, 10).error().code, ErrorCode::kCorrupt) << size;
  }
  file_->bytes() = good;
  file_->break_block(third / 4096 + 1);
  EXPECT_EQ(read(2 * kPiece, kPiece).error().code, ErrorCode::kIo);
}

// Of the sizes that the store makes; large ones are read into recycled memory, which is not cleared.
TEST_F(Extent, LargePiecesReadBackIntoRecycledMemory) {
  constexpr uint32_t kLarge = 128 << 10;
  while (value_.size() < 3 * kLarge + 1000) value_ += value_;
  value_.resize(3 * kLarge + 1000);
  for (const format::Codec codec : {format::Codec::kNone, format::Codec::kLz4}) {
    file_ = std::make_unique<test::MemoryFile>();
    ASSERT_TRUE(write_extent(*file_, header_, kKey, value_, kLarge, {codec, 0}));
    pointer_ = {header_.id, value_.size(), header_.salt, kLarge};
    for (int round = 0; round < 3; ++round) {
      const auto got = read(0, value_.size());
      ASSERT_TRUE(got) << got.error().message;
      EXPECT_TRUE(got->view() == value_);
      const auto part = read(100'000, 200'000);
      ASSERT_TRUE(part) << part.error().message;
      EXPECT_TRUE(part->view() == ByteView(value_).substr(100'000, 200'000));
    }
    // The memory still holds the right bytes when the file does not have them any more.
    file_->bytes().resize(format::extent_piece_offset(3, kLarge, 3) + 50);
    const auto cut = read(0, value_.size());
    ASSERT_FALSE(cut);
    EXPECT_EQ(cut.error().code, ErrorCode::kCorrupt);
  }
}

TEST_F(Extent, APieceThatWasNeverWrittenIsDamageNotAHole) {
  const uint64_t begin = format::extent_piece_offset(3, kPiece, 2), end = format::extent_piece_offset(3, kPiece, 3);
  file_->bytes().replace(begin, end - begin, Bytes(end - begin, '\0'));
  EXPECT_FALSE(read(2 * kPiece, 1));
  EXPECT_TRUE(is_reported(scan_bytes(file_->bytes(), header_, sealed_at(file_->bytes().size())), begin));
}

TEST_F(Extent, APieceWithAnotherNumberIsRefused) {
  const uint64_t offset = format::extent_piece_offset(3, kPiece, 1);
  format::RecordHeader record;
  record.type = format::RecordType::kPiece;
  record.seq = SeqNo(2);
  const Bytes content(kPiece, 'p');
  record.value_checksum = format::checksum(content);
  Bytes image(format::record_size(3, kPiece), '\0');
  format::encode_record(record, kKey, content, {header_.salt, header_.id, offset}, image.data());
  file_->bytes().replace(offset, image.size(), image);
  EXPECT_EQ(read(kPiece, 1).error().code, ErrorCode::kCorrupt);
}

TEST_F(Extent, APointerThatLiesIsRefusedWithoutTakingMuchMemory) {
  const auto good = pointer_;
  pointer_.salt ^= 1;
  EXPECT_EQ(read(0, 1).error().code, ErrorCode::kCorrupt);
  pointer_ = good;
  pointer_.segment = SegmentId(10);
  EXPECT_EQ(read(0, 1).error().code, ErrorCode::kCorrupt);
  pointer_ = good;
  pointer_.length = format::kMaxExtentLength;
  EXPECT_EQ(read(0, pointer_.length).error().code, ErrorCode::kCorrupt);
  pointer_ = good;
  pointer_.length += 1;  // the last piece is shorter than this says
  EXPECT_EQ(read(value_.size() - 1, 1).error().code, ErrorCode::kCorrupt);
  pointer_ = good;
  pointer_.piece_size += 8;
  EXPECT_EQ(read(0, 1).error().code, ErrorCode::kCorrupt);
  EXPECT_FALSE(read_extent(source(), good, "other", 0, 1));
}

TEST_F(Extent, ScanFindsEveryPieceWithZerosBetween) {
  const SegmentScan scan = scan_bytes(file_->bytes(), header_, sealed_at(file_->bytes().size()));
  EXPECT_EQ(damage_text(scan), "");
  ASSERT_EQ(scan.records.size(), (value_.size() + kPiece - 1) / kPiece);
  for (size_t i = 0; i < scan.records.size(); ++i) EXPECT_EQ(scan.records[i].header.seq, SeqNo(i));
}

TEST(ReadSegmentHeader, SaysWhatIsWrong) {
  const auto header = test::log_header();
  const SegmentImageBuilder log(header);
  const auto read = [&](Bytes bytes, SegmentId id = SegmentId(7)) {
    return read_segment_header(test::MemoryFile(std::move(bytes)), "segments/7.seg", id, &header.superblock.uuid);
  };
  EXPECT_TRUE(read(log.bytes()));
  EXPECT_EQ(read("").error().message, "segments/7.seg: segment header: shorter than 512 bytes");
  EXPECT_EQ(read(Bytes(4096, '\0')).error().message, "segments/7.seg: segment header: wrong magic");
  EXPECT_EQ(read(log.bytes(), SegmentId(8)).error().message,
            "segments/7.seg: segment header: is of segment 0000000000000007");
  std::array<unsigned char, 16> other{};
  const auto foreign = read_segment_header(test::MemoryFile(log.bytes()), "segments/7.seg", SegmentId(7), &other);
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(foreign.error().message.find("belongs to another store"), Bytes::npos);
}

}  // namespace
}  // namespace cairn::log
