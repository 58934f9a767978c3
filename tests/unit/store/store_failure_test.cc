// What is left of a store after errors that are final, and after those that are not.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include <fmt/format.h>

#include "cairn/store.h"
#include "io/sim_env.h"

namespace cairn {
namespace {

constexpr char kPath[] = "/store";

class StoreFailure : public testing::Test {
 protected:
  void make(Mode mode = Mode::kCas) {
    StoreGeometry geometry;
    geometry.mode = mode;
    geometry.limit = mode == Mode::kCache ? 16 << 20 : 0;
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
  Result<void> put(const std::string& key, const std::string& value, Durability durability = Durability::kNone) {
    WriteBatch batch;
    batch.put(key, value);
    return store_->write(batch, durability);
  }

  std::unique_ptr<io::SimEnv> env_ = std::make_unique<io::SimEnv>(1);
  std::unique_ptr<Store> store_;
};

TEST_F(StoreFailure, ClosingAStoreThatFailedKeepsWhatWasSyncedBefore) {
  make();
  ASSERT_TRUE(put("a", "1", Durability::kSync).has_value());
  env_->inject({.kind = io::CallKind::kSync, .file = ".seg", .from_then_on = true});
  ASSERT_FALSE(put("b", "2", Durability::kSync).has_value());
  EXPECT_FALSE(store_->close().has_value());
  store_.reset();
  env_->clear_faults();
  open();
  const auto got = store_->get("a");
  ASSERT_TRUE(got.has_value()) << got.error().message;
  EXPECT_EQ(got->view(), "1");
}

TEST_F(StoreFailure, ALargeValueThatIsRefusedLeavesNoFile) {
  make(Mode::kCache);
  const std::string large(1 << 20, 'v');
  int n = 0;
  while (put(fmt::format("k{}", n), large).has_value()) ASSERT_LT(++n, 20);
  const auto files = env_->list("/store/segments").size();
  for (int i = 0; i < 3; ++i) {
    const auto refused = put("again", large);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::kNoSpace);
  }
  EXPECT_EQ(env_->list("/store/segments").size(), files);
  EXPECT_EQ(store_->get("k0")->view(), large);
}

}  // namespace
}  // namespace cairn
