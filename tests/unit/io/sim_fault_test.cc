// Injected failures, a full disk, and rot.
#include <cerrno>

#include "unit/io/sim_fixture.h"

namespace cairn::io {
namespace {

using SimFault = SimTest;

TEST_F(SimFault, TheNthCallOfAKindFailsOnce) {
  const auto file = create("f", "");
  env_.inject({.nth = 2, .kind = CallKind::kWrite, .err = EDQUOT});
  ok(file->pwrite(0, "1"));
  ok(file->truncate(1));
  const auto failed = file->pwrite(0, "2");
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().code, ErrorCode::kNoSpace);
  EXPECT_EQ(failed.error().os_errno, EDQUOT);
  EXPECT_NE(failed.error().message.find("write \"f\" in \"store\""), std::string::npos) << failed.error().message;
  EXPECT_EQ(env_.faults_hit(), 1U);
  ok(file->pwrite(0, "3"));
}

TEST_F(SimFault, EveryKindOfCallCanFail) {
  const auto file = create_durable("f", "content");
  char byte = 0;
  const std::vector<std::pair<CallKind, std::function<bool()>>> calls{
      {CallKind::kRead,
       [&] {
         return file->pread(0, {&byte, 1}).has_value();
       }},
      {CallKind::kWrite, [&] { return file->pwrite(0, "x").has_value(); }},
      {CallKind::kSync, [&] { return file->sync().has_value(); }},
      {CallKind::kTruncate, [&] { return file->truncate(3).has_value(); }},
      {CallKind::kAllocate, [&] { return file->allocate(0, 10).has_value(); }},
      {CallKind::kPunch, [&] { return file->punch(0, 10).has_value(); }},
      {CallKind::kStat, [&] { return file->stat().has_value(); }},
      {CallKind::kOpen, [&] { return dir_->open("f", {}).has_value(); }},
      {CallKind::kCreate, [&] { return dir_->open("new", {.mode = OpenMode::kCreate}).has_value(); }},
      {CallKind::kMakeDir, [&] { return dir_->make_dir("sub").has_value(); }},
      {CallKind::kRename, [&] { return dir_->rename("new", "newer").has_value(); }},
      {CallKind::kUnlink, [&] { return dir_->unlink("newer").has_value(); }},
      {CallKind::kList, [&] { return dir_->list().has_value(); }},
      {CallKind::kSyncDir, [&] { return dir_->sync().has_value(); }},
      {CallKind::kLock, [&] { return dir_->lock("lock", "me").has_value(); }},
      {CallKind::kStat, [&] { return dir_->space().has_value(); }},
      {CallKind::kClose, [&] { return file->close().has_value(); }},
  };
  for (const auto& [kind, call] : calls) {
    env_.inject({.kind = kind, .err = EIO});
    EXPECT_FALSE(call()) << to_string(kind);
    EXPECT_TRUE(call()) << to_string(kind) << " works again";
  }
}

TEST_F(SimFault, AFaultCanStayAndCanBeForOneFileOnly) {
  const auto a = create("a");
  const auto b = create("b");
  env_.inject({.kind = CallKind::kWrite, .file = "b", .from_then_on = true});
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(a->pwrite(0, "x").has_value());
    EXPECT_FALSE(b->pwrite(0, "x").has_value());
  }
  env_.clear_faults();
  EXPECT_TRUE(b->pwrite(0, "x").has_value());
}

TEST_F(SimFault, AFailedWriteMayHaveWrittenAPart) {
  std::set<size_t> parts;
  const auto file = create("f", "");
  for (int i = 0; i < 50; ++i) {
    ok(file->truncate(0));
    env_.inject({.kind = CallKind::kWrite});
    EXPECT_FALSE(file->pwrite(0, "0123456789").has_value());
    const Bytes left = read(*file);
    EXPECT_EQ(left, Bytes("0123456789").substr(0, left.size()));
    parts.insert(left.size());
  }
  EXPECT_GT(parts.size(), 5U);
}

TEST_F(SimFault, AFailedSyncLeavesAMixAndTheNextOneLies) {
  std::set<Bytes> on_disk;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    SimEnv env(seed);
    ASSERT_TRUE(env.make_dir("store").has_value());
    const auto file = env.open_dir("store").value()->open("f", {.mode = OpenMode::kCreate}).value();
    ok(file->pwrite(0, Bytes(2 * kSectorSize, 'o')));
    env.sync_all();
    ok(file->pwrite(0, Bytes(2 * kSectorSize, 'n')));
    env.inject({.kind = CallKind::kSync});
    EXPECT_FALSE(file->sync().has_value());
    EXPECT_TRUE(file->sync().has_value());
    EXPECT_EQ(read(*file), Bytes(2 * kSectorSize, 'n')) << "the cache looks clean";
    const Bytes left = env.peek_crash(kAllLost).content("store/f");
    file->drop_cache();
    EXPECT_EQ(read(*file), left) << "and the truth shows without it";
    on_disk.insert({left[0], left[kSectorSize]});
    // Only writing again and syncing helps.
    ok(file->pwrite(0, Bytes(2 * kSectorSize, 'w')));
    ok(file->sync());
    EXPECT_EQ(env.crash(kAllLost).content("store/f"), Bytes(2 * kSectorSize, 'w'));
  }
  EXPECT_EQ(on_disk, (std::set<Bytes>{"oo", "on", "no", "nn"}));
}

TEST_F(SimFault, ALostWriteIsReadableOnlyFromTheCache) {
  const auto file = create_durable("f", "old");
  env_.inject({.kind = CallKind::kWrite, .effect = Fault::Effect::kLose});
  ok(file->pwrite(0, "new"));
  ok(file->sync());
  EXPECT_EQ(read(*file), "new");
  file->drop_cache();
  EXPECT_EQ(read(*file), "old");
  EXPECT_EQ(env_.crash(random_crash(1)).content("store/f"), "old");
}

TEST_F(SimFault, FromTheCrashPointOnEverythingFails) {
  const auto file = create_durable("f", "1");
  env_.set_crash_point(env_.mutations().size() + 1);
  ok(file->pwrite(0, "2"));
  EXPECT_EQ(read(*file), "2");
  EXPECT_FALSE(file->sync().has_value());
  EXPECT_FALSE(file->stat().has_value());
  EXPECT_TRUE(env_.crashed());
  EXPECT_EQ(picture(env_.crash(kNothingLost)), "f=2");
}

TEST_F(SimFault, TheLogSaysWhatWasDone) {
  const size_t start = env_.mutations().size();
  const auto file = create("f", "abc");
  ok(file->truncate(2));
  ok(dir_->sync());
  std::vector<std::string> calls;
  for (size_t i = start; i < env_.mutations().size(); ++i) {
    const Call& call = env_.mutations()[i];
    calls.push_back(std::string(to_string(call.kind)) + " " + call.file + " " + std::to_string(call.length));
  }
  EXPECT_EQ(calls, (std::vector<std::string>{"create f 0", "write f 3", "truncate f 2", "sync directory store 0"}));
}

TEST_F(SimFault, AFullDiskTakesWhatFitsAndNoMore) {
  env_.set_capacity(4 * kPageSize);
  const auto file = create("f", "");
  const auto full = file->pwrite(0, Bytes(6 * kPageSize, 'x'));
  ASSERT_FALSE(full.has_value());
  EXPECT_EQ(full.error().code, ErrorCode::kNoSpace);
  EXPECT_EQ(env_.used(), 4 * kPageSize);
  EXPECT_EQ(dir_->space()->available, 0U);
  EXPECT_EQ(read(*file), Bytes(4 * kPageSize, 'x'));
  EXPECT_TRUE(file->pwrite(0, Bytes(4 * kPageSize, 'y')).has_value()) << "what is there can be overwritten";
  EXPECT_EQ(file->allocate(0, 5 * kPageSize).error().code, ErrorCode::kNoSpace);
  ok(file->punch(0, kPageSize));
  EXPECT_EQ(dir_->space()->available, kPageSize);
  EXPECT_TRUE(file->pwrite(4 * kPageSize, "z").has_value());
}

TEST_F(SimFault, SpaceComesBackWhenTheLastNameAndHandleAreGone) {
  env_.set_capacity(2 * kPageSize);
  auto file = create("f", Bytes(2 * kPageSize, 'x'));
  ok(dir_->unlink("f"));
  EXPECT_EQ(env_.used(), 2 * kPageSize) << "still open";
  file.reset();
  EXPECT_EQ(env_.used(), 0U);
  create("g", Bytes(2 * kPageSize, 'y'));
  create("h");
  ok(dir_->rename("h", "g"));
  EXPECT_EQ(env_.used(), 0U);
}

TEST_F(SimFault, AFullDiskCanStillBeLocked) {
  env_.set_capacity(kPageSize);
  create("f", Bytes(kPageSize, 'x'));
  EXPECT_TRUE(dir_->lock("lock", "me").has_value());
}

TEST_F(SimFault, DamageHitsDiskAndCache) {
  const auto file = create_durable("f", Bytes(kSectorSize, 'a') + Bytes(kSectorSize, 'b') + "tail");
  env_.flip_bit("store/f", 1, 1);
  EXPECT_EQ(read(*file).substr(0, 3), "aca");
  env_.swap_sectors("store/f", 0, 1);
  EXPECT_EQ(read(*file).substr(0, 2), "bb");
  EXPECT_EQ(read(*file).substr(kSectorSize, 3), "aca");
  env_.zero_sector("store/f", 1);
  EXPECT_EQ(read(*file).substr(kSectorSize), Bytes(kSectorSize, '\0') + "tail");
  env_.overwrite("store/f", 2 * kSectorSize + 2, "XXXXX");
  EXPECT_EQ(read(*file).substr(2 * kSectorSize), "taXX") << "the size stays";
  env_.truncate("store/f", 3);
  EXPECT_EQ(read(*file), "bbb");
  create_durable("g", "other");
  env_.copy_content("store/g", "store/f");
  EXPECT_EQ(read(*file), "other");
  env_.remove("store/g");
  EXPECT_EQ(picture(env_.crash(kAllLost)), "f=other");
}

TEST_F(SimFault, DamageOfAFileThatIsNotSyncedHitsBothStates) {
  const auto file = create_durable("f", "old");
  ok(file->pwrite(0, "new"));
  env_.flip_bit("store/f", 1, 0);
  EXPECT_EQ(read(*file), "ndw");
  EXPECT_EQ(env_.crash(kAllLost).content("store/f"), "omd");
}

TEST_F(SimFault, AnUnreadableSectorFailsUntilItIsWritten) {
  const auto file = create_durable("f", Bytes(4 * kSectorSize, 'x'));
  env_.set_unreadable("store/f", 2);
  Bytes buffer(kSectorSize, '?');
  EXPECT_TRUE(file->pread(kSectorSize, buffer).has_value());
  const auto failed = file->pread(kSectorSize + 1, buffer);
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().os_errno, EIO);
  EXPECT_FALSE(file->pread(2 * kSectorSize, buffer).has_value());
  EXPECT_TRUE(file->pread(3 * kSectorSize, buffer).has_value());
  ok(file->pwrite(2 * kSectorSize, buffer));
  EXPECT_TRUE(file->pread(2 * kSectorSize, buffer).has_value());
}

TEST_F(SimFault, TheClockMovesOnlyWhenToldTo) {
  const auto before = env_.now();
  EXPECT_EQ(env_.now().seconds, before.seconds);
  env_.executor().advance(std::chrono::milliseconds(1'500));
  EXPECT_EQ(env_.now().seconds, before.seconds + 1);
  EXPECT_EQ(env_.now().nanoseconds, 500'000'000U);
  EXPECT_EQ(env_.monotonic_ms(), 1'500U);
  env_.set_now({.seconds = 5});
  EXPECT_EQ(env_.now().seconds, 5) << "back";
  EXPECT_EQ(env_.monotonic_ms(), 1'500U) << "this one never goes back";
}

TEST_F(SimFault, RandomNumbersComeFromTheSeed) {
  SimEnv same(42);
  SimEnv other(43);
  const uint64_t first = env_.random();
  EXPECT_EQ(first, same.random());
  EXPECT_NE(first, other.random());
}

}  // namespace
}  // namespace cairn::io
