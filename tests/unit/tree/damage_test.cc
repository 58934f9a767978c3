// A file of a cache that the disk has damaged: an error for who reads it, then a miss, and counted.
#include <gtest/gtest.h>

#include <string>

#include "support/cache_fixture.h"

namespace cairn {
namespace {

class DamageTest : public CacheFixture {
 protected:
  // Flips a bit in the middle of the file's content, on disk.
  void damage(uint64_t n) {
    const std::string piece = content(n).substr(kSize / 2, 64);
    for (const std::string& file : env_->list(std::string(kPath) + "/segments")) {
      const std::string path = std::string(kPath) + "/segments/" + file;
      const size_t at = env_->content(path).find(piece);
      if (at == Bytes::npos) continue;
      env_->flip_bit(path, at + 5);
      return;
    }
    FAIL() << "the content of " << n << " is in no segment";
  }
  [[nodiscard]] uint64_t counted() const {
    return fs_->cache_stats().evicted_files[static_cast<size_t>(EvictReason::kDamaged)];
  }
  // Three files on disk, the second of them damaged, nothing of it in memory.
  Ino start() {
    add_many(1, 3);
    unmount();
    damage(2);
    mount();
    fs_->set_eviction_listener([this](const LostName& lost) { told_.push_back(lost); });
    return ok(fs_->lookup(kRootIno, name(2))).ino;
  }
};

TEST_F(DamageTest, TheReaderGetsAnErrorAndTheNextOneFindsNothing) {
  const Ino damaged = start();
  ok(fs_->open(damaged, false, false));
  fails(ErrorCode::kCorrupt, fs_->read(damaged, 0, UINT64_MAX));
  settle();
  EXPECT_FALSE(is_there(2));
  EXPECT_EQ(counted(), 1u);
  ASSERT_EQ(told_.size(), 1u);
  EXPECT_EQ(told_[0].name, name(2));
  EXPECT_FALSE(fs_->read(damaged, 0, UINT64_MAX)) << "whoever has it open gets the error again";
  fs_->release(damaged);
  EXPECT_EQ(read(find(kRootIno, name(1))), content(1));
  EXPECT_EQ(read(find(kRootIno, name(3))), content(3));
  EXPECT_EQ(read(add(2)), content(2));
  settle();
  EXPECT_EQ(counted(), 1u);
  again();
  EXPECT_EQ(read(find(kRootIno, name(2))), content(2));
}

TEST_F(DamageTest, WritingIntoADamagedChunkIsNoWayToReadIt) {
  const Ino damaged = start();
  ok(fs_->open(damaged, false, false));
  // Most of the chunk, so that it is read and written as a whole, but not what is damaged.
  const uint64_t chunk = kSize / 2 / (16 << 10) * (16 << 10);
  fails(ErrorCode::kCorrupt, fs_->write(damaged, chunk + 100, std::string(12'000, 'n'), false, false));
  settle();
  fs_->release(damaged);
  EXPECT_FALSE(is_there(2));
  EXPECT_EQ(counted(), 1u);
}

TEST_F(DamageTest, AFileIsGoneOnceHoweverManyReadIt) {
  const Ino damaged = start();
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(fs_->read(damaged, 0, UINT64_MAX));
  settle();
  EXPECT_FALSE(fs_->read(damaged, 0, UINT64_MAX));
  settle();
  EXPECT_EQ(counted(), 1u);
  EXPECT_GE(fs_->store_stats().corrupt_reads, 5u);
}

}  // namespace
}  // namespace cairn
