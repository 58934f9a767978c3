// What every Env promises, tried on the real one and on the simulated one.
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include <gtest/gtest.h>

#include "io/posix_env.h"
#include "io/sim_env.h"

namespace cairn::io {
namespace {

// An Env with an empty directory to play in.
class World {
 public:
  virtual ~World() = default;
  virtual Env& env() = 0;
  virtual std::string path() const = 0;
};

class PosixWorld final : public World {
 public:
  PosixWorld() : path_(testing::TempDir() + "cairn-io-XXXXXX") { EXPECT_NE(::mkdtemp(path_.data()), nullptr); }
  ~PosixWorld() override { std::filesystem::remove_all(path_); }
  Env& env() override { return posix_env(); }
  std::string path() const override { return path_; }

 private:
  std::string path_;
};

class SimulatedWorld final : public World {
 public:
  SimulatedWorld() { EXPECT_TRUE(env_.make_dir("/store").has_value()); }
  Env& env() override { return env_; }
  std::string path() const override { return "/store"; }

 private:
  SimEnv env_{1};
};

using MakeWorld = std::unique_ptr<World> (*)();

class EnvConformance : public testing::TestWithParam<MakeWorld> {
 protected:
  void SetUp() override {
    world_ = GetParam()();
    auto dir = env().open_dir(world_->path());
    ASSERT_TRUE(dir.has_value()) << dir.error().message;
    dir_ = std::move(*dir);
  }
  Env& env() { return world_->env(); }
  Directory& dir() { return *dir_; }

  std::unique_ptr<File> create(const std::string& name, ByteView content = {}) {
    auto file = dir().open(name, {.mode = OpenMode::kCreate});
    EXPECT_TRUE(file.has_value()) << file.error().message;
    EXPECT_TRUE((*file)->pwrite(0, content).has_value());
    return std::move(*file);
  }
  // Up to `length` bytes from `offset`, or the error in words.
  static Bytes read(const File& file, uint64_t offset = 0, size_t length = 1 << 16) {
    Bytes buffer(length, '?');
    const auto n = file.pread(offset, buffer);
    if (!n) return n.error().message;
    buffer.resize(*n);
    return buffer;
  }
  Bytes read(const std::string& name) {
    auto file = dir().open(name, {.mode = OpenMode::kRead});
    return file ? read(**file) : file.error().message;
  }
  std::vector<std::string> names() { return dir().list().value(); }

  std::unique_ptr<World> world_;
  std::unique_ptr<Directory> dir_;
};

template <class T>
ErrorCode code_of(const Result<T>& result) {
  EXPECT_FALSE(result.has_value());
  return result ? ErrorCode::kInvalid : result.error().code;
}

TEST_P(EnvConformance, BytesComeBackWhereTheyWereWritten) {
  auto file = create("f", "hello world");
  EXPECT_EQ(read(*file), "hello world");
  ASSERT_TRUE(file->pwrite(6, "there").has_value());
  EXPECT_EQ(read(*file), "hello there");
  EXPECT_EQ(read(*file, 6, 3), "the");
  ASSERT_TRUE(file->close().has_value());
  EXPECT_EQ(read("f"), "hello there");
}

TEST_P(EnvConformance, ReadsEndAtTheEndOfTheFile) {
  const auto file = create("f", "0123456789");
  EXPECT_EQ(read(*file, 8, 100), "89");
  EXPECT_EQ(read(*file, 10, 100), "");
  EXPECT_EQ(read(*file, 1 << 20, 100), "");
  EXPECT_EQ(read(*file, 3, 0), "");
}

TEST_P(EnvConformance, AGapReadsAsZeros) {
  const auto file = create("f", "a");
  ASSERT_TRUE(file->pwrite(10'000, "b").has_value());
  EXPECT_EQ(read(*file), "a" + Bytes(9'999, '\0') + "b");
}

TEST_P(EnvConformance, ManyPagesComeBackByteForByte) {
  Bytes pattern;
  while (pattern.size() < 300'000) pattern += std::to_string(pattern.size()) + ",";
  const auto file = create("f", pattern);
  EXPECT_EQ(read(*file, 0, 400'000), pattern);
  ASSERT_TRUE(file->pwrite(4'095, ByteView(pattern).substr(0, 8'194)).has_value());
  pattern.replace(4'095, 8'194, pattern.substr(0, 8'194));
  EXPECT_EQ(read(*file, 0, 400'000), pattern);
}

TEST_P(EnvConformance, AnEmptyWriteChangesNothing) {
  const auto file = create("f", "abc");
  ASSERT_TRUE(file->pwrite(100, "").has_value());
  EXPECT_EQ(file->stat()->size, 3U);
}

TEST_P(EnvConformance, TruncateCutsAndWhatGrowsAgainIsZero) {
  const auto file = create("f", Bytes(9'000, 'x'));
  ASSERT_TRUE(file->truncate(5'000).has_value());
  EXPECT_EQ(file->stat()->size, 5'000U);
  ASSERT_TRUE(file->truncate(9'000).has_value());
  EXPECT_EQ(read(*file), Bytes(5'000, 'x') + Bytes(4'000, '\0'));
}

TEST_P(EnvConformance, AllocateExtendsAndKeepsContent) {
  const auto file = create("f", "abc");
  const auto allocated = file->allocate(0, 1 << 16);
  if (!allocated && allocated.error().code == ErrorCode::kUnsupported) GTEST_SKIP() << "no fallocate here";
  ASSERT_TRUE(allocated.has_value()) << allocated.error().message;
  EXPECT_EQ(file->stat()->size, 1U << 16);
  EXPECT_GE(file->stat()->allocated, 1U << 16);
  EXPECT_EQ(read(*file), "abc" + Bytes((1 << 16) - 3, '\0'));
  EXPECT_TRUE(file->allocate(0, 0).has_value());
}

TEST_P(EnvConformance, APunchedRangeReadsAsZerosAndGivesSpaceBack) {
  const auto file = create("f", Bytes(1 << 16, 'x'));
  ASSERT_TRUE(file->sync().has_value());
  const uint64_t before = file->stat()->allocated;
  const auto punched = file->punch(4'096 - 10, 8'192 + 20);
  if (!punched && punched.error().code == ErrorCode::kUnsupported) GTEST_SKIP() << "no punch here";
  ASSERT_TRUE(punched.has_value()) << punched.error().message;
  EXPECT_EQ(file->stat()->size, 1U << 16);
  EXPECT_EQ(file->stat()->allocated, before - 8'192);
  EXPECT_EQ(read(*file, 4'080, 8'220), Bytes(6, 'x') + Bytes(8'212, '\0') + Bytes(2, 'x'));
  EXPECT_TRUE(file->punch(1 << 20, 4'096).has_value()) << "behind the end";
  EXPECT_EQ(file->stat()->size, 1U << 16);
}

TEST_P(EnvConformance, DroppingTheCacheChangesNothing) {
  const auto file = create("f", "content");
  file->drop_cache();
  EXPECT_EQ(read(*file), "content");
  ASSERT_TRUE(file->sync().has_value());
  file->drop_cache();
  EXPECT_EQ(read(*file), "content");
}

TEST_P(EnvConformance, DirectIoReadsAndWritesWholeBlocks) {
  auto file = dir().open("f", {.mode = OpenMode::kCreate, .direct = true});
  ASSERT_TRUE(file.has_value()) << file.error().message;
  const auto free_block = [](char* block) { std::free(block); };
  const std::unique_ptr<char, decltype(free_block)> block(
      static_cast<char*>(std::aligned_alloc(kBlockSize, kBlockSize)), free_block);
  const std::span<char> bytes(block.get(), kBlockSize);
  std::fill(bytes.begin(), bytes.end(), 'd');
  ASSERT_TRUE((*file)->pwrite(kBlockSize, ByteView(bytes.data(), bytes.size())).has_value());
  std::fill(bytes.begin(), bytes.end(), '?');
  ASSERT_EQ((*file)->pread(kBlockSize, bytes).value(), kBlockSize);
  EXPECT_EQ(bytes.front(), 'd');
  EXPECT_EQ((*file)->pread(2 * kBlockSize, bytes).value(), 0U);
  std::fill(bytes.begin(), bytes.end(), '?');
  const std::vector<std::span<char>> buffers = {bytes, bytes, bytes};
  EXPECT_EQ((*file)->preadv(0, buffers).value(), 2 * kBlockSize);
  EXPECT_EQ(bytes.front(), 'd') << "the last of them that the file has";
}

TEST_P(EnvConformance, OneReadFillsSeveralBuffersUpToTheEndOfTheFile) {
  const auto file = create("f", "0123456789");
  Bytes a(3, '?'), b(2, '?'), c(10, '?'), d(1, '?');
  const std::vector<std::span<char>> buffers = {a, b, {}, c, d};
  EXPECT_EQ(file->preadv(1, buffers).value(), 9U);
  EXPECT_EQ(a + "|" + b + "|" + c + "|" + d, "123|45|6789??????|?");
  EXPECT_EQ(file->preadv(10, buffers).value(), 0U);
  EXPECT_EQ(file->preadv(5, {}).value(), 0U);
}

TEST_P(EnvConformance, CreateRefusesATakenNameAndOpenAMissingOne) {
  create("f", "old");
  EXPECT_EQ(code_of(dir().open("f", {.mode = OpenMode::kCreate})), ErrorCode::kExists);
  EXPECT_EQ(read("f"), "old");
  const auto missing = dir().open("missing", {.mode = OpenMode::kReadWrite});
  EXPECT_EQ(code_of(missing), ErrorCode::kNotFound);
  EXPECT_EQ(missing.error().os_errno, ENOENT);
  EXPECT_NE(missing.error().message.find("\"missing\""), std::string::npos) << missing.error().message;
}

TEST_P(EnvConformance, AFileOpenedForReadingCannotBeChanged) {
  create("f", "old");
  const auto file = dir().open("f", {.mode = OpenMode::kRead});
  ASSERT_TRUE(file.has_value()) << file.error().message;
  EXPECT_FALSE((*file)->pwrite(0, "new").has_value());
  EXPECT_FALSE((*file)->truncate(0).has_value());
  EXPECT_FALSE((*file)->allocate(0, 4'096).has_value());
  EXPECT_FALSE((*file)->punch(0, 4'096).has_value());
  EXPECT_EQ(read("f"), "old");
}

TEST_P(EnvConformance, AClosedFileAnswersWithErrors) {
  const auto file = create("f", "old");
  ASSERT_TRUE(file->close().has_value());
  EXPECT_TRUE(file->close().has_value()) << "a second time";
  char byte = 0;
  EXPECT_EQ(code_of(file->pread(0, {&byte, 1})), ErrorCode::kIo);
  EXPECT_EQ(code_of(file->pwrite(0, "new")), ErrorCode::kIo);
  EXPECT_EQ(code_of(file->sync()), ErrorCode::kIo);
  EXPECT_EQ(code_of(file->stat()), ErrorCode::kIo);
}

TEST_P(EnvConformance, NamesThatAreNoPlainNamesAreRefusedEverywhere) {
  create("f");
  const std::string long_name(256, 'x');
  for (const std::string& name : {std::string(), std::string("."), std::string(".."), std::string("a/b"),
                                  std::string("/f"), std::string("f\0g", 3), long_name}) {
    EXPECT_EQ(code_of(dir().open(name, {.mode = OpenMode::kRead})), ErrorCode::kInvalid);
    EXPECT_EQ(code_of(dir().open(name, {.mode = OpenMode::kCreate})), ErrorCode::kInvalid);
    EXPECT_EQ(code_of(dir().open_dir(name)), ErrorCode::kInvalid);
    EXPECT_EQ(code_of(dir().make_dir(name)), ErrorCode::kInvalid);
    EXPECT_EQ(code_of(dir().rename(name, "g")), ErrorCode::kInvalid);
    EXPECT_EQ(code_of(dir().rename("f", name)), ErrorCode::kInvalid);
    EXPECT_EQ(code_of(dir().unlink(name)), ErrorCode::kInvalid);
    EXPECT_EQ(code_of(dir().lock(name, "me")), ErrorCode::kInvalid);
  }
  EXPECT_EQ(names(), std::vector<std::string>{"f"});
}

TEST_P(EnvConformance, ListingsAreSorted) {
  for (const char* name : {"b", "a", "\xff", "B", "a1"}) create(name);
  ASSERT_TRUE(dir().make_dir("c").has_value());
  EXPECT_EQ(names(), (std::vector<std::string>{"B", "a", "a1", "b", "c", "\xff"}));
}

TEST_P(EnvConformance, RenameReplacesTheTarget) {
  create("from", "new");
  const auto old = create("to", "old");
  ASSERT_TRUE(dir().rename("from", "to").has_value());
  EXPECT_EQ(names(), std::vector<std::string>{"to"});
  EXPECT_EQ(read("to"), "new");
  EXPECT_EQ(read(*old), "old") << "an open file outlives its name";
  EXPECT_EQ(code_of(dir().rename("from", "to")), ErrorCode::kNotFound);
  EXPECT_TRUE(dir().rename("to", "to").has_value());
  EXPECT_EQ(read("to"), "new");
}

TEST_P(EnvConformance, RenameMovesBetweenDirectories) {
  create("f", "content");
  ASSERT_TRUE(dir().make_dir("sub").has_value());
  const auto sub = dir().open_dir("sub");
  ASSERT_TRUE(sub.has_value()) << sub.error().message;
  ASSERT_TRUE(dir().rename_into("f", **sub, "g").has_value());
  EXPECT_EQ(names(), std::vector<std::string>{"sub"});
  EXPECT_EQ((*sub)->list().value(), std::vector<std::string>{"g"});
  EXPECT_TRUE((*sub)->sync().has_value());
  EXPECT_EQ((*sub)->path(), dir().path() + "/sub");
}

TEST_P(EnvConformance, FilesAndDirectoriesAreNotMixedUp) {
  create("f");
  ASSERT_TRUE(dir().make_dir("d").has_value());
  EXPECT_EQ(code_of(dir().make_dir("d")), ErrorCode::kExists);
  EXPECT_EQ(code_of(dir().make_dir("f")), ErrorCode::kExists);
  EXPECT_EQ(code_of(dir().open_dir("f")), ErrorCode::kNotDirectory);
  EXPECT_EQ(code_of(dir().open_dir("missing")), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(dir().open("d", {.mode = OpenMode::kReadWrite})), ErrorCode::kInvalid);
  EXPECT_EQ(code_of(dir().unlink("d")), ErrorCode::kIsDirectory);
  EXPECT_EQ(code_of(dir().rename("f", "d")), ErrorCode::kIsDirectory);
  EXPECT_EQ(code_of(dir().rename("d", "f")), ErrorCode::kNotDirectory);
  EXPECT_EQ(code_of(dir().lock("d", "me")), ErrorCode::kInvalid);
}

TEST_P(EnvConformance, UnlinkedFilesLiveUntilTheyAreClosed) {
  const auto file = create("f", "content");
  ASSERT_TRUE(dir().unlink("f").has_value());
  EXPECT_EQ(code_of(dir().unlink("f")), ErrorCode::kNotFound);
  EXPECT_TRUE(names().empty());
  EXPECT_EQ(read(*file), "content");
  ASSERT_TRUE(file->pwrite(0, "CONTENT").has_value());
  EXPECT_EQ(read(*file), "CONTENT");
}

TEST_P(EnvConformance, ASecondLockIsRefusedWithTheOwnersText) {
  auto lock = dir().lock("lock", "pid 123, mounted on /mnt");
  ASSERT_TRUE(lock.has_value()) << lock.error().message;
  EXPECT_EQ(read("lock"), "pid 123, mounted on /mnt\n");
  const auto second = dir().lock("lock", "me");
  EXPECT_EQ(code_of(second), ErrorCode::kBusy);
  EXPECT_NE(second.error().message.find("in use by pid 123, mounted on /mnt"), std::string::npos)
      << second.error().message;
  lock->reset();
  EXPECT_TRUE(dir().lock("lock", "me").has_value());
  EXPECT_EQ(read("lock"), "me\n") << "a shorter text leaves nothing of the longer one";
}

TEST_P(EnvConformance, PathsOpenDirectoriesOnly) {
  create("f");
  ASSERT_TRUE(env().make_dir(world_->path() + "/d").has_value());
  EXPECT_TRUE(env().open_dir(world_->path() + "/d").has_value());
  EXPECT_EQ(code_of(env().make_dir(world_->path() + "/d")), ErrorCode::kExists);
  EXPECT_EQ(code_of(env().make_dir(world_->path() + "/x/y")), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(env().open_dir(world_->path() + "/f")), ErrorCode::kNotDirectory);
  EXPECT_EQ(code_of(env().open_dir(world_->path() + "/x")), ErrorCode::kNotFound);
}

TEST_P(EnvConformance, SpaceIsSaneAndTimeGoesForward) {
  const auto space = dir().space();
  ASSERT_TRUE(space.has_value()) << space.error().message;
  EXPECT_GT(space->total, 0U);
  EXPECT_LE(space->available, space->total);
  EXPECT_GT(env().now().seconds, 1'600'000'000);
  EXPECT_LT(env().now().nanoseconds, 1'000'000'000U);
  const uint64_t before = env().monotonic_ms();
  EXPECT_GE(env().monotonic_ms(), before);
  EXPECT_NE(env().random(), env().random());
}

// Lets jobs report, and the test wait for them.
struct Board {
  Mutex mutex;
  CondVar changed;
  std::vector<int> notes GUARDED_BY(mutex);

  void add(int note) {
    const MutexLock lock(mutex);
    notes.push_back(note);
    changed.notify_all();
  }
  void wait_for(Executor& executor, size_t count) {
    const MutexLock lock(mutex);
    executor.wait(mutex, changed, [this, count] {
      mutex.assert_held();
      return notes.size() >= count;
    });
  }
};

TEST_P(EnvConformance, EveryJobRunsOnceAndNotInsideSubmit) {
  Executor& executor = env().executor();
  Board board;
  constexpr int kJobs = 50;
  {
    const MutexLock lock(board.mutex);  // a job run inside submit() would never get it
    for (int i = 0; i < kJobs; ++i) executor.submit([&board, i] { board.add(i); });
  }
  board.wait_for(executor, kJobs);
  const MutexLock lock(board.mutex);
  std::sort(board.notes.begin(), board.notes.end());
  for (int i = 0; i < kJobs; ++i) EXPECT_EQ(board.notes[static_cast<size_t>(i)], i);
}

TEST_P(EnvConformance, TimersWaitForTheirTime) {
  Executor& executor = env().executor();
  Board board;
  const uint64_t start = env().monotonic_ms();
  uint64_t fired = 0;
  executor.submit_after(std::chrono::milliseconds(20), [&] {
    fired = env().monotonic_ms();
    board.add(1);
  });
  board.wait_for(executor, 1);
  EXPECT_GE(fired + 1, start + 20);
}

TEST_P(EnvConformance, JobsMayWaitForEachOther) {
  Executor& executor = env().executor();
  Board first;
  Board second;
  Board done;
  for (int i = 0; i < 8; ++i) {
    executor.submit([&] {  // wants what the other kind makes, which in turn waits for this one
      first.add(1);
      second.wait_for(executor, 8);
      done.add(1);
    });
    executor.submit([&] {
      first.wait_for(executor, 8);
      second.add(1);
    });
  }
  done.wait_for(executor, 8);
}

TEST_P(EnvConformance, WaitReturnsAtOnceIfReady) {
  Mutex mutex;
  CondVar cond;
  const MutexLock lock(mutex);
  env().executor().wait(mutex, cond, [] { return true; });
}

INSTANTIATE_TEST_SUITE_P(Posix, EnvConformance,
                         testing::Values([]() -> std::unique_ptr<World> { return std::make_unique<PosixWorld>(); }));
INSTANTIATE_TEST_SUITE_P(Sim, EnvConformance, testing::Values([]() -> std::unique_ptr<World> {
                           return std::make_unique<SimulatedWorld>();
                         }));

}  // namespace
}  // namespace cairn::io
