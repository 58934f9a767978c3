// The manifest of any bytes: what is accepted is written back as the same bytes.
#include "format/checksum.h"
#include "format/decode.h"
#include "format/le.h"
#include "fuzz/fuzz.h"
#include "index/manifest.h"

namespace cairn::index {
namespace {

constexpr std::array<unsigned char, 16> kUuid = {9, 8, 7, 6, 5, 4, 3, 2, 1, 2, 3, 4, 5, 6, 7, 8};
constexpr size_t kSizeOffset = 16;  // FORMAT.md, "Manifest"
constexpr size_t kUuidOffset = 24;

fuzz::Corpus corpus() {
  Manifest m;
  m.number = 3;
  m.next_segment = SegmentId(100);
  m.next_table = TableId(100);
  m.next_seq = SeqNo(1000);
  const Bytes empty = encode_manifest(m, kUuid);
  m.segments.push_back({SegmentId(3), format::SegmentKind::kCompacted, true, {SeqNo(1), SeqNo(9)}, 1, 8192, 9, 900, 2});
  m.segments.push_back({SegmentId(4), format::SegmentKind::kLog, false, {SeqNo(10), SeqNo(11)}, 2, 8192, 2, 90, 0});
  m.segments.push_back({SegmentId(2), format::SegmentKind::kExtent, false, {}, 3, 1 << 20, 0, 0, 0});
  m.runs.push_back({{{TableId(1), 9000, 4, "a", "f", "c"}, {TableId(2), 9000, 4, "g", "h", ""}}});
  m.runs.push_back({{{TableId(5), 9000, 4, "a", "z", ""}}});
  m.retired = {SegmentId(1), SegmentId(9)};
  m.last_log = SegmentId(4);
  return {empty, encode_manifest(m, kUuid)};
}

void expect_canonical(ByteView bytes) {
  const auto manifest = decode_manifest(bytes, kUuid);
  if (manifest) FUZZ_EXPECT(encode_manifest(*manifest, kUuid) == bytes);
}

void run(ByteView bytes) {
  expect_canonical(bytes);
  // Once more with size, store and checksum made right, as a hostile writer would.
  if (bytes.size() < kUuidOffset + kUuid.size() + sizeof(format::Le64)) return;
  Bytes repaired(bytes);
  repaired.replace(kSizeOffset, sizeof(format::Le64), format::bytes_of(format::Le64(bytes.size())));
  repaired.replace(kUuidOffset, kUuid.size(), reinterpret_cast<const char*>(kUuid.data()), kUuid.size());
  repaired.resize(bytes.size() - sizeof(format::Le64));
  repaired.append(format::bytes_of(format::Le64(format::checksum(repaired))));
  expect_canonical(repaired);
}

}  // namespace
}  // namespace cairn::index

FUZZ_TARGET(Manifest, cairn::index::corpus, cairn::index::run);
