// Values with a segment of their own, written and read by real threads.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>

#include <fmt/format.h>

#include "cairn/store.h"

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

}  // namespace
}  // namespace cairn
