// What only the real Env can show: modes, links, owners, processes and threads.
#include "io/posix_env.h"

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/os_error.h"

namespace cairn::io {
namespace {

class PosixEnvTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string path = testing::TempDir() + "cairn-io-XXXXXX";
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    root_ = path;
    auto dir = posix_env().open_dir(path);
    ASSERT_TRUE(dir.has_value()) << dir.error().message;
    dir_ = std::move(*dir);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void put(const std::string& name, const std::string& text) const { std::ofstream(root_ / name) << text; }
  mode_t mode_of(const std::string& name) const {
    struct stat st = {};
    EXPECT_EQ(::stat((root_ / name).c_str(), &st), 0);
    return st.st_mode & 07777;
  }
  Error open_error(const std::string& name) const {
    auto file = dir_->open(name, {.mode = OpenMode::kReadWrite});
    EXPECT_FALSE(file.has_value());
    return file ? Error() : file.error();
  }

  std::filesystem::path root_;
  std::unique_ptr<Directory> dir_;
};

TEST_F(PosixEnvTest, ModesDoNotDependOnTheUmask) {
  for (const mode_t mask : {0000U, 0077U, 0777U}) {
    const mode_t before = ::umask(mask);
    const std::string suffix = std::to_string(mask);
    EXPECT_TRUE(dir_->open("file" + suffix, {.mode = OpenMode::kCreate}).has_value());
    EXPECT_TRUE(dir_->make_dir("dir" + suffix).has_value());
    EXPECT_TRUE(posix_env().make_dir((root_ / ("top" + suffix)).string()).has_value());
    EXPECT_TRUE(dir_->lock("lock" + suffix, "me").has_value());
    ::umask(before);
    EXPECT_EQ(mode_of("file" + suffix), 0600U);
    EXPECT_EQ(mode_of("lock" + suffix), 0600U);
    EXPECT_EQ(mode_of("dir" + suffix), 0700U);
    EXPECT_EQ(mode_of("top" + suffix), 0700U);
  }
}

TEST_F(PosixEnvTest, WhatRootMakesInSomebodysDirectoryIsTheirs) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  constexpr uid_t kUser = 65534;
  constexpr gid_t kGroup = 65533;
  ASSERT_EQ(::chown(root_.c_str(), kUser, kGroup), 0);
  EXPECT_TRUE(dir_->open("file", {.mode = OpenMode::kCreate}).has_value());
  EXPECT_TRUE(dir_->make_dir("dir").has_value());
  EXPECT_TRUE(dir_->lock("lock", "me").has_value());
  put("roots", "made before by somebody who did not do so");
  EXPECT_TRUE(dir_->lock("roots", "me").has_value());
  for (const char* name : {"file", "dir", "lock", "roots"}) {
    struct stat st = {};
    ASSERT_EQ(::stat((root_ / name).c_str(), &st), 0) << name;
    EXPECT_EQ(st.st_uid, kUser) << name;
    EXPECT_EQ(st.st_gid, kGroup) << name;
  }
}

TEST_F(PosixEnvTest, NothingButARegularFileWithOneLinkIsOpened) {
  put("file", "content");
  std::filesystem::create_symlink("file", root_ / "symlink");
  std::filesystem::create_hard_link(root_ / "file", root_ / "hardlink");
  std::filesystem::create_directory(root_ / "subdir");
  ASSERT_EQ(::mkfifo((root_ / "fifo").c_str(), 0600), 0);
  for (const char* name : {"symlink", "hardlink", "file", "subdir", "fifo"}) {
    EXPECT_EQ(open_error(name).code, ErrorCode::kInvalid) << name;
    EXPECT_FALSE(dir_->open(name, {.mode = OpenMode::kRead}).has_value()) << name;
    EXPECT_FALSE(dir_->lock(name, "me").has_value()) << name;
  }
}

TEST_F(PosixEnvTest, SubdirectoriesAreNotOpenedThroughLinks) {
  std::filesystem::create_directory(root_ / "real");
  std::filesystem::create_directory_symlink("real", root_ / "link");
  EXPECT_TRUE(dir_->open_dir("real").has_value());
  auto linked = dir_->open_dir("link");
  ASSERT_FALSE(linked.has_value());
  EXPECT_EQ(linked.error().code, ErrorCode::kNotDirectory);
}

TEST_F(PosixEnvTest, AFileOfAnotherUserIsRefusedUnlessWeAreRoot) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to give a file away";
  constexpr uid_t kNobody = 65534;
  constexpr uid_t kOther = 65533;
  put("theirs", "content");
  std::filesystem::permissions(root_, std::filesystem::perms::all);
  ASSERT_EQ(::chmod((root_ / "theirs").c_str(), 0666), 0);
  ASSERT_EQ(::chown((root_ / "theirs").c_str(), kOther, kOther), 0);
  EXPECT_TRUE(dir_->open("theirs", {.mode = OpenMode::kReadWrite}).has_value());
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (::setresuid(kNobody, kNobody, kNobody) != 0) ::_exit(2);
    auto file = dir_->open("theirs", {.mode = OpenMode::kReadWrite});
    ::_exit(!file && file.error().code == ErrorCode::kInvalid ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(PosixEnvTest, ADirectoryStaysTheSameWhenItsPathIsReplaced) {
  put("here", "old");
  const std::filesystem::path moved = root_.string() + "-moved";
  std::filesystem::rename(root_, moved);
  std::filesystem::create_directory(root_);
  auto names = dir_->list();
  ASSERT_TRUE(names.has_value());
  EXPECT_EQ(*names, std::vector<std::string>{"here"});
  std::filesystem::remove_all(moved);
}

TEST_F(PosixEnvTest, DescriptorsDoNotSurviveExec) {
  auto file = dir_->open("file", {.mode = OpenMode::kCreate});
  auto lock = dir_->lock("lock", "me");
  ASSERT_TRUE(file.has_value() && lock.has_value());
  size_t ours = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code ignored;
    const std::string target = std::filesystem::read_symlink(entry.path(), ignored).string();
    if (target.rfind(root_.string(), 0) != 0) continue;
    ++ours;
    EXPECT_NE(::fcntl(std::stoi(entry.path().filename().string()), F_GETFD) & FD_CLOEXEC, 0) << target;
  }
  EXPECT_EQ(ours, 4U);  // directory, file, lock, and the directory once more, locked
}

TEST_F(PosixEnvTest, TheLockHoldsWhenItsFileIsRemovedOrReplaced) {
  auto lock = dir_->lock("lock", "me");
  ASSERT_TRUE(lock.has_value());
  std::filesystem::remove(root_ / "lock");
  EXPECT_EQ(dir_->lock("lock", "second").error().code, ErrorCode::kBusy);
  put("lock", "left over, they thought");
  EXPECT_EQ(dir_->lock("lock", "second").error().code, ErrorCode::kBusy);
  lock->reset();
  EXPECT_TRUE(dir_->lock("lock", "second").has_value());
}

TEST_F(PosixEnvTest, TheLockGoesWithTheProcessThatHoldsIt) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto lock = dir_->lock("lock", "pid 123, mounted on /mnt");
    const char answer = lock ? 'y' : 'n';
    if (::write(ready[1], &answer, 1) != 1) ::_exit(2);
    for (;;) ::pause();
  }
  char answer = 0;
  ASSERT_EQ(::read(ready[0], &answer, 1), 1);
  ASSERT_EQ(answer, 'y');
  auto refused = dir_->lock("lock", "second");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kBusy);
  EXPECT_NE(refused.error().message.find("pid 123, mounted on /mnt"), std::string::npos) << refused.error().message;
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(dir_->lock("lock", "third").has_value());
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(PosixEnvTest, AHostileOwnerTextIsPrintedEscaped) {
  auto lock = dir_->lock("lock", "\x1b[2Jevil");
  ASSERT_TRUE(lock.has_value());
  const Error error = dir_->lock("lock", "me").error();
  EXPECT_NE(error.message.find("\\x1b[2Jevil"), std::string::npos) << error.message;
}

TEST_F(PosixEnvTest, DirectIoReadsUpToAnUnalignedEnd) {
  put("file", std::string(5000, 'x'));
  auto file = dir_->open("file", {.mode = OpenMode::kRead, .direct = true});
  ASSERT_TRUE(file.has_value()) << file.error().message;
  void* raw = std::aligned_alloc(kBlockSize, 3 * kBlockSize);
  const std::span<char> buffer(static_cast<char*>(raw), 3 * kBlockSize);
  auto n = (*file)->pread(0, buffer);
  ASSERT_TRUE(n.has_value()) << n.error().message;
  EXPECT_EQ(*n, 5000U);
  EXPECT_EQ(buffer[4999], 'x');
  n = (*file)->pread(2 * kBlockSize, buffer.first(kBlockSize));
  ASSERT_TRUE(n.has_value()) << n.error().message;
  EXPECT_EQ(*n, 0U);
  std::free(raw);
}

TEST_F(PosixEnvTest, MessagesNameOperationFileAndReason) {
  EXPECT_EQ(open_error("missing").message,
            fmt::format("open \"missing\" in \"{}\": No such file or directory", root_.string()));
  EXPECT_EQ(quoted("a\"b\\c\n\xff"), R"("a\"b\\c\x0a\xff")");
}

TEST_F(PosixEnvTest, RandomNumbersDiffer) {
  std::set<uint64_t> seen;
  for (int i = 0; i < 100; ++i) seen.insert(posix_env().random());
  EXPECT_EQ(seen.size(), 100U);
}

// Counts calls of jobs, and lets the test wait for them.
struct Counter {
  Mutex mutex;
  CondVar changed;
  int count GUARDED_BY(mutex) = 0;

  void add() {
    const MutexLock lock(mutex);
    ++count;
    changed.notify_all();
  }
  void wait_for(int target) {
    const MutexLock lock(mutex);
    posix_env().executor().wait(mutex, changed, [this, target] {
      mutex.assert_held();
      return count >= target;
    });
  }
};

TEST(PosixExecutor, JobsThatWaitForOtherJobsDoNotBlockThePool) {
  Executor& executor = posix_env().executor();
  Counter inner;
  Counter outer;
  constexpr int kWaiters = 20;
  for (int i = 0; i < kWaiters; ++i) {
    executor.submit([&] {
      inner.wait_for(1);
      outer.add();
    });
  }
  executor.submit([&] { inner.add(); });
  outer.wait_for(kWaiters);
}

TEST(PosixExecutor, ATimerIsNotDelayedByLongJobs) {
  Executor& executor = posix_env().executor();
  Counter started;
  Counter fired;
  Counter finished;
  std::atomic<bool> release = false;
  for (int i = 0; i < 3; ++i) {
    executor.submit([&] {
      started.add();
      while (!release) std::this_thread::yield();
      finished.add();
    });
  }
  started.wait_for(3);
  for (int i = 0; i < 3; ++i) executor.submit_after(std::chrono::milliseconds(1), [&] { fired.add(); });
  fired.wait_for(3);
  release = true;
  finished.wait_for(3);
}

TEST(PosixExecutor, NoTimerFiresEarly) {
  Executor& executor = posix_env().executor();
  Counter done;
  const uint64_t start = posix_env().monotonic_ms();
  for (const uint64_t delay : {30U, 10U, 20U}) {
    executor.submit_after(std::chrono::milliseconds(delay), [&done, start, delay] {
      EXPECT_GE(posix_env().monotonic_ms() + 1, start + delay);  // 1: both are rounded down
      done.add();
    });
  }
  done.wait_for(3);
}

}  // namespace
}  // namespace cairn::io
