// Every bit of a store that contains every structure is flipped: each so-manieth of them, and all with CAIRNFS_ROT=all.
#include <gtest/gtest.h>

#include <string>

#include <fmt/format.h>

#include "crash/rot_store.h"

namespace cairn::crash {
namespace {

// Flips bit after bit of `world`, of its share, and checks each.
uint64_t flip(const RotWorld& world, const RotShare& share) {
  uint64_t count = 0, bit = share.first;
  for (const RotFile& file : world.files) {
    for (; bit < file.size * 8; bit += share.step, ++count) {
      const uint64_t offset = bit / 8;
      SCOPED_TRACE(fmt::format("bit {} of byte {} of {}", bit % 8, offset, file.path));
      io::SimEnv env = world.env->peek_crash(io::kNothingLost);
      env.flip_bit(file.path, offset, static_cast<unsigned>(bit % 8));
      RotCheck check{.world = world, .file = file.path};
      check.lost = file.lost(offset, offset + 1);
      check.must_find = offset < file.found_until;
      check.index = offset >= file.index_from;
      check.may_forget = file.unsealed;
      check.writes = count % 4 == 1;
      check.rebuild = count % 4 == 3;
      check.run(env);
      if (testing::Test::HasFailure()) return count;
    }
    bit -= file.size * 8;
  }
  return count;
}

TEST(RotBits, AnyFlippedBitOfAClosedStoreIsFoundAndCostsItsOwnRecordAtMost) {
  const RotWorld world = closed_store("lz4");
  const RotShare share = rot_share(97);
  const uint64_t count = flip(world, share);
  RecordProperty("bits", static_cast<int>(count));
  EXPECT_GT(count, 1'000'000 / share.step);
}

TEST(RotBits, AnyFlippedBitOfAKilledStoreIsFoundOrInATornTail) {
  const RotWorld world = killed_store("zstd:3");
  const RotShare share = rot_share(97);
  const uint64_t count = flip(world, share);
  RecordProperty("bits", static_cast<int>(count));
  EXPECT_GT(count, 1'000'000 / share.step);
}

}  // namespace
}  // namespace cairn::crash
