#include "io/file_cache.h"

#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "support/memory_file.h"

namespace cairn::io {
namespace {

// Opens files whose content is their name and how often it was opened; counts what is open.
class CountingDirectory final : public Directory {
 public:
  Result<std::unique_ptr<File>> open(std::string_view name, OpenOptions) const override {
    if (name == "missing") return fail(ErrorCode::kNotFound);
    if (while_opening) while_opening();
    opened.fetch_add(1);
    return std::make_unique<CountedFile>(*this, fmt::format("{} {}", name, generation));
  }
  Result<std::unique_ptr<Directory>> open_dir(std::string_view) const override { return fail(ErrorCode::kUnsupported); }
  Result<void> make_dir(std::string_view) override { return fail(ErrorCode::kUnsupported); }
  Result<void> rename(std::string_view, std::string_view) override { return fail(ErrorCode::kUnsupported); }
  Result<void> rename_into(std::string_view, Directory&, std::string_view) override {
    return fail(ErrorCode::kUnsupported);
  }
  Result<void> unlink(std::string_view) override { return fail(ErrorCode::kUnsupported); }
  Result<std::vector<std::string>> list() const override { return fail(ErrorCode::kUnsupported); }
  Result<void> sync() override { return fail(ErrorCode::kUnsupported); }
  Result<std::unique_ptr<FileLock>> lock(std::string_view, std::string_view) override {
    return fail(ErrorCode::kUnsupported);
  }
  Result<Space> space() const override { return fail(ErrorCode::kUnsupported); }
  const std::string& path() const override { return path_; }

  mutable std::atomic<int> opened{0};
  mutable std::atomic<int> open_now{0};
  int generation = 0;
  std::function<void()> while_opening;

 private:
  class CountedFile final : public test::MemoryFile {
   public:
    CountedFile(const CountingDirectory& directory, Bytes bytes) : MemoryFile(std::move(bytes)), directory_(directory) {
      directory_.open_now.fetch_add(1);
    }
    ~CountedFile() override { directory_.open_now.fetch_sub(1); }

   private:
    const CountingDirectory& directory_;
  };
  std::string path_ = "test";
};

Bytes content(const File& file) {
  Bytes bytes(100, '\0');
  bytes.resize(file.pread(0, bytes).value());
  return bytes;
}

TEST(FileCache, OpensAFileOnceAndSharesIt) {
  const CountingDirectory directory;
  FileCache cache;
  const auto first = cache.open(directory, "a").value();
  EXPECT_EQ(cache.open(directory, "a").value(), first);
  EXPECT_EQ(content(*cache.open(directory, "b").value()), "b 0");
  EXPECT_EQ(directory.opened, 2);
}

TEST(FileCache, KeepsDirectoriesAndKindsOfIoApart) {
  const CountingDirectory one;
  const CountingDirectory two;
  FileCache cache;
  const auto file = cache.open(one, "a").value();
  EXPECT_NE(cache.open(two, "a").value(), file);
  OpenOptions direct;
  direct.direct = true;
  EXPECT_NE(cache.open(one, "a", direct).value(), file);
}

TEST(FileCache, KeepsAtMostItsCapacityOpen) {
  const CountingDirectory directory;
  FileCache cache(10);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(cache.open(directory, fmt::format("{}", i)));
    ASSERT_LE(directory.open_now, 10);
  }
  EXPECT_EQ(cache.open_files(), 10u);
}

TEST(FileCache, AFileInUseStaysOpenWhenItIsEvictedOrForgotten) {
  const CountingDirectory directory;
  FileCache cache(1);
  const auto a = cache.open(directory, "a").value();
  const auto b = cache.open(directory, "b").value();
  cache.forget("b");
  EXPECT_EQ(content(*a), "a 0");
  EXPECT_EQ(content(*b), "b 0");
  EXPECT_EQ(directory.open_now, 2);
}

TEST(FileCache, AForgottenNameIsOpenedAgain) {
  CountingDirectory directory;
  FileCache cache;
  ASSERT_TRUE(cache.open(directory, "a"));
  ASSERT_TRUE(cache.open(directory, "b"));
  directory.generation = 1;
  cache.forget("a");
  EXPECT_EQ(content(*cache.open(directory, "a").value()), "a 1");
  EXPECT_EQ(content(*cache.open(directory, "b").value()), "b 0");
}

TEST(FileCache, AFileThatWasForgottenWhileItWasOpenedIsNotKept) {
  CountingDirectory directory;
  FileCache cache;
  directory.while_opening = [&cache] { cache.forget("a"); };
  EXPECT_EQ(content(*cache.open(directory, "a").value()), "a 0");
  directory.while_opening = nullptr;
  directory.generation = 1;
  EXPECT_EQ(content(*cache.open(directory, "a").value()), "a 1");
}

TEST(FileCache, ReturnsErrorsAndDoesNotRememberThem) {
  const CountingDirectory directory;
  FileCache cache;
  EXPECT_EQ(cache.open(directory, "missing").error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(cache.open_files(), 0u);
}

TEST(FileCache, ManyThreadsGetOnlyRightFiles) {
  const CountingDirectory directory;
  {
    FileCache cache(5);
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 3; ++thread) {
      threads.emplace_back([&cache, &directory, thread] {
        for (int i = 0; i < 2000; ++i) {
          const std::string name = fmt::format("{}", (i * 7 + thread) % 12);
          ASSERT_EQ(content(*cache.open(directory, name).value()), name + " 0");
          if (i % 50 == 0) cache.forget(name);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_LE(directory.open_now, 5);
  }
  EXPECT_EQ(directory.open_now, 0);
}

}  // namespace
}  // namespace cairn::io
