#include "cache/bloom.h"

#include <atomic>
#include <memory>
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

// Both threads add to one line at the same moment, again and again: no bit of the other's may be lost.
TEST(UnifiedFilter, ThreadsThatAddToTheSameLineLoseNoBit) {
  constexpr int kRounds = 100000;
  constexpr int kKeys = 8;
  std::vector<std::unique_ptr<UnifiedFilter>> filters;
  for (int i = 0; i < kRounds; ++i) filters.push_back(std::make_unique<UnifiedFilter>(1, 64));
  std::atomic<int> arrived{0};  // spun on: whoever sleeps at a barrier comes too late
  const auto add = [&](uint64_t seed) {
    std::mt19937_64 random(seed);
    int round = 0;
    for (const auto& filter : filters) {
      arrived.fetch_add(1);
      for (++round; arrived.load() < 2 * round;) std::this_thread::yield();
      for (int i = 0; i < kKeys; ++i) filter->add(random());
    }
  };
  std::thread first(add, 1);
  std::thread second(add, 2);
  first.join();
  second.join();
  for (const uint64_t seed : {1u, 2u}) {
    std::mt19937_64 random(seed);
    for (const auto& filter : filters) {
      for (int i = 0; i < kKeys; ++i) ASSERT_TRUE(filter->may_contain(random()));
    }
  }
}

}  // namespace
}  // namespace cairn::cache
