#include "format/checksum.h"
#include "format/decode.h"
#include "format/segment.h"
#include "fuzz/fuzz.h"
#include "support/segment_image.h"

namespace cairn::format {
namespace {

fuzz::Corpus corpus() {
  SegmentHeader compacted;
  compacted.kind = SegmentKind::kCompacted;
  compacted.id = SegmentId(3);
  compacted.first_seq = SeqNo(1);
  compacted.last_seq = SeqNo(9);
  compacted.generation = 1;
  compacted.superblock = test::small_superblock();
  SegmentHeader prepared = test::log_header();
  prepared.prepared = true;
  fuzz::Corpus corpus;
  for (const SegmentHeader& header : {test::log_header(), compacted, prepared}) {
    Bytes block(kSegmentHeaderSize, '\0');
    encode_segment_header_block(header, block.data());
    corpus.push_back(block);
    corpus.push_back(block.substr(0, sizeof(SegmentHeaderDisk)));
  }
  return corpus;
}

void expect_canonical(ByteView bytes) {
  const auto header = decode_segment_header(bytes);
  if (header) FUZZ_EXPECT(bytes_of(encode_segment_header(*header)) == bytes.substr(0, sizeof(SegmentHeaderDisk)));
  const auto of_block = decode_segment_header_block(bytes);
  FUZZ_EXPECT(!header || of_block);
}

void run(ByteView bytes) {
  expect_canonical(bytes);
  Bytes repaired(bytes);
  fuzz::change_struct<SegmentHeaderDisk>(repaired, [](SegmentHeaderDisk& disk) {
    disk.magic = kSegmentMagic;
    disk.version = kFormatVersion;
    auto& superblock = disk.superblock;
    superblock.checksum = checksum(bytes_of(superblock).substr(0, offsetof(SuperblockDisk, checksum)));
    disk.checksum = checksum(bytes_of(disk).substr(0, offsetof(SegmentHeaderDisk, checksum)));
  });
  expect_canonical(repaired);
}

}  // namespace
}  // namespace cairn::format

FUZZ_TARGET(SegmentHeader, cairn::format::corpus, cairn::format::run);
