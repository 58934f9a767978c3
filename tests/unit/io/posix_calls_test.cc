// PosixEnv over a system that answers in the ways its man pages allow: less than asked, interrupted, or an error.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "io/env.h"

namespace {

// What the calls below do: each takes one off `interrupts` first, and then moves at most `most` bytes.
struct System {
  int interrupts = 0;
  size_t most = SIZE_MAX;  // bytes per call
  int err = 0;             // after `before_error` more calls
  int before_error = 0;
  int calls = 0;
};
thread_local System system_now;

// 0, or the errno to answer with.
int trouble() {
  ++system_now.calls;
  if (system_now.interrupts > 0) {
    --system_now.interrupts;
    return EINTR;
  }
  if (system_now.err != 0 && system_now.before_error-- == 0) return system_now.err;
  return 0;
}

template <class Call>
auto answer(Call call) -> decltype(call()) {
  if (const int err = trouble(); err != 0) {
    errno = err;
    return -1;
  }
  return call();
}

}  // namespace

// These stand in for the C library's, in this executable.
extern "C" {
ssize_t pread64(int fd, void* buffer, size_t size, off64_t offset) {
  return answer([&]() -> ssize_t { return syscall(SYS_pread64, fd, buffer, std::min(size, system_now.most), offset); });
}
ssize_t preadv64(int fd, const iovec* buffers, int count, off64_t offset) {
  return answer([&]() -> ssize_t {
    // Cut as the kernel may cut it: inside a buffer or between two.
    std::vector<iovec> some;
    size_t room = system_now.most;
    for (int i = 0; i < count && room > 0; ++i) {
      some.push_back({buffers[i].iov_base, std::min(buffers[i].iov_len, room)});
      room -= some.back().iov_len;
    }
    return syscall(SYS_preadv, fd, some.data(), some.size(), offset, 0);
  });
}
ssize_t pwrite64(int fd, const void* buffer, size_t size, off64_t offset) {
  return answer(
      [&]() -> ssize_t { return syscall(SYS_pwrite64, fd, buffer, std::min(size, system_now.most), offset); });
}
int fdatasync(int fd) {
  return answer([&]() -> int { return static_cast<int>(syscall(SYS_fdatasync, fd)); });
}
int ftruncate64(int fd, off64_t size) noexcept {
  return answer([&]() -> int { return static_cast<int>(syscall(SYS_ftruncate, fd, size)); });
}
int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
  return answer([&]() -> int { return static_cast<int>(syscall(SYS_fallocate, fd, mode, offset, length)); });
}
}

namespace cairn::io {
namespace {

class PosixCalls : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = std::filesystem::temp_directory_path() / "cairn-calls-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
    auto directory = posix_env().open_dir(path_);
    ASSERT_TRUE(directory.has_value());
    directory_ = std::move(*directory);
    auto file = directory_->open("file", {OpenMode::kCreate, false});
    ASSERT_TRUE(file.has_value());
    file_ = std::move(*file);
  }
  void TearDown() override {
    system_now = {};
    std::filesystem::remove_all(path_);
  }

  std::string path_;
  std::unique_ptr<Directory> directory_;
  std::unique_ptr<File> file_;
};

const std::string kText = "what is written comes back whole, however little the system takes at a time";

TEST_F(PosixCalls, ShortReadsAndWritesAndInterruptionsAreNotSeen) {
  for (const size_t most : {size_t{1}, size_t{7}, kText.size()}) {
    system_now = {.interrupts = 3, .most = most};
    ASSERT_TRUE(file_->pwrite(5, kText).has_value());
    EXPECT_GE(static_cast<size_t>(system_now.calls), 3 + (kText.size() + most - 1) / most) << "the stand-ins were used";
    system_now = {.interrupts = 3, .most = most};
    std::string back(kText.size() + 10, '?');
    const auto got = file_->pread(5, back);
    ASSERT_TRUE(got.has_value());
    EXPECT_EQ(back.substr(0, *got), kText);
    system_now = {.interrupts = 3, .most = most};
    std::string first(7, '?'), second(1, '?'), rest(kText.size() + 10, '?');
    const std::vector<std::span<char>> buffers = {first, second, {}, rest};
    const auto scattered = file_->preadv(5, buffers);
    ASSERT_TRUE(scattered.has_value());
    EXPECT_EQ((first + second + rest).substr(0, *scattered), kText);
  }
  for (const auto& call : {+[](File& f) { return f.sync(); }, +[](File& f) { return f.truncate(3); },
                           +[](File& f) { return f.allocate(0, 4096); }}) {
    system_now = {.interrupts = 2};
    EXPECT_TRUE(call(*file_).has_value());
    EXPECT_EQ(system_now.calls, 3);
  }
}

TEST_F(PosixCalls, AnErrorAfterAPartIsAnErrorAndNoShortSuccess) {
  for (const int err : {EIO, ENOSPC, EDQUOT, EFBIG, EPERM, EINVAL, EAGAIN}) {
    system_now = {.most = 10, .err = err, .before_error = 3};
    const auto written = file_->pwrite(0, kText);
    ASSERT_FALSE(written.has_value()) << err;
    EXPECT_EQ(written.error().os_errno, err);
    system_now = {};
    ASSERT_TRUE(file_->pwrite(0, kText).has_value());
    system_now = {.most = 10, .err = err, .before_error = 3};
    std::string back(kText.size(), '?');
    const auto got = file_->pread(0, back);
    ASSERT_FALSE(got.has_value()) << "an error is taken for the end of the file";
    EXPECT_EQ(got.error().os_errno, err);
    system_now = {.most = 10, .err = err, .before_error = 3};
    const std::vector<std::span<char>> buffers = {std::span(back).first(25), std::span(back).subspan(25)};
    const auto scattered = file_->preadv(0, buffers);
    ASSERT_FALSE(scattered.has_value()) << "an error is taken for the end of the file";
    EXPECT_EQ(scattered.error().os_errno, err);
  }
}

TEST_F(PosixCalls, AWriteThatTakesNothingIsAnErrorAndNotARepetitionForEver) {
  system_now = {.most = 0};
  const auto written = file_->pwrite(0, kText);
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().code, ErrorCode::kIo);
}

TEST_F(PosixCalls, AFailedSyncIsNotRepeated) {
  for (const int err : {EIO, ENOSPC, EROFS, EDQUOT}) {
    system_now = {.err = err};
    const auto synced = file_->sync();
    ASSERT_FALSE(synced.has_value());
    EXPECT_EQ(synced.error().os_errno, err);
    EXPECT_EQ(system_now.calls, 1) << "a second fdatasync would succeed without the pages that the first lost";
  }
}

}  // namespace
}  // namespace cairn::io
