// The values that the log itself defines: commit marks and extent pointers. They carry no checksum of their own.
#include "format/decode.h"
#include "format/segment.h"
#include "fuzz/fuzz.h"

namespace cairn::format {
namespace {

fuzz::Corpus corpus() {
  CommitMark mark;
  mark.number = CommitNo(3);
  mark.range = {SeqNo(10), SeqNo(20)};
  mark.start_offset = 8192;
  mark.previous_offset = 4200;
  mark.durable_offset = 8192;
  CommitMark repeated = mark;
  repeated.range = {SeqNo(21), SeqNo(20)};
  const ExtentPointer pointer{SegmentId(3), 1'000'000, 0x5a17, 131072};
  return {Bytes(bytes_of(encode_commit_mark(mark))), Bytes(bytes_of(encode_commit_mark(repeated))),
          Bytes(bytes_of(encode_extent_pointer(pointer)))};
}

void run(ByteView bytes) {
  if (const auto mark = decode_commit_mark(bytes)) FUZZ_EXPECT(bytes_of(encode_commit_mark(*mark)) == bytes);
  if (const auto pointer = decode_extent_pointer(bytes))
    FUZZ_EXPECT(bytes_of(encode_extent_pointer(*pointer)) == bytes);
}

}  // namespace
}  // namespace cairn::format

FUZZ_TARGET(CommitMark, cairn::format::corpus, cairn::format::run);
