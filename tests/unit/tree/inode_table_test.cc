// Which inodes stay in memory: those that somebody uses, and a bounded number of others, however many the kernel knows.
#include "tree/inode_table.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/tree_fixture.h"

namespace cairn::tree {
namespace {

class Table : public TreeFixture {
 public:
  static constexpr uint64_t kFiles = 2000, kObjects = 128;

  Table() {
    for (uint64_t i = 0; i < kFiles; ++i) files_.push_back(file(kRootIno, std::to_string(i)));
    unmount();
    Options options;
    options.read_only = true;
    store_ = ok(Store::open(*env_, kPath, options));
    table_ = std::make_unique<InodeTable>(*store_, kObjects);
  }
  void count_all() {
    for (const Ino ino : files_) table_->count_lookup(*table_->get(ino));
  }

  std::vector<Ino> files_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<InodeTable> table_;
};

TEST_F(Table, WhatIsOnlyCountedKeepsItsCountAndNoObject) {
  count_all();
  EXPECT_LE(table_->objects(), kObjects);
  EXPECT_EQ(table_->counted(), kFiles);
  for (const Ino ino : files_) {
    const InodeRef inode = table_->get(ino);
    const ReadLock lock(inode->mutex);
    ASSERT_TRUE(inode->loaded);
    EXPECT_EQ(table_->lookups(*inode), 1u);
  }
  for (const Ino ino : files_) table_->forget(ino, 1);
  EXPECT_EQ(table_->counted(), 0u);
  EXPECT_LE(table_->objects(), kObjects);
}

TEST_F(Table, WhatIsOpenOrHasNoNameStaysTheSameObject) {
  const Ino open = files_[0], unlinked = files_[1], used = files_[2];
  const Inode* open_object = nullptr;
  {
    const InodeRef inode = table_->get(open);
    const ReadLock lock(inode->mutex);
    table_->count_open(*inode);
    open_object = inode.get();
  }
  const Inode* unlinked_object = nullptr;
  {
    const InodeRef inode = table_->get(unlinked);
    const WriteLock lock(inode->mutex);
    table_->count_lookup(*inode);
    inode->life = Life::kUnlinked;
    unlinked_object = inode.get();
  }
  const InodeRef used_object = table_->get(used);
  count_all();
  EXPECT_EQ(table_->get(open).get(), open_object);
  EXPECT_EQ(table_->get(unlinked).get(), unlinked_object);
  EXPECT_EQ(table_->get(used), used_object);
  EXPECT_EQ(table_->release(open).get(), open_object);
  EXPECT_EQ(table_->forget(unlinked, 2).get(), unlinked_object);
}

TEST_F(Table, WhatCannotBeReadIsReadAgainTheNextTime) {
  const Ino none = files_.back() + 1000;
  const InodeRef first = table_->get(none);
  {
    const ReadLock lock(first->mutex);
    EXPECT_FALSE(first->loaded);
  }
  EXPECT_NE(table_->get(none), first);
  EXPECT_EQ(table_->objects(), 0u);
  EXPECT_EQ(table_->counted(), 0u);
}

}  // namespace
}  // namespace cairn::tree
