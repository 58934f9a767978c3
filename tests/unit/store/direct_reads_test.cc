// Options::direct_reads changes where values come from, and nothing else. SimEnv refuses a direct read that is not of whole blocks.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

#include <fmt/format.h>

#include "cairn/store.h"
#include "io/sim_env.h"

namespace cairn {
namespace {

constexpr char kPath[] = "/store";

class DirectReads : public testing::Test {
 protected:
  DirectReads() {
    StoreGeometry geometry;
    geometry.segment_size = 1 << 20;
    geometry.chunk_size = 64 << 10;
    EXPECT_TRUE(make_store(env_, kPath, geometry, false).has_value());
    open();
  }
  void open() {
    store_.reset();
    Options options;
    options.direct_reads = true;
    options.chunk_cache_bytes = 256 << 10;  // far less than there is
    auto opened = Store::open(env_, kPath, options);
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    store_ = std::move(*opened);
  }
  // Of every length up to an extent's, at every offset in a block; compressible and not.
  void put_some(uint64_t seed) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < 300; ++i) {
      const std::string key = fmt::format("key{:03}", random() % 200);
      std::string value(random() % (i % 50 == 0 ? 400'000 : i % 5 == 0 ? 130'000 : 5'000), 'v');
      if (i % 2 == 0)
        for (char& byte : value) byte = static_cast<char>(random());
      WriteBatch batch;
      batch.put(key, value);
      ASSERT_TRUE(store_->write(batch, Durability::kNone).has_value());
      expected_[key] = std::move(value);
    }
  }
  void expect_all() const {
    for (const auto& [key, value] : expected_) {
      const auto got = store_->get(key);
      ASSERT_TRUE(got.has_value()) << key << ": " << got.error().message;
      ASSERT_EQ(got->view(), value) << key;
      const auto part = store_->get(key, {.offset = value.size() / 3, .length = 1000});
      ASSERT_EQ(part->view(), ByteView(value).substr(value.size() / 3, 1000)) << key;
    }
  }

  io::SimEnv env_{1};
  std::map<std::string, std::string> expected_;
  std::unique_ptr<Store> store_;
};

TEST_F(DirectReads, GiveWhatWasWritten) {
  for (const uint64_t seed : {1u, 2u, 3u}) {
    put_some(seed);
    expect_all();
    ASSERT_TRUE(store_->seal().has_value());
    expect_all();
    ASSERT_TRUE(store_->settle().has_value());  // some were compacted
    expect_all();
    ASSERT_TRUE(store_->close().has_value());
    open();
    expect_all();
  }
  EXPECT_EQ(store_->stats().corrupt_reads, 0u);
}

// Values that are held stay what they were when the cache lets them go and their buffers' kind is used again.
TEST_F(DirectReads, HeldValuesKeepTheirBytes) {
  put_some(4);
  ASSERT_TRUE(store_->seal().has_value());
  ASSERT_TRUE(store_->settle().has_value());
  std::map<std::string, Value> held;
  for (const auto& [key, value] : expected_) held[key] = *store_->get(key);
  for (int round = 0; round < 3; ++round) expect_all();
  for (const auto& [key, value] : held) EXPECT_EQ(value.view(), expected_.at(key)) << key;
  ASSERT_TRUE(store_->close().has_value());
  store_.reset();
  for (const auto& [key, value] : held) EXPECT_EQ(value.view(), expected_.at(key)) << key << ", without a store";
}

}  // namespace
}  // namespace cairn
