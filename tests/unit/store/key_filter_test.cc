#include "store/key_filter.h"

#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "index/memtable.h"
#include "index/table.h"

namespace cairn::store {
namespace {

constexpr uint64_t kBudget = 1 << 20;  // bytes: 840,000 keys at ten bits

// A store with a filter over its keys: keys come, and the filter is built anew when it wants to be.
struct Keys {
  KeyFilter filter{kBudget};
  index::Memtable memtable;
  uint64_t count = 0;
  int builds = 0;

  static Bytes key(uint64_t i) { return "key" + std::to_string(i); }
  void add(uint64_t n) {
    for (; n > 0; --n, ++count) {
      const uint64_t hash = index::Table::hash(key(count));
      filter.add({&hash, 1});
      format::IndexEntry entry;
      entry.seq = SeqNo(count + 1);
      memtable.insert(key(count), entry);
    }
  }
  Result<bool> build(bool stop = false) {
    return filter.build(
        count, [&] { return memtable.iterate(); }, [=] { return stop; });
  }
  void build_if_wanted() {
    if (!filter.wants_build(count)) return;
    ASSERT_TRUE(build().value());
    ++builds;
  }
  double false_positives() const {
    int wrong = 0;
    for (uint64_t i = 0; i < 20000; ++i) wrong += filter.may_contain(index::Table::hash(key((1 << 30) + i))) ? 1 : 0;
    return wrong / 20000.0;
  }
};

// A filter as large as the budget is worth building although it has not ten bits for twice the keys: without it every lookup of an
// absent key asks every level. (A fill of ten million files did not end in two hours.)
TEST(KeyFilter, GrowsUpToItsBudgetAndNoFurther) {
  Keys keys;
  while (keys.count < 1'500'000) {
    keys.add(20'000);
    keys.build_if_wanted();
    ASSERT_LT(keys.false_positives(), 0.1) << keys.count << " keys";
  }
  EXPECT_LT(keys.builds, 10) << "built again and again";
  keys.add(300'000);
  EXPECT_FALSE(keys.filter.wants_build(keys.count)) << "five bits a key are more than the budget";
  for (uint64_t i = 0; i < keys.count; ++i) ASSERT_TRUE(keys.filter.may_contain(index::Table::hash(Keys::key(i)))) << i;
}

TEST(KeyFilter, AWalkThatIsStoppedLeavesTheOldOne) {
  Keys keys;
  keys.add(1000);
  ASSERT_TRUE(keys.build().value());
  const double before = keys.false_positives();
  keys.add(100'000);
  const auto stopped = keys.build(/*stop=*/true);
  ASSERT_TRUE(stopped.has_value());
  EXPECT_FALSE(*stopped);
  EXPECT_LT(before, 0.01);
  EXPECT_LT(keys.false_positives(), 0.1);
  for (uint64_t i = 0; i < keys.count; ++i) ASSERT_TRUE(keys.filter.may_contain(index::Table::hash(Keys::key(i)))) << i;
}

}  // namespace
}  // namespace cairn::store
