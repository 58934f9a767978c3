// Segments of which the blocks are written ahead, because many small commits are to come.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

#include <fmt/format.h>

#include "cairn/store.h"
#include "format/segment.h"
#include "io/sim_env.h"

namespace cairn {
namespace {

constexpr char kPath[] = "/store";
constexpr uint64_t kSegmentSize = 64 << 10;
constexpr int kManyCommits = 6;  // more than it takes, fewer than a segment holds

class SegmentFill : public testing::Test {
 protected:
  void SetUp() override {
    StoreGeometry geometry;
    geometry.segment_size = kSegmentSize;
    geometry.chunk_size = 4096;
    geometry.compression = "none";
    ASSERT_TRUE(make_store(*env_, kPath, geometry, false).has_value());
    open();
    env_->executor().run_until_idle();
  }
  void open() {
    auto store = Store::open(*env_, kPath, Options{});
    ASSERT_TRUE(store.has_value()) << store.error().message;
    store_ = std::move(*store);
  }
  void put(int number, Durability durability) {
    WriteBatch batch;
    batch.put(fmt::format("key {}", number), fmt::format("value {}", number));
    const auto written = store_->write(batch, durability);
    ASSERT_TRUE(written.has_value()) << written.error().message;
    env_->executor().run_until_idle();
  }
  void expect_values(int count) {
    for (int i = 0; i < count; ++i) {
      const auto got = store_->get(fmt::format("key {}", i));
      ASSERT_TRUE(got.has_value()) << i << ": " << got.error().message;
      EXPECT_EQ(got->view(), fmt::format("value {}", i));
    }
  }
  // The newest file of a segment: the one that waits for its use. The one before it is open.
  std::string newest() const { return env_->list("/store/segments").back(); }
  std::string open_one() const { return env_->list("/store/segments").end()[-2]; }
  // Bytes behind the header that were written to `file`, before its last sync.
  uint64_t bytes_written_and_synced(const std::string& file) const {
    uint64_t written = 0, synced = 0;
    for (const io::Call& call : env_->mutations()) {
      if (call.file != file) continue;
      if (call.kind == io::CallKind::kWrite && call.offset >= format::kSegmentHeaderSize) written += call.length;
      if (call.kind == io::CallKind::kSync) synced = written;
    }
    return synced;
  }

  std::unique_ptr<io::SimEnv> env_ = std::make_unique<io::SimEnv>(1);
  std::unique_ptr<Store> store_;
};

TEST_F(SegmentFill, ManySmallCommitsHaveTheNextSegmentWrittenAhead) {
  const std::string next = newest();
  EXPECT_EQ(bytes_written_and_synced(next), 0u);
  for (int i = 0; i < kManyCommits; ++i) put(i, Durability::kSync);
  EXPECT_EQ(newest(), next);
  EXPECT_EQ(bytes_written_and_synced(next), kSegmentSize - format::kSegmentHeaderSize);
}

TEST_F(SegmentFill, TheSegmentThatSeesThemIsWrittenAheadToItsEndAndKeepsWhatItHolds) {
  const std::string file = open_one();
  for (int i = 0; i < kManyCommits; ++i) put(i, Durability::kSync);
  ASSERT_EQ(open_one(), file);
  uint64_t end = 0;
  for (const io::Call& call : env_->mutations()) {
    if (call.file == file && call.kind == io::CallKind::kWrite) end = std::max(end, call.offset + call.length);
  }
  EXPECT_EQ(end, kSegmentSize);
  auto crashed = std::make_unique<io::SimEnv>(env_->crash({}));
  store_.reset();
  env_ = std::move(crashed);
  open();
  expect_values(kManyCommits);
}

TEST_F(SegmentFill, WithoutManyCommitsNothingIsWrittenTwice) {
  const std::string next = newest();
  for (int i = 0; i < kManyCommits; ++i) put(i, Durability::kNone);
  ASSERT_TRUE(store_->sync().has_value());
  env_->executor().run_until_idle();
  EXPECT_EQ(bytes_written_and_synced(next), 0u);
}

// A roll unlocks everything for the hook, and then takes the prepared file: no job may have it in its hands then.
TEST_F(SegmentFill, ThePreparedFileIsLeftAloneWhileARollReliesOnIt) {
  const std::string next = newest();
  bool rolling = false, asked = false;
  uint64_t touched = 0;
  store_->set_commit_hook([&](Store::Operation&) -> Result<void> {
    if (!rolling) return {};
    asked = true;
    const uint64_t before = env_->mutations().size();
    env_->executor().run_until_idle();
    for (uint64_t i = before; i < env_->mutations().size(); ++i) touched += env_->mutations()[i].file == next ? 1 : 0;
    return {};
  });
  for (int i = 0; i < kManyCommits; ++i) {  // the job that would fill it is waiting now
    WriteBatch batch;
    batch.put(fmt::format("key {}", i), fmt::format("value {}", i));
    ASSERT_TRUE(store_->write(batch, Durability::kSync).has_value());
  }
  ASSERT_EQ(bytes_written_and_synced(next), 0u);
  {
    auto operation = store_->begin(1024);  // without anything kept the hook has nothing to do
    ASSERT_TRUE(operation.has_value() && operation->keep(1024));
  }
  rolling = true;
  ASSERT_TRUE(store_->seal().has_value());
  rolling = false;
  store_->set_commit_hook({});
  EXPECT_TRUE(asked);
  EXPECT_EQ(touched, 0u);
  expect_values(kManyCommits);
}

// The job was asked for by the segment before: it finds one of which only the header is there, and that is not to be lost.
TEST_F(SegmentFill, TheHeaderOfASegmentThatHasJustBeenOpenedStays) {
  const std::string next = newest();
  for (int i = 0; i < kManyCommits; ++i) {
    WriteBatch batch;
    batch.put(fmt::format("key {}", i), fmt::format("value {}", i));
    ASSERT_TRUE(store_->write(batch, Durability::kSync).has_value());
  }
  ASSERT_TRUE(store_->seal().has_value());
  env_->executor().run_until_idle();
  ASSERT_EQ(open_one(), next);
  uint64_t filled = 0;
  for (const io::Call& call : env_->mutations()) {
    if (call.kind != io::CallKind::kWrite || call.file != next) continue;
    EXPECT_GE(call.offset, format::kSegmentHeaderSize);
    filled += call.length;
  }
  EXPECT_GT(filled, 0u) << "the job did not meet the new segment";
}

TEST_F(SegmentFill, AFilledSegmentTakesItsRecordsAndEndsWhereTheyEndAfterACrash) {
  constexpr int kCount = 40;  // three segments
  const std::string next = newest();
  for (int i = 0; i < kCount; ++i) put(i, Durability::kSync);
  ASSERT_NE(newest(), next) << "the filled segment was not used";
  auto crashed = std::make_unique<io::SimEnv>(env_->crash({}));
  store_.reset();
  env_ = std::move(crashed);
  open();
  expect_values(kCount);
}

TEST_F(SegmentFill, AFileThatCannotBeFilledIsReplacedAndTheStoreGoesOn) {
  const std::string broken = newest();
  env_->inject({.kind = io::CallKind::kWrite, .file = broken, .err = EIO, .from_then_on = true});
  for (int i = 0; i < 40; ++i) put(i, Durability::kSync);
  EXPECT_GT(env_->faults_hit(), 0u);
  EXPECT_FALSE(env_->exists("/store/segments/" + broken));
  expect_values(40);
}

}  // namespace
}  // namespace cairn
