// What a failing disk leaves behind: what was proven durable and does not verify is reported, and everything else is
// kept.
#include <gtest/gtest.h>

#include "format/decode.h"
#include "unit/log/scan_helpers.h"

namespace cairn::log {
namespace {

using test::ImageCommit;
using test::ImageRecord;
using test::SegmentImageBuilder;

Bytes flipped(const Bytes& bytes, uint64_t offset, int bit = 0) {
  Bytes out = bytes;
  out[offset] = static_cast<char>(out[offset] ^ (1 << bit));
  return out;
}

const ImageRecord* record_at(const SegmentImageBuilder& log, uint64_t offset) {
  for (const auto& record : log.records()) {
    if (record.offset <= offset && offset < record.end) return &record;
  }
  return nullptr;
}

const ImageCommit* commit_at(const SegmentImageBuilder& log, uint64_t offset) {
  for (const auto& commit : log.commits()) {
    if (commit.start <= offset && offset < commit.end) return &commit;
  }
  return nullptr;
}

// What may be missing when the byte at `offset` changed: a value takes its record along, a header its batch, else
// nothing.
bool survives(const ImageRecord& record, const ImageRecord* hit, uint64_t offset) {
  if (hit == nullptr || offset >= hit->value_end) return true;
  if (offset >= hit->value_offset) return &record != hit;
  return record.batch != hit->batch;
}

void expect_flip_is_found(const SegmentImageBuilder& log, uint64_t offset, int bit, const ScanOptions& options) {
  SCOPED_TRACE(std::to_string(offset) + " bit " + std::to_string(bit));
  const SegmentScan scan = scan_bytes(flipped(log.bytes(), offset, bit), log.header(), options);
  const ImageRecord* hit = record_at(log, offset);
  expect_records(scan, log, [&](const ImageRecord& record) { return survives(record, hit, offset); });
  EXPECT_TRUE(is_reported(scan, offset)) << damage_text(scan);
  EXPECT_EQ(scan.end, log.end());
  EXPECT_FALSE(scan.torn_tail);
}

// All bits where something is, one bit of each byte of padding.
template <class Check>
void for_each_flip(const SegmentImageBuilder& log, uint64_t begin, uint64_t end, Check check) {
  for (uint64_t offset = begin; offset < end; ++offset) {
    const ImageCommit* commit = commit_at(log, offset);
    const bool padding = commit == nullptr || offset >= commit->mark_end;
    for (int bit = 0; bit < 8; ++bit) {
      if (padding && bit != static_cast<int>(offset % 8)) continue;
      check(offset, bit);
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST(ScanDamage, EveryFlippedBitOfASealedSegmentIsReportedAndTakesOnlyItsOwn) {
  const auto log = sample_log();
  for_each_flip(log, 0, log.end(),
                [&](uint64_t offset, int bit) { expect_flip_is_found(log, offset, bit, sealed_at(log.end())); });
}

TEST(ScanDamage, EveryFlippedBitBelowADurablePositionOfAnUnsealedOneAsWell) {
  const auto log = sample_log();
  const uint64_t proven = log.commits()[2].end;  // by the last mark
  for_each_flip(log, 0, proven, [&](uint64_t offset, int bit) { expect_flip_is_found(log, offset, bit, {}); });
}

TEST(ScanDamage, AFlippedBitInTheLastCommitDropsItAsIfTorn) {
  const auto log = sample_log();
  const ImageCommit& last = log.commits().back();
  for_each_flip(log, last.start, last.mark_end, [&](uint64_t offset, int bit) {
    const ImageRecord* hit = record_at(log, offset);
    const bool padding = hit != nullptr && offset >= hit->value_end;  // in the sector of the value's end: never torn
    SCOPED_TRACE(offset);
    const SegmentScan scan = scan_bytes(flipped(log.bytes(), offset, bit), log.header());
    expect_commits(scan, log, padding ? 4 : 3);
    EXPECT_EQ(is_reported(scan, offset), padding);
    EXPECT_EQ(scan.torn_tail, !padding);
  });
}

TEST(ScanDamage, ARepeatedMarkProvesTheLastCommit) {
  auto log = sample_log();
  log.commit();
  const ImageCommit& last = log.commits()[3];
  for_each_flip(log, last.start, last.mark_end,
                [&](uint64_t offset, int bit) { expect_flip_is_found(log, offset, bit, {}); });
  // And damage to the repeated mark itself loses nothing and is nothing.
  const SegmentScan scan = scan_bytes(flipped(log.bytes(), log.commits()[4].mark_offset), log.header());
  expect_commits(scan, log, 4);
  EXPECT_EQ(damage_text(scan), "");
}

TEST(ScanDamage, TheNextSegmentsHeaderProvesTheLastCommit) {
  const auto log = sample_log();
  const ImageCommit& last = log.commits().back();
  ScanOptions options;
  options.durable_end = last.mark_end;  // where the mark's record ends, not where its padding does
  for_each_flip(log, last.start, last.mark_end,
                [&](uint64_t offset, int bit) { expect_flip_is_found(log, offset, bit, options); });
}

TEST(ScanDamage, SeveralCommitsBehindTheDamageAreKept) {
  SegmentImageBuilder log;
  for (int i = 0; i < 6; ++i) log.put("key" + std::to_string(i), Bytes(100, 'x')).commit();
  // The mark of the second commit and the only record of the third.
  Bytes file = flipped(log.bytes(), log.commits()[1].mark_offset);
  file = flipped(file, log.records()[2].offset);
  const SegmentScan scan = scan_bytes(file, log.header());
  expect_records(scan, log, [](const ImageRecord& record) { return record.commit != 2; });
  EXPECT_EQ(scan.end, log.end());
  EXPECT_EQ(scan.marks.size(), 5u);
}

TEST(ScanDamage, ALastCommitThatIsNotProvenIsKeptBehindADamagedMark) {
  // Its mark chains to one that cannot be read. It may have been acknowledged all the same.
  const auto log = sample_log();
  const SegmentScan scan = scan_bytes(flipped(log.bytes(), log.commits()[2].mark_offset), log.header());
  expect_records(scan, log, [](const ImageRecord&) { return true; });
  EXPECT_EQ(scan.end, log.end());
  EXPECT_EQ(scan.marks.back().mark.number, log.commits()[3].mark.number);
}

TEST(ScanDamage, DamageAndATornTailTogetherAreToldApart) {
  auto log = sample_log();
  log.put("last", Bytes(3000, 'l')).commit();
  Bytes file = flipped(log.bytes(), log.records()[0].offset);      // proven
  file = flipped(file, log.records().back().value_offset + 1500);  // not
  const SegmentScan scan = scan_bytes(file, log.header());
  expect_records(scan, log, [](const ImageRecord& r) { return r.batch != 0 && r.commit < 4; });
  EXPECT_TRUE(is_reported(scan, log.records()[0].offset));
  EXPECT_EQ(scan.damage.size(), 1u) << damage_text(scan);
  EXPECT_EQ(scan.end, log.commits()[3].end);
  EXPECT_TRUE(scan.torn_tail);
}

TEST(ScanDamage, WhatFollowsATornCommitIsDroppedAlsoBehindDamage) {
  SegmentImageBuilder log;
  log.put("durable", "1").commit().put("torn", "2").commit_durable(4096).put("behind", "3").commit_durable(4096);
  Bytes file = flipped(log.bytes(), log.commits()[0].mark_offset);
  file.replace(log.commits()[1].start, 4096, Bytes(4096, '\0'));
  ScanOptions options;
  options.durable_end = log.commits()[0].mark_end;
  const SegmentScan scan = scan_bytes(file, log.header(), options);
  expect_records(scan, log, [](const ImageRecord& record) { return record.key == "durable"; });
  EXPECT_TRUE(is_reported(scan, log.commits()[0].mark_offset));
  EXPECT_FALSE(is_reported(scan, log.commits()[0].mark_end));
  EXPECT_EQ(scan.end, log.commits()[0].end);
  EXPECT_TRUE(scan.torn_tail);
}

TEST(ScanDamage, ACopyOfTheHeaderThatWasLeftBehindIsDamageOnceSomethingIsDurable) {
  auto log = sample_log();
  format::SegmentHeader prepared = log.header();
  prepared.prepared = true;
  Bytes block(format::kSegmentHeaderSize, '\0');
  format::encode_segment_header_block(prepared, block.data());
  const Bytes file = log.bytes().substr(0, 2048) + block.substr(2048) + log.bytes().substr(4096);
  EXPECT_TRUE(is_reported(scan_bytes(file, log.header()), 2048));
  // Before the first sync it is what a crash may leave.
  SegmentImageBuilder fresh;
  fresh.put("alpha", "1").commit_durable(0);
  const Bytes first = fresh.bytes().substr(0, 2048) + block.substr(2048) + fresh.bytes().substr(4096);
  const SegmentScan scan = scan_bytes(first, fresh.header());
  expect_commits(scan, fresh, 1);
  EXPECT_EQ(damage_text(scan), "");
}

TEST(ScanDamage, ABatchWithAMissingRecordIsDroppedWhole) {
  SegmentImageBuilder log;
  log.put("before", "1").batch({{"a", "1"}, {"b", "2"}, {"c", "3"}}).put("after", "2").commit().commit();
  for (const size_t hit : {1u, 2u, 3u}) {
    const SegmentScan scan = scan_bytes(flipped(log.bytes(), log.records()[hit].offset), log.header());
    expect_records(scan, log, [](const ImageRecord& record) { return record.batch != 1; });
    // The others of the batch verify, but are reported as lost, by name.
    std::set<Bytes> lost;
    for (const Damage& damage : scan.damage) lost.insert(damage.key);
    std::set<Bytes> expected = {"", "a", "b", "c"};
    expected.erase(log.records()[hit].key);
    EXPECT_EQ(lost, expected);
  }
}

TEST(ScanDamage, AValueThatIsDamagedIsNamedAndListedOnRequest) {
  const auto log = sample_log();
  const ImageRecord& hit = log.records()[1];
  const Bytes file = flipped(log.bytes(), hit.value_offset + 10);
  const SegmentScan plain = scan_bytes(file, log.header());
  ASSERT_EQ(plain.damage.size(), 1u);
  EXPECT_EQ(plain.damage[0].what, "value of record seq=1001");
  EXPECT_EQ(plain.damage[0].seq, hit.seq);
  EXPECT_EQ(plain.damage[0].key, "beta");
  EXPECT_EQ(plain.damage[0].offset, hit.value_offset);
  EXPECT_EQ(plain.damage[0].length, hit.value.size());
  EXPECT_EQ(plain.records.size(), log.records().size() - 1);

  ScanOptions options;
  options.keep_damaged = true;
  const SegmentScan kept = scan_bytes(file, log.header(), options);
  ASSERT_EQ(kept.records.size(), log.records().size());
  for (const ScannedRecord& record : kept.records) EXPECT_EQ(record.value_ok, record.offset != hit.offset);
  EXPECT_EQ(kept.damage.size(), 1u);
}

TEST(ScanDamage, ValuesAreNotReadWhenNotAskedFor) {
  const auto log = sample_log();
  ScanOptions options = sealed_at(log.end());
  options.verify_values = false;
  const SegmentScan scan = scan_bytes(flipped(log.bytes(), log.records()[1].value_offset), log.header(), options);
  EXPECT_EQ(damage_text(scan), "");
  EXPECT_EQ(scan.records.size(), log.records().size());
}

TEST(ScanDamage, ASealedSegmentCutAtAnyBlockReportsWhatIsMissing) {
  const auto log = sample_log();
  for (uint64_t cut = 0; cut < log.end(); cut += 512) {
    SCOPED_TRACE(cut);
    const SegmentScan scan = scan_bytes(log.bytes().substr(0, cut), log.header(), sealed_at(log.end()));
    for (uint64_t offset = std::max<uint64_t>(4096, (cut + 4095) / 4096 * 4096); offset < log.end(); offset += 8) {
      EXPECT_TRUE(is_reported(scan, offset)) << offset;
    }
    expect_records(scan, log, [&](const ImageRecord& record) {
      for (const auto& other : log.records()) {
        if (other.batch == record.batch && other.offset + 40 + other.key.size() > cut) return false;
      }
      return record.value_end <= cut;
    });
  }
}

TEST(ScanDamage, ASealedSegmentWhoseLastCommitHasNoMarkIsDamaged) {
  auto log = sample_log();
  log.put("tail", Bytes(8192 - 44, 't'));
  ASSERT_EQ(log.end() % 4096, 0u);
  const SegmentScan scan = scan_bytes(log.bytes(), log.header(), sealed_at(log.end()));
  expect_records(scan, log, [](const ImageRecord&) { return true; });
  ASSERT_EQ(scan.damage.size(), 1u);
  EXPECT_EQ(scan.damage[0].what, "commit mark missing at the end");
  // Unsealed, the same bytes are a commit that was being written.
  expect_commits(scan_bytes(log.bytes(), log.header()), log, 4);
}

TEST(ScanDamage, ZerosInsideASealedSegmentAreDamage) {
  const auto log = sample_log();
  for (const ImageCommit& commit : log.commits()) {
    Bytes file = log.bytes();
    file.replace(commit.start, 4096, Bytes(4096, '\0'));
    const SegmentScan scan = scan_bytes(file, log.header(), sealed_at(log.end()));
    EXPECT_TRUE(is_reported(scan, commit.start));
    expect_records(scan, log,
                   [&](const ImageRecord& record) { return log.commits()[record.commit].start != commit.start; });
  }
}

TEST(ScanDamage, AMisplacedBlockIsDamageAndNotFollowed) {
  const auto log = sample_log();
  Bytes file = log.bytes();
  file.replace(log.commits()[1].start, 4096, log.bytes(), log.commits()[0].start, 4096);
  const SegmentScan scan = scan_bytes(file, log.header());
  expect_records(scan, log, [](const ImageRecord& record) { return record.commit != 1; });
  EXPECT_TRUE(is_reported(scan, log.commits()[1].start));
}

TEST(ScanDamage, ARecordImageInsideAValueIsNeverFound) {
  // The content is this very log (same salt, same id, other offsets) and one with another salt at the very offsets.
  const auto content = sample_log();
  format::SegmentHeader other = test::log_header();
  other.salt ^= 1;
  SegmentImageBuilder foreign(other);
  foreign.put("evil", "1").commit();
  SegmentImageBuilder log;
  log.put("copy", content.bytes()).put("filler", Bytes(5000, 'f')).commit().commit();
  const ImageRecord& copy = log.records()[0];
  Bytes file = flipped(log.bytes(), copy.offset);
  const uint64_t block = (copy.value_offset + 4095) / 4096 * 4096;
  file.replace(block, foreign.end() - 4096, foreign.bytes(), 4096, Bytes::npos);
  const SegmentScan scan = scan_bytes(file, log.header());
  expect_records(scan, log, [](const ImageRecord& record) { return record.key == "filler"; });
}

TEST(ScanDamage, UnreadableBlocksAreErrorsForRecoveryAndDamageForFsck) {
  const auto log = sample_log();
  test::MemoryFile file(log.bytes());
  file.break_block(log.commits()[1].start / 4096);
  const auto refused = scan_segment(file, log.header(), sealed_at(log.end()));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kIo);

  ScanOptions options = sealed_at(log.end());
  options.skip_unreadable = true;
  const auto scan = scan_segment(file, log.header(), options);
  ASSERT_TRUE(scan);
  expect_records(*scan, log, [](const ImageRecord& record) { return record.commit != 1; });
  EXPECT_NE(damage_text(*scan).find("unreadable: memory file: bad block"), Bytes::npos);
}

TEST(ScanDamage, ReportsComeInOrderOfOffset) {
  const auto log = sample_log();
  Bytes file = flipped(flipped(log.bytes(), 100), log.commits()[1].mark_offset);
  const SegmentScan scan = scan_bytes(flipped(file, log.records()[0].offset), log.header(), sealed_at(log.end()));
  ASSERT_GE(scan.damage.size(), 3u);
  for (size_t i = 1; i < scan.damage.size(); ++i) EXPECT_LE(scan.damage[i - 1].offset, scan.damage[i].offset);
}

// Found from the last byte of the mark, which is no place where a record could begin.
TEST(ScanDamage, AMarkThatDoesNotFitIsDamageWhereALaterMarkCallsItDurable) {
  SegmentImageBuilder log;
  log.put("alpha", "1").commit_changed([](format::CommitMark& mark) { mark.records_checksum ^= 1; });
  log.put("beta", "2").commit();
  log.put("gamma", "3").commit();
  const SegmentScan scan = scan_bytes(log.preallocated(), log.header());
  expect_records(scan, log, [](const ImageRecord&) { return true; });
  EXPECT_TRUE(is_reported(scan, log.commits()[0].mark_offset)) << damage_text(scan);
  EXPECT_EQ(scan.end, log.end());
  EXPECT_FALSE(scan.torn_tail);
}

}  // namespace
}  // namespace cairn::log
