// Small overwrites of chunks that the log has: only what changed waits in memory, and goes to the log as patches.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "cairn/fsck.h"
#include "format/tree_format.h"
#include "support/tree_fixture.h"
#include "tree/dirty_chunk.h"

namespace cairn {
namespace {

using tree::DirtyPart;

// Different everywhere, so that what is in the wrong place is seen.
std::string noise(size_t size, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::string out(size, '\0');
  for (char& c : out) c = static_cast<char>(random());
  return out;
}

// ---- Parts of a chunk, by themselves ----

class Parts : public ::testing::Test {
 protected:
  void put(uint64_t from, uint64_t at, std::string_view data) {
    const tree::PartChange change = tree::plan_part(parts_, from, at + data.size());
    const std::string before = flat();
    DirtyPart part = tree::prepare_part(parts_, change, at, data);
    EXPECT_EQ(flat(), before) << "nothing has changed yet";
    tree::put_part(parts_, change, at, data, std::move(part));
    uint64_t bytes = 0;
    for (size_t i = 0; i < parts_.size(); ++i) {
      bytes += parts_[i].bytes.size();
      EXPECT_FALSE(parts_[i].bytes.empty());
      if (i == 0) continue;
      EXPECT_GT(parts_[i].begin, parts_[i - 1].end()) << "parts that touch are one";
    }
    EXPECT_EQ(change.after.count, parts_.size());
    EXPECT_EQ(change.after.bytes, bytes);
  }
  // What is covered, '.' for the rest.
  std::string flat() const {
    std::string out(40, '.');
    for (const DirtyPart& part : parts_) out.replace(part.begin, part.bytes.size(), part.bytes);
    return out;
  }
  void expect(std::string_view flat_front, size_t count) const {
    EXPECT_EQ(flat().substr(0, flat_front.size()), flat_front);
    EXPECT_EQ(flat().find_first_not_of('.', flat_front.size()), std::string::npos);
    EXPECT_EQ(parts_.size(), count);
  }
  std::vector<DirtyPart> parts_;
};

TEST_F(Parts, AreKeptInOrder) {
  put(20, 20, "bb");
  put(5, 5, "aa");
  put(10, 10, "cc");
  expect(".....aa...cc........bb", 3);
}

TEST_F(Parts, ThatTouchOrOverlapBecomeOne) {
  put(10, 10, "bbbb");
  put(14, 14, "cc");  // behind
  expect("..........bbbbcc", 1);
  put(8, 8, "aa");  // before
  expect("........aabbbbcc", 1);
  put(9, 9, "xx");  // inside
  expect("........axxbbbcc", 1);
  put(20, 20, "dd");
  put(15, 15, "yyyyyy");  // over two
  expect("........axxbbbcyyyyyyd", 1);
  put(30, 30, "e");
  put(4, 4, std::string(36, 'z'));  // over all
  expect("...." + std::string(36, 'z'), 1);
}

TEST_F(Parts, WhatIsSkippedIsZero) {
  put(6, 10, "ab");
  expect(std::string("......") + std::string(4, '\0') + "ab", 1);
  put(12, 14, "cd");
  expect(std::string("......") + std::string(4, '\0') + "ab" + std::string(2, '\0') + "cd", 1);
}

TEST_F(Parts, AnyOrderGivesWhatPlainWritesGive) {
  std::mt19937 random(7);
  for (int run = 0; run < 200; ++run) {
    parts_.clear();
    std::string expected(40, '.');
    for (int i = 0; i < 12; ++i) {
      const uint64_t at = random() % 36;
      const std::string data(1 + random() % std::min<uint64_t>(9, 40 - at), static_cast<char>('a' + i));
      put(at, at, data);
      expected.replace(at, data.size(), data);
      ASSERT_EQ(flat(), expected) << run;
    }
  }
}

TEST(WorthPatches, ARecordIsWholeAgainAfterSixteenOrHalfOfIt) {
  EXPECT_TRUE(tree::worth_patches({.count = 15, .bytes = 100}, {.count = 1, .bytes = 10}, 4096));
  EXPECT_FALSE(tree::worth_patches({.count = 15, .bytes = 100}, {.count = 2, .bytes = 10}, 4096));
  EXPECT_TRUE(tree::worth_patches({.count = 1, .bytes = 1000}, {.count = 1, .bytes = 984}, 4096));
  EXPECT_FALSE(tree::worth_patches({.count = 1, .bytes = 1000}, {.count = 1, .bytes = 985}, 4096));
}

TEST(WorthPatches, TheRoomThatIsKeptIsEnoughForThePatches) {
  for (const size_t size : {1ul, 7ul, 100ul, 248ul, 249ul, 256ul, 257ul, 4095ul, 4096ul, 4097ul, 60'000ul}) {
    for (const uint32_t count : {1u, 2u, 16u}) {
      std::vector<DirtyPart> parts;
      for (uint32_t i = 0; i < count; ++i) parts.push_back({.begin = i * (size + 1), .bytes = noise(size)});
      WriteBatch batch;
      tree::log_parts(batch, 5, 0, {}, parts);
      EXPECT_LE(batch.log_cost(), tree::kept_for_parts({.count = count, .bytes = count * size})) << size;
    }
  }
}

// ---- In files ----

class Overwrite : public TreeFixture {
 public:
  Overwrite() : TreeFixture(geometry()) {}
  static constexpr uint64_t kBig = 16 << 10;  // bytes; a chunk
  static StoreGeometry geometry() {
    StoreGeometry out = small_geometry();
    out.segment_size = 512 << 10;
    out.chunk_size = kBig;
    out.compression = "none";
    return out;
  }
  uint64_t last_seq() const { return fs_->store_stats().last_seq; }
  // Flips a bit of what the log has at this offset of the file; whoever reads that chunk is told.
  void damage(uint64_t offset) {
    const std::string piece = expected_.substr(offset, 64);
    unmount();
    bool done = false;
    for (const std::string& name : env_->list(std::string(kPath) + "/segments")) {
      const std::string path = std::string(kPath) + "/segments/" + name;
      const size_t at = env_->content(path).find(piece);
      if (at == Bytes::npos) continue;
      env_->flip_bit(path, at + 5);
      done = true;
    }
    ASSERT_TRUE(done);
    mount();
    ok(fs_->lookup(kRootIno, "f"));
  }
  // An open file of whole chunks that only the log has.
  Ino logged_file(size_t chunks = 2) {
    expected_ = noise(chunks * kBig);
    const Ino f = file(kRootIno, "f", expected_);
    remount();
    ok(fs_->lookup(kRootIno, "f"));
    ok(fs_->open(f, false, false));
    return f;
  }
  void change(Ino f, uint64_t offset, std::string_view data) {
    write(f, offset, data);
    if (expected_.size() < offset + data.size()) expected_.resize(offset + data.size());
    expected_.replace(offset, data.size(), data);
  }
  void cut(Ino f, uint64_t size) {
    resize(f, size);
    expected_.resize(size);
  }
  void check(Ino f) {
    ASSERT_EQ(stat(f).size, expected_.size());
    expect_read(f, 0, expected_.size());
    expect_read(f, 3, 5000);
  }
  // Says where the first difference is, and not what all the bytes are.
  void expect_read(Ino f, uint64_t offset, uint64_t size) {
    const std::string wanted = offset < expected_.size() ? expected_.substr(offset, size) : "";
    const std::string there = read(f, offset, size);
    ASSERT_EQ(there.size(), wanted.size());
    const auto differs = std::mismatch(there.begin(), there.end(), wanted.begin()).first;
    ASSERT_TRUE(differs == there.end()) << "at " << offset + static_cast<uint64_t>(differs - there.begin());
  }
  void check_after_remount(Ino f) {
    check(f);
    remount();
    ASSERT_NO_FATAL_FAILURE(check(f));
    unmount();
    FsckOptions options;
    options.scrub = true;
    const auto report = fsck(*env_, kPath, options);
    ASSERT_TRUE(report) << report.error().message;
    for (const FsckFinding& finding : report->findings) ADD_FAILURE() << finding.message;
    mount();
  }
  std::string expected_;
};

TEST_F(Overwrite, DoesNotReadWhatItDoesNotChange) {
  const Ino f = logged_file();
  damage(kBig / 2);
  write(f, 100, "here");
  write(f, 9000, "there");
  EXPECT_EQ(fs_->store_stats().corrupt_reads, 0u);
  fails(ErrorCode::kCorrupt, fs_->read(f, 0, 10));
}

TEST_F(Overwrite, RoomThatWasKeptComesBack) {
  const Ino f = logged_file();
  ok(fs_->sync());
  // No commit in between, and no new segment: those start from nothing.
  for (int i = 0; i < 15; ++i) {
    change(f, 10, noise(6000));
    change(f, kBig / 2, noise(kBig / 2 - 1));  // all of the chunk waits from here on
    change(f, 0, noise(kBig));                 // and nothing
  }
  const uint64_t before = last_seq();
  change(f, 10, noise(100));
  EXPECT_EQ(last_seq(), before) << "there is room for it to wait";
  check(f);
}

TEST_F(Overwrite, RoomThatWasKeptForAWriteThatFailedComesBack) {
  const Ino f = logged_file();
  damage(kBig + kBig / 2);
  // A little of the first chunk, and so much of the second that it has to be read.
  for (int i = 0; i < 200; ++i) fails(ErrorCode::kCorrupt, fs_->write(f, kBig - 100, noise(kBig), false, false));
  const uint64_t before = last_seq();
  write(f, 10, "fits");
  EXPECT_EQ(last_seq(), before) << "there is room for it to wait";
  EXPECT_EQ(read(f, kBig - 100, 100), expected_.substr(kBig - 100, 100)) << "nothing of a write that failed";
}

TEST_F(Overwrite, EachPlaceIsOnePatchHoweverOftenItIsWritten) {
  const Ino f = logged_file();
  for (int i = 0; i < 50; ++i) {
    for (const uint64_t at : {100u, 4000u, 8000u})
      change(f, at + static_cast<uint64_t>(i) % 7, noise(20, static_cast<uint32_t>(i)));
  }
  check(f);
  const uint64_t before = last_seq();
  ok(fs_->sync());
  EXPECT_EQ(last_seq(), before + 4) << "three patches, the attributes";
  check_after_remount(f);
}

TEST_F(Overwrite, MuchOfAChunkMakesItWhole) {
  const Ino f = logged_file();
  for (uint64_t at = 0; at < kBig; at += 1024) {
    change(f, at, noise(700, static_cast<uint32_t>(at)));
    check(f);
  }
  const uint64_t before = last_seq();
  ok(fs_->sync());
  EXPECT_EQ(last_seq(), before + 2) << "the chunk, the attributes";
  check_after_remount(f);
}

TEST_F(Overwrite, WhatIsCutInItStaysCut) {
  for (const uint64_t size : {kBig / 2 + 10, kBig / 2, uint64_t{50}}) {
    const Ino f = logged_file();
    change(f, 40, "front");
    change(f, kBig / 2, noise(100));
    cut(f, size);
    check(f);
    cut(f, 2 * kBig);
    check_after_remount(f);
    ok(fs_->unlink(kRootIno, "f"));
  }
}

// The number of patches is remembered from one commit to the next write.
TEST_F(Overwrite, PatchesAreCountedAnewAfterACut) {
  const Ino f = logged_file(1);
  for (int i = 1; i < 4; ++i) {
    change(f, 100 * static_cast<uint64_t>(i), noise(50, static_cast<uint32_t>(i)));
    ok(fs_->sync());
    cut(f, kBig - 10 * static_cast<uint64_t>(i));
    change(f, 1000, "after the cut");
    ok(fs_->sync());
    ASSERT_NO_FATAL_FAILURE(check_after_remount(f));
    ok(fs_->lookup(kRootIno, "f"));
  }
}

TEST_F(Overwrite, AFileWithPatchesLeavesNothingBehind) {
  const Ino f = logged_file(1);
  for (int i = 0; i < 3; ++i) {
    change(f, 1000 * static_cast<uint64_t>(i), "changed");
    ok(fs_->sync());
  }
  fs_->release(f);
  ok(fs_->unlink(kRootIno, "f"));
  fs_->forget(f, 1);
  settle();
  unmount();
  const auto report = fsck(*env_, kPath, {});
  ASSERT_TRUE(report) << report.error().message;
  for (const FsckFinding& finding : report->findings) ADD_FAILURE() << finding.message;
  mount();
}

TEST_F(Overwrite, AppendsToALoggedChunkGrowOnePatch) {
  const Ino f = logged_file();
  cut(f, kBig + 8000);
  ok(fs_->sync());
  for (int i = 0; i < 30; ++i) {
    change(f, expected_.size(), noise(50, static_cast<uint32_t>(i)));
    if (i % 10 == 5) change(f, expected_.size() + 60, "behind a gap");
    check(f);
  }
  const uint64_t before = last_seq();
  ok(fs_->sync());
  EXPECT_EQ(last_seq(), before + 2);
  check_after_remount(f);
}

TEST_F(Overwrite, WhereNoRoomCanBeKeptWhatWaitsGoesToTheLogWithIt) {
  const Ino f = logged_file();
  std::vector<Ino> others;
  for (int i = 0; i < 60; ++i) others.push_back(ok(fs_->create(kRootIno, "o" + std::to_string(i), 0644, kUser)).ino);
  ok(fs_->sync());
  change(f, 100, "waits");
  change(f, 300, "waits as well");
  // Others use up what may be buffered, but for less than 5 KiB: each size until one of them is logged at once.
  auto other = others.begin();
  for (const size_t size : {kBig - 1, kBig / 4}) {
    const uint64_t before = last_seq();
    while (last_seq() == before) {
      ASSERT_NE(other, others.end());
      write(*other++, 0, noise(size));
    }
  }
  const uint64_t before = last_seq();
  change(f, 310, "over it");
  EXPECT_EQ(last_seq(), before) << "has its room already";
  change(f, 5000, noise(5000));
  EXPECT_EQ(last_seq(), before + 3) << "three patches";
  check(f);
  check_after_remount(f);
}

// Whatever is done in whatever order: as in a string.
TEST_F(Overwrite, AnyMixtureReadsAsWritten) {
  for (uint32_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto pick = [&](uint64_t n) { return random() % n; };
    Ino f = logged_file(3);
    for (int step = 0; step < 120; ++step) {
      const uint64_t kind = pick(20);
      const uint64_t at = pick(expected_.size() + 1);
      if (kind < 11) {
        change(f, at, noise(1 + pick(pick(4) == 0 ? 6000 : 300), random()));
      } else if (kind < 13) {
        change(f, expected_.size() + pick(300), noise(1 + pick(500), random()));
      } else if (kind < 14) {
        cut(f, pick(3 * kBig));
      } else if (kind < 15 && !expected_.empty()) {
        const uint64_t size =
            std::min<uint64_t>(1 + pick(2 * kBig), expected_.size() - std::min(at, expected_.size() - 1));
        const uint64_t from = std::min<uint64_t>(at, expected_.size() - 1);
        ok(fs_->fallocate(f, kFallocPunch | kFallocKeepSize, from, size));
        expected_.replace(from, size, std::string(size, '\0'));
      } else if (kind < 17) {
        ok(fs_->sync());
      } else if (kind < 18) {
        settle();
      } else if (kind < 19) {
        remount();
        ok(fs_->lookup(kRootIno, "f"));
        ok(fs_->open(f, false, false));
      }
      ASSERT_NO_FATAL_FAILURE(check(f)) << step;
    }
    ASSERT_NO_FATAL_FAILURE(check_after_remount(f));
    ok(fs_->unlink(kRootIno, "f"));
  }
}

}  // namespace
}  // namespace cairn
