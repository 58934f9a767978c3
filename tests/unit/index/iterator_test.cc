#include "index/iterator.h"

#include <vector>

#include <gtest/gtest.h>

#include "index/memtable.h"
#include "unit/index/index_testing.h"

namespace cairn::index {
namespace {

using testing::make_entry;
using testing::Model;

// Random entries spread over several inputs, some in more than one, each in a memtable or a table.
struct Inputs {
  explicit Inputs(uint64_t seed, size_t count) : random(seed), model(testing::random_model(random, 1500, 6)) {
    std::vector<Model> parts(count);
    for (const auto& [version, made] : model) {
      parts[random() % count].emplace(version, made);
      if (random() % 4 == 0) parts[random() % count].emplace(version, made);
    }
    for (size_t i = 0; i < count; ++i) {
      if (i % 2 == 0) {
        memtables.push_back(std::make_unique<Memtable>());
        for (const auto& [version, made] : parts[i]) {
          memtables.back()->insert(version.key, testing::with_small(made));
        }
      } else {
        tables.push_back(testing::must_open(testing::build_table(parts[i])));
      }
    }
  }
  std::unique_ptr<Iterator> merged() const {
    std::vector<std::unique_ptr<Iterator>> all;
    for (const auto& memtable : memtables) all.push_back(memtable->iterate());
    for (const auto& table : tables) all.push_back(table->iterate());
    return merge_iterators(std::move(all));
  }

  std::mt19937_64 random;
  Model model;
  std::vector<std::unique_ptr<Memtable>> memtables;
  std::vector<std::shared_ptr<const Table>> tables;
};

TEST(MergeIterators, GiveTheUnionInOrderAndEachEntryOnce) {
  for (const size_t count : {1u, 2u, 3u, 8u, 20u}) {
    SCOPED_TRACE(count);
    const Inputs inputs(count, count);
    const auto it = inputs.merged();
    EXPECT_FALSE(it->valid());
    ASSERT_TRUE(it->seek({}));
    for (const auto& [version, made] : inputs.model) {
      ASSERT_TRUE(it->valid());
      ASSERT_EQ(it->key(), version.key);
      ASSERT_TRUE(testing::same_entry(it->entry(), made));
      ASSERT_TRUE(it->next());
    }
    EXPECT_FALSE(it->valid());
  }
}

TEST(MergeIterators, SeekAsAMapDoes) {
  Inputs inputs(5, 6);
  const auto it = inputs.merged();
  for (int i = 0; i < 500; ++i) {
    const Bytes key = testing::random_key(inputs.random);
    const SeqNo max_seq = std::next(inputs.model.begin(), inputs.random() % inputs.model.size())->first.seq;
    ASSERT_TRUE(it->seek(key, max_seq));
    auto expected = inputs.model.lower_bound({key, max_seq});
    for (int step = 0; step < 5 && expected != inputs.model.end(); ++step, ++expected) {
      ASSERT_TRUE(it->valid());
      ASSERT_EQ(it->key(), expected->first.key);
      ASSERT_EQ(it->entry().seq, expected->first.seq);
      ASSERT_TRUE(it->next());
    }
    ASSERT_EQ(it->valid(), expected != inputs.model.end());
  }
}

TEST(MergeIterators, TakeAnEntryThatSeveralHaveFromTheFirst) {
  Memtable first;
  Memtable second;
  format::IndexEntry entry = make_entry(SeqNo(5)).entry;
  entry.segment = SegmentId(1);
  first.insert("k", entry);
  entry.segment = SegmentId(2);
  second.insert("k", entry);
  std::vector<std::unique_ptr<Iterator>> inputs;
  inputs.push_back(second.iterate());
  inputs.push_back(first.iterate());
  const auto it = merge_iterators(std::move(inputs));
  ASSERT_TRUE(it->seek({}));
  EXPECT_EQ(it->entry().segment, SegmentId(2));
  ASSERT_TRUE(it->next());
  EXPECT_FALSE(it->valid());
}

TEST(MergeIterators, OfNothingAreEmpty) {
  const auto it = merge_iterators({});
  ASSERT_TRUE(it->seek({}));
  EXPECT_FALSE(it->valid());
}

TEST(MergeIterators, PassOnAnErrorAndAreInvalidThen) {
  Model model;
  for (uint64_t i = 0; i < 2000; ++i) testing::add(model, std::to_string(10000 + i), make_entry(SeqNo(i + 1)));
  Bytes damaged = testing::build_table(model);
  damaged[10000] = static_cast<char>(damaged[10000] ^ 1);  // in the second block
  const auto table = testing::must_open(damaged);
  Memtable memtable;
  memtable.insert("10000a", make_entry(SeqNo(5000)).entry);
  std::vector<std::unique_ptr<Iterator>> inputs;
  inputs.push_back(memtable.iterate());
  inputs.push_back(table->iterate());
  const auto it = merge_iterators(std::move(inputs));
  ASSERT_TRUE(it->seek({}));
  Result<void> walked;
  size_t seen = 0;
  for (; walked && it->valid(); walked = it->next()) ++seen;
  EXPECT_EQ(walked.error().code, ErrorCode::kCorrupt);
  EXPECT_FALSE(it->valid());
  EXPECT_LT(seen, 2000u);
  EXPECT_GT(seen, 10u);
}

}  // namespace
}  // namespace cairn::index
