// Reads that span chunks: one read of the disk for those that lie side by side, whatever the others are.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

#include "format/tree_format.h"
#include "support/tree_fixture.h"

namespace cairn {
namespace {

class ReadTogether : public TreeFixture {
 protected:
  ReadTogether() : TreeFixture(geometry()) {
    std::mt19937_64 random(1);
    for (char& byte : data_) byte = static_cast<char>(random());
    file_ = file(kRootIno, "f", data_);
    remount();
    read(file_, 0, 1);
  }
  // The file lies in one segment.
  static StoreGeometry geometry() {
    StoreGeometry geometry = small_geometry();
    geometry.segment_size = 256 << 10;
    return geometry;
  }
  uint64_t calls_for(uint64_t offset, uint64_t size) {
    const uint64_t before = env_->calls();
    EXPECT_TRUE(read(file_, offset, size) == data_.substr(offset, size)) << offset << " " << size;
    return env_->calls() - before;
  }

  std::string data_ = std::string(8 * kChunk + 1000, '\0');
  Ino file_ = 0;
};

TEST_F(ReadTogether, NeighboursAreOneReadAndThenCached) {
  EXPECT_EQ(calls_for(kChunk + 10, 3 * kChunk), 1u);
  EXPECT_EQ(calls_for(kChunk + 10, 3 * kChunk), 0u);
  EXPECT_EQ(calls_for(0, UINT64_MAX), 1u) << "the rest of it";
}

TEST_F(ReadTogether, WhatWaitsInMemoryIsNewer) {
  ok(fs_->open(file_, false, false));
  write(file_, 3 * kChunk + 5, "newer");
  data_.replace(3 * kChunk + 5, 5, "newer");
  read(file_, 3 * kChunk, 1);
  for (const uint64_t offset : {uint64_t{0}, 3 * kChunk + 7, 4 * kChunk}) calls_for(offset, 3 * kChunk);
  ok(fs_->sync());  // it is a patch now
  for (const uint64_t offset : {uint64_t{0}, 3 * kChunk + 7, 4 * kChunk}) calls_for(offset, 3 * kChunk);
  fs_->release(file_);
  remount();
  calls_for(0, UINT64_MAX);
}

TEST_F(ReadTogether, WhatTheLogNeverHadIsReadToo) {
  file_ = ok(fs_->create(kRootIno, "fresh", 0644, kUser)).ino;
  write(file_, 0, data_.substr(0, 6 * kChunk));
  write(file_, 6 * kChunk, data_.substr(6 * kChunk, 100));
  data_.resize(6 * kChunk + 100);
  calls_for(0, UINT64_MAX);
  calls_for(5 * kChunk + 1, kChunk + 50);
}

TEST_F(ReadTogether, HolesStayHoles) {
  const uint64_t size = data_.size();
  write(file_, 12 * kChunk, data_.substr(0, 2 * kChunk));
  data_.resize(12 * kChunk, '\0');
  data_ += data_.substr(0, 2 * kChunk);
  ok(fs_->fallocate(file_, kFallocPunch | kFallocKeepSize, kChunk, 2 * kChunk));
  std::fill_n(data_.begin() + kChunk, 2 * kChunk, '\0');
  for (int round = 0; round < 2; ++round, remount())
    for (const uint64_t offset : {uint64_t{0}, kChunk - 1, 2 * kChunk + 1, size - 1, 11 * kChunk})
      for (const uint64_t length : {uint64_t{5}, 4 * kChunk, uint64_t{UINT64_MAX}}) calls_for(offset, length);
}

TEST_F(ReadTogether, DamageIsCountedOnceAndOnlyItsReadersSeeIt) {
  const std::string piece = data_.substr(5 * kChunk + 100, 64);
  for (const std::string& name : env_->list("/store/segments")) {
    const std::string path = "/store/segments/" + name;
    const size_t at = env_->content(path).find(piece);
    if (at == Bytes::npos) continue;
    env_->flip_bit(path, at);
    break;
  }
  fails(ErrorCode::kCorrupt, fs_->read(file_, 0, UINT64_MAX));
  EXPECT_EQ(fs_->store_stats().corrupt_reads, 1u);
  calls_for(0, 5 * kChunk);
  calls_for(6 * kChunk, UINT64_MAX);
}

TEST_F(ReadTogether, AChunkThatIsMissingIsDamageAndNoHole) {
  unmount();
  {
    const auto store = ok(Store::open(*env_, kPath, Options()));
    WriteBatch batch;
    batch.erase(format::chunk_key(file_, 5));
    ok(store->write(batch, Durability::kSync));
  }
  mount();
  fails(ErrorCode::kCorrupt, fs_->read(file_, 0, UINT64_MAX));
  calls_for(0, 5 * kChunk);
  calls_for(6 * kChunk, UINT64_MAX);
}

// More at once than are asked of the store together.
TEST_F(ReadTogether, ALongReadIsCutIntoSeveral) {
  std::string large;
  while (large.size() < 200 * kChunk) large += data_;
  data_ = large;
  file_ = file(kRootIno, "large", large);
  remount();
  calls_for(0, UINT64_MAX);
  calls_for(100, 150 * kChunk);
}

}  // namespace
}  // namespace cairn
