// What the tests of log::scan_segment share: a small log with everything in it, scanning bytes, and comparing.
#pragma once

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "log/scan.h"
#include "support/memory_file.h"
#include "support/segment_image.h"

namespace cairn::log {

inline SegmentScan scan_bytes(Bytes bytes, const format::SegmentHeader& header, const ScanOptions& options = {}) {
  const test::MemoryFile file(std::move(bytes));
  auto scan = scan_segment(file, header, options);
  EXPECT_TRUE(scan) << scan.error().message;
  return std::move(*scan);
}

inline ScanOptions sealed_at(uint64_t end) {
  ScanOptions options;
  options.sealed_end = end;
  return options;
}

// Batches of one and of several records, an erase, empty and odd lengths, a value of several sectors, a repeated mark,
// a last commit of several batches. Every mark calls durable all that came before its commit.
inline test::SegmentImageBuilder sample_log() {
  test::SegmentImageBuilder log;
  log.put("alpha", "1").batch({{"beta", Bytes(700, 'b')}, {"gamma", ""}, {"alpha", "", true}}).commit();
  log.put("delta", Bytes(1500, 'd')).commit();
  log.commit();
  log.batch({{"epsilon", "five"}, {"zeta", Bytes(33, 'z')}}).erase("beta").put("eta", Bytes(1300, 'e')).commit();
  return log;
}

// The records of `log` for which `wanted` holds are exactly those that `scan` found, byte for byte.
template <class Wanted>
void expect_records(const SegmentScan& scan, const test::SegmentImageBuilder& log, Wanted wanted) {
  std::vector<const test::ImageRecord*> expected;
  for (const auto& record : log.records()) {
    if (wanted(record)) expected.push_back(&record);
  }
  ASSERT_EQ(scan.records.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(scan.records[i].offset, expected[i]->offset);
    EXPECT_EQ(scan.records[i].header.seq, expected[i]->seq);
    EXPECT_EQ(scan.records[i].key, expected[i]->key);
    EXPECT_EQ(scan.records[i].stored, expected[i]->value);
    EXPECT_TRUE(scan.records[i].value_ok);
  }
}

inline void expect_commits(const SegmentScan& scan, const test::SegmentImageBuilder& log, size_t commits) {
  expect_records(scan, log, [&](const test::ImageRecord& record) { return record.commit < commits; });
  EXPECT_EQ(scan.marks.size(), commits);
  EXPECT_EQ(scan.end, commits == 0 ? format::kSegmentHeaderSize : log.commits()[commits - 1].end);
}

inline std::string damage_text(const SegmentScan& scan) {
  std::string text;
  for (const Damage& damage : scan.damage) {
    text += damage.what + " at " + std::to_string(damage.offset) + "+" + std::to_string(damage.length) + "; ";
  }
  return text;
}

// What is reported covers the byte at `offset`.
inline bool is_reported(const SegmentScan& scan, uint64_t offset) {
  for (const Damage& damage : scan.damage) {
    if (damage.offset <= offset && offset < damage.offset + damage.length) return true;
  }
  return false;
}

}  // namespace cairn::log
