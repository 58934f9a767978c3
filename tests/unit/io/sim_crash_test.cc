// What crashes leave of a simulated disk.
#include <map>

#include "unit/io/sim_fixture.h"

namespace cairn::io {
namespace {

using SimCrash = SimTest;

TEST_F(SimCrash, SyncedContentAndNamesAlwaysSurvive) {
  create_durable("f", "precious");
  for (uint64_t seed = 0; seed < 50; ++seed) {
    for (const NameOrder names : {NameOrder::kOrdered, NameOrder::kAnything}) {
      EXPECT_EQ(picture(env_.peek_crash(random_crash(seed, names))), "f=precious");
    }
  }
  EXPECT_EQ(picture(env_.crash(kAllLost)), "f=precious");
}

TEST_F(SimCrash, ASyncedFileWithoutASyncedNameIsNotThere) {
  ok(create("f", "content")->sync());
  EXPECT_EQ(picture(env_.crash(kAllLost)), "");
}

TEST_F(SimCrash, ASyncedNameDoesNotMakeContentDurable) {
  create("f", "content");
  ok(dir_->sync());
  EXPECT_EQ(picture(env_.crash(kAllLost)), "f=");
}

TEST_F(SimCrash, NothingLostKeepsAllOfIt) {
  create_durable("old", "1");
  create("new", "2");
  ok(dir_->rename("old", "older"));
  EXPECT_EQ(picture(env_.crash(kNothingLost)), "new=2 older=1");
}

TEST_F(SimCrash, TheOldWorldIsDeadAfterwardsAndTheNewOneIsNot) {
  const auto file = create_durable("f", "x");
  const auto lock = dir_->lock("lock", "me");
  ASSERT_TRUE(lock.has_value());
  SimEnv next = env_.crash(kNothingLost);
  EXPECT_TRUE(env_.crashed());
  for (const auto& error : {file->pwrite(0, "y").error(), file->sync().error(), file->stat().error(),
                            dir_->list().error(), dir_->sync().error(), env_.open_dir("store").error()}) {
    EXPECT_EQ(error.code, ErrorCode::kIo);
    EXPECT_NE(error.message.find("crashed"), std::string::npos) << error.message;
  }
  const auto dir = next.open_dir("store").value();
  EXPECT_TRUE(dir->lock("lock", "next").has_value()) << "the lock died with its holder";
  EXPECT_EQ(next.content("store/f"), "x");
}

TEST_F(SimCrash, AKilledProcessLosesNothingButMakesNothingDurable) {
  create("f", "unsynced");
  SimEnv next = env_.kill();
  EXPECT_EQ(picture(next), "f=unsynced");
  EXPECT_EQ(picture(next.crash(kAllLost)), "");
}

TEST_F(SimCrash, AKilledProcessGivesBackWhatItHeldOpen) {
  const auto file = create_durable("f", "content");
  ok(dir_->unlink("f"));
  EXPECT_EQ(env_.used(), kPageSize);
  EXPECT_EQ(env_.kill().used(), 0U);
}

TEST_F(SimCrash, AWriteIsTornAtSectorsOnly) {
  const auto file = create_durable("f", Bytes(4 * kSectorSize, 'o'));
  ok(file->pwrite(100, Bytes(3 * kSectorSize, 'n')));
  std::set<std::string> shapes;
  for (uint64_t seed = 0; seed < 500; ++seed) {
    const Bytes after = env_.peek_crash(random_crash(seed)).content("store/f");
    ASSERT_EQ(after.size(), 4 * kSectorSize);
    std::string shape;
    for (uint64_t sector = 0; sector < 4; ++sector) {
      const Bytes bytes = after.substr(sector * kSectorSize, kSectorSize);
      Bytes whole(kSectorSize, 'n');
      if (sector == 0) whole.replace(0, 100, 100, 'o');
      if (sector == 3) whole.replace(100, kSectorSize - 100, kSectorSize - 100, 'o');
      ASSERT_TRUE(bytes == whole || bytes == Bytes(kSectorSize, 'o')) << "seed " << seed << " sector " << sector;
      shape += bytes == whole ? 'n' : 'o';
    }
    shapes.insert(shape);
  }
  EXPECT_EQ(shapes.size(), 16U) << "every subset of the four sectors";
}

TEST_F(SimCrash, ASectorWrittenTwiceIsOneOfItsVersions) {
  const auto file = create_durable("f", Bytes(kSectorSize, '0'));
  ok(file->pwrite(0, "1"));
  ok(file->pwrite(1, "2"));
  std::set<std::string> starts;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    starts.insert(env_.peek_crash(random_crash(seed)).content("store/f").substr(0, 2));
  }
  EXPECT_EQ(starts, (std::set<std::string>{"00", "10", "12"})) << "never the second write without the first";
}

TEST_F(SimCrash, TheSizeIsOneThatWasReachedOrATearBetweenTwo) {
  const auto file = create_durable("f", Bytes(1'000, 'a'));
  ok(file->pwrite(1'000, Bytes(3'000, 'b')));
  ok(file->truncate(500));
  std::set<uint64_t> sizes;
  for (uint64_t seed = 0; seed < 500; ++seed) {
    const uint64_t size = env_.peek_crash(random_crash(seed)).size("store/f");
    EXPECT_GE(size, 500U);
    EXPECT_LE(size, 4'000U);
    sizes.insert(size);
  }
  EXPECT_TRUE(sizes.contains(500) && sizes.contains(1'000) && sizes.contains(4'000));
  EXPECT_GT(sizes.size(), 3U) << "also sizes in between";
}

TEST_F(SimCrash, NewlyCoveredBytesAreZeroOrStaleBytesOfEarlierFiles) {
  create_durable("earlier", Bytes(8'192, 'S'));
  ok(dir_->unlink("earlier"));
  ok(dir_->sync());
  const auto file = create_durable("f", "");
  ok(file->pwrite(0, Bytes(8'192, 'n')));
  bool zero = false;
  bool stale = false;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const Bytes after = env_.peek_crash(random_crash(seed)).content("store/f");
    for (size_t begin = 0; begin < after.size(); begin += kSectorSize) {
      const Bytes sector = after.substr(begin, kSectorSize);
      const bool is_zero = sector == Bytes(sector.size(), '\0');
      const bool is_stale = sector == Bytes(sector.size(), 'S');
      ASSERT_TRUE(is_zero || is_stale || sector == Bytes(sector.size(), 'n')) << seed;
      zero = zero || is_zero;
      stale = stale || is_stale;
    }
  }
  EXPECT_TRUE(zero && stale);
}

TEST_F(SimCrash, SyncedZerosAreNeverStale) {
  create_durable("earlier", Bytes(8'192, 'S'));
  const auto file = create_durable("f", "");
  ok(file->allocate(0, 8'192));
  ok(file->sync());
  ok(file->pwrite(0, Bytes(8'192, 'n')));
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const Bytes after = env_.peek_crash(random_crash(seed)).content("store/f");
    EXPECT_EQ(after.size(), 8'192U);
    EXPECT_EQ(after.find('S'), Bytes::npos) << seed;
  }
}

TEST_F(SimCrash, PunchedBlocksMayComeBackOneByOne) {
  const auto file = create_durable("f", Bytes(3 * kPageSize, 'x'));
  ok(file->punch(0, 3 * kPageSize));
  std::set<std::string> shapes;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const Bytes after = env_.peek_crash(random_crash(seed)).content("store/f");
    ASSERT_EQ(after.size(), 3 * kPageSize);
    std::string shape;
    for (size_t page = 0; page < 3; ++page) {
      const Bytes bytes = after.substr(page * kPageSize, kPageSize);
      ASSERT_TRUE(bytes == Bytes(kPageSize, 'x') || bytes == Bytes(kPageSize, '\0'));
      shape += bytes[0] == 'x' ? 'x' : '0';
    }
    shapes.insert(shape);
  }
  EXPECT_EQ(shapes.size(), 8U);
  ok(file->sync());
  EXPECT_EQ(env_.crash(random_crash(1)).content("store/f"), Bytes(3 * kPageSize, '\0')) << "for good after a sync";
}

TEST_F(SimCrash, PreallocationIsThereOrNot) {
  const auto file = create_durable("f", "");
  ok(file->allocate(0, 1 << 16));
  std::set<uint64_t> allocated;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    allocated.insert(env_.peek_crash(random_crash(seed)).used());
  }
  EXPECT_TRUE(allocated.contains(0) && allocated.contains(1 << 16));
}

TEST_F(SimCrash, OrderedNamesLandAsAPrefix) {
  create_durable("a", "1");
  ok(dir_->rename("a", "b"));
  create_durable("x", "");  // syncs the directory: all before is done
  ok(dir_->rename("b", "c"));
  ok(dir_->rename("x", "y"));
  const auto states = env_.crash_states(100);
  EXPECT_TRUE(states.complete);
  EXPECT_EQ(pictures(states), (std::set<std::string>{"b=1 x=", "c=1 x=", "c=1 y="}));
}

TEST_F(SimCrash, NamesInAnyOrderLandAsAnySubset) {
  create_durable("a", "1");
  create_durable("x", "2");
  ok(dir_->rename("a", "b"));
  ok(dir_->rename("x", "y"));
  const auto states = env_.crash_states(100, NameOrder::kAnything);
  EXPECT_TRUE(states.complete);
  EXPECT_EQ(pictures(states), (std::set<std::string>{"a=1 x=2", "b=1 x=2", "a=1 y=2", "b=1 y=2"}));
}

TEST_F(SimCrash, ARenameIsAtomicAndMayComeBeforeItsData) {
  create_durable("current", "old");
  create("tmp", "new");
  ok(dir_->rename("tmp", "current"));
  EXPECT_EQ(pictures(env_.crash_states(1'000)),
            (std::set<std::string>{"current=old", "current=old tmp=", "current=old tmp=new", "current=", "current=new",
                                   std::string("current=\0\0\0", 11), std::string("current=old tmp=\0\0\0", 19),
                                   "current=old tmp=old", "current=old"}));
}

TEST_F(SimCrash, WriteSyncRenameSyncIsSafeAtEveryStep) {
  const auto replace = [&](SimEnv& env) -> Result<void> {
    auto dir = env.open_dir("store");
    if (!dir) return fail(dir.error());
    auto file = (*dir)->open("tmp", {.mode = OpenMode::kCreate});
    if (!file) return fail(file.error());
    if (auto done = (*file)->pwrite(0, "new"); !done) return done;
    if (auto done = (*file)->sync(); !done) return done;
    if (auto done = (*dir)->rename("tmp", "current"); !done) return done;
    return (*dir)->sync();
  };
  size_t completed = 0;
  for (size_t k = 0; completed == 0; ++k) {
    SimEnv env(7);
    ASSERT_TRUE(env.make_dir("store").has_value());
    auto file = env.open_dir("store").value()->open("current", {.mode = OpenMode::kCreate});
    ASSERT_TRUE((*file)->pwrite(0, "old").has_value());
    env.sync_all();
    env.set_crash_point(env.mutations().size() + k);
    const bool acknowledged = replace(env).has_value();
    for (const NameOrder names : {NameOrder::kOrdered, NameOrder::kAnything}) {
      const auto states = env.crash_states(1'000, names);
      EXPECT_TRUE(states.complete);
      for (const SimEnv& state : states.envs) {
        const Bytes content = state.content("store/current");
        EXPECT_TRUE(content == "new" || (content == "old" && !acknowledged)) << content << " at " << k;
      }
    }
    if (acknowledged) ++completed;
    EXPECT_EQ(acknowledged, !env.crashed());
    ASSERT_LT(k, 10U);
  }
}

TEST_F(SimCrash, EnumerationTearsEveryWriteAtEverySector) {
  const auto file = create_durable("f", Bytes(3 * kSectorSize, 'o'));
  ok(file->pwrite(0, Bytes(3 * kSectorSize, 'n')));
  std::set<std::string> shapes;
  const auto states = env_.crash_states(100);
  for (const SimEnv& env : states.envs) {
    const Bytes after = env.content("store/f");
    shapes.insert({after[0], after[kSectorSize], after[2 * kSectorSize]});
  }
  EXPECT_TRUE(states.complete);
  EXPECT_EQ(shapes, (std::set<std::string>{"ooo", "nnn", "noo", "nno", "onn", "oon", "non"}));
  EXPECT_EQ(states.envs.size(), shapes.size()) << "no state twice";
}

TEST_F(SimCrash, EnumerationStopsAtItsLimitAndSaysSo) {
  create_durable("f", "");
  for (int i = 0; i < 20; ++i) create("g" + std::to_string(i), "content");
  const auto states = env_.crash_states(64, NameOrder::kAnything);
  EXPECT_EQ(states.envs.size(), 64U);
  EXPECT_FALSE(states.complete);
}

TEST_F(SimCrash, StatesBeforeEachCallComeFromOneRunWithHistory) {
  SimEnv env(3);
  env.keep_history();
  ASSERT_TRUE(env.make_dir("store").has_value());
  env.sync_all();
  const auto dir = env.open_dir("store").value();
  const size_t start = env.mutations().size();
  const auto file = dir->open("f", {.mode = OpenMode::kCreate}).value();
  ok(file->pwrite(0, "1"));
  ok(file->sync());
  ok(dir->sync());
  ok(file->pwrite(0, "2"));
  ASSERT_EQ(env.mutations().size(), start + 5);
  std::vector<std::string> seen;
  for (size_t k = start; k <= start + 5; ++k) seen.push_back(picture(env.crash_before(k, kNothingLost)));
  EXPECT_EQ(seen, (std::vector<std::string>{"", "f=", "f=1", "f=1", "f=1", "f=2"}));
  EXPECT_EQ(picture(env.crash_before(start + 3, kAllLost)), "");
  EXPECT_EQ(pictures(env.crash_states_before(start + 5, 10)), (std::set<std::string>{"f=1", "f=2"}));
  EXPECT_FALSE(env.crashed());
}

TEST_F(SimCrash, CallsThatChangeNothingLeaveNothingToLose) {
  const auto file = create_durable("f", "content");
  ok(file->punch(kPageSize, kPageSize));
  ok(file->punch(0, 0));
  ok(file->allocate(0, 0));
  ok(file->pwrite(3, ""));
  ok(dir_->rename("f", "f"));
  const auto states = env_.crash_states(10, NameOrder::kAnything);
  EXPECT_TRUE(states.complete);
  EXPECT_EQ(states.envs.size(), 1U);
}

TEST_F(SimCrash, StatesAreEqualByContentHoweverTheyCameAbout) {
  create_durable("a", "1");
  create_durable("b", "2");
  SimEnv other(7);
  ASSERT_TRUE(other.make_dir("store").has_value());
  const auto dir = other.open_dir("store").value();
  ok(dir->open("b", {.mode = OpenMode::kCreate}).value()->pwrite(0, "2"));
  ok(dir->open("x", {.mode = OpenMode::kCreate}).value()->pwrite(0, "1"));
  EXPECT_NE(env_.state_hash(), other.state_hash());
  ok(dir->rename("x", "a"));
  EXPECT_EQ(env_.state_hash(), other.state_hash());
}

TEST_F(SimCrash, ACrashOfACrashKeepsWhatTheFirstOneLeft) {
  create_durable("f", "1");
  const auto file = dir_->open("f", {.mode = OpenMode::kReadWrite}).value();
  ok(file->pwrite(0, "2"));
  SimEnv second = env_.crash(kNothingLost);
  EXPECT_EQ(picture(second), "f=2");
  EXPECT_EQ(picture(second.crash(kAllLost)), "f=2");
}

TEST_F(SimCrash, TheSameSeedGivesTheSameCrash) {
  const auto file = create("f", Bytes(100'000, 'a'));
  ok(dir_->sync());
  ok(file->pwrite(5'000, Bytes(50'000, 'b')));
  std::set<uint64_t> different;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const uint64_t hash = env_.peek_crash(random_crash(seed)).state_hash();
    EXPECT_EQ(hash, env_.peek_crash(random_crash(seed)).state_hash());
    different.insert(hash);
  }
  EXPECT_GT(different.size(), 5U);
}

TEST_F(SimCrash, MovingBetweenDirectoriesIsDurableOnceEitherSideIs) {
  ok(dir_->make_dir("sub"));
  ok(dir_->sync());
  const auto sub = dir_->open_dir("sub").value();
  create("f", "1");  // neither synced
  ok(dir_->rename_into("f", *sub, "g"));
  ok(sub->sync());
  for (const SimEnv& after : env_.crash_states(100, NameOrder::kAnything).envs) {
    EXPECT_FALSE(after.exists("store/f"));
    EXPECT_TRUE(after.exists("store/sub/g"));
  }
}

TEST_F(SimCrash, AFileHasOneNameWhicheverOfItsRenamesLands) {
  create_durable("a", "1");
  ok(dir_->rename("a", "b"));
  ok(dir_->rename("b", "c"));
  EXPECT_EQ(pictures(env_.crash_states(100, NameOrder::kAnything)), (std::set<std::string>{"a=1", "b=1", "c=1"}));
}

TEST_F(SimCrash, WhatATruncateGaveAwayMayComeBackAsStaleBytes) {
  create_durable("other", Bytes(4 * kSectorSize, 'S'));
  const auto file = create_durable("f", Bytes(4 * kSectorSize, 'o'));
  ok(file->truncate(0));
  ok(file->pwrite(3 * kSectorSize, Bytes(kSectorSize, 'n')));
  std::set<char> first;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const Bytes after = env_.peek_crash(random_crash(seed)).content("store/f");
    if (!after.empty()) first.insert(after[0]);
  }
  EXPECT_EQ(first, (std::set<char>{'o', '\0', 'S'}));
}

// Long random runs against an independent judge: for each sector the versions that it had since the last sync, for the
// size all that were reached.
TEST_F(SimCrash, RandomCrashesOfRandomRunsAreLegal) {
  constexpr uint64_t kSize = 6 * kPageSize;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    SimRandom random(seed);
    SimEnv env(seed);
    ASSERT_TRUE(env.make_dir("store").has_value());
    const auto file = env.open_dir("store").value()->open("f", {.mode = OpenMode::kCreate}).value();
    ok(file->pwrite(0, Bytes(kSize, '.')));
    env.sync_all();
    std::map<uint64_t, std::set<Bytes>> versions;  // by sector; of fixed size, so that nothing is newly covered
    const auto note = [&] {
      const Bytes content = read(*file);
      for (uint64_t s = 0; s < sector_count(kSize); ++s)
        versions[s].insert(content.substr(s * kSectorSize, kSectorSize));
    };
    note();
    for (int step = 0; step < 12; ++step) {
      const uint64_t offset = random.below(kSize);
      const uint64_t length = random.below(kSize - offset) + 1;
      switch (random.below(6)) {
        case 0:
          ok(file->sync());
          versions.clear();
          break;
        case 1: ok(file->punch(offset, length)); break;
        case 2: ok(file->allocate(offset, length)); break;
        default: ok(file->pwrite(offset, Bytes(length, static_cast<char>('a' + step))));
      }
      note();
    }
    for (uint64_t crash = 0; crash < 10; ++crash) {
      const Bytes after = env.peek_crash(random_crash(crash)).content("store/f");
      ASSERT_EQ(after.size(), kSize);
      for (uint64_t s = 0; s < sector_count(kSize); ++s) {
        ASSERT_TRUE(versions[s].contains(after.substr(s * kSectorSize, kSectorSize))) << "sector " << s;
      }
    }
  }
}

}  // namespace
}  // namespace cairn::io
