// Damaged bytes in the log: what is read is what was written, or an error, and nothing that was acknowledged is deleted.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

#include <fmt/format.h>

#include "cairn/fsck.h"
#include "cairn/store.h"
#include "io/sim_env.h"
#include "store/check_store.h"

namespace cairn {
namespace {

constexpr char kPath[] = "/store";
constexpr char kSegments[] = "/store/segments/";

class StoreDamage : public testing::Test {
 protected:
  void SetUp() override {
    StoreGeometry geometry;
    geometry.segment_size = 64 << 10;
    geometry.chunk_size = 4096;
    geometry.compression = "none";
    ASSERT_TRUE(make_store(*env_, kPath, geometry, false).has_value());
    open();
  }
  void open() {
    auto store = Store::open(*env_, kPath, Options{});
    ASSERT_TRUE(store.has_value()) << store.error().message;
    store_ = std::move(*store);
  }
  void put(const std::string& key, const std::string& value) {
    WriteBatch batch;
    batch.put(key, value);
    const auto done = store_->write(batch, Durability::kSync);
    ASSERT_TRUE(done.has_value()) << done.error().message;
  }
  // The process dies.
  void kill() {
    auto next = std::make_unique<io::SimEnv>(env_->kill());
    store_.reset();
    env_ = std::move(next);
  }
  // Damages the only place in segments/ where `text` is, or `before` bytes before it.
  std::string damage(const std::string& text, uint64_t before = 0) {
    for (const std::string& name : env_->list(kSegments)) {
      const Bytes content = env_->content(kSegments + name);
      const size_t at = content.find(text);
      if (at == Bytes::npos) continue;
      env_->flip_bit(kSegments + name, at - before);
      return name;
    }
    ADD_FAILURE() << text << " is nowhere";
    return {};
  }
  ErrorCode error_of(const std::string& key) {
    const auto got = store_->get(key);
    EXPECT_FALSE(got.has_value()) << "gives " << got->view().substr(0, 40);
    return got ? ErrorCode::kInvalid : got.error().code;
  }

  std::unique_ptr<io::SimEnv> env_ = std::make_unique<io::SimEnv>(1);
  std::unique_ptr<Store> store_;
};

const std::string kFill(1000, 'x');
constexpr uint64_t kInHeader = 8;  // so many bytes before a key of two bytes is the header of its record

TEST_F(StoreDamage, ADamagedValueInTheOpenSegmentIsAnErrorAndNotTheValueBefore) {
  for (const std::string& fill : {std::string(), kFill}) {
    put("ka", "old");
    ASSERT_TRUE(store_->seal().has_value());
    put("ka", "brand-new" + fill);
    put("kb", "1");  // proves that the commit before was durable
    kill();
    damage("kabrand-new", 0 - uint64_t{4});
    open();
    EXPECT_EQ(error_of("ka"), ErrorCode::kCorrupt);
    EXPECT_EQ(store_->get("kb")->view(), "1");
    put("ka", "repaired");
  }
}

TEST_F(StoreDamage, ARebuiltIndexDoesNotServeADamagedSmallValue) {
  put("ka", "brand-new");
  put("kb", "1");
  kill();
  damage("kabrand-new", 0 - uint64_t{4});
  auto directory = env_->open_dir(kPath);
  ASSERT_TRUE(directory.has_value());
  const auto rebuilt = store::rebuild_index(*env_, **directory, kPath);
  ASSERT_TRUE(rebuilt.has_value()) << rebuilt.error().message;
  open();
  EXPECT_EQ(error_of("ka"), ErrorCode::kCorrupt);
  EXPECT_EQ(store_->get("kb")->view(), "1");
}

TEST_F(StoreDamage, ASegmentOfWhichNothingCanBeReadIsSetAsideAndNotDeleted) {
  put("ka", "brand-new");
  put("kb", "newer");
  kill();
  const auto name = damage("kabrand-new", kInHeader);
  EXPECT_EQ(damage("kbnewer", kInHeader), name);
  open();
  EXPECT_TRUE(env_->exists("/store/quarantine/" + name));
}

TEST_F(StoreDamage, ASegmentThatLostRecordsCanStillBeReplaced) {
  for (int i = 0; i < 9; ++i) put(fmt::format("k{}", i), fmt::format("first{}", i));
  kill();
  damage("k1first1", kInHeader);
  open();
  for (int i = 8; i >= 0; --i) put(fmt::format("k{}", i), "second");
  ASSERT_TRUE(store_->seal().has_value());
  const auto settled = store_->settle();
  ASSERT_TRUE(settled.has_value()) << settled.error().message;
  for (int i = 0; i < 9; ++i) EXPECT_EQ(store_->get(fmt::format("k{}", i))->view(), "second");
}

}  // namespace
}  // namespace cairn
