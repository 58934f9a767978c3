// Thousands of tiny files on a disk that is full: each can be deleted, whatever is deleted, and the room comes back.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "support/expect_clean.h"
#include "support/tree_fixture.h"

namespace cairn {
namespace {

constexpr uint64_t kDisk = 16 << 20;  // bytes

StoreGeometry geometry() {
  StoreGeometry out = small_geometry();
  out.segment_size = 256 << 10;  // many blocks
  return out;
}

struct Case {
  const char* name;
  uint64_t content;  // bytes of a file
  bool shuffled;     // deleted in another order than made
};

class FullDiskTree : public TreeFixture {
 public:
  FullDiskTree() : TreeFixture(geometry()) {
    unmount();
    env_->set_capacity(kDisk);
    mount();
  }
  static std::string name(uint64_t n) { return fmt::format("file-{}", n); }

  // Until the disk is full; how many there are then.
  uint64_t fill(uint64_t size) {
    const std::string content(size, 'x');
    for (uint64_t n = 0;; ++n) {
      const auto made = fs_->create(kRootIno, name(n), 0644, kUser);
      if (!made) {
        EXPECT_EQ(made.error().code, ErrorCode::kNoSpace) << made.error().message;
        return n;
      }
      const bool written = size == 0 || fs_->write(made->ino, 0, content, false, false).has_value();
      fs_->release(made->ino);
      fs_->forget(made->ino, 1);
      if (!written) return n + 1;
      if (n % 64 == 0) settle();  // the background keeps up, as on a disk it does
    }
  }
};

class FullDisk : public FullDiskTree, public testing::WithParamInterface<Case> {};

TEST_P(FullDisk, TakesEveryDeletionAndGivesTheRoomBack) {
  const Case& c = GetParam();
  const uint64_t count = fill(c.content);
  ASSERT_GT(count, 2000u);
  // Others take what is left, too.
  env_->set_capacity(env_->used());
  std::vector<uint64_t> order(count);
  for (uint64_t n = 0; n < count; ++n) order[n] = n;
  if (c.shuffled) std::shuffle(order.begin(), order.end(), std::mt19937_64(7));
  for (uint64_t i = 0; i < count; ++i) {
    const auto gone = fs_->unlink(kRootIno, name(order[i]));
    ASSERT_TRUE(gone.has_value()) << i << " of " << count << ": " << gone.error().message;
  }
  ok(fs_->sync());
  settle();
  const uint64_t again = fill(c.content);
  EXPECT_GT(again, count / 2);
  unmount();
  expect_clean(*env_, kPath);
  mount();
  EXPECT_EQ(names(kRootIno).size(), again);
}

// Hazard 28: what is durable is never evicted, however full the disk is.
TEST_F(FullDiskTree, ADurableStoreRefusesWhatIsNewAndKeepsWhatItHas) {
  const uint64_t count = fill(3000);
  settle();
  uint64_t refused = 0;
  const std::string more(3000, 'y');
  const Ino last = find(kRootIno, name(0));
  for (uint64_t at = 0; refused < 20; at += more.size()) {
    const auto written = fs_->write(last, 3000 + at, more, false, false);
    if (!written) {
      ++refused;
      EXPECT_EQ(written.error().message.find("limit"), std::string::npos) << "it has none: " << written.error().message;
    }
    ASSERT_LT(at, kDisk);
  }
  settle();
  for (uint64_t n = 0; n + 1 < count; n += 41)
    ASSERT_EQ(read(find(kRootIno, name(n)), 0, 3000), std::string(3000, 'x')) << n;
}

INSTANTIATE_TEST_SUITE_P(Files, FullDisk,
                         testing::Values(Case{"empty", 0, false}, Case{"empty_shuffled", 0, true},
                                         Case{"tiny_shuffled", 100, true}, Case{"small_shuffled", 700, true}),
                         [](const auto& c) { return std::string(c.param.name); });

}  // namespace
}  // namespace cairn
