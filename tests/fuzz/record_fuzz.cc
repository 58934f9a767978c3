#include "format/checksum.h"
#include "format/decode.h"
#include "format/segment.h"
#include "fuzz/fuzz.h"

namespace cairn::format {
namespace {

constexpr RecordPlace kPlace{0x5a17, SegmentId(7), 4096};

Bytes record(RecordType type, ByteView key, ByteView stored, Codec codec = Codec::kNone) {
  RecordHeader header;
  header.type = type;
  header.seq = SeqNo(5);
  header.codec = codec;
  header.raw_length = static_cast<uint32_t>(codec == Codec::kNone ? stored.size() : stored.size() * 3);
  header.flags = kBatchFirst;
  header.value_checksum = checksum(stored);
  Bytes bytes(record_size(key.size(), stored.size()), '\0');
  encode_record(header, key, stored, kPlace, bytes.data());
  return bytes;
}

fuzz::Corpus corpus() {
  return {record(RecordType::kPut, "key", "value"),
          record(RecordType::kPut, Bytes(kMaxKeyLength, 'k'), Bytes(300, 'v')),
          record(RecordType::kPut, "compressed", Bytes(100, 'c'), Codec::kLz4),
          record(RecordType::kErase, "gone", ""),
          record(RecordType::kExtent, "large", Bytes(sizeof(ExtentPointerDisk), 'x')),
          record(RecordType::kMark, "", Bytes(sizeof(CommitMarkDisk), 'm')),
          record(RecordType::kPiece, "large", Bytes(50, 'p'))};
}

void expect_canonical(ByteView bytes) {
  const auto header = decode_record_header(bytes, kPlace);
  FUZZ_EXPECT(is_record_header(bytes, kPlace) == header.has_value());
  const auto decoded = decode_record(bytes, kPlace);
  if (!header) FUZZ_EXPECT(!decoded && decoded.error().code == ErrorCode::kCorrupt);
  if (header && !decoded) FUZZ_EXPECT(decoded.error().code == ErrorCode::kRange);
  if (!decoded) return;
  const size_t length = kRecordHeaderSize + decoded->key.size() + decoded->stored.size();
  FUZZ_EXPECT(length <= bytes.size());
  Bytes again(record_size(decoded->key.size(), decoded->stored.size()), 'x');
  encode_record(decoded->header, decoded->key, decoded->stored, kPlace, again.data());
  FUZZ_EXPECT(ByteView(again).substr(0, length) == bytes.substr(0, length));
}

void run(ByteView bytes) {
  expect_canonical(bytes);
  Bytes repaired(bytes);
  fuzz::change_struct<RecordHeaderDisk>(repaired, [&](RecordHeaderDisk& disk) {
    const size_t covered = std::min<size_t>(32 + disk.key_length, bytes.size() - 8);
    disk.checksum = checksum(bytes.substr(8, covered), place_seed(kPlace.salt, kPlace.id.value, kPlace.offset));
  });
  expect_canonical(repaired);
}

}  // namespace
}  // namespace cairn::format

FUZZ_TARGET(Record, cairn::format::corpus, cairn::format::run);
