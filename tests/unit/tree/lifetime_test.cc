// How long inodes live: counts of lookups and opens, orphans, and what a restart finds of them.
#include <gtest/gtest.h>

#include <string>

#include "format/tree_format.h"
#include "support/tree_fixture.h"

namespace cairn {
namespace {

class Lifetime : public TreeFixture {
 public:
  // Keys of the tree that the closed store has, but for the root's.
  uint64_t keys_left() {
    Options options;
    options.read_only = true;
    const auto store = ok(Store::open(*env_, kPath, options));
    uint64_t n = 0;
    for (Cursor cursor = store->scan({}); cursor.valid(); cursor.next()) {
      const auto key = format::decode_tree_key(cursor.key());
      if (key && key->ino != kRootIno) ++n;
    }
    return n;
  }
  std::string big() const { return std::string(200 * kChunk, 'b'); }
};

TEST_F(Lifetime, AnUnlinkedOpenFileWorksUntilItIsClosed) {
  const Ino f = ok(fs_->create(kRootIno, "f", 0644, kUser)).ino;
  write(f, 0, "before");
  ok(fs_->unlink(kRootIno, "f"));
  EXPECT_EQ(stat(f).links, 0u);
  write(f, 6, " and after");
  EXPECT_EQ(read(f), "before and after");
  resize(f, 3);
  EXPECT_EQ(read(f), "bef");
  settle();
  EXPECT_EQ(read(f), "bef");
  ok(fs_->open(f, false, false));  // through /proc/self/fd
  fs_->release(f);
  EXPECT_EQ(read(f), "bef");
  fs_->release(f);
  settle();
  fails(ErrorCode::kStale, fs_->read(f, 0, 1));
  fs_->forget(f, 1);
  EXPECT_EQ(fs_->known_inodes(), 0u);
  unmount();
  EXPECT_EQ(keys_left(), 0u);
}

TEST_F(Lifetime, WhatTheKernelOpensWithoutTellingWorksUntilItIsForgotten) {
  const Ino fifo = ok(fs_->mknod(kRootIno, "fifo", S_IFIFO | 0600, 0, kUser)).ino;
  const Ino d = dir(kRootIno, "d");
  ok(fs_->unlink(kRootIno, "fifo"));
  ok(fs_->rmdir(kRootIno, "d"));
  settle();
  AttrChange change;
  change.set_mode = true;
  change.mode = 0640;
  for (const Ino ino : {fifo, d}) {
    EXPECT_EQ(ok(fs_->setattr(ino, change)).mode & 07777, 0640u);
    ok(fs_->set_xattr(ino, "trusted.t", "value", XattrMode::kAny));
    fs_->forget(ino, 1);
  }
  settle();
  for (const Ino ino : {fifo, d}) fails(ErrorCode::kStale, fs_->getattr(ino));
  unmount();
  EXPECT_EQ(keys_left(), 0u);
}

TEST_F(Lifetime, NothingIsLeftOfRemovedFilesOfAnySize) {
  const Ino d = dir(kRootIno, "d");
  file(d, "empty");
  file(d, "small", "x");
  const Ino large = file(d, "large", big());
  ok(fs_->set_xattr(large, "user.a", "value", XattrMode::kAny));
  const Ino sparse = file(d, "sparse", "x");
  write(sparse, 1ull << 40, "y");
  const Ino linked = file(d, "linked", "z");
  ok(fs_->link(linked, kRootIno, "other"));
  ok(fs_->symlink(d, "symlink", "target", kUser));
  for (const char* name : {"empty", "small", "large", "sparse", "linked", "symlink"}) ok(fs_->unlink(d, name));
  ok(fs_->unlink(kRootIno, "other"));
  ok(fs_->rmdir(kRootIno, "d"));
  settle();
  unmount();
  EXPECT_EQ(keys_left(), 0u);
}

TEST_F(Lifetime, NothingIsLeftOfFilesThatWerePatched) {
  // Of few chunks and of many: the keys of the ones are found one by one, those of the others by a walk.
  for (const uint64_t chunks : {1u, 3u, 4u, 10u}) {
    const Ino f = ok(fs_->create(kRootIno, "f", 0644, kUser)).ino;
    write(f, 0, std::string(chunks * kChunk - 100, 'f'));
    ok(fs_->sync());
    for (uint64_t chunk = 0; chunk < chunks; ++chunk) {
      for (uint64_t patch = 0; patch < 1 + chunk % 3; ++patch) {
        write(f, chunk * kChunk + 10 * patch, "patch");
        ok(fs_->sync());
      }
    }
    write(f, chunks * kChunk - 100, "appended");
    fs_->release(f);
    fs_->forget(f, 1);
    ok(fs_->unlink(kRootIno, "f"));
  }
  EXPECT_EQ(fs_->known_inodes(), 0u);
  unmount();
  EXPECT_EQ(keys_left(), 0u);
}

TEST_F(Lifetime, AFileThatWasOverwrittenByARenameLeavesNothing) {
  file(kRootIno, "small", "x");
  file(kRootIno, "large", big());
  file(kRootIno, "new");
  const Ino open = ok(fs_->create(kRootIno, "open", 0644, kUser)).ino;
  write(open, 0, "still here");
  ok(fs_->rename(kRootIno, "new", kRootIno, "small", 0, kUser));
  ok(fs_->rename(kRootIno, "small", kRootIno, "large", 0, kUser));
  ok(fs_->rename(kRootIno, "large", kRootIno, "open", 0, kUser));
  settle();
  EXPECT_EQ(read(open), "still here");
  fs_->release(open);
  ok(fs_->unlink(kRootIno, "open"));
  unmount();
  EXPECT_EQ(keys_left(), 0u);
}

TEST_F(Lifetime, OrphansOfACrashAreErasedAfterTheNextMount) {
  const Ino f = ok(fs_->create(kRootIno, "f", 0644, kUser)).ino;
  write(f, 0, big());
  ok(fs_->unlink(kRootIno, "f"));
  ok(fs_->sync());
  crash(io::kNothingLost);
  fails(ErrorCode::kStale, fs_->getattr(f));
  settle();
  unmount();
  EXPECT_EQ(keys_left(), 0u);
}

TEST_F(Lifetime, AnErasureThatACrashInterruptedGoesOn) {
  const Ino f = file(kRootIno, "f", big() + big() + big());
  ok(fs_->unlink(kRootIno, "f"));
  env_->executor().run_one();  // one step of several
  ok(fs_->sync());
  crash(io::kAllLost);
  fails(ErrorCode::kStale, fs_->getattr(f));
  settle();
  unmount();
  EXPECT_EQ(keys_left(), 0u);
}

TEST_F(Lifetime, AFileMadeWithoutANameGetsOneOrGoes) {
  const Ino named = ok(fs_->create(kRootIno, "", 0644, kUser)).ino;
  const Ino unnamed = ok(fs_->create(kRootIno, "", 0644, kUser)).ino;
  EXPECT_EQ(stat(named).links, 0u);
  write(named, 0, "content");
  EXPECT_EQ(ok(fs_->link(named, kRootIno, "name")).links, 1u);
  fs_->release(named);
  fs_->release(unnamed);
  settle();
  fails(ErrorCode::kNotFound, fs_->lookup(kRootIno, ""));
  remount();
  EXPECT_EQ(read(find(kRootIno, "name")), "content");
  fails(ErrorCode::kStale, fs_->getattr(unnamed));
  ok(fs_->unlink(kRootIno, "name"));
  unmount();
  EXPECT_EQ(keys_left(), 0u);
}

TEST_F(Lifetime, AnUnlinkedFileCannotBeLinkedAgain) {
  const Ino f = ok(fs_->create(kRootIno, "f", 0644, kUser)).ino;
  ok(fs_->unlink(kRootIno, "f"));
  fails(ErrorCode::kNotFound, fs_->link(f, kRootIno, "g"));
}

TEST_F(Lifetime, OpeningAFileThatIsGoneIsStale) {
  const Ino f = file(kRootIno, "f", "x");
  ok(fs_->unlink(kRootIno, "f"));
  fails(ErrorCode::kStale, fs_->open(f, false, false));
  EXPECT_EQ(stat(f).links, 0u);  // its attributes stay as long as somebody holds it
  fs_->forget(f, 1);
  fails(ErrorCode::kStale, fs_->getattr(f));
}

TEST_F(Lifetime, WithoutOpensALookupCountKeepsAnUnlinkedFile) {
  unmount();
  fs_options_.opens_counted = false;
  mount();
  const Ino f = ok(fs_->mknod(kRootIno, "f", S_IFREG | 0644, 0, kUser)).ino;
  write(f, 0, "content");
  ok(fs_->unlink(kRootIno, "f"));
  settle();
  EXPECT_EQ(read(f), "content");
  write(f, 0, "C");
  EXPECT_EQ(read(f), "Content");
  fs_->forget(f, 1);
  settle();
  fails(ErrorCode::kStale, fs_->getattr(f));
  unmount();
  EXPECT_EQ(keys_left(), 0u);
}

TEST_F(Lifetime, WithoutOpensNothingIsCountedAndReleaseStillWritesWhatIsBuffered) {
  unmount();
  fs_options_.opens_counted = false;
  mount();
  const Ino f = ok(fs_->create(kRootIno, "f", 0644, kUser)).ino;
  ok(fs_->open(f, false, false));
  fs_->forget(f, 1);
  EXPECT_EQ(fs_->known_inodes(), 0u);
  const auto logged = [this] { return fs_->store_stats().last_seq; };
  const uint64_t before = logged();
  write(f, 0, "partial");
  EXPECT_EQ(logged(), before) << "a partial chunk is buffered";
  fs_->release(f);  // some kernels send it after a create
  settle();
  EXPECT_GT(logged(), before);
  unmount();
  mount();
  EXPECT_EQ(read(f), "partial");
}

TEST_F(Lifetime, CountsAreExact) {
  const Ino f = file(kRootIno, "f");
  EXPECT_EQ(fs_->known_inodes(), 1u);
  EXPECT_EQ(ok(fs_->lookup(kRootIno, "f")).ino, f);
  ok(fs_->link(f, kRootIno, "g"));
  fs_->count_lookup(f);
  fs_->forget(f, 3);
  EXPECT_EQ(fs_->known_inodes(), 1u);
  ok(fs_->open(f, false, false));
  fs_->forget(f, 1);
  EXPECT_EQ(fs_->known_inodes(), 1u);
  fs_->release(f);
  EXPECT_EQ(fs_->known_inodes(), 0u);
  fs_->forget(f, 5);  // wrong counts do no harm
  fs_->release(f);
  EXPECT_EQ(fs_->known_inodes(), 0u);
  std::vector<Attr> attrs;
  ok(fs_->read_dir(kRootIno, 0, 10, &attrs));
  EXPECT_EQ(fs_->known_inodes(), 0u);
}

TEST_F(Lifetime, AnOpenThatCannotTruncateIsNotCounted) {
  const Ino d = dir(kRootIno, "d");
  fs_->forget(d, 1);
  fails(ErrorCode::kIsDirectory, fs_->open(d, true, false));
  EXPECT_EQ(fs_->known_inodes(), 0u);
}

TEST_F(Lifetime, AFailedOperationChangesNothing) {
  const Ino d = dir(kRootIno, "d");
  const Ino f = file(kRootIno, "f", "content");
  ok(fs_->sync());
  const Attr before = stat(kRootIno);
  tick();
  io::Fault fault;
  fault.kind = io::CallKind::kSync;
  fault.from_then_on = true;
  env_->inject(fault);
  write(f, 0, "C");
  EXPECT_FALSE(fs_->sync());  // from here on the store takes no writes
  fails(ErrorCode::kReadOnly, fs_->create(kRootIno, "g", 0644, kUser));
  fails(ErrorCode::kReadOnly, fs_->unlink(kRootIno, "f"));
  fails(ErrorCode::kReadOnly, fs_->rename(kRootIno, "f", d, "f", 0, kUser));
  EXPECT_EQ(names(kRootIno), (std::vector<std::string>{"d", "f"}));
  EXPECT_EQ(stat(kRootIno).mtime.seconds, before.mtime.seconds);
  EXPECT_EQ(read(f), "Content");
  fails(ErrorCode::kReadOnly, fs_->write(f, 0, "x", false, false));
  fails(ErrorCode::kReadOnly, fs_->set_xattr(f, "user.a", "x", XattrMode::kAny));
  EXPECT_EQ(read(f), "Content");
  EXPECT_FALSE(fs_->close());
}

}  // namespace
}  // namespace cairn
