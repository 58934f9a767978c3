// The reserve: what it takes is in the account of the store's room, and so is what becomes of it.
#include "store/reserve.h"

#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "base/log.h"
#include "io/sim_env.h"

namespace cairn::store {
namespace {

constexpr uint64_t kFileSize = 1 << 20;  // bytes
constexpr uint64_t kLimit = 64 << 20;    // bytes

TEST(Reserve, AFileThatBecomesASmallerOneIsCutBeforeItsRoomGoesBack) {
  io::SimEnv env(3);
  ASSERT_TRUE(env.make_dir("/store").has_value());
  auto store = env.open_dir("/store");
  ASSERT_TRUE(store.has_value());
  Room room(kLimit, kFileSize);
  auto reserve = Reserve::open(**store, kFileSize, 2, &room, null_logger());
  ASSERT_TRUE(reserve.has_value()) << reserve.error().message;
  ASSERT_TRUE((*reserve)->is_whole());
  EXPECT_EQ(env.used(), 2 * kFileSize);
  EXPECT_EQ(room.used(), 2 * Room::charge(kFileSize));

  // Whoever takes one pays for what it is to be, as for any file.
  const uint64_t size = 3 * io::kBlockSize;
  ASSERT_TRUE(room.take(Room::charge(size), Room::Use::kMaintain));
  auto file = (*reserve)->take(**store, {"table", size, "head", false});
  ASSERT_TRUE(file.has_value()) << file.error().message;
  EXPECT_EQ((*file)->stat()->size, size);
  EXPECT_LE(env.used(), room.used()) << "more is on disk than anybody pays for";
  EXPECT_EQ(env.used(), kFileSize + size);
  EXPECT_EQ(env.content("/store/table").substr(0, 4), "head");
}

}  // namespace
}  // namespace cairn::store
