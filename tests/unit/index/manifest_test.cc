#include "index/manifest.h"

#include <map>
#include <random>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "format/checksum.h"
#include "format/decode.h"
#include "format/le.h"
#include "io/sim_env.h"

namespace cairn::index {
namespace {

using format::SegmentKind;
using Uuid = std::array<unsigned char, 16>;

constexpr Uuid kUuid = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

ManifestSegment segment(uint64_t id, SegmentKind kind, uint64_t first, uint64_t last) {
  ManifestSegment made;
  made.id = SegmentId(id);
  made.kind = kind;
  made.covered = id % 2 == 0;
  made.range = {SeqNo(first), SeqNo(last)};
  made.salt = id * 0x123456789;
  made.file_size = 32 << 20;
  made.entries = last - first + 1;
  made.record_bytes = id * 1000;
  made.generation = static_cast<uint32_t>(id % 5);
  return made;
}

ManifestTable table(uint64_t id, Bytes first, Bytes last, Bytes clip = {}) {
  return {TableId(id), 1000 + id, 10 * id, std::move(first), std::move(last), std::move(clip)};
}

Manifest example() {
  Manifest m;
  m.number = 17;
  m.next_segment = SegmentId(100);
  m.next_table = TableId(50);
  m.next_seq = SeqNo(10000);
  m.next_ino = 65536;
  m.last_log = SegmentId(9);
  m.last_mark = CommitNo(33);
  m.last_mark_offset = 8192;
  m.last_mark_checksum = 0xfeed;
  m.segments = {segment(11, SegmentKind::kCompacted, 1, 500), segment(8, SegmentKind::kLog, 501, 900),
                segment(9, SegmentKind::kLog, 950, 2000), segment(5, SegmentKind::kExtent, 1, 0),
                segment(10, SegmentKind::kExtent, 1, 0)};
  m.runs = {{{table(3, "a", "c"), table(4, "d", "dd", "da")}}, {{table(1, Bytes("\0\1", 2), Bytes(1024, '\xff'))}}};
  m.retired = {SegmentId(4), SegmentId(2)};
  return m;
}

TEST(Manifest, RoundTrips) {
  EXPECT_EQ(decode_manifest(encode_manifest(example(), kUuid), kUuid).value(), example());
  EXPECT_EQ(decode_manifest(encode_manifest({}, kUuid), kUuid).value(), Manifest{});
}

TEST(Manifest, RoundTripsAtRandom) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    Manifest m;
    m.number = random();
    uint64_t seq = 1;
    uint64_t id = 1;
    for (uint64_t n = random() % 50; n-- > 0; ++id) {
      const uint64_t first = seq + random() % 3;
      seq = first + 1 + random() % 1000;
      m.segments.push_back(
          segment(id, random() % 2 == 0 ? SegmentKind::kLog : SegmentKind::kCompacted, first, seq - 1));
    }
    for (uint64_t n = random() % 5; n-- > 0; ++id) m.segments.push_back(segment(id, SegmentKind::kExtent, 1, 0));
    for (uint64_t n = random() % 5; n-- > 0; ++id) m.retired.emplace_back(id);
    uint64_t table_id = 1;
    for (uint64_t runs = random() % 6; runs-- > 0;) {
      ManifestRun& run = m.runs.emplace_back();
      for (uint64_t n = 1 + random() % 9, i = 0; i < n; ++i, ++table_id) {
        run.tables.push_back(table(table_id, fmt::format("{:03}", i), fmt::format("{:03}{}", i, random()),
                                   random() % 4 == 0 ? fmt::format("{:03}", i) : ""));
      }
    }
    m.next_seq = SeqNo(seq + id);
    m.next_segment = SegmentId(id);
    m.next_table = TableId(table_id);
    EXPECT_EQ(decode_manifest(encode_manifest(m, kUuid), kUuid).value(), m);
  }
}

TEST(Manifest, EveryFlippedBitIsNoticed) {
  const Bytes good = encode_manifest(example(), kUuid);
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    const auto decoded = decode_manifest(bad, kUuid);
    ASSERT_FALSE(decoded) << "bit " << bit;
    ASSERT_TRUE(decoded.error().code == ErrorCode::kCorrupt || decoded.error().code == ErrorCode::kUnsupported);
  }
}

TEST(Manifest, EveryTruncationAndEveryExtensionIsNoticed) {
  const Bytes good = encode_manifest(example(), kUuid);
  for (size_t size = 0; size < good.size(); ++size) {
    ASSERT_EQ(decode_manifest(ByteView(good).substr(0, size), kUuid).error().code, ErrorCode::kCorrupt) << size;
  }
  for (const size_t more : {1u, 8u, 4096u}) {
    ASSERT_EQ(decode_manifest(good + Bytes(more, '\0'), kUuid).error().code, ErrorCode::kCorrupt) << more;
  }
}

TEST(Manifest, ThatBelongsToAnotherStoreIsRefused) {
  Uuid other = kUuid;
  other[3] = 99;
  const auto decoded = decode_manifest(encode_manifest(example(), kUuid), other);
  EXPECT_EQ(decoded.error().code, ErrorCode::kInvalid);
  EXPECT_NE(decoded.error().message.find("belongs to another store"), std::string::npos);
}

Bytes reseal(Bytes bytes) {
  bytes.resize(bytes.size() - 8);
  return bytes + Bytes(format::bytes_of(format::Le64(format::checksum(bytes))));
}

TEST(Manifest, OfANewerVersionIsUnsupported) {
  Bytes bytes = encode_manifest(example(), kUuid);
  bytes[8] = 2;
  EXPECT_EQ(decode_manifest(reseal(bytes), kUuid).error().code, ErrorCode::kUnsupported);
}

TEST(Manifest, CountsThatPromiseMoreThanIsThereAreRefused) {
  for (const size_t at : {112u, 120u, 128u}) {
    for (const uint64_t count : {uint64_t{6}, uint64_t{1} << 40, UINT64_MAX}) {
      Bytes bytes = encode_manifest(example(), kUuid);
      bytes.replace(at, 8, format::bytes_of(format::Le64(count)));
      EXPECT_EQ(decode_manifest(reseal(bytes), kUuid).error().code, ErrorCode::kCorrupt) << at;
    }
  }
}

// A manifest that breaks one rule: decoding refuses it even though its checksum is right. Such bytes cannot come from
// encode_manifest(), so a good manifest of the same shape is patched.
void expect_refused(const std::string& why, size_t at, ByteView patch) {
  Bytes bytes = encode_manifest(example(), kUuid);
  bytes.replace(at, patch.size(), patch);
  const auto decoded = decode_manifest(reseal(bytes), kUuid);
  ASSERT_FALSE(decoded) << why;
  EXPECT_EQ(decoded.error().code, ErrorCode::kCorrupt) << why;
}

ByteView u64(uint64_t value) {
  static thread_local format::Le64 bytes;
  bytes = value;
  return format::bytes_of(bytes);
}

TEST(Manifest, EveryBrokenRuleIsRefused) {
  constexpr size_t kSegments = 136;
  const auto field = [](size_t i, size_t offset) { return kSegments + i * 64 + offset; };
  constexpr size_t kRuns = kSegments + 5 * 64;
  expect_refused("header padding", 12, "x");
  expect_refused("segment id 0", field(1, 0), u64(0));
  expect_refused("segment id at next_segment", field(1, 0), u64(100));
  expect_refused("segment id twice", field(1, 0), u64(9));
  expect_refused("segment id that is retired", field(1, 0), u64(4));
  expect_refused("unknown kind", field(1, 8), "\4");
  expect_refused("kind 0", field(1, 8), ByteView("\0", 1));
  expect_refused("covered 2", field(1, 9), "\2");
  expect_refused("segment padding", field(1, 10), "x");
  expect_refused("sequence 0", field(0, 16), u64(0));
  expect_refused("overlapping ranges", field(1, 16), u64(500));
  expect_refused("empty range", field(1, 24), u64(500));
  expect_refused("range at next_seq", field(2, 24), u64(10000));
  expect_refused("log behind an extent", field(3, 8), "\1");
  expect_refused("extent with a range", field(3, 24), u64(1));
  expect_refused("extents out of order", field(4, 0), u64(3));
  expect_refused("run without tables", kRuns, ByteView("\0\0\0\0", 4));
  expect_refused("table id 0", kRuns + 4, u64(0));
  expect_refused("table id at next_table", kRuns + 4, u64(50));
  expect_refused("table id twice", kRuns + 4, u64(4));
  expect_refused("table padding", kRuns + 4 + 30, "x");
  expect_refused("last key before first", kRuns + 4 + 32, "ca");
  expect_refused("tables overlap", kRuns + 4 + 32, "ad");
  expect_refused("clip behind the last key", kRuns + 4 + 34 + 32 + 3, "zz");
  expect_refused("next_seq 0", 64, u64(0));
  expect_refused("last_log at next_segment", 80, u64(100));
  const size_t end = encode_manifest(example(), kUuid).size() - 8;
  expect_refused("retired id 0", end - 8, u64(0));
  expect_refused("retired id twice", end - 8, u64(4));
  expect_refused("retired id at next_segment", end - 8, u64(100));
}

TEST(ManifestDeathTest, WritingAnInvalidOneIsABug) {
  Manifest m = example();
  m.segments[1].range.first = SeqNo(400);
  EXPECT_DEATH((void)encode_manifest(m, kUuid), "CHECK");
}

// --- the file --------------------------------------------------------------------------------------------------------

Manifest numbered(uint64_t number) {
  Manifest m = example();
  m.number = number;
  return m;
}

TEST(ManifestFile, IsMissingUntilItIsWrittenAndThenReplaced) {
  io::SimEnv env(1);
  const auto store = env.open_dir("/").value();
  EXPECT_EQ(read_manifest(*store, kUuid).error().code, ErrorCode::kNotFound);
  for (uint64_t number = 1; number <= 3; ++number) {
    ASSERT_TRUE(write_manifest(*store, numbered(number), kUuid));
    EXPECT_EQ(read_manifest(*store, kUuid).value(), numbered(number));
  }
  EXPECT_EQ(env.list("/"), std::vector<std::string>{"manifest"});
}

TEST(ManifestFile, IsDurableOnceWritten) {
  io::SimEnv env(1);
  const auto store = env.open_dir("/").value();
  ASSERT_TRUE(write_manifest(*store, numbered(1), kUuid));
  io::SimEnv after = env.crash(io::kAllLost);
  EXPECT_EQ(read_manifest(*after.open_dir("/").value(), kUuid).value(), numbered(1));
}

TEST(ManifestFile, AnyCrashWhileItIsReplacedLeavesTheOldOrTheNewOne) {
  for (const io::NameOrder names : {io::NameOrder::kOrdered, io::NameOrder::kAnything}) {
    io::SimEnv env(1);
    env.keep_history();
    const auto store = env.open_dir("/").value();
    ASSERT_TRUE(write_manifest(*store, numbered(1), kUuid));
    const size_t begin = env.mutations().size();
    ASSERT_TRUE(write_manifest(*store, numbered(2), kUuid));
    size_t states = 0;
    for (size_t k = begin; k <= env.mutations().size(); ++k) {
      for (io::SimEnv& after : env.crash_states_before(k, 2000, names).envs) {
        const auto dir = after.open_dir("/").value();
        const auto read = read_manifest(*dir, kUuid);
        ASSERT_TRUE(read) << "before call " << k << ": " << read.error().message;
        ASSERT_TRUE(*read == numbered(1) || *read == numbered(2));
        ASSERT_TRUE(write_manifest(*dir, numbered(3), kUuid)) << "a left-over file is in the way";
        ++states;
      }
    }
    EXPECT_GT(states, 5u);
  }
}

TEST(ManifestFile, AFailureOfAnyCallIsReportedAndLeavesTheOldOrTheNewOne) {
  for (size_t k = 0;; ++k) {
    io::SimEnv env(1);
    const auto store = env.open_dir("/").value();
    ASSERT_TRUE(write_manifest(*store, numbered(1), kUuid));
    env.set_crash_point(env.mutations().size() + k);
    if (write_manifest(*store, numbered(2), kUuid)) {
      EXPECT_GT(k, 3u);
      break;
    }
    io::SimEnv after = env.crash(io::kNothingLost);
    const auto read = read_manifest(*after.open_dir("/").value(), kUuid);
    ASSERT_TRUE(read);
    EXPECT_TRUE(*read == numbered(1) || *read == numbered(2));
  }
}

TEST(ManifestFile, AFullDiskKeepsTheOldOneAndNothingElse) {
  io::SimEnv env(1);
  const auto store = env.open_dir("/").value();
  ASSERT_TRUE(write_manifest(*store, numbered(1), kUuid));
  env.set_capacity(env.used());
  EXPECT_EQ(write_manifest(*store, numbered(2), kUuid).error().code, ErrorCode::kNoSpace);
  EXPECT_EQ(env.list("/"), std::vector<std::string>{"manifest"});
  EXPECT_EQ(read_manifest(*store, kUuid).value(), numbered(1));
}

TEST(ManifestFile, DamageIsCorruption) {
  io::SimEnv env(1);
  const auto store = env.open_dir("/").value();
  ASSERT_TRUE(write_manifest(*store, numbered(1), kUuid));
  env.flip_bit("/manifest", 200);
  EXPECT_EQ(read_manifest(*store, kUuid).error().code, ErrorCode::kCorrupt);
  env.truncate("/manifest", 0);
  EXPECT_EQ(read_manifest(*store, kUuid).error().code, ErrorCode::kCorrupt);
}

TEST(TableFileName, RoundTripsAndRefusesOthers) {
  EXPECT_EQ(table_file_name(TableId(0xa7)), "00000000000000a7.tab");
  EXPECT_EQ(parse_table_file_name("00000000000000a7.tab"), TableId(0xa7));
  for (const char* name : {"", "a7.tab", "00000000000000A7.tab", "00000000000000a7.seg", "00000000000000a7.tabx",
                           "0000000000000000.tab", "00000000000000g7.tab", " 0000000000000a7.tab"}) {
    EXPECT_FALSE(parse_table_file_name(name)) << name;
  }
}

}  // namespace
}  // namespace cairn::index
