// fsck, pass 4: every rule of FORMAT.md, "Tree", is seen when it is broken, and no bytes at all can do harm.
#include "tree/fsck_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "format/tree_format.h"
#include "support/tree_fixture.h"

namespace cairn {
namespace {

using format::Attributes;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class FsckTree : public TreeFixture {
 public:
  // / d/ sub/ file (4 chunks), twice (also /d/again), s -> target, xattrs on file.
  FsckTree() {
    d_ = dir(kRootIno, "d");
    sub_ = dir(d_, "sub");
    file_ = file(sub_, "file", std::string(3 * kChunk + 7, 'x'));
    twice_ = file(kRootIno, "twice", "2");
    ok(fs_->link(twice_, d_, "again"));
    link_ = ok(fs_->symlink(kRootIno, "s", "target", kUser)).ino;
    ok(fs_->set_xattr(file_, "user.a", "1", XattrMode::kAny));
    unmount();
    Options options;
    options.commit_interval_ms = 0;
    store_ = ok(Store::open(*env_, kPath, options));
  }

  std::vector<FsckFinding> findings() {
    std::vector<FsckFinding> out;
    report_ = ok(tree::check_tree(*store_, [&](FsckFinding f) { out.push_back(std::move(f)); }));
    return out;
  }
  // Of all findings, message after message, with the paths.
  std::string found() {
    std::string out;
    for (const FsckFinding& f : findings()) {
      EXPECT_EQ(f.pass, 4);
      out += f.structure + ": " + f.message;
      for (const std::string& path : f.affected) out += " [" + path + "]";
      out += "\n";
    }
    return out;
  }
  void put(const Bytes& key, const Bytes& value) {
    WriteBatch batch;
    batch.put(key, value);
    ok(store_->write(batch, Durability::kNone));
  }
  void erase(const Bytes& key) {
    WriteBatch batch;
    batch.erase(key);
    ok(store_->write(batch, Durability::kNone));
  }
  void change(Ino ino, const std::function<void(Attributes&)>& how) {
    Attributes a = ok(format::decode_attributes(ok(store_->get(format::attributes_key(ino))).view()));
    how(a);
    put(format::attributes_key(ino), format::encode_attributes(a));
  }
  format::Entry entry(Ino dir_ino, std::string_view name) {
    return ok(format::decode_entry(ok(store_->get(format::entry_key(dir_ino, name))).view()));
  }

  Ino d_ = 0, sub_ = 0, file_ = 0, twice_ = 0, link_ = 0;
  std::unique_ptr<Store> store_;
  tree::TreeReport report_;
};

TEST_F(FsckTree, AGoodTreeHasNoFindingsAndIsCounted) {
  EXPECT_EQ(found(), "");
  EXPECT_EQ(report_.inodes, 6u);
  EXPECT_EQ(report_.directories, 3u);
  EXPECT_EQ(report_.files, 2u);
  EXPECT_EQ(report_.symlinks, 1u);
  EXPECT_EQ(report_.orphans, 0u);
  EXPECT_EQ(report_.content_bytes, 3 * kChunk + 8);
}

TEST_F(FsckTree, EveryBrokenRuleIsFound) {
  const format::Entry to_file = entry(sub_, "file");
  const struct {
    const char* expected;
    std::function<void()> damage;
  } cases[] = {
      {"its chunks have", [&] { erase(format::chunk_key(file_, 1)); }},
      {"lies behind the end", [&] { put(format::chunk_key(file_, 9), "x"); }},
      {"more than belong there", [&] { put(format::chunk_key(file_, 3), std::string(8, 'x')); }},
      {"patch 1 of chunk 0 belongs to nothing",
       [&] {  // the attributes know of none
         put(format::chunk_key(file_, 0, 1), format::encode_patch({.offset = 0, .bytes = "x"}));
       }},
      {"patch 2 of chunk 0 belongs to nothing",
       [&] {
         change(file_, [](Attributes& a) { a.patched = true; });
         put(format::chunk_key(file_, 0, 2), format::encode_patch({.offset = 0, .bytes = "x"}));
       }},
      {"patch 1 of chunk 3 belongs to nothing",
       [&] {  // behind a gap
         change(file_, [](Attributes& a) { a.patched = true; });
         put(format::chunk_key(file_, 3, 1), format::encode_patch({.offset = 8, .bytes = "x"}));
       }},
      {"patch: corrupt", [&] { put(format::chunk_key(file_, 0, 1), "junk"); }},
      {"content of what is no regular file", [&] { put(format::chunk_key(link_, 0), "x"); }},
      {"keys, but no attributes", [&] { erase(format::attributes_key(file_)); }},
      {"there is no such inode", [&] { erase(format::attributes_key(link_)); }},
      {"attributes: corrupt", [&] { put(format::attributes_key(file_), "junk"); }},
      {"a name that no listing shows", [&] { erase(format::listing_key(sub_, to_file.cookie)); }},
      {"a listing shows a name that is not there", [&] { erase(format::entry_key(sub_, "file")); }},
      {"entry: corrupt", [&] { put(format::entry_key(sub_, "file"), "junk"); }},
      {"listing: corrupt", [&] { put(format::listing_key(sub_, to_file.cookie), "junk"); }},
      {"entries in what is no directory", [&] { put(format::entry_key(file_, "x"), format::encode_entry(to_file)); }},
      {"a directory with 1 entries, not 2", [&] { change(sub_, [](Attributes& a) { a.size = 2; }); }},
      {"2 links, but 1 names", [&] { change(file_, [](Attributes& a) { a.links = 2; }); }},
      {"3 links and 0 subdirectories", [&] { change(sub_, [](Attributes& a) { a.links = 3; }); }},
      {"extended attributes, not", [&] { change(file_, [](Attributes& a) { a.xattrs = 0; }); }},
      {"it is of another type",
       [&] {
         change(link_, [](Attributes& a) {
           a.mode = S_IFIFO;
           a.size = 0;
           a.target.clear();
         });
       }},
      {"it knows itself by another name", [&] { change(file_, [](Attributes& a) { a.name = "other"; }); }},
      {"says that it is elsewhere", [&] { change(sub_, [](Attributes& a) { a.parent = kRootIno; }); }},
      {"back links for 2 names", [&] { erase(format::back_link_key(twice_, d_, "again")); }},
      {"it has no back link", [&] { erase(format::back_link_key(twice_, kRootIno, "twice")); }},
      {"wrongly whether it has one name", [&] { change(twice_, [](Attributes& a) { a.parent = kRootIno; }); }},
      {"not listed as an orphan",
       [&] {
         change(file_, [](Attributes& a) {
           a.links = 0;
           a.parent = 0;
           a.name.clear();
         });
       }},
      {"a name leads to an inode that counts as removed",
       [&] {
         change(file_, [](Attributes& a) {
           a.links = 0;
           a.parent = 0;
           a.name.clear();
         });
       }},
      {"listed as an orphan, but it has names", [&] { put(format::orphan_key(file_), format::encode_marker()); }},
      {"orphan list: inode 9999 does not exist", [&] { put(format::orphan_key(9999), format::encode_marker()); }},
      {"sweep list: inode 9999 does not exist", [&] { put(format::sweep_key(9999), format::encode_marker()); }},
      {"listed for a sweep", [&] { put(format::sweep_key(file_), format::encode_marker()); }},
      {"not listed for its sweep", [&] { change(file_, [](Attributes& a) { a.sweep_from = 4; }); }},
      {"key: ", [&] { put(format::inode_prefix(5) + "?", ""); }},
      {"the root directory is missing", [&] { erase(format::attributes_key(kRootIno)); }},
  };
  for (const auto& [expected, damage] : cases) {
    // Each on the good tree: what was damaged is put back afterwards.
    std::map<Bytes, Bytes> before;
    for (Cursor c = store_->scan({}); c.valid(); c.next()) before[Bytes(c.key())] = ok(c.value()).view();
    damage();
    EXPECT_NE(found().find(expected), std::string::npos) << expected << "\nbut:\n" << found();
    std::vector<Bytes> now;
    for (Cursor c = store_->scan({}); c.valid(); c.next()) now.emplace_back(c.key());
    for (const Bytes& key : now) {
      if (format::decode_tree_key(key) || key.size() == 9) {
        if (!before.contains(key)) erase(key);
      }
    }
    for (const auto& [key, value] : before) {
      if (format::decode_tree_key(key)) put(key, value);
    }
    ASSERT_EQ(found(), "") << expected;
  }
}

TEST_F(FsckTree, ACircleOfDirectoriesIsFoundOnce) {
  // /d moves below its own sub: both are cut off from the root.
  const format::Entry to_d = entry(kRootIno, "d");
  erase(format::entry_key(kRootIno, "d"));
  erase(format::listing_key(kRootIno, to_d.cookie));
  change(kRootIno, [](Attributes& a) {
    --a.size;
    --a.links;
  });
  put(format::entry_key(sub_, "d"), format::encode_entry(to_d));
  put(format::listing_key(sub_, to_d.cookie), format::encode_listing(to_d, "d"));
  change(sub_, [](Attributes& a) {
    ++a.size;
    ++a.links;
  });
  change(d_, [&](Attributes& a) { a.parent = sub_; });
  const auto all = findings();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_THAT(all[0].message, ::testing::HasSubstr("circle"));
}

TEST_F(FsckTree, DamageIsReportedWithThePathsThatItAffects) {
  EXPECT_THAT(tree::affected_paths(*store_, format::chunk_key(file_, 1)), ElementsAre("/d/sub/file"));
  EXPECT_THAT(tree::affected_paths(*store_, format::attributes_key(twice_)), ElementsAre("/twice", "/d/again"));
  EXPECT_THAT(tree::affected_paths(*store_, format::xattr_key(d_, "user.x")), ElementsAre("/d"));
  EXPECT_THAT(tree::affected_paths(*store_, format::entry_key(sub_, "a\nb")), ElementsAre("/d/sub/a\\x0ab"));
  EXPECT_THAT(tree::affected_paths(*store_, format::listing_key(kRootIno, 5)), ElementsAre("/"));
  EXPECT_THAT(tree::affected_paths(*store_, format::inode_prefix(0) + "M"), IsEmpty());
  EXPECT_THAT(tree::affected_paths(*store_, "?"), IsEmpty());
  EXPECT_THAT(tree::affected_paths(*store_, format::chunk_key(4711, 0)), ElementsAre("(inode 4711)"));
  put(format::attributes_key(file_), "junk");  // found by the entry that names it
  EXPECT_THAT(tree::affected_paths(*store_, format::chunk_key(file_, 1)), ElementsAre("/d/sub/file"));
  put(format::attributes_key(d_), "junk");
  EXPECT_THAT(tree::affected_paths(*store_, format::listing_key(sub_, 5)), Contains(::testing::HasSubstr("/sub")));
}

TEST_F(FsckTree, AnyBytesAtAllAreSurvived) {
  std::vector<std::pair<Bytes, Bytes>> good;
  for (Cursor c = store_->scan({}); c.valid(); c.next()) {
    if (format::decode_tree_key(c.key())) good.emplace_back(c.key(), Bytes(ok(c.value()).view()));
  }
  std::mt19937_64 rng(7);
  const auto mutate = [&](Bytes& bytes) {
    for (uint64_t n = rng() % 3; n > 0 && !bytes.empty(); --n) bytes[rng() % bytes.size()] = static_cast<char>(rng());
    if (rng() % 8 == 0) bytes.resize(rng() % (bytes.size() + 4));
  };
  for (int round = 0; round < 300; ++round) {
    for (int i = 0; i < 3; ++i) {
      auto [key, value] = good[rng() % good.size()];
      if (rng() % 4 == 0) mutate(key);
      if (rng() % 2 == 0) value = good[rng() % good.size()].second;
      mutate(value);
      if (key.empty() || key.compare(0, 8, Bytes(8, '\0')) == 0) continue;  // the engine's
      if (rng() % 5 == 0) {
        erase(key);
      } else {
        put(key, value);
      }
    }
    for (const FsckFinding& f : findings()) {
      for (const char c : f.message) ASSERT_TRUE(c >= 0x20 && c < 0x7f) << f.message;
    }
  }
}

TEST_F(FsckTree, ADamagedTreeCanStillBeMountedAndUsed) {
  put(format::attributes_key(file_), "junk");
  put(format::entry_key(kRootIno, "twice"), "junk");
  ok(store_->close());
  store_.reset();
  mount();
  fails(ErrorCode::kCorrupt, fs_->getattr(file_));
  fails(ErrorCode::kCorrupt, fs_->lookup(sub_, "file"));
  fails(ErrorCode::kCorrupt, fs_->unlink(sub_, "file"));
  fails(ErrorCode::kCorrupt, fs_->lookup(kRootIno, "twice"));
  std::vector<Attr> attrs;
  EXPECT_EQ(ok(fs_->read_dir(sub_, 0, 10, &attrs)).size(), 1u);  // listed, though it has no attributes
  EXPECT_EQ(attrs.at(0).ino, 0u);
  EXPECT_EQ(ok(fs_->readlink(link_)), "target");
  file(sub_, "new", "works");
}

TEST(FsckTreeOfAStore, AStoreWithoutItsRootIsNotMountedAsANewOne) {
  class Fixture : public TreeFixture {
   public:
    void TestBody() override {}
  } tree;
  tree.file(kRootIno, "f", "x");
  tree.unmount();
  auto store = tree.ok(Store::open(*tree.env_, TreeFixture::kPath, {}));
  WriteBatch batch;
  batch.erase(format::attributes_key(kRootIno));
  tree.ok(store->write(batch, Durability::kSync));
  const auto fs = FileSystem::open(std::move(store), {});
  ASSERT_FALSE(fs);
  EXPECT_EQ(fs.error().code, ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace cairn
