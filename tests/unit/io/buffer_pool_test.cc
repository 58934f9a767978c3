#include "io/buffer_pool.h"

#include <cstring>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "io/env.h"

namespace cairn::io {
namespace {

constexpr size_t kSmallest = BufferPool::kSmallest;

TEST(BufferPool, GivesAlignedMemoryThatIsRecycled) {
  const auto pool = std::make_shared<BufferPool>();
  char* first = nullptr;
  {
    const auto buffer = *pool->take(kSmallest + 1);
    first = buffer.get();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % kBlockSize, 0u);
    std::memset(first, 'x', kSmallest + 1);
    EXPECT_NE(pool->take(kSmallest + 1)->get(), first) << "in use";
  }
  EXPECT_EQ(pool->idle_bytes(), 2 * (kSmallest + kBlockSize));
  const auto a = *pool->take(kSmallest);
  const auto b = *pool->take(kSmallest);
  EXPECT_TRUE(a.get() == first || b.get() == first);
  EXPECT_EQ(pool->idle_bytes(), 0u);
}

TEST(BufferPool, DoesNotGiveALargeBufferForASmallValue) {
  const auto pool = std::make_shared<BufferPool>();
  { const auto large = *pool->take(2 * kSmallest); }
  const auto small = *pool->take(kSmallest);
  EXPECT_EQ(pool->idle_bytes(), 2 * kSmallest);
}

TEST(BufferPool, KeepsABoundedNumberOfBytesIdle) {
  const auto pool = std::make_shared<BufferPool>();
  for (const size_t size : {kSmallest, 16 * kSmallest, 2 * BufferPool::kIdleBytes}) {
    std::vector<std::shared_ptr<char[]>> out;
    for (size_t bytes = 0; bytes < 3 * BufferPool::kIdleBytes; bytes += size) out.push_back(*pool->take(size));
    out.clear();
    EXPECT_LE(pool->idle_bytes(), BufferPool::kIdleBytes);
    EXPECT_GT(pool->idle_bytes(), BufferPool::kIdleBytes - 16 * kSmallest);
  }
}

TEST(BufferPool, WhatIsLongerThanMemoryIsAnError) {
  const auto pool = std::make_shared<BufferPool>();
  for (const uint64_t size : {uint64_t{1} << 60, UINT64_MAX}) {
    const auto refused = pool->take(size);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::kOutOfMemory);
  }
}

TEST(BufferPool, BuffersOutliveEveryOtherOwner) {
  auto pool = std::make_shared<BufferPool>();
  const auto buffer = *pool->take(kSmallest);
  pool.reset();
  std::memset(buffer.get(), 'x', kSmallest);
}

TEST(BufferPool, NoTwoThreadsHaveOneBuffer) {
  const auto pool = std::make_shared<BufferPool>();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&pool, t] {
      for (size_t i = 0; i < 2000; ++i) {
        const size_t size = kSmallest + i % 7 * kBlockSize;
        const auto buffer = *pool->take(size);
        std::memset(buffer.get(), t, 64);
        std::this_thread::yield();
        for (int at = 0; at < 64; ++at) ASSERT_EQ(buffer[at], t);
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace cairn::io
