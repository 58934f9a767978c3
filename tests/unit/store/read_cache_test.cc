// What a read leaves in the cache of values.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "cairn/store.h"
#include "io/sim_env.h"

namespace cairn {
namespace {

constexpr char kPath[] = "/store";

class ReadCache : public testing::TestWithParam<const char*> {
 protected:
  ReadCache() {
    StoreGeometry geometry;
    geometry.segment_size = 64 << 10;
    geometry.chunk_size = 4096;
    geometry.compression = GetParam();
    EXPECT_TRUE(make_store(env_, kPath, geometry, false).has_value());
    open();
    WriteBatch batch;
    batch.put("key", value_);
    EXPECT_TRUE(store_->write(batch, Durability::kSync).has_value());
    // Out of the slab: what is there costs no read.
    EXPECT_TRUE(store_->close().has_value());
    open();
    get({.offset = 0, .length = 0});  // opens the file
  }
  void open() {
    store_.reset();
    auto opened = Store::open(env_, kPath, Options());
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    store_ = std::move(*opened);
  }
  // Whether it read the disk.
  bool get(ReadRange range) {
    const uint64_t before = env_.calls();
    const auto got = store_->get("key", range);
    EXPECT_TRUE(got.has_value());
    EXPECT_EQ(got ? got->view() : "", ByteView(value_).substr(range.offset, range.length));
    return env_.calls() != before;
  }
  // As if it had never been read.
  void forget() {
    open();
    ASSERT_TRUE(store_->value_size("key").has_value());
  }

  io::SimEnv env_{1};
  std::unique_ptr<Store> store_;
  const std::string value_ = std::string(2000, 'a') + std::string(2000, 'b');
};

TEST_P(ReadCache, KeepsWhatWasRead) {
  forget();
  EXPECT_TRUE(get({}));
  EXPECT_FALSE(get({}));
  EXPECT_FALSE(get({.offset = 1000, .length = 2000}));
}

TEST_P(ReadCache, DoesNotKeepWhatTheCallerKeeps) {
  forget();
  EXPECT_TRUE(get({.fill_cache = false}));
  EXPECT_TRUE(get({.length = 4000, .fill_cache = false}));
  EXPECT_TRUE(get({.fill_cache = false}));
}

TEST_P(ReadCache, KeepsWhatWasReadInPart) {
  forget();
  EXPECT_TRUE(get({.length = 3999, .fill_cache = false}));
  EXPECT_FALSE(get({.offset = 3999, .fill_cache = false}));
  EXPECT_FALSE(get({.fill_cache = false}));
  forget();
  EXPECT_TRUE(get({.offset = 1, .fill_cache = false}));
  EXPECT_FALSE(get({.offset = 1, .fill_cache = false}));
}

INSTANTIATE_TEST_SUITE_P(Compression, ReadCache, testing::Values("none", "lz4"));

}  // namespace
}  // namespace cairn
