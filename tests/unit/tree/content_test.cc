// What is in files: writing anywhere, holes, cutting and extending, and what of it the log holds when.
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "format/tree_format.h"
#include "support/tree_fixture.h"

namespace cairn {
namespace {

std::string pattern(size_t size, char first = 'a') {
  std::string out(size, '\0');
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<char>(first + i % 23);
  return out;
}

class Content : public TreeFixture {
 public:
  // As mounts have it: what is read is not kept.
  Content() {
    unmount();
    fs_options_.caller_caches = true;
    mount();
  }
  uint64_t last_seq() const { return fs_->store_stats().last_seq; }
  uint64_t blocks(Ino ino) { return stat(ino).blocks; }
  // Of chunk 0, as the log has it. Remounts.
  int patches(Ino ino) {
    unmount();
    int n = 0;
    {
      Options options;
      options.read_only = true;
      const auto store = ok(Store::open(*env_, kPath, options));
      while (n < 255 && store->value_size(format::chunk_key(ino, 0, static_cast<uint8_t>(n + 1)))) ++n;
    }
    mount();
    return n;
  }
  Ino open_file(std::string_view name) { return ok(fs_->create(kRootIno, name, 0644, kUser)).ino; }
};

TEST_F(Content, WhatIsWrittenIsReadBackBeforeAndAfterARemount) {
  const Ino f = open_file("f");
  const std::string data = pattern(3 * kChunk + 100);
  write(f, 0, data);
  EXPECT_EQ(read(f), data);
  EXPECT_EQ(stat(f).size, data.size());
  fs_->release(f);
  EXPECT_EQ(read(f), data);
  remount();
  EXPECT_EQ(read(f), data);
  EXPECT_EQ(read(f, kChunk - 10, 20), data.substr(kChunk - 10, 20));
  EXPECT_EQ(read(f, data.size() - 5, 100), data.substr(data.size() - 5));
  EXPECT_EQ(read(f, data.size(), 100), "");
  EXPECT_EQ(read(f, data.size() + 1'000'000, 100), "");
  EXPECT_EQ(read(f, 5, 0), "");
}

TEST_F(Content, WhatDoesNotCompressIsReadBackBesideHolesAndPatches) {
  const Ino f = open_file("f");
  std::mt19937_64 rng(7);
  std::string data(5 * kChunk + 100, '\0');
  for (char& c : data) c = static_cast<char>(rng());
  write(f, 0, data);
  fs_->release(f);
  remount();
  EXPECT_EQ(read(f), data);
  EXPECT_EQ(read(f, kChunk, 2 * kChunk), data.substr(kChunk, 2 * kChunk));
  EXPECT_EQ(read(f, kChunk - 1, 2 * kChunk), data.substr(kChunk - 1, 2 * kChunk));
  // Beside a hole, something newer that is in memory, and a patch.
  ok(fs_->fallocate(f, kFallocPunch | kFallocKeepSize, kChunk, kChunk));
  data.replace(kChunk, kChunk, kChunk, '\0');
  write(f, 2 * kChunk + 5, "newer");
  data.replace(2 * kChunk + 5, 5, "newer");
  EXPECT_EQ(read(f), data);
  remount();
  EXPECT_EQ(read(f), data);
}

TEST_F(Content, AWriteLargerThanAnOperationOfTheStoreIsSplit) {
  const Ino f = open_file("f");
  const std::string data = pattern(300'000);  // the store takes 16 KiB at a time
  write(f, 1234, data);
  EXPECT_EQ(read(f), std::string(1234, '\0') + data);
}

TEST_F(Content, OverwritingChangesOnlyWhatIsWritten) {
  const Ino f = open_file("f");
  std::string expected = pattern(5 * kChunk);
  write(f, 0, expected);
  ok(fs_->sync());
  const struct {
    uint64_t offset, size;
  } writes[] = {{10, 5}, {kChunk - 3, 6}, {kChunk, kChunk}, {2 * kChunk - 1, kChunk + 2}, {5 * kChunk - 1, 1}};
  for (const auto& [offset, size] : writes) {
    const std::string data(size, '!');
    write(f, offset, data);
    expected.replace(offset, size, data);
    EXPECT_EQ(read(f), expected) << offset;
  }
  remount();
  EXPECT_EQ(read(f), expected);
}

TEST_F(Content, AppendGoesToTheEndWhateverTheOffset) {
  const Ino f = file(kRootIno, "f", "one");
  EXPECT_EQ(ok(fs_->write(f, 0, "two", true, false)), 3u);
  EXPECT_EQ(read(f), "onetwo");
  EXPECT_EQ(ok(fs_->write(f, 999, "", true, false)), 0u);
  EXPECT_EQ(stat(f).size, 6u);
}

TEST_F(Content, SmallWritesWaitInMemoryUntilTheFileIsClosed) {
  const Ino f = open_file("f");
  write(f, 0, "x");
  const uint64_t before = last_seq();
  for (int i = 0; i < 100; ++i) write(f, i, "y");
  EXPECT_EQ(last_seq(), before);
  fs_->release(f);
  EXPECT_EQ(last_seq(), before) << "whoever closes a file does not wait for the log";
  settle();
  EXPECT_EQ(last_seq(), before + 2);  // one chunk, one set of attributes
  EXPECT_EQ(read(f), std::string(100, 'y'));
}

TEST_F(Content, WhatIsRemovedSoonAfterItsCloseIsNotWrittenToTheLog) {
  file(kRootIno, "f", "content");
  settle();
  const uint64_t erased_later = last_seq();
  ok(fs_->unlink(kRootIno, "f"));
  settle();
  const uint64_t erases = last_seq() - erased_later;
  const uint64_t before = last_seq();
  file(kRootIno, "g", "content");
  const uint64_t made = last_seq() - before;
  ok(fs_->unlink(kRootIno, "g"));
  settle();
  EXPECT_LT(last_seq() - before, made + erases) << "neither its chunk nor the erase of it";
}

TEST_F(Content, AFileThatIsOpenAgainStaysBuffered) {
  const Ino f = open_file("f");
  write(f, 0, "x");
  fs_->release(f);
  ok(fs_->open(f, false, false));
  const uint64_t before = last_seq();
  settle();
  EXPECT_EQ(last_seq(), before);
  fs_->release(f);
  settle();
  EXPECT_EQ(last_seq(), before + 2);
  EXPECT_EQ(read(f), "x");
}

TEST_F(Content, AFullChunkGoesToTheLogAtOnceAndIsLoggedOnce) {
  const Ino f = open_file("f");
  write(f, 0, "x");
  const uint64_t before = last_seq();
  for (uint64_t at = 1; at < kChunk; at += 13) write(f, at, pattern(std::min<uint64_t>(13, kChunk - at)));
  EXPECT_EQ(last_seq(), before + 1);
  write(f, kChunk, pattern(kChunk));
  EXPECT_EQ(last_seq(), before + 2);
}

TEST_F(Content, SmallSyncedChangesAreLoggedAsPatches) {
  const Ino f = open_file("f");
  std::string expected = pattern(3000);
  write(f, 0, expected);
  for (int i = 1; i <= 3; ++i) {
    ok(fs_->sync());
    EXPECT_EQ(read(f), expected);
    write(f, 100 * i, "change");
    expected.replace(100 * i, 6, "change");
    write(f, expected.size(), "append");
    expected += "append";
    if (i == 2) {  // a large change is none
      write(f, 0, pattern(2500, 'b'));
      expected.replace(0, 2500, pattern(2500, 'b'));
    }
  }
  EXPECT_EQ(read(f), expected);
  EXPECT_EQ(patches(f), 2);  // since the large one, which was written whole
  write(f, 10, "small");
  expected.replace(10, 5, "small");
  EXPECT_EQ(patches(f), 3);
  write(f, expected.size(), "more");
  expected += "more";
  EXPECT_EQ(patches(f), 4);
  EXPECT_EQ(read(f), expected);
  EXPECT_EQ(read(f, 8, 9), expected.substr(8, 9));
  EXPECT_EQ(read(f, expected.size() - 2), "re");
  EXPECT_EQ(stat(f).blocks, (expected.size() + 511) / 512);
}

TEST_F(Content, AChunkIsWrittenWholeAgainAfterSixteenPatches) {
  const Ino f = open_file("f");
  std::string expected = pattern(kChunk);
  write(f, 0, expected);
  for (int i = 1; i <= 16; ++i) {
    ok(fs_->sync());
    write(f, i, "!");
    expected[static_cast<size_t>(i)] = '!';
  }
  EXPECT_EQ(patches(f), 16);
  EXPECT_EQ(read(f), expected);
  write(f, 17, "!");
  expected[17] = '!';
  EXPECT_EQ(patches(f), 0);
  EXPECT_EQ(read(f), expected);
}

TEST_F(Content, PatchesGoWithTheirChunk) {
  const Ino f = open_file("f");
  for (int kind = 0; kind < 4; ++kind) {
    write(f, 0, pattern(kChunk));
    ok(fs_->sync());
    write(f, 1000, "patch");
    EXPECT_EQ(patches(f), 1);
    std::string expected = pattern(kChunk);
    expected.replace(1000, 5, "patch");
    if (kind == 0) {
      write(f, 0, pattern(kChunk, 'b'));
      expected = pattern(kChunk, 'b');
    } else if (kind == 1) {
      resize(f, 1002);
      expected.resize(1002);
    } else if (kind == 2) {
      ok(fs_->fallocate(f, kFallocPunch | kFallocKeepSize, 0, kChunk));
      expected.assign(kChunk, '\0');
    } else {
      resize(f, 0);
      expected.clear();
    }
    EXPECT_EQ(patches(f), 0) << kind;
    EXPECT_EQ(read(f), expected) << kind;
    resize(f, kChunk);
    expected.resize(kChunk);
    EXPECT_EQ(read(f), expected) << kind;
  }
}

TEST_F(Content, FallocateMovesTheTimesEvenWhereNothingChanges) {
  const Ino f = file(kRootIno, "f", "text");
  for (const uint32_t flags :
       {kFallocKeepSize | kFallocPunch, kFallocKeepSize | kFallocZero, kFallocKeepSize + 0u, 0u}) {
    const Attr before = stat(f);
    tick();
    ok(fs_->fallocate(f, flags, flags == 0 ? 0 : 100 * kChunk, 1));
    EXPECT_EQ(stat(f).mtime.seconds, before.mtime.seconds + 1) << flags;
    EXPECT_EQ(stat(f).ctime.seconds, before.ctime.seconds + 1) << flags;
    EXPECT_EQ(stat(f).size, 4u);
  }
}

TEST_F(Content, WhatWasCutInMemoryIsNotBroughtBackByAPatch) {
  const Ino f = open_file("f");
  write(f, 0, pattern(kChunk));
  ok(fs_->sync());
  write(f, 5, "buffered");
  resize(f, 2000);
  resize(f, kChunk);
  std::string expected = pattern(kChunk).replace(5, 8, "buffered").substr(0, 2000);
  expected.resize(kChunk);
  remount();
  EXPECT_EQ(read(f), expected);
}

TEST_F(Content, ManyOpenFilesWithBufferedDataLoseNothingWhenTheRoomToKeepIsUsedUp) {
  std::vector<Ino> files;
  for (int i = 0; i < 40; ++i) files.push_back(open_file("f" + std::to_string(i)));
  for (int round = 0; round < 5; ++round) {
    for (const Ino f : files) write(f, round * 700, pattern(900, static_cast<char>('a' + round)));
  }
  const std::string expected = [] {
    std::string all(4 * 700 + 900, '\0');
    for (int round = 0; round < 5; ++round) all.replace(round * 700, 900, pattern(900, static_cast<char>('a' + round)));
    return all;
  }();
  for (const Ino f : files) EXPECT_EQ(read(f), expected);
  remount();
  for (const Ino f : files) EXPECT_EQ(read(f), expected);
}

TEST_F(Content, HolesReadAsZerosAndCostNothing) {
  const Ino f = open_file("f");
  constexpr uint64_t kFar = 7ull << 40;
  write(f, kFar, "end");
  EXPECT_EQ(stat(f).size, kFar + 3);
  EXPECT_LE(blocks(f), kChunk / 512);
  EXPECT_GE(blocks(f), 1u);
  EXPECT_EQ(read(f, 12345, 70'000), std::string(70'000, '\0'));
  EXPECT_EQ(read(f, kFar - 2, 10), std::string("\0\0end", 5));
  EXPECT_EQ(ok(fs_->seek(f, 0, SeekWhat::kData)), kFar);
  EXPECT_EQ(ok(fs_->seek(f, 0, SeekWhat::kHole)), 0u);
  EXPECT_EQ(ok(fs_->seek(f, kFar, SeekWhat::kHole)), kFar + 3);
  fails(ErrorCode::kNoDevice, fs_->seek(f, kFar + 3, SeekWhat::kData));
  fails(ErrorCode::kNoDevice, fs_->seek(f, kFar + 3, SeekWhat::kHole));
  remount();
  EXPECT_EQ(ok(fs_->seek(f, 0, SeekWhat::kData)), kFar);
  resize(f, 0);
  resize(f, kMaxFileSize);
  fails(ErrorCode::kNoDevice, fs_->seek(f, 0, SeekWhat::kData));
  EXPECT_EQ(blocks(f), 0u);
}

TEST_F(Content, SizesHaveALimit) {
  const Ino f = open_file("f");
  fails(ErrorCode::kTooLarge, fs_->write(f, kMaxFileSize, "x", false, false));
  EXPECT_EQ(ok(fs_->write(f, kMaxFileSize - 2, "xyz", false, false)), 2u);
  EXPECT_EQ(stat(f).size, kMaxFileSize);
  AttrChange change;
  change.set_size = true;
  change.size = kMaxFileSize + 1;
  fails(ErrorCode::kTooLarge, fs_->setattr(f, change));
  fails(ErrorCode::kTooLarge, fs_->fallocate(f, 0, kMaxFileSize, 1));
}

TEST_F(Content, WhatWasCutOffReadsAsZerosWhenTheFileGrowsAgain) {
  const Ino f = open_file("f");
  for (const uint64_t cut : {uint64_t{0}, uint64_t{1}, kChunk - 1, kChunk, kChunk + 1, 3 * kChunk - 1}) {
    for (const bool logged : {false, true}) {
      const std::string data = pattern(3 * kChunk);
      write(f, 0, data);
      if (logged) ok(fs_->sync());
      resize(f, cut);
      EXPECT_EQ(read(f), data.substr(0, cut));
      resize(f, 4 * kChunk);
      std::string expected = data.substr(0, cut);
      expected.resize(4 * kChunk);
      EXPECT_TRUE(read(f) == expected) << cut << logged;
      remount();
      EXPECT_TRUE(read(f) == expected) << cut << logged;
      resize(f, 0);
    }
  }
}

TEST_F(Content, CuttingALargeFileIsSweptInTheBackgroundAndNeverShowsOldBytes) {
  const Ino f = open_file("f");
  const std::string data = pattern(500 * kChunk);
  write(f, 0, data);
  fs_->release(f);
  resize(f, 10);
  EXPECT_EQ(read(f), data.substr(0, 10));
  EXPECT_EQ(blocks(f), 1u);
  resize(f, 300 * kChunk);  // before the sweeper had a chance
  std::string expected = data.substr(0, 10);
  expected.resize(300 * kChunk);
  EXPECT_TRUE(read(f) == expected);
  settle();
  EXPECT_TRUE(read(f) == expected);
  EXPECT_EQ(blocks(f), 1u);
}

TEST_F(Content, AnUnfinishedSweepGoesOnAfterACrash) {
  const Ino f = open_file("f");
  write(f, 0, pattern(500 * kChunk));
  resize(f, 3 * kChunk + 1);
  ok(fs_->sync());
  crash(io::kNothingLost);
  const std::string kept = pattern(500 * kChunk).substr(0, 3 * kChunk + 1);
  EXPECT_EQ(read(f), kept);
  write(f, 200 * kChunk, "far");  // beyond what is still being swept
  std::string expected = kept;
  expected.resize(200 * kChunk);
  EXPECT_TRUE(read(f) == expected + "far");
  settle();
  EXPECT_TRUE(read(f) == expected + "far");
}

TEST_F(Content, FallocateExtendsOrKeepsTheSize) {
  const Ino f = file(kRootIno, "f", "data");
  ok(fs_->fallocate(f, kFallocKeepSize, 0, 100'000));
  EXPECT_EQ(stat(f).size, 4u);
  ok(fs_->fallocate(f, 0, 2, 100));
  EXPECT_EQ(stat(f).size, 102u);
  EXPECT_EQ(read(f), "data" + std::string(98, '\0'));
  ok(fs_->fallocate(f, 0, 0, 50));
  EXPECT_EQ(stat(f).size, 102u);
  fails(ErrorCode::kUnsupported, fs_->fallocate(f, kFallocPunch, 0, 50));
  fails(ErrorCode::kUnsupported, fs_->fallocate(f, 0x20, 0, 50));
  fails(ErrorCode::kInvalid, fs_->fallocate(f, 0, 0, 0));
  fails(ErrorCode::kNoSpace, fs_->fallocate(f, 0, 0, kMaxFileSize));
  fails(ErrorCode::kIsDirectory, fs_->fallocate(kRootIno, 0, 0, 1));
}

TEST_F(Content, PunchedHolesAndZeroedRangesReadAsZeros) {
  const struct {
    uint64_t offset, length;
  } ranges[] = {{0, 10}, {100, 5}, {kChunk, kChunk}, {kChunk - 7, 2 * kChunk}, {3, 200 * kChunk}, {90 * kChunk, 1}};
  for (const bool logged : {false, true}) {
    for (const auto& [offset, length] : ranges) {
      const Ino f = open_file("f");
      const std::string data = pattern(100 * kChunk + 50);
      write(f, 0, data);
      if (logged) ok(fs_->sync());
      ok(fs_->fallocate(f, kFallocPunch | kFallocKeepSize, offset, length));
      std::string expected = data;
      for (uint64_t i = offset; i < std::min<uint64_t>(offset + length, data.size()); ++i) expected[i] = '\0';
      EXPECT_TRUE(read(f) == expected) << offset << " " << length;
      ok(fs_->fallocate(f, kFallocZero, offset, length));
      if (offset + length > expected.size()) expected.resize(offset + length);
      EXPECT_TRUE(read(f) == expected) << offset << " " << length;
      remount();
      EXPECT_TRUE(read(f) == expected) << offset << " " << length;
      ok(fs_->unlink(kRootIno, "f"));
    }
  }
}

TEST_F(Content, BlocksCountWhatIsThere) {
  const Ino f = open_file("f");
  write(f, 0, "x");
  EXPECT_EQ(blocks(f), 1u);
  write(f, 0, pattern(10 * kChunk));
  EXPECT_EQ(blocks(f), 10 * kChunk / 512);
  ok(fs_->fallocate(f, kFallocPunch | kFallocKeepSize, 2 * kChunk, 3 * kChunk));
  EXPECT_EQ(blocks(f), 7 * kChunk / 512);
  resize(f, 100 * kChunk);
  EXPECT_EQ(blocks(f), 7 * kChunk / 512);
  resize(f, kChunk + 512);
  EXPECT_EQ(blocks(f), kChunk / 512 + 1);
  remount();
  EXPECT_EQ(blocks(f), kChunk / 512 + 1);
}

TEST_F(Content, OnlyRegularFilesHaveContent) {
  const Ino d = dir(kRootIno, "d");
  const Ino p = ok(fs_->mknod(kRootIno, "p", S_IFIFO | 0600, 0, kUser)).ino;
  fails(ErrorCode::kIsDirectory, fs_->read(d, 0, 1));
  fails(ErrorCode::kIsDirectory, fs_->write(d, 0, "x", false, false));
  fails(ErrorCode::kInvalid, fs_->read(p, 0, 1));
  AttrChange change;
  change.set_size = true;
  fails(ErrorCode::kIsDirectory, fs_->setattr(d, change));
  fails(ErrorCode::kInvalid, fs_->setattr(p, change));
}

TEST_F(Content, WhatIsSyncedSurvivesACrashThatLosesAllElse) {
  const Ino f = open_file("f");
  write(f, 0, pattern(3 * kChunk + 17));
  ok(fs_->fsync(f));
  write(f, 0, "lost");
  crash(io::kAllLost);
  EXPECT_EQ(read(f), pattern(3 * kChunk + 17));
}

TEST_F(Content, AChunkThatIsMissingIsAnErrorAndNeverZeros) {
  const Ino f = file(kRootIno, "f", pattern(3 * kChunk));
  unmount();
  {
    Options options;
    auto store = ok(Store::open(*env_, kPath, options));
    WriteBatch batch;
    batch.erase(format::chunk_key(f, 1));
    ok(store->write(batch, Durability::kSync));
    ok(store->close());
  }
  mount();
  EXPECT_EQ(read(f, 0, kChunk), pattern(3 * kChunk).substr(0, kChunk));
  fails(ErrorCode::kCorrupt, fs_->read(f, kChunk, 1));
}

TEST_F(Content, AFullDiskRefusesAWriteAndLosesNothing) {
  const Ino f = open_file("f");
  write(f, 0, pattern(10 * kChunk));
  ok(fs_->sync());
  env_->set_capacity(env_->used() + (256 << 10));
  uint64_t written = 10 * kChunk;
  for (;;) {
    const auto n = fs_->write(f, written, pattern(kChunk), false, false);
    if (!n) {
      EXPECT_EQ(n.error().code, ErrorCode::kNoSpace);
      break;
    }
    written += *n;
    ASSERT_LT(written, 10u << 20);
  }
  EXPECT_EQ(stat(f).size, written);
  EXPECT_EQ(read(f, 0, 10 * kChunk), pattern(10 * kChunk));
  for (uint64_t at = 10 * kChunk; at < written; at += kChunk) EXPECT_EQ(read(f, at, kChunk), pattern(kChunk));
  env_->set_capacity(0);
  write(f, written, pattern(kChunk));  // and goes on when there is room again
}

TEST_F(Content, DeletingWorksOnAFullDisk) {
  std::vector<Ino> files;
  const auto name = [](size_t i) { return "f" + std::to_string(i); };
  ok(fs_->sync());
  env_->set_capacity(env_->used() + (1 << 20));
  for (bool full = false; !full;) {
    const auto made = fs_->create(kRootIno, name(files.size()), 0644, kUser);
    if (!made) break;
    files.push_back(made->ino);
    for (uint64_t chunk = 0; chunk < 8 && !full; ++chunk) {
      const auto n =
          fs_->write(made->ino, chunk * kChunk, pattern(kChunk, static_cast<char>(files.size())), false, false);
      full = !n;
    }
    fs_->release(made->ino);
    ASSERT_LT(files.size(), 10'000u);
  }
  env_->set_capacity(env_->used());  // not even what is free by chance
  ASSERT_GT(files.size(), 10u);
  AttrChange cut;
  cut.set_size = true;
  cut.size = 100;
  ok(fs_->setattr(files[0], cut));
  for (size_t i = 1; i < files.size(); ++i) {
    const auto gone = fs_->unlink(kRootIno, name(i));
    ASSERT_TRUE(gone) << i << " of " << files.size() << ": " << gone.error().message;
    if (i % 16 == 0) ok(fs_->sync());
  }
  ok(fs_->sync());
  EXPECT_EQ(read(files[0]), pattern(100, static_cast<char>(1)));
  // The space is there again: as much as before can be written.
  const Ino again = open_file("again");
  for (uint64_t chunk = 0; chunk < files.size() * 4; ++chunk) {
    const auto n = fs_->write(again, chunk * kChunk, pattern(kChunk), false, false);
    ASSERT_TRUE(n) << chunk << " of " << files.size() * 4 << ": " << n.error().message;
  }
  fs_->release(again);
  remount();
  EXPECT_EQ(read(again, 0, kChunk), pattern(kChunk));
}

TEST_F(Content, AStoredChunkThatIsTooLongIsDamageForWhoWritesIntoIt) {
  const Ino ino = file(kRootIno, "f");
  write(ino, kChunk, pattern(100));  // behind a hole, so that lengths are looked up
  unmount();
  {
    const auto store = ok(Store::open(*env_, kPath, Options()));
    WriteBatch batch;
    batch.put(format::chunk_key(ino, 1), pattern(kChunk + 1));
    ok(store->write(batch, Durability::kSync));
    ok(store->close());
  }
  mount();
  fails(ErrorCode::kCorrupt, fs_->write(ino, kChunk + 10, "b", false, false));
  EXPECT_EQ(stat(ino).size, kChunk + 100);
}

}  // namespace
}  // namespace cairn
