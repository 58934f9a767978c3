#include "cache/chunk_cache.h"

#include <thread>

#include <gtest/gtest.h>

namespace cairn::cache {
namespace {

TEST(ChunkCache, FindsWhatWasInserted) {
  ChunkCache cache(1 << 20);
  EXPECT_FALSE(cache.find(SeqNo(1)));
  cache.insert(SeqNo(1), Value::own("one"));
  cache.insert(SeqNo(2), Value::own("two"));
  EXPECT_EQ(cache.find(SeqNo(1))->view(), "one");
  EXPECT_EQ(cache.find(SeqNo(2))->view(), "two");
}

TEST(ChunkCache, NeverExceedsItsCapacityAndLeavesPinnedValuesAlive) {
  for (const size_t capacity : {size_t{1} << 20, size_t{64} << 20}) {
    ChunkCache cache(capacity);
    cache.insert(SeqNo(1), Value::own(Bytes(128 << 10, 'p')));
    const Value pinned = *cache.find(SeqNo(1));
    for (uint64_t seq = 2; seq < 1200; ++seq) {
      cache.insert(SeqNo(seq), Value::own(Bytes(128 << 10, 'x')));
      ASSERT_LE(cache.bytes(), capacity);
    }
    EXPECT_GT(cache.bytes(), capacity / 2);
    EXPECT_EQ(pinned.view(), Bytes(128 << 10, 'p'));
  }
}

TEST(ChunkCache, WithoutRoomKeepsNothing) {
  ChunkCache cache(0);
  cache.insert(SeqNo(1), Value::own("one"));
  EXPECT_FALSE(cache.find(SeqNo(1)));
  EXPECT_EQ(cache.bytes(), 0u);
}

TEST(ChunkCache, WhatIsReadAgainSurvivesOneLongRead) {
  ChunkCache cache(1 << 20);
  const auto hot = [](uint64_t seq) { return SeqNo(1000000 + seq); };
  for (uint64_t seq = 0; seq < 20; ++seq) cache.insert(hot(seq), Value::own(Bytes(10000, 'h')));
  for (uint64_t seq = 1; seq < 2000; ++seq) {
    cache.insert(SeqNo(seq), Value::own(Bytes(10000, 'x')));
    ASSERT_TRUE(cache.find(hot(seq % 20)));
  }
}

TEST(ChunkCache, ManyThreadsFindOnlyRightValues) {
  ChunkCache cache(200000);
  std::vector<std::thread> threads;
  for (uint64_t thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&cache, thread] {
      for (uint64_t i = 0; i < 3000; ++i) {
        const uint64_t seq = 1 + (i * 31 + thread) % 100;
        if (const auto value = cache.find(SeqNo(seq))) {
          ASSERT_EQ(value->view().back(), static_cast<char>(seq));
        } else {
          cache.insert(SeqNo(seq), Value::own(Bytes(4000, static_cast<char>(seq))));
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace cairn::cache
