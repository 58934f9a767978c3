// Walking a whole segment of any bytes: nothing is invented, and what is kept can be kept as it is.
#include <algorithm>
#include <set>

#include "format/checksum.h"
#include "format/decode.h"
#include "fuzz/fuzz.h"
#include "log/scan.h"
#include "support/memory_file.h"
#include "support/segment_image.h"

namespace cairn::log {
namespace {

test::SegmentImageBuilder log_of(int variant) {
  test::SegmentImageBuilder log;
  log.put("alpha", "1").batch({{"beta", Bytes(700, 'b')}, {"gamma", ""}, {"alpha", "", true}}).commit();
  if (variant == 0) return log;
  log.put("delta", Bytes(1500, 'd')).commit_durable(0).commit();
  log.batch({{"epsilon", "five"}, {"zeta", Bytes(33, 'z')}}).erase("beta").commit();
  if (variant == 2) log.put("copy", log.bytes()).commit().commit();  // a segment's image as a value
  return log;
}

fuzz::Corpus corpus() { return {log_of(0).bytes(), log_of(1).bytes(), log_of(1).preallocated(), log_of(2).bytes()}; }

// The checksums made right again wherever a record of the original lay: as a hostile writer would.
Bytes repaired(ByteView bytes) {
  Bytes out(bytes);
  const auto log = log_of(2);
  std::vector<uint64_t> offsets;
  for (const auto& record : log.records()) offsets.push_back(record.offset);
  for (const auto& commit : log.commits()) offsets.push_back(commit.mark_offset);
  for (const uint64_t offset : offsets) {
    if (offset + format::kRecordHeaderSize > out.size()) continue;
    auto disk = format::load<format::RecordHeaderDisk>(ByteView(out).substr(offset));
    const uint64_t value = offset + format::kRecordHeaderSize + disk.key_length;
    if (value + disk.stored_length <= out.size()) {
      disk.value_checksum = format::checksum(ByteView(out).substr(value, disk.stored_length));
    }
    out.replace(offset, sizeof disk, format::bytes_of(disk));
    const uint64_t covered = std::min<uint64_t>(32 + disk.key_length, out.size() - offset - 8);
    disk.checksum = format::checksum(ByteView(out).substr(offset + 8, covered),
                                     format::place_seed(log.header().salt, log.header().id.value, offset));
    out.replace(offset, sizeof disk, format::bytes_of(disk));
  }
  return out;
}

void expect_sound(const SegmentScan& scan, const format::SegmentHeader& header, const ScanOptions& options) {
  FUZZ_EXPECT(scan.end % format::kCommitAlignment == 0 && scan.end >= format::kSegmentHeaderSize);
  FUZZ_EXPECT(scan.end <= std::max<uint64_t>(scan.image->size(), format::kSegmentHeaderSize));
  uint64_t end = format::kSegmentHeaderSize;
  SeqNo newest;
  for (const ScannedRecord& record : scan.records) {
    FUZZ_EXPECT(record.offset >= end && record.header.seq > newest);
    FUZZ_EXPECT(record.value_ok || options.keep_damaged);
    FUZZ_EXPECT(!record.value_ok || format::value_verifies(record.header, record.stored));
    end = record.offset + format::kRecordHeaderSize + record.key.size() + record.stored.size();
    newest = record.header.seq;
    FUZZ_EXPECT(end <= scan.end);
    FUZZ_EXPECT(
        format::is_record_header(ByteView(*scan.image).substr(record.offset), {header.salt, header.id, record.offset}));
  }
  for (const ScannedMark& mark : scan.marks) FUZZ_EXPECT(mark.offset < scan.end);
}

// What was kept, written back as it is, is found again whole.
void expect_stable(const SegmentScan& scan, const format::SegmentHeader& header, const ScanOptions& options) {
  if (!scan.damage.empty() || options.sealed_end || scan.image->size() < scan.end) return;
  const test::MemoryFile kept(scan.image->substr(0, scan.end));
  const auto again = scan_segment(kept, header, {});
  FUZZ_EXPECT(again && again->damage.empty() && !again->torn_tail && again->end == scan.end);
  FUZZ_EXPECT(again->records.size() == scan.records.size() && again->marks.size() == scan.marks.size());
}

SegmentScan scan_with(ByteView bytes, const ScanOptions& options) {
  const auto header = test::log_header();
  const test::MemoryFile file{Bytes(bytes)};
  auto scan = scan_segment(file, header, options);
  FUZZ_EXPECT(scan);
  expect_sound(*scan, header, options);
  expect_stable(*scan, header, options);
  return std::move(*scan);
}

void run(ByteView bytes) {
  ScanOptions sealed;
  sealed.sealed_end = bytes.size() / 4096 * 4096;
  sealed.keep_damaged = true;
  ScanOptions durable;
  durable.durable_end = bytes.size() / 2;
  // Without a repair no record can be anything but an original one, at its own place.
  static const std::set<Bytes> originals = [] {
    std::set<Bytes> all;
    const auto log = log_of(2);
    for (const auto& r : log.records()) all.insert(log.bytes().substr(r.offset, r.value_end - r.offset));
    return all;
  }();
  for (const ScanOptions& options : {ScanOptions{}, sealed, durable}) {
    const SegmentScan scan = scan_with(bytes, options);
    for (const ScannedRecord& record : scan.records) {
      const size_t length = format::kRecordHeaderSize + record.key.size() + record.stored.size();
      FUZZ_EXPECT(!record.value_ok || originals.contains(scan.image->substr(record.offset, length)));
    }
  }
  const Bytes hostile = repaired(bytes);
  for (const ScanOptions& options : {ScanOptions{}, sealed, durable}) scan_with(hostile, options);
}

}  // namespace
}  // namespace cairn::log

FUZZ_TARGET(ScanLog, cairn::log::corpus, cairn::log::run);
