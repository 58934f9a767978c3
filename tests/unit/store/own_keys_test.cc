// The store keeps records of its own among those of its user: neither sees or changes the other's.
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>

#include <fmt/format.h>

#include "cairn/store.h"
#include "io/sim_env.h"
#include "store/liveness.h"

namespace cairn {
namespace {

constexpr char kPath[] = "/store";

class OwnKeys : public testing::Test {
 protected:
  OwnKeys() {
    StoreGeometry geometry;
    geometry.segment_size = 64 << 10;
    geometry.chunk_size = 4096;
    EXPECT_TRUE(make_store(env_, kPath, geometry, false).has_value());
    auto opened = Store::open(env_, kPath, Options());
    EXPECT_TRUE(opened.has_value());
    store_ = std::move(*opened);
    // Enough that is overwritten for a map of what is dead.
    for (int i = 0; i < 400; ++i)
      put(fmt::format("key{:03}", i % 100), std::string(1000, static_cast<char>('a' + i % 26)));
    EXPECT_TRUE(store_->settle().has_value());
  }
  void put(const std::string& key, const std::string& value) {
    WriteBatch batch;
    batch.put(key, value);
    ASSERT_TRUE(store_->write(batch, Durability::kSync).has_value());
  }
  std::set<std::string> keys(ByteView prefix) {
    std::set<std::string> out;
    Cursor cursor = store_->scan(prefix);
    for (; cursor.valid(); cursor.next()) out.emplace(cursor.key());
    EXPECT_TRUE(cursor.status().has_value());
    return out;
  }

  io::SimEnv env_{1};
  std::unique_ptr<Store> store_;
};

TEST_F(OwnKeys, ScansPassThemOver) {
  ASSERT_TRUE(store_->get(store::liveness_header_key()).has_value()) << "there is no map, so nothing is tested";
  EXPECT_EQ(keys({}).size(), 100u);
  EXPECT_EQ(keys(std::string(8, '\0')).size(), 0u);
  const std::string beside = std::string(8, '\0') + "L", shorter(8, '\0');
  put(beside, "mine");
  put(shorter, "mine");
  EXPECT_EQ(keys({}).size(), 102u);
  EXPECT_EQ(keys(std::string(8, '\0')), (std::set<std::string>{shorter, beside}));
}

TEST_F(OwnKeys, NobodyElseWritesThem) {
  for (const Bytes& key : {store::liveness_header_key(), store::liveness_key(1, SegmentId(3))}) {
    WriteBatch batch;
    batch.put(key, "not a map");
    EXPECT_EQ(store_->write(batch, Durability::kNone).error().code, ErrorCode::kInvalid);
    batch.clear();
    batch.erase(key);
    EXPECT_EQ(store_->write(batch, Durability::kNone).error().code, ErrorCode::kInvalid);
  }
  ASSERT_TRUE(store_->close().has_value());
  store_ = std::move(*Store::open(env_, kPath, Options()));
  EXPECT_EQ(keys({}).size(), 100u);
}

TEST_F(OwnKeys, ABatchThatWasMovedFromIsEmptyAndUsableAndTheOtherHoldsWhatWasPut) {
  WriteBatch first;
  for (int i = 0; i < 40; ++i)
    first.put(fmt::format("moved{:03}", i), std::string(50, static_cast<char>('a' + i % 26)));
  const uint64_t cost = first.log_cost();
  WriteBatch second = std::move(first);
  EXPECT_EQ(second.log_cost(), cost);
  EXPECT_TRUE(first.empty());
  EXPECT_EQ(first.log_cost(), 0u);
  first.put("after", std::string(5000, 'z'));
  first.erase("moved020");
  ASSERT_TRUE(store_->write(second, Durability::kNone).has_value());
  ASSERT_TRUE(store_->write(first, Durability::kNone).has_value());
  for (int i = 0; i < 40; ++i) {
    const auto value = store_->get(fmt::format("moved{:03}", i));
    ASSERT_EQ(value.has_value(), i != 20) << i;
    if (value) {
      EXPECT_EQ(value->view(), std::string(50, static_cast<char>('a' + i % 26)));
    }
  }
  const auto after = store_->get("after");
  ASSERT_TRUE(after.has_value());
  EXPECT_EQ(after->view(), std::string(5000, 'z'));
}

}  // namespace
}  // namespace cairn
