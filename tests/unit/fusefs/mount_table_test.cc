#include "fusefs/mount_table.h"

#include <filesystem>
#include <sstream>

#include <gtest/gtest.h>

namespace cairn::fusefs {
namespace {

constexpr char kTable[] =
    "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
    "36 22 0:52 / /mnt/my\\040cache rw,nosuid,nodev shared:9 master:2 - fuse.cairnfs /srv/a\\134b,\\011c rw,user_id=0\n"
    "37 22 0:53 / /mnt/x rw - tmpfs none rw\n"
    "garbage\n"
    "38 37 0:54 / /mnt/x rw - fuse.cairnfs /srv/store rw\n";

TEST(MountTable, UnderstandsEscapesAndAnyNumberOfOptionalFields) {
  std::istringstream lines(kTable);
  const auto table = parse_mount_table(lines);
  ASSERT_EQ(table.size(), 4u);
  EXPECT_EQ(table[1].point, "/mnt/my cache");
  EXPECT_EQ(table[1].type, kFsType);
  EXPECT_EQ(table[1].source, "/srv/a\\b,\tc");
  EXPECT_EQ(table[1].device, "0:52");
}

TEST(MountTable, TheLastMountOfAPointIsTheVisibleOne) {
  std::istringstream lines(kTable);
  const auto table = parse_mount_table(lines);
  EXPECT_EQ(mounted_at(table, "/mnt/x")->source, "/srv/store");
  EXPECT_FALSE(mounted_at(table, "/mnt"));
}

TEST(MountTable, AMountPointThatDoesNotExistKeepsItsName) {
  const std::filesystem::path parent = std::filesystem::canonical(testing::TempDir());
  EXPECT_EQ(canonical_mount_point(parent / "." / "no-such-name/")->string(), (parent / "no-such-name").string());
  EXPECT_FALSE(canonical_mount_point(parent / "no-such-parent" / "name"));
}

}  // namespace
}  // namespace cairn::fusefs
