// What a crash leaves behind: incomplete commits are dropped without a word, complete ones are kept.
#include <gtest/gtest.h>

#include <vector>

#include "format/decode.h"
#include "unit/log/scan_helpers.h"

namespace cairn::log {
namespace {

using test::ImageCommit;
using test::ImageRecord;
using test::SegmentImageBuilder;

constexpr uint64_t kSector = 512;

size_t commits_within(const SegmentImageBuilder& log, uint64_t cut) {
  size_t commits = 0;
  for (const ImageCommit& commit : log.commits()) {
    // Bytes that are zero anyway need not be there.
    const bool whole =
        cut >= commit.mark_end || format::all_zero(ByteView(log.bytes()).substr(cut, commit.mark_end - cut));
    if (whole) ++commits;
  }
  return commits;
}

TEST(ScanTorn, FindsEverythingInAWholeLog) {
  const auto log = sample_log();
  for (const Bytes& file : {log.bytes(), log.preallocated()}) {
    for (const ScanOptions& options : {ScanOptions{}, sealed_at(log.end())}) {
      const SegmentScan scan = scan_bytes(file, log.header(), options);
      expect_commits(scan, log, 4);
      EXPECT_EQ(damage_text(scan), "");
      EXPECT_FALSE(scan.torn_tail);
    }
  }
}

TEST(ScanTorn, ReportsEveryMarkWithItsPlaceAndChecksum) {
  const auto log = sample_log();
  const SegmentScan scan = scan_bytes(log.preallocated(), log.header());
  ASSERT_EQ(scan.marks.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(scan.marks[i].offset, log.commits()[i].mark_offset);
    EXPECT_EQ(scan.marks[i].checksum, log.commits()[i].mark_checksum);
    EXPECT_EQ(scan.marks[i].mark.number, log.commits()[i].mark.number);
    EXPECT_EQ(scan.marks[i].mark.next_ino, 500 + i);
  }
}

TEST(ScanTorn, AFileCutAtAnyByteKeepsWholeCommits) {
  const auto log = sample_log();
  for (uint64_t cut = 0; cut <= log.end(); ++cut) {
    SCOPED_TRACE(cut);
    const SegmentScan scan = scan_bytes(log.bytes().substr(0, cut), log.header());
    expect_commits(scan, log, commits_within(log, cut));
    EXPECT_EQ(damage_text(scan), "");
    if (HasFailure()) break;
  }
}

TEST(ScanTorn, APreallocatedFileWrittenUpToAnyByteKeepsWholeCommits) {
  const auto log = sample_log();
  for (uint64_t cut = format::kSegmentHeaderSize; cut <= log.end(); ++cut) {
    SCOPED_TRACE(cut);
    Bytes file = log.bytes().substr(0, cut);
    file.resize(log.end() + 8192);
    const SegmentScan scan = scan_bytes(file, log.header());
    expect_commits(scan, log, commits_within(log, cut));
    EXPECT_EQ(damage_text(scan), "");
    EXPECT_EQ(scan.torn_tail, !format::all_zero(ByteView(file).substr(scan.end)));
    if (HasFailure()) break;
  }
}

// What unwritten sectors may hold instead: zeros, noise, or an earlier segment with a salt of its own.
enum class Stale { kZeros, kNoise, kOldSegment };

Bytes stale_bytes(Stale kind, uint64_t size) {
  if (kind == Stale::kZeros) return Bytes(size, '\0');
  if (kind == Stale::kNoise) return Bytes(size, '\xa5');
  format::SegmentHeader header = test::log_header();
  header.salt ^= 1;
  SegmentImageBuilder old(header);
  while (old.end() < size) old.put("alpha", "old").put("delta", Bytes(900, 'o')).commit();
  return old.bytes().substr(0, size);
}

Bytes with_lost_sectors(const Bytes& written, const Bytes& stale, uint64_t begin, uint64_t sectors, unsigned lost) {
  Bytes file = written;
  for (uint64_t i = 0; i < sectors; ++i) {
    if ((lost >> i & 1) != 0) file.replace(begin + i * kSector, kSector, stale, begin + i * kSector, kSector);
  }
  return file;
}

TEST(ScanTorn, AnySubsetOfTheLastCommitsSectorsKeepsItWholeOrNotAtAll) {
  const auto log = sample_log();
  const ImageCommit& last = log.commits().back();
  for (const Stale kind : {Stale::kZeros, Stale::kNoise, Stale::kOldSegment}) {
    const Bytes stale = stale_bytes(kind, log.end());
    for (unsigned lost = 0; lost < 1u << 8; ++lost) {
      SCOPED_TRACE(lost);
      const Bytes file = with_lost_sectors(log.bytes(), stale, last.start, 8, lost);
      const bool whole = ByteView(file).substr(0, last.mark_end) == ByteView(log.bytes()).substr(0, last.mark_end);
      const SegmentScan scan = scan_bytes(file, log.header());
      expect_commits(scan, log, whole ? 4 : 3);
      EXPECT_EQ(damage_text(scan), "");
      EXPECT_EQ(scan.image->substr(0, scan.end), log.bytes().substr(0, scan.end));  // dirty padding is cleaned
    }
  }
}

TEST(ScanTorn, OfTwoCommitsInFlightTheSecondNeverCountsWithoutTheFirst) {
  SegmentImageBuilder log;
  log.put("base", "0").commit();
  const uint64_t synced = log.end();
  log.put("first", Bytes(900, '1')).commit_durable(synced);
  log.put("second", Bytes(900, '2')).commit_durable(synced);
  // Only the sectors that hold something: three of each commit.
  for (unsigned lost = 0; lost < 1u << 6; ++lost) {
    SCOPED_TRACE(lost);
    Bytes file = with_lost_sectors(log.bytes(), Bytes(log.end(), '\xa5'), log.commits()[1].start, 3, lost & 7);
    file = with_lost_sectors(file, Bytes(log.end(), '\xa5'), log.commits()[2].start, 3, lost >> 3);
    const SegmentScan scan = scan_bytes(file, log.header());
    expect_commits(scan, log, (lost & 7) != 0 ? 1 : lost == 0 ? 3 : 2);
    EXPECT_EQ(damage_text(scan), "");
  }
}

TEST(ScanTorn, OldRecordsBehindTheEndAreNotTakenForNewOnes) {
  const auto log = sample_log();
  Bytes file = stale_bytes(Stale::kOldSegment, log.end() + 65536);
  file.replace(0, log.end(), log.bytes());
  const SegmentScan scan = scan_bytes(file, log.header());
  expect_commits(scan, log, 4);
  EXPECT_EQ(damage_text(scan), "");
  EXPECT_TRUE(scan.torn_tail);
}

TEST(ScanTorn, ALogWithoutACompleteCommitIsEmpty) {
  SegmentImageBuilder log;
  const Bytes header_only = log.bytes();
  log.put("alpha", "1").batch({{"beta", "2"}, {"gamma", "3"}});
  for (const Bytes& file : {Bytes(), Bytes(100, '\0'), Bytes(1 << 16, '\0'), header_only,
                            header_only + Bytes(1 << 16, '\0'), log.bytes(), log.preallocated()}) {
    const SegmentScan scan = scan_bytes(file, log.header());
    expect_commits(scan, log, 0);
    EXPECT_EQ(damage_text(scan), "");
  }
}

TEST(ScanTorn, ALogOfErasesAndOfEmptyCommitsIsALog) {
  SegmentImageBuilder log;
  log.erase("alpha").commit().commit().commit().erase("beta").commit();
  const SegmentScan scan = scan_bytes(log.preallocated(), log.header());
  expect_commits(scan, log, 4);
  EXPECT_TRUE(scan.marks[1].mark.range.empty());
}

TEST(ScanTorn, ACommitThatFillsItsBlocksToTheLastByteNeedsNoPadding) {
  SegmentImageBuilder log;
  // 4096 = 120 (mark) + 40 + 1 + value.
  log.put("k", Bytes(4096 - format::kMarkRecordSize - 41, 'v')).commit();
  ASSERT_EQ(log.commits()[0].mark_end, log.commits()[0].end);
  log.put("l", "next").commit();
  expect_commits(scan_bytes(log.bytes(), log.header()), log, 2);
  expect_commits(scan_bytes(log.bytes(), log.header(), sealed_at(log.end())), log, 2);
}

TEST(ScanTorn, ARecordLargerThanManyBlocksIsReadWhole) {
  SegmentImageBuilder log;
  log.put("large", Bytes(60'000, 'L')).commit().put("small", "s").commit();
  expect_commits(scan_bytes(log.preallocated(), log.header()), log, 2);
}

TEST(ScanTorn, AMarkThatDoesNotFollowTheChainEndsTheLog) {
  std::vector<format::SegmentHeader> others(3, test::log_header());
  others[0].previous_mark = CommitNo(99);  // the header says that another commit came before
  others[1].previous_mark_checksum ^= 1;
  others[2].first_seq = SeqNo(1001);  // the first record is older than the segment
  SegmentImageBuilder unproven;
  unproven.put("alpha", "1").commit_durable(0).put("beta", "2").commit_durable(0);
  const auto proven = sample_log();
  for (const format::SegmentHeader& other : others) {
    expect_commits(scan_bytes(unproven.preallocated(), other), unproven, 0);
    // Not where later marks call it durable: then it is damage.
    const SegmentScan scan = scan_bytes(proven.preallocated(), other);
    EXPECT_TRUE(is_reported(scan, proven.commits()[0].mark_offset)) << damage_text(scan);
    EXPECT_EQ(scan.end, proven.end());
    EXPECT_FALSE(scan.torn_tail);
  }
}

TEST(ScanTorn, AMarkThatDoesNotFitItsRecordsIsNoCommit) {
  const std::function<void(format::CommitMark&)> changes[] = {
      [](auto& mark) { mark.number = mark.number.next(); },
      [](auto& mark) { mark.range.first = mark.range.first.next(); },
      [](auto& mark) { mark.range.last = mark.range.last.prev(); },
      [](auto& mark) { mark.records_checksum ^= 1; },
      [](auto& mark) { mark.previous_offset = 4096; },
      [](auto& mark) { mark.previous_checksum ^= 1; },
      [](auto& mark) { mark.start_offset += 4096; },
  };
  for (const auto& change : changes) {
    SegmentImageBuilder log;
    log.put("alpha", "1")
        .commit()
        .put("beta", "2")
        .put("gamma", Bytes(5000, 'g'))
        .commit_changed(change)
        .put("delta", "4")
        .commit_durable(0);
    const SegmentScan scan = scan_bytes(log.preallocated(), log.header());
    expect_commits(scan, log, 1);
    EXPECT_EQ(damage_text(scan), "");
    // In a sealed segment the same is damage, and all batches are there.
    const SegmentScan sealed = scan_bytes(log.bytes(), log.header(), sealed_at(log.end()));
    expect_records(sealed, log, [](const ImageRecord&) { return true; });
    EXPECT_TRUE(is_reported(sealed, log.commits()[1].mark_offset)) << damage_text(sealed);
  }
}

TEST(ScanTorn, RecordsThatDoNotBelongInALogEndIt) {
  // A piece of an extent in its place, and a put that is older than the one before it.
  const std::pair<format::RecordType, uint64_t> strays[] = {{format::RecordType::kPiece, 1003},
                                                            {format::RecordType::kPut, 1001}};
  for (const auto& [type, seq] : strays) {
    SegmentImageBuilder log;
    log.put("alpha", "1").put("beta", "2").commit().put("gamma", "3");
    format::RecordHeader record;
    record.type = type;
    record.seq = SeqNo(seq);
    log.append(record, "stray", "x");
    log.commit_changed([](format::CommitMark& mark) { mark.range = {SeqNo(1001), SeqNo(1003)}; });
    expect_commits(scan_bytes(log.preallocated(), log.header()), log, 1);
  }
}

TEST(ScanTorn, APreparedSegmentHoldsNothingUnlessAMarkProvesIt) {
  SegmentImageBuilder log;
  log.put("alpha", "1").commit_durable(0);
  format::SegmentHeader prepared = log.header();
  prepared.prepared = true;
  const SegmentScan scan = scan_bytes(log.preallocated(), prepared);
  expect_commits(scan, log, 0);
  EXPECT_EQ(damage_text(scan), "");
  log.put("beta", "2").commit();  // says that the first commit was durable, so the header is an old one
  const SegmentScan lost_header = scan_bytes(log.preallocated(), prepared);
  expect_commits(lost_header, log, 2);
  EXPECT_TRUE(is_reported(lost_header, 0));
}

// A file that claims to be as large as a disk.
class EndlessFile : public test::MemoryFile {
 public:
  using test::MemoryFile::MemoryFile;
  Result<size_t> pread(uint64_t offset, std::span<char> buffer) const override {
    std::fill(buffer.begin(), buffer.end(), '\0');
    return std::max(test::MemoryFile::pread(offset, buffer).value(), buffer.size());
  }
  Result<io::FileStat> stat() const override { return io::FileStat{uint64_t{1} << 50, 0}; }
};

TEST(ScanTorn, AHugeFileCostsNoMoreThanASegment) {
  const auto log = sample_log();
  const EndlessFile file(log.bytes());
  const auto scan = scan_segment(file, log.header(), {});
  ASSERT_TRUE(scan);
  expect_commits(*scan, log, 4);
  EXPECT_LE(scan->image->size(), log.header().superblock.segment_size);
}

}  // namespace
}  // namespace cairn::log
