#include "index/memtable.h"

#include <atomic>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "unit/index/index_testing.h"

namespace cairn::index {
namespace {

using testing::add;
using testing::make_entry;
using testing::Model;
using testing::Version;

TEST(Memtable, AnswersAsAMapDoesForRandomKeysAndVersions) {
  for (const uint64_t seed : {1u, 2u, 3u}) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const Model model = testing::random_model(random, 3000, 8);
    std::vector<Model::const_iterator> order;
    for (auto it = model.begin(); it != model.end(); ++it) order.push_back(it);
    std::shuffle(order.begin(), order.end(), random);
    Memtable table;
    for (const auto& it : order) table.insert(it->first.key, testing::with_small(it->second));
    EXPECT_EQ(table.entries(), model.size());
    for (int i = 0; i < 5000; ++i) {
      const Bytes key = testing::random_key(random);
      const SeqNo max_seq = i % 2 == 0 ? kMaxSeq : order[random() % order.size()]->first.seq;
      const auto found = table.get(key, max_seq);
      const auto* const expected = testing::model_get(model, key, max_seq);
      ASSERT_EQ(found.has_value(), expected != nullptr);
      ASSERT_TRUE(expected == nullptr || testing::same_entry(*found, *expected));
    }
    const auto it = table.iterate();
    EXPECT_FALSE(it->valid());
    ASSERT_TRUE(it->seek({}));
    for (const auto& [version, made] : model) {
      ASSERT_TRUE(it->valid());
      ASSERT_EQ(it->key(), version.key);
      ASSERT_TRUE(testing::same_entry(it->entry(), made));
      ASSERT_TRUE(it->next());
    }
    EXPECT_FALSE(it->valid());
  }
}

TEST(Memtable, CopiesKeysAndSmallValues) {
  Memtable table;
  {
    Bytes key = "key";
    testing::TestEntry made = make_entry(SeqNo(5), 100);
    table.insert(key, testing::with_small(made));
    key.assign("xxx");
    made.bytes.assign(100, 'x');
  }
  EXPECT_EQ(table.get("key", kMaxSeq)->small, make_entry(SeqNo(5), 100).bytes);
}

TEST(Memtable, KeysThatDifferOnlyInZerosAtTheEndOrFarBehindAreToldApart) {
  Memtable table;
  // In order: what a search compares first are 16 bytes, filled up with zeros.
  std::vector<Bytes> keys;
  for (size_t zeros = 0; zeros < 20; ++zeros) keys.push_back(Bytes("k") + Bytes(zeros, '\0'));
  for (const char last : {'\0', 'a', '\x7f', '\x80', '\xff'}) keys.push_back(Bytes(16, 'x') + last);
  for (const char first : {'y', '\x80', '\xff'}) keys.push_back(Bytes(1, first));
  for (size_t i = keys.size(); i-- > 0;) {
    const auto made = make_entry(SeqNo(100 + i), 5);
    table.insert(keys[i], testing::with_small(made));
  }
  const auto it = table.iterate();
  ASSERT_TRUE(it->seek({}));
  for (size_t i = 0; i < keys.size(); ++i) {
    SCOPED_TRACE(i);
    const auto found = table.get(keys[i], kMaxSeq);
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->seq, SeqNo(100 + i));
    ASSERT_TRUE(it->valid());
    EXPECT_EQ(it->key(), keys[i]);
    ASSERT_TRUE(it->next());
  }
  EXPECT_FALSE(it->valid());
  EXPECT_FALSE(table.get(Bytes("k") + Bytes(20, '\0'), kMaxSeq).has_value());
}

TEST(Memtable, TheSameRecordTwiceIsOneEntry) {
  Memtable table;
  table.insert("k", make_entry(SeqNo(5)).entry);
  table.insert("k", make_entry(SeqNo(5)).entry);
  EXPECT_EQ(table.entries(), 1u);
}

TEST(Memtable, NewestSequenceWinsWhateverTheOrderOfInserts) {
  Memtable table;
  for (const uint64_t seq : {7u, 9u, 3u, 8u}) table.insert("k", make_entry(SeqNo(seq)).entry);
  EXPECT_EQ(table.get("k", kMaxSeq)->seq, SeqNo(9));
  EXPECT_EQ(table.get("k", SeqNo(8))->seq, SeqNo(8));
  EXPECT_EQ(table.get("k", SeqNo(6))->seq, SeqNo(3));
  EXPECT_FALSE(table.get("k", SeqNo(2)).has_value());
}

TEST(Memtable, AccountsForItsMemory) {
  Memtable table;
  uint64_t payload = 0;
  for (uint64_t i = 1; i <= 20000; ++i) {
    table.insert(fmt::format("key{:08}", i), testing::with_small(make_entry(SeqNo(i), 200)));
    payload += 211;
  }
  EXPECT_GT(table.memory(), payload);
  EXPECT_LT(table.memory(), payload + 20000 * 160 + (512u << 10));
}

// For the thread sanitizer above all. A reader that was told of a key (through `published`) must find it, complete.
TEST(Memtable, ReadersBesideAWriterSeeWholeEntriesAndEverythingPublished) {
  constexpr uint64_t kEntries = 4000;
  Memtable table;
  std::atomic<uint64_t> published{0};
  const auto key_of = [](uint64_t seq) { return fmt::format("{:05}", seq * 7919 % 1009); };
  const auto reader = [&](uint64_t seed) {
    std::mt19937_64 random(seed);
    for (uint64_t known = 0; known < kEntries;) {
      known = published.load(std::memory_order_acquire);
      if (known == 0) continue;
      const uint64_t seq = 1 + random() % known;
      const auto found = table.get(key_of(seq), SeqNo(seq));
      ASSERT_TRUE(found && found->seq == SeqNo(seq) && found->small == make_entry(SeqNo(seq), 32).bytes) << seq;
      const auto it = table.iterate();
      ASSERT_TRUE(it->seek(key_of(seq)));
      Bytes last;
      for (int i = 0; i < 20 && it->valid(); ++i) {
        ASSERT_LE(last, it->key());
        ASSERT_TRUE(testing::same_entry(it->entry(), make_entry(it->entry().seq, 32)));
        last = it->key();
        ASSERT_TRUE(it->next());
      }
    }
  };
  std::vector<std::thread> threads;
  for (uint64_t seed = 1; seed <= 2; ++seed) threads.emplace_back(reader, seed);
  for (uint64_t seq = 1; seq <= kEntries; ++seq) {
    table.insert(key_of(seq), testing::with_small(make_entry(SeqNo(seq), 32)));
    published.store(seq, std::memory_order_release);
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(Memtable, WritersMayInsertTogether) {
  Memtable table;
  std::vector<std::thread> threads;
  for (uint64_t writer = 0; writer < 3; ++writer) {
    threads.emplace_back([&table, writer] {
      for (uint64_t i = 0; i < 2000; ++i) {
        const uint64_t seq = i * 3 + writer + 1;
        table.insert(fmt::format("{}", seq % 500), testing::with_small(make_entry(SeqNo(seq), 8)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(table.entries(), 6000u);
  for (uint64_t seq = 1; seq <= 6000; ++seq) {
    ASSERT_EQ(table.get(fmt::format("{}", seq % 500), SeqNo(seq))->seq, SeqNo(seq));
  }
}

}  // namespace
}  // namespace cairn::index
