// Values with a segment of their own: written and read by real threads, and of sizes around every limit.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <map>
#include <string>
#include <thread>

#include <fmt/format.h>

#include "cairn/store.h"
#include "io/sim_env.h"

namespace cairn {
namespace {

// A reader that took its version before the value was written finds the record in the memtable all the same.
TEST(StoreExtents, AreReadWhileTheyAreReplaced) {
  const auto path = std::filesystem::temp_directory_path() / fmt::format("cairn-extents-{}", getpid());
  std::filesystem::remove_all(path);
  StoreGeometry geometry;
  geometry.segment_size = 64 << 10;
  ASSERT_TRUE(make_store(path, geometry, false).has_value());
  auto opened = Store::open(path, Options{});
  ASSERT_TRUE(opened.has_value()) << opened.error().message;
  Store& store = **opened;
  const std::string large(9000, 'v');
  std::atomic<bool> stop = false;
  const auto put = [&] {
    WriteBatch batch;
    batch.put("key", large);
    const auto done = store.write(batch, Durability::kNone);
    ASSERT_TRUE(done.has_value()) << done.error().message;
  };
  put();
  std::thread reader([&] {
    while (!stop) {
      const auto got = store.get("key");
      ASSERT_TRUE(got.has_value()) << got.error().message;
      ASSERT_EQ(got->size(), large.size());
    }
  });
  for (int i = 0; i < 300; ++i) put();
  stop = true;
  reader.join();
  EXPECT_EQ(store.stats().corrupt_reads, 0u);
  const auto closed = store.close();
  EXPECT_TRUE(closed.has_value()) << closed.error().message;
  std::filesystem::remove_all(path);
}

TEST(StoreExtents, ValuesOfSizesAroundEveryLimitReadBackAfterACrash) {
  constexpr size_t kSegment = 64 << 10;
  io::SimEnv env(1);
  StoreGeometry geometry;
  geometry.segment_size = kSegment;
  geometry.chunk_size = 4096;
  geometry.compression = "none";
  ASSERT_TRUE(make_store(env, "/store", geometry, false).has_value());
  std::map<std::string, std::string> values;
  {
    auto store = Store::open(env, "/store", Options{});
    ASSERT_TRUE(store.has_value()) << store.error().message;
    for (const size_t limit : {size_t{256}, kSegment / 8, kSegment / 4, kSegment, size_t{1} << 20}) {
      for (const size_t size : {limit - 1, limit, limit + 1, 2 * limit, 2 * limit + 1}) {
        const auto key = fmt::format("{} bytes", size);
        for (size_t i = 0; values[key].size() < size; ++i) values[key] += fmt::format("{}:{} ", size, i);
        values[key].resize(size);
        WriteBatch batch;
        batch.put(key, values[key]);
        const auto done = (*store)->write(batch, Durability::kSync);
        ASSERT_TRUE(done.has_value()) << size << ": " << done.error().message;
      }
    }
    io::SimEnv survivor = env.crash(io::kAllLost);
    store->reset();
    env = std::move(survivor);
  }
  auto store = Store::open(env, "/store", Options{});
  ASSERT_TRUE(store.has_value()) << store.error().message;
  for (const auto& [key, value] : values) {
    const auto got = (*store)->get(key);
    ASSERT_TRUE(got.has_value()) << key << ": " << got.error().message;
    EXPECT_TRUE(got->view() == value) << key;
  }
}

}  // namespace
}  // namespace cairn
