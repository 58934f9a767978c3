// Store::get_all: what it gives is what get() gives, for fewer reads of the disk.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include <fmt/format.h>

#include "cairn/store.h"
#include "io/sim_env.h"

namespace cairn {
namespace {

constexpr char kPath[] = "/store";
constexpr char kSegments[] = "/store/segments/";

std::string random_bytes(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

// Direct reads or not; codec.
class GetAll : public testing::TestWithParam<std::tuple<bool, const char*>> {
 protected:
  static constexpr size_t kValue = 70'001;  // bytes: no whole blocks, and large enough for a recycled buffer

  GetAll() {
    StoreGeometry geometry;
    geometry.segment_size = 1 << 20;
    geometry.chunk_size = 64 << 10;
    geometry.compression = std::get<1>(GetParam());
    EXPECT_TRUE(make_store(env_, kPath, geometry, false).has_value());
    open();
  }
  // With nothing of the values in memory, but the index and the files open.
  void open() {
    if (store_) {
      const auto closed = store_->close();
      EXPECT_TRUE(closed.has_value()) << closed.error().message;
    }
    store_.reset();
    Options options;
    options.direct_reads = std::get<0>(GetParam());
    options.chunk_cache_bytes = cache_;
    auto opened = Store::open(env_, kPath, options);
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    store_ = std::move(*opened);
    for (const auto& [key, value] : expected_) (void)store_->value_size(key);
    for (const auto& [key, value] : expected_)
      if (key.starts_with("opener")) (void)store_->get(key, {.fill_cache = false});
  }
  // Half of each value compresses.
  void put(const std::string& key, size_t size) {
    std::string value = random_bytes(size, ++seed_);
    std::fill(value.begin() + static_cast<ptrdiff_t>(size / 2), value.end(), 'v');
    WriteBatch batch;
    batch.put(key, value);
    ASSERT_TRUE(store_->write(batch, Durability::kNone).has_value());
    expected_[key] = std::move(value);
  }
  // Eight neighbours, and one in the same segment that opens its file.
  void put_eight() {
    put("opener", 1000);
    for (int i = 0; i < 8; ++i) put(fmt::format("key{}", i), kValue);
    open();
  }
  std::vector<std::string> keys() const {
    std::vector<std::string> out;
    for (const auto& [key, value] : expected_)
      if (!key.starts_with("opener")) out.push_back(key);
    return out;
  }
  std::vector<Result<Value>> get_all(const std::vector<std::string>& keys, bool fill_cache = true) const {
    std::vector<GetRequest> requests;
    for (const std::string& key : keys) requests.push_back({key, {.fill_cache = fill_cache}});
    return store_->get_all(requests);
  }
  // Calls of the system that it took; all values are right.
  uint64_t calls_for(const std::vector<std::string>& keys, bool fill_cache = true) {
    const uint64_t before = env_.calls();
    const auto got = get_all(keys, fill_cache);
    const uint64_t calls = env_.calls() - before;
    EXPECT_EQ(got.size(), keys.size());
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_TRUE(got[i].has_value()) << keys[i] << ": " << got[i].error().message;
      EXPECT_TRUE(got[i] && got[i]->view() == expected_.at(keys[i])) << keys[i];
    }
    return calls;
  }
  // In which file these bytes are, and where.
  std::pair<std::string, size_t> find(ByteView bytes) const {
    for (const std::string& name : env_.list(kSegments)) {
      const size_t at = env_.content(kSegments + name).find(bytes);
      if (at != Bytes::npos) return {kSegments + name, at};
    }
    ADD_FAILURE() << "in no segment";
    return {};
  }
  // Where the value of `key` begins. Both codecs leave the first bytes of a random value as they are.
  std::pair<std::string, size_t> find_value(const std::string& key) const {
    return find(ByteView(expected_.at(key)).substr(20, 100));
  }

  io::SimEnv env_{1};
  uint64_t cache_ = 4 << 20;
  uint64_t seed_ = 0;
  std::map<std::string, std::string> expected_;
  std::unique_ptr<Store> store_;
};

TEST_P(GetAll, NeighboursAreOneRead) {
  put_eight();
  EXPECT_EQ(calls_for(keys()), 1u);
  EXPECT_EQ(calls_for(keys()), 0u) << "they are cached";
  open();
  auto backwards = keys();
  std::reverse(backwards.begin(), backwards.end());
  backwards.push_back(backwards.front());
  EXPECT_LE(calls_for(backwards), 2u);
}

TEST_P(GetAll, OnlyWhatIsNotCachedIsRead) {
  put_eight();
  ASSERT_TRUE(store_->get("key0").has_value());
  ASSERT_TRUE(store_->get("key7").has_value());
  EXPECT_EQ(calls_for(keys()), 1u);
  open();
  ASSERT_TRUE(store_->get("key3").has_value());
  EXPECT_EQ(calls_for(keys()), 2u) << "on both sides of it";
}

TEST_P(GetAll, WhatTheCallerKeepsIsNotCached) {
  put_eight();
  EXPECT_EQ(calls_for(keys(), false), 1u);
  EXPECT_EQ(calls_for(keys(), false), 1u);
  // But for what is read in part.
  std::vector<GetRequest> requests;
  const auto all = keys();
  for (const std::string& key : all) requests.push_back({key, {.fill_cache = false}});
  requests.front().range.offset = 70'000;
  requests.back().range.length = 5;
  const auto got = store_->get_all(requests);
  EXPECT_EQ(got.front()->view(), ByteView(expected_.at("key0")).substr(70'000));
  EXPECT_EQ(got.back()->view(), ByteView(expected_.at("key7")).substr(0, 5));
  EXPECT_EQ(calls_for({"key0", "key7"}), 0u);
  EXPECT_EQ(calls_for({"key1"}), 1u);
}

// A cache counts the bytes of a value: it must not be the last to hold those of its neighbours.
TEST_P(GetAll, EachValueHoldsItsOwnBytesOnly) {
  put_eight();
  auto got = get_all(keys());
  std::set<const void*> pins;
  for (const auto& value : got) pins.insert(value->pin().get());
  EXPECT_EQ(pins.size(), got.size());
}

TEST_P(GetAll, SmallGapsAreReadOver) {
  put("opener", 1000);
  put("key0", kValue);
  put("opener2", 15'000);
  put("key1", kValue);
  put("opener3", 40'000);
  put("key2", kValue);
  put("key3", kValue);
  open();
  EXPECT_EQ(calls_for(keys()), 2u);
}

TEST_P(GetAll, TinyRecordsShareBlocks) {
  put("opener", 1000);
  for (int i = 0; i < 300; ++i) put(fmt::format("key{:03}", i), 257 + (i * 37) % 300);
  put("key300", kValue);
  open();
  EXPECT_EQ(calls_for(keys()), 2u) << "256 at a time";
}

TEST_P(GetAll, WhatIsNotOnDiskCostsNoRead) {
  put("opener", 1000);
  put("key0", kValue);
  put("gone", kValue);
  WriteBatch batch;
  batch.erase("gone");
  ASSERT_TRUE(store_->write(batch, Durability::kNone).has_value());
  put("small", 100);
  put("key1", kValue);
  const uint64_t before = env_.calls();
  for (const bool on_disk : {false, true}) {
    if (on_disk) open();
    const auto got = get_all({"key0", "gone", "small", "never", "key1", ""});
    EXPECT_EQ(got[0]->view(), expected_.at("key0"));
    for (const size_t absent : {1, 3, 5}) {
      ASSERT_FALSE(got[absent].has_value()) << absent;
      EXPECT_EQ(got[absent].error().code, ErrorCode::kNotFound);
    }
    EXPECT_EQ(got[2]->view(), expected_.at("small"));
    EXPECT_EQ(got[4]->view(), expected_.at("key1"));
    EXPECT_EQ(env_.calls() == before, !on_disk) << "they lie in the slab";
  }
  EXPECT_TRUE(store_->get_all({}).empty());
}

TEST_P(GetAll, WhatWasSealedLastIsStillInItsSlab) {
  for (int i = 0; i < 4; ++i) put(fmt::format("key{}", i), kValue);
  ASSERT_TRUE(store_->seal().has_value());
  EXPECT_EQ(calls_for(keys()), 0u);
}

// In two segments, the ones behind the others by their offsets.
TEST_P(GetAll, WhatLiesInTwoSegmentsIsTwoReads) {
  put("opener", 1000);
  put("key0", kValue);
  put("key1", kValue);
  ASSERT_TRUE(store_->seal().has_value());
  put("opener2", 72'000);
  put("opener3", 72'000);
  put("key2", kValue);
  put("key3", kValue);
  open();
  EXPECT_EQ(calls_for(keys()), 2u);
}

// In header, key, and value: it is alone in being damaged, counted once, and named as get() names it.
TEST_P(GetAll, DamageIsThatOfOneRecord) {
  put_eight();
  const auto all = keys();
  for (size_t bad = 0; bad < all.size(); ++bad) {
    const auto [file, at] = find_value(all[bad]);
    for (const uint64_t place : {at - 20 - all[bad].size() - 30, at - 21, at + 20'000}) {
      env_.flip_bit(file, place);
      const uint64_t before = store_->stats().corrupt_reads;
      const auto got = get_all(all, false);
      EXPECT_EQ(store_->stats().corrupt_reads, before + 1);
      for (size_t i = 0; i < all.size(); ++i) {
        ASSERT_EQ(got[i].has_value(), i != bad) << i << ", damaged: " << bad;
        ASSERT_TRUE(i == bad || got[i]->view() == expected_.at(all[i]));
      }
      EXPECT_EQ(got[bad].error().code, ErrorCode::kCorrupt);
      EXPECT_EQ(got[bad].error().message, store_->get(all[bad]).error().message);
      env_.flip_bit(file, place);
    }
  }
  EXPECT_EQ(calls_for(all), 1u) << "nothing was cached, and nothing is remembered";
}

TEST_P(GetAll, ABadSectorIsThatOfOneRecord) {
  put_eight();
  const auto all = keys();
  const auto [file, at] = find_value(all[4]);
  env_.set_unreadable(file, (at + 20'000) / 512);
  const auto got = get_all(all);
  for (size_t i = 0; i < all.size(); ++i) {
    ASSERT_EQ(got[i].has_value(), i != 4) << i;
    ASSERT_TRUE(i == 4 || got[i]->view() == expected_.at(all[i]));
  }
  EXPECT_EQ(got[4].error().code, ErrorCode::kIo);
  EXPECT_EQ(got[4].error().message, store_->get(all[4]).error().message);
  EXPECT_EQ(store_->stats().corrupt_reads, 0u);
}

TEST_P(GetAll, AReadThatFailsOnceIsRepeatedAlone) {
  put_eight();
  env_.inject({.nth = 1, .kind = io::CallKind::kRead});
  EXPECT_EQ(calls_for(keys()), 1u + 8);
}

TEST_P(GetAll, ACutFileEndsWhatCanBeRead) {
  put_eight();
  const auto all = keys();
  const auto [file, at] = find_value(all[5]);
  env_.truncate(file, at + 1000);
  const auto got = get_all(all);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(got[i]->view(), expected_.at(all[i]));
  for (size_t i = 5; i < 8; ++i) EXPECT_EQ(got[i].error().code, ErrorCode::kCorrupt) << i;
  EXPECT_EQ(store_->stats().corrupt_reads, 3u);
}

// Of all lengths and at all places in a block, after compactions too; in any company.
TEST_P(GetAll, GivesWhatGetGives) {
  cache_ = 256 << 10;
  open();
  std::mt19937_64 random(1);
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 200; ++i) {
      put(fmt::format("key{:03}", random() % 150), random() % (i % 40 == 0 ? 300'000 : i % 4 == 0 ? 100'000 : 4'000));
    }
    ASSERT_TRUE(store_->seal().has_value());
    ASSERT_TRUE(store_->settle().has_value());
    if (round == 1) open();
    for (int i = 0; i < 100; ++i) {
      std::vector<std::string> some;
      for (uint64_t n = random() % 160, first = random() % 150; n > 0; --n) {
        some.push_back(fmt::format("key{:03}", i % 2 == 0 ? random() % 155 : first++));
      }
      std::vector<GetRequest> requests;
      for (const std::string& key : some) {
        const bool part = random() % 4 == 0;
        requests.push_back({key,
                            {.offset = part ? random() % 5000 : 0,
                             .length = part ? random() % 100'000 : UINT64_MAX,
                             .fill_cache = random() % 2 == 0}});
      }
      const auto got = store_->get_all(requests);
      for (size_t k = 0; k < some.size(); ++k) {
        const auto it = expected_.find(some[k]);
        ASSERT_EQ(got[k].has_value(), it != expected_.end()) << some[k];
        if (!got[k]) continue;
        const auto& [offset, length, fill] = requests[k].range;
        ASSERT_EQ(got[k]->view(), ByteView(it->second).substr(std::min(offset, it->second.size()), length)) << some[k];
      }
    }
  }
  EXPECT_GT(store_->stats().compactions + store_->stats().merges, 0u);
  EXPECT_EQ(store_->stats().corrupt_reads, 0u);
}

INSTANTIATE_TEST_SUITE_P(Ways, GetAll, testing::Combine(testing::Bool(), testing::Values("none", "lz4")));

}  // namespace
}  // namespace cairn
