// Stores that are not as they were left: segments that are empty, foreign, doubled or too long, an index that does not
// belong, a clock that went back. Each is opened rightly or refused with the file and the remedy, and nothing is deleted.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>

#include <fmt/format.h>

#include "cairn/fsck.h"
#include "cairn/store.h"
#include "io/sim_env.h"
#include "store/check_store.h"

namespace cairn::crash {
namespace {

constexpr char kPath[] = "/store";
constexpr char kSegments[] = "/store/segments/";
using Values = std::map<std::string, std::string>;

Options quiet() {
  Options options;
  options.commit_interval_ms = 0;
  return options;
}

std::string value_of(uint64_t seed, int i) { return fmt::format("value {} of {}", i, seed) + std::string(300, 'v'); }

class BadStore : public testing::Test {
 protected:
  BadStore() : env_(std::make_unique<io::SimEnv>(1)), other_(std::make_unique<io::SimEnv>(2)) {
    fill(*env_, 1);
    fill(*other_, 2);
    for (int i = 0; i < 40; ++i) values_[fmt::format("key{}", i)] = value_of(1, i);
  }

  static StoreGeometry geometry() {
    StoreGeometry geometry;
    geometry.segment_size = 64 << 10;
    geometry.chunk_size = 4096;
    geometry.compression = "none";
    return geometry;
  }
  static void fill(io::SimEnv& env, uint64_t seed) {
    ASSERT_TRUE(make_store(env, kPath, geometry(), false).has_value());
    for (int session = 0; session < 8; ++session) {
      auto store = Store::open(env, kPath, quiet());
      ASSERT_TRUE(store.has_value()) << store.error().message;
      for (int i = session * 5; i < session * 5 + 5; ++i) put(**store, fmt::format("key{}", i), value_of(seed, i));
      ASSERT_TRUE((*store)->settle().has_value());
      ASSERT_TRUE((*store)->close().has_value());
    }
    env.sync_all();
  }
  static void put(Store& store, const std::string& key, const std::string& value) {
    WriteBatch batch;
    batch.put(key, value);
    ASSERT_TRUE(store.write(batch, Durability::kSync).has_value());
  }

  // A file in a simulated world: created, or replaced.
  static void place(io::SimEnv& env, const std::string& directory, const std::string& name, const std::string& bytes) {
    const std::string path = directory + "/" + name;
    if (!env.exists(path)) {
      auto dir = env.open_dir(directory);
      ASSERT_TRUE(dir.has_value());
      ASSERT_TRUE((*dir)->open(name, {io::OpenMode::kCreate, false}).has_value());
    }
    env.truncate(path, 0);
    auto dir = env.open_dir(directory);
    auto file = (*dir)->open(name, {io::OpenMode::kReadWrite, false});
    ASSERT_TRUE(file.has_value());
    ASSERT_TRUE((*file)->pwrite(0, bytes).has_value());
    env.sync_all();
  }
  std::string newest_segment() { return env_->list("/store/segments").back(); }

  // Opened with all that it held, or refused with its path and what to do.
  void expect_right_or_refused(bool must_open = false) {
    auto store = Store::open(*env_, kPath, quiet());
    if (!store) {
      EXPECT_FALSE(must_open) << store.error().message;
      EXPECT_NE(store.error().message.find(kPath), std::string::npos) << store.error().message;
      EXPECT_NE(store.error().message.find("fsck.cairnfs"), std::string::npos) << store.error().message;
      return;
    }
    for (const auto& [key, value] : values_) {
      const auto got = (*store)->get(key);
      ASSERT_TRUE(got.has_value()) << key << ": " << got.error().message;
      EXPECT_EQ(got->view(), value) << key;
    }
    put(**store, "later", "works on");
    (void)(*store)->settle();
    (void)(*store)->close();
    store->reset();
    auto again = Store::open(*env_, kPath, quiet());
    ASSERT_TRUE(again.has_value()) << again.error().message;
    EXPECT_EQ((*again)->get("later")->view(), "works on");
  }
  // Somewhere in the store there is a file with these bytes.
  bool is_kept(const std::string& bytes) {
    for (const char* directory : {"/store/segments", "/store/quarantine", "/store/index", "/store"}) {
      if (!env_->exists(directory)) continue;
      for (const std::string& name : env_->list(directory)) {
        const std::string path = std::string(directory) + "/" + name;
        if (name.find('.') == std::string::npos && path != std::string("/store/manifest")) continue;  // a directory
        if (env_->content(path) == bytes) return true;
      }
    }
    return false;
  }
  // fsck --scrub has something to say about `file`.
  void expect_found(const std::string& file) {
    FsckOptions options;
    options.scrub = true;
    const auto report = fsck(*env_, kPath, options);
    if (!report) {
      EXPECT_NE(report.error().message.find(kPath), std::string::npos) << report.error().message;
      return;
    }
    EXPECT_TRUE(std::any_of(report->findings.begin(), report->findings.end(),
                            [&](const FsckFinding& f) { return f.file.find(file) != std::string::npos; }))
        << "fsck says nothing of " << file;
  }

  std::unique_ptr<io::SimEnv> env_, other_;
  Values values_;
};

constexpr char kNewName[] = "00000000000000ff.seg";

TEST_F(BadStore, SegmentsWithoutContentAreSetAsideAndTheStoreOpens) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{511}, size_t{4096}, size_t{64 << 10}}) {
    SCOPED_TRACE(size);
    place(*env_, "/store/segments", kNewName, std::string(size, '\0'));
    expect_found(kNewName);
    expect_right_or_refused(true);
    env_->remove(std::string(env_->exists(std::string(kSegments) + kNewName) ? kSegments : "/store/quarantine/") +
                 kNewName);
  }
}

TEST_F(BadStore, ASegmentThatIsOnlyAHeaderHoldsNothing) {
  auto store = Store::open(*env_, kPath, quiet());
  ASSERT_TRUE(store.has_value());
  put(**store, "first", "makes the header one in use");
  values_["first"] = "makes the header one in use";
  auto next = std::make_unique<io::SimEnv>(env_->kill());
  store->reset();
  env_ = std::move(next);
  // Cut behind the header: what was acknowledged is gone, with all that could prove it. The store still opens.
  std::string open_segment;
  for (const std::string& name : env_->list("/store/segments"))
    if (env_->content(kSegments + name).find("firstmakes") != std::string::npos) open_segment = name;
  ASSERT_FALSE(open_segment.empty());
  env_->truncate(kSegments + open_segment, 4096);
  values_.erase("first");
  expect_right_or_refused(true);
}

TEST_F(BadStore, ALogOfErasesAloneIsReplayed) {
  auto store = Store::open(*env_, kPath, quiet());
  ASSERT_TRUE(store.has_value());
  WriteBatch batch;
  for (int i = 0; i < 20; ++i) {
    batch.erase(fmt::format("key{}", i));
    values_.erase(fmt::format("key{}", i));
  }
  ASSERT_TRUE((*store)->write(batch, Durability::kSync).has_value());
  auto next = std::make_unique<io::SimEnv>(env_->crash(io::kAllLost));
  store->reset();
  env_ = std::move(next);
  auto again = Store::open(*env_, kPath, quiet());
  ASSERT_TRUE(again.has_value()) << again.error().message;
  EXPECT_EQ((*again)->get("key0").error().code, ErrorCode::kNotFound) << "an erased key is back";
  again->reset();
  expect_right_or_refused(true);
}

TEST_F(BadStore, SegmentsThatAreTooLongAreFoundAndReadAsTheyShould) {
  for (const std::string& name : env_->list("/store/segments")) {
    SCOPED_TRACE(name);
    const std::string before = env_->content(kSegments + name);
    place(*env_, "/store/segments", name, before + std::string(1 << 20, 'x'));
    expect_found(name);
    place(*env_, "/store/segments", name, before);
  }
  const std::string name = env_->list("/store/segments").front();
  place(*env_, "/store/segments", name, env_->content(kSegments + name) + std::string(1 << 20, 'x'));
  expect_right_or_refused();
}

TEST_F(BadStore, ASegmentOfAnotherStoreIsNeverTakenForOneOfThis) {
  for (const std::string& name : other_->list("/store/segments")) {
    SCOPED_TRACE(name);
    const std::string foreign = other_->content(kSegments + name);
    place(*env_, "/store/segments", kNewName, foreign);
    expect_found(kNewName);
    expect_right_or_refused();
    EXPECT_TRUE(is_kept(foreign)) << "deleted";
  }
}

TEST_F(BadStore, ASegmentOfAnotherStoreInThePlaceOfOneOfThisIsDamage) {
  for (const std::string& name : env_->list("/store/segments")) {
    if (!other_->exists(kSegments + name)) continue;
    SCOPED_TRACE(name);
    const std::string before = env_->content(kSegments + name);
    const std::string foreign = other_->content(kSegments + name);
    place(*env_, "/store/segments", name, foreign);
    expect_found(name);
    Options options = quiet();
    options.read_only = true;
    if (auto store = Store::open(*env_, kPath, options)) {
      for (const auto& [key, value] : values_) {
        const auto got = (*store)->get(key);
        if (got) {
          EXPECT_EQ(got->view(), value) << key << " reads as the other store's";
        } else {
          EXPECT_EQ(got.error().code, ErrorCode::kCorrupt) << got.error().message;
        }
      }
    }
    place(*env_, "/store/segments", name, before);
  }
}

TEST_F(BadStore, ACopyOfASegmentUnderAnotherNameIsNotASegment) {
  const std::string copied = env_->content(kSegments + newest_segment());
  place(*env_, "/store/segments", kNewName, copied);
  expect_found(kNewName);
  expect_right_or_refused();
  EXPECT_TRUE(is_kept(copied));
}

TEST_F(BadStore, FilesThatDoNotBelongThereStay) {
  for (const char* name : {"note.txt", "0000000000000001.SEG", "1.seg", "000000000000000g.seg", "core.1"}) {
    place(*env_, "/store/segments", name, std::string("mine: ") + name);
    place(*env_, "/store/index", name, std::string("mine: ") + name);
    expect_found(name);
  }
  place(*env_, "/store", "README.txt", "mine");
  expect_right_or_refused(true);
  for (const char* name : {"note.txt", "0000000000000001.SEG", "1.seg", "000000000000000g.seg", "core.1"}) {
    EXPECT_EQ(env_->content(std::string(kSegments) + name), std::string("mine: ") + name);
    EXPECT_EQ(env_->content(std::string("/store/index/") + name), std::string("mine: ") + name);
  }
}

TEST_F(BadStore, AManifestOfAnotherStoreIsRefusedAndARebuildPutsItRight) {
  place(*env_, "/store", "manifest", other_->content("/store/manifest"));
  expect_found("manifest");
  expect_right_or_refused();
  FsckOptions options;
  options.rebuild_index = true;
  ASSERT_TRUE(fsck(*env_, kPath, options).has_value());
  expect_right_or_refused(true);
}

// The index is behind: an older manifest, with the tables and segments of later.
TEST_F(BadStore, AManifestOfEarlierIsOpenedRightlyOrRefused) {
  const std::string older = env_->content("/store/manifest");
  {
    auto store = Store::open(*env_, kPath, quiet());
    ASSERT_TRUE(store.has_value());
    for (int i = 0; i < 200; ++i) {
      values_[fmt::format("more{}", i)] = value_of(3, i);
      put(**store, fmt::format("more{}", i), value_of(3, i));
    }
    ASSERT_TRUE((*store)->settle().has_value());
    ASSERT_TRUE((*store)->close().has_value());
  }
  place(*env_, "/store", "manifest", older);
  expect_right_or_refused();
  FsckOptions options;
  options.rebuild_index = true;
  ASSERT_TRUE(fsck(*env_, kPath, options).has_value());
  expect_right_or_refused(true);
}

// Then the chain of headers alone says what belongs to the log; of a gap in it nothing can be read as if it had never been.
TEST_F(BadStore, ASegmentThatIsMissingBehindAManifestOfEarlierIsNoticed) {
  constexpr int kSegmentsWritten = 4;
  io::SimEnv written(3);
  ASSERT_TRUE(make_store(written, kPath, geometry(), false).has_value());
  auto store = Store::open(written, kPath, quiet());
  ASSERT_TRUE(store.has_value()) << store.error().message;
  const std::string older = written.content("/store/manifest");
  for (int i = 0; i < kSegmentsWritten; ++i) {
    put(**store, fmt::format("more{}", i), value_of(3, i));
    ASSERT_TRUE((*store)->seal().has_value());
  }
  io::SimEnv killed = written.kill();
  store->reset();
  place(killed, "/store", "manifest", older);
  int tried = 0;
  for (const std::string& name : killed.list("/store/segments")) {
    const std::string content = killed.content(kSegments + name);
    const bool is_last = content.find(fmt::format("more{}value", kSegmentsWritten - 1)) != std::string::npos;
    if (content.find("value") == std::string::npos || is_last) continue;  // of the last one nothing could tell
    SCOPED_TRACE(name);
    io::SimEnv env = killed.peek_crash(io::kNothingLost);
    env.remove(kSegments + name);
    const auto opened = Store::open(env, kPath, quiet());
    ASSERT_FALSE(opened.has_value()) << "opens without what was in it";
    EXPECT_NE(opened.error().message.find("the log before it ends"), std::string::npos) << opened.error().message;
    EXPECT_NE(opened.error().message.find("fsck.cairnfs"), std::string::npos) << opened.error().message;
    ++tried;
  }
  EXPECT_EQ(tried, kSegmentsWritten - 1);
}

// The index is ahead: the manifest of later, with the segments of earlier.
TEST_F(BadStore, AManifestOfLaterIsRefusedOrReadsAsErrors) {
  io::SimEnv earlier = env_->peek_crash(io::kNothingLost);
  {
    auto store = Store::open(*env_, kPath, quiet());
    ASSERT_TRUE(store.has_value());
    for (int i = 0; i < 200; ++i) put(**store, fmt::format("key{}", i % 40), value_of(4, i));
    ASSERT_TRUE((*store)->close().has_value());
  }
  place(earlier, "/store", "manifest", env_->content("/store/manifest"));
  env_ = std::make_unique<io::SimEnv>(earlier.peek_crash(io::kNothingLost));
  expect_found("");
  auto store = Store::open(*env_, kPath, quiet());
  if (!store) {
    EXPECT_NE(store.error().message.find("fsck.cairnfs"), std::string::npos) << store.error().message;
    return;
  }
  for (const auto& [key, value] : values_) {
    const auto got = (*store)->get(key);
    EXPECT_FALSE(got.has_value() && got->view() == value) << "an older version stands in for one that is missing";
  }
}

TEST_F(BadStore, AClockThatGoesBackByYearsChangesNothing) {
  const io::Timestamp now = env_->now();
  for (const int64_t seconds : {now.seconds - 10 * 365 * 86400, int64_t{0}, int64_t{-86400}, now.seconds}) {
    env_->set_now({.seconds = seconds});
    auto store = Store::open(*env_, kPath, quiet());
    ASSERT_TRUE(store.has_value()) << store.error().message;
    values_["key0"] = fmt::format("written at {}", seconds);
    put(**store, "key0", values_["key0"]);
    auto next = std::make_unique<io::SimEnv>(env_->crash(io::kAllLost));
    store->reset();
    env_ = std::move(next);
    env_->set_now({.seconds = seconds - 3600});
    expect_right_or_refused(true);
  }
}

}  // namespace
}  // namespace cairn::crash
