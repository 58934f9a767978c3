#include "cache/bloom.h"

#include <random>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace cairn::cache {
namespace {

double false_positives(const UnifiedFilter& filter) {
  std::mt19937_64 random(99);
  int wrong = 0;
  for (int i = 0; i < 20000; ++i) wrong += filter.may_contain(random()) ? 1 : 0;
  return wrong / 20000.0;
}

TEST(UnifiedFilter, NeverDeniesWhatWasAdded) {
  for (const uint64_t budget : {uint64_t{0}, uint64_t{1000}, uint64_t{1} << 20}) {
    UnifiedFilter filter(10000, budget);
    std::mt19937_64 random(1);
    std::vector<uint64_t> hashes(10000);
    for (uint64_t& hash : hashes) filter.add(hash = random());
    for (const uint64_t hash : hashes) ASSERT_TRUE(filter.may_contain(hash));
  }
}

TEST(UnifiedFilter, RefusesAlmostAllOthersWhenItHasItsRoom) {
  UnifiedFilter filter(100000, 1 << 20);
  EXPECT_EQ(false_positives(filter), 0.0);
  std::mt19937_64 random(1);
  for (int i = 0; i < 100000; ++i) filter.add(random());
  EXPECT_LT(false_positives(filter), 0.02);
  EXPECT_FALSE(filter.overfull());
}

TEST(UnifiedFilter, KeepsToItsBudgetAndSaysWhenThatIsTooLittle) {
  UnifiedFilter filter(100000, 64 << 10);
  EXPECT_LE(filter.bytes(), 64u << 10);
  EXPECT_FALSE(filter.overfull());
  std::mt19937_64 random(1);
  for (int i = 0; i < 100000; ++i) filter.add(random());
  EXPECT_TRUE(filter.overfull());
  EXPECT_GT(false_positives(filter), 0.03);
}

TEST(UnifiedFilter, ReportsOverfullOnlyWhenAnswersAreBad) {
  UnifiedFilter filter(50000, 1 << 20);
  std::mt19937_64 random(1);
  while (!filter.overfull()) filter.add(random());
  EXPECT_GT(false_positives(filter), 0.02);
  EXPECT_LT(false_positives(filter), 0.06);
}

TEST(UnifiedFilter, CountsAKeyThatIsAddedAgainOnce) {
  UnifiedFilter filter(1000, 1 << 20);
  for (int i = 0; i < 100; ++i) filter.add(0x1234567890abcdef);
  EXPECT_EQ(filter.keys(), 1u);
}

TEST(UnifiedFilter, ManyThreadsAddToTheSameLinesWithoutLosingABit) {
  UnifiedFilter filter(100, 1 << 20);  // few lines, so that words are shared
  std::vector<std::thread> threads;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    threads.emplace_back([&filter, seed] {
      std::mt19937_64 random(seed);
      for (int i = 0; i < 2000; ++i) {
        const uint64_t hash = random();
        filter.add(hash);
        ASSERT_TRUE(filter.may_contain(hash));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < 2000; ++i) ASSERT_TRUE(filter.may_contain(random()));
  }
}

}  // namespace
}  // namespace cairn::cache
