#include "index/block_cache.h"

#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace cairn::index {
namespace {

TEST(BlockCache, FindsWhatWasInserted) {
  BlockCache cache(1 << 20);
  EXPECT_EQ(cache.find(1, 0), nullptr);
  cache.insert(1, 0, "one");
  cache.insert(1, 8192, "two");
  cache.insert(2, 0, "other");
  EXPECT_EQ(*cache.find(1, 0), "one");
  EXPECT_EQ(*cache.find(1, 8192), "two");
  EXPECT_EQ(*cache.find(2, 0), "other");
}

TEST(BlockCache, KeepsTheFirstOfTwoInserts) {
  BlockCache cache(1 << 20);
  const auto first = cache.insert(1, 0, "x");
  EXPECT_EQ(cache.insert(1, 0, "x"), first);
}

TEST(BlockCache, NeverExceedsItsCapacityAndLeavesPinnedBlocksAlive) {
  for (const size_t capacity : {size_t{100000}, size_t{10} << 20}) {
    BlockCache cache(capacity);
    const auto pinned = cache.insert(1, 0, Bytes(8192, 'p'));
    for (uint64_t i = 1; i < 4000; ++i) {
      cache.insert(1, i * 8192, Bytes(8192, 'x'));
      ASSERT_LE(cache.bytes(), capacity);
    }
    EXPECT_GT(cache.bytes(), capacity * 3 / 4);
    EXPECT_EQ(*pinned, Bytes(8192, 'p'));
  }
}

TEST(BlockCache, GivesBackWhatIsTooLargeToKeep) {
  BlockCache cache(1000);
  EXPECT_EQ(cache.insert(1, 0, Bytes(2000, 'x'))->size(), 2000u);
  EXPECT_EQ(cache.find(1, 0), nullptr);
}

TEST(BlockCache, ErasesTheBlocksOfOneOwnerOnly) {
  BlockCache cache(64 << 20);
  for (uint64_t i = 0; i < 200; ++i) {
    cache.insert(1, i, "a");
    cache.insert(2, i, "b");
  }
  cache.erase_owner(1);
  for (uint64_t i = 0; i < 200; ++i) {
    ASSERT_EQ(cache.find(1, i), nullptr);
    ASSERT_NE(cache.find(2, i), nullptr);
  }
}

TEST(BlockCache, OwnersAreNeverReused) {
  BlockCache cache(1000);
  const uint64_t first = cache.next_owner();
  cache.erase_owner(first);
  EXPECT_NE(cache.next_owner(), first);
}

TEST(BlockCache, ManyThreadsFindOnlyRightBlocks) {
  BlockCache cache(200000);
  std::vector<std::thread> threads;
  for (uint64_t thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&cache, thread] {
      for (uint64_t i = 0; i < 3000; ++i) {
        const uint64_t offset = (i * 31 + thread) % 100;
        auto block = cache.find(1, offset);
        if (block == nullptr) block = cache.insert(1, offset, Bytes(4000, static_cast<char>(offset)));
        ASSERT_EQ(block->back(), static_cast<char>(offset));
        if (i % 500 == 0) cache.erase_owner(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace cairn::index
