#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "tools/transfer/tree.h"

namespace cairn::tools {
namespace {

namespace fs = std::filesystem;

// A tree in "tree", and "outside" beside it.
class PosixTreeTest : public ::testing::Test {
 protected:
  PosixTreeTest() {
    std::string pattern = (fs::temp_directory_path() / "cairn-posix-tree.XXXXXX").string();
    top_ = ::mkdtemp(pattern.data());
    fs::create_directories(top_ / "tree/inner");
    fs::create_directories(top_ / "outside");
    std::ofstream(top_ / "outside/file") << "precious";
    std::ofstream(top_ / "tree/inner/file") << "ours";
    fs::permissions(top_ / "outside/file", fs::perms::owner_read);
  }
  ~PosixTreeTest() override { fs::remove_all(top_); }

  std::unique_ptr<Tree> open(const std::string& path = {}) {
    auto tree = open_posix_tree((top_ / "tree").string(), path, true);
    return tree ? std::move(*tree) : nullptr;
  }
  // Somebody does this between two calls of ours.
  void put_link(const fs::path& at, const fs::path& target) {
    fs::rename(top_ / "tree" / at, top_ / "aside");
    fs::create_symlink(target, top_ / "tree" / at);
  }
  void expect_outside_untouched() {
    std::string content;
    std::getline(std::ifstream(top_ / "outside/file"), content);
    EXPECT_EQ(content, "precious");
    EXPECT_EQ(fs::status(top_ / "outside/file").permissions(), fs::perms::owner_read);
    EXPECT_EQ(std::distance(fs::directory_iterator(top_ / "outside"), {}), 1);
  }

  fs::path top_;
};

Attr regular() {
  Attr attr;
  attr.mode = S_IFREG | 0777;
  attr.uid = ::geteuid();
  attr.gid = ::getegid();
  return attr;
}

// With and without the directory having been used before.
TEST_F(PosixTreeTest, ALinkInTheWayLeadsNowhere) {
  for (const bool used : {false, true}) {
    auto tree = open();
    ASSERT_TRUE(tree);
    const Place inner{"inner", 0}, file{"inner/file", 0};
    EXPECT_TRUE(!used || tree->find(inner, "file").has_value());
    put_link("inner", top_ / "outside");
    (void)tree->make(inner, "new", regular(), {});
    (void)tree->set(file, regular(), {});
    if (auto content = tree->open(file, true)) (void)(*content)->write(0, "overwritten");
    (void)tree->link({"inner", 0}, inner, "linked");
    (void)tree->remove(inner, "file");
    expect_outside_untouched();
    EXPECT_EQ(tree->list(inner).has_value(), used);  // the directory that it was, or none
    fs::remove(top_ / "tree/inner");
    fs::rename(top_ / "aside", top_ / "tree/inner");
    std::ofstream(top_ / "tree/inner/file") << "ours";
  }
}

TEST_F(PosixTreeTest, AFileThatBecameALinkIsNotWrittenThrough) {
  auto tree = open();
  ASSERT_TRUE(tree);
  put_link("inner/file", top_ / "outside/file");
  const Place file{"inner/file", 0};
  EXPECT_FALSE(tree->open(file, true));
  EXPECT_FALSE(tree->open(file, false));
  (void)tree->set(file, regular(), {});
  expect_outside_untouched();
}

TEST_F(PosixTreeTest, ThePathBelowTheTopFollowsNoLinkAndMakesWhatIsMissing) {
  fs::create_symlink(top_ / "outside", top_ / "tree/out");
  EXPECT_FALSE(open("out"));
  EXPECT_FALSE(open("out/new"));
  EXPECT_FALSE(open("inner/../inner"));
  EXPECT_TRUE(open("/inner//new/newer/"));
  EXPECT_TRUE(fs::is_directory(top_ / "tree/inner/new/newer"));
  expect_outside_untouched();
}

}  // namespace
}  // namespace cairn::tools
