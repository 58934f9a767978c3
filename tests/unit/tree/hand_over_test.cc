// Small files that come whole with their open, or ahead of it.
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "support/tree_fixture.h"

namespace cairn {
namespace {

class HandedOver : public TreeFixture {
 public:
  HandedOver() { remount_with(/*relatime=*/false); }
  ~HandedOver() override { fs_->set_content_taker({}); }
  void remount_with(bool relatime) {
    unmount();
    fs_options_.relatime = relatime;
    mount();
    fs_->set_content_taker([this](Ino ino, const Value& content) {
      if (!takes_) return false;
      EXPECT_TRUE(taken_.emplace(ino, content.view()).second) << "twice";
      return true;
    });
  }
  // What comes with an open that is for reading, or "-".
  std::string open(Ino ino) {
    taken_.erase(ino);
    ok(fs_->open_to_read(ino));
    const auto found = taken_.find(ino);
    return found == taken_.end() ? "-" : found->second;
  }
  void open_and_release(Ino ino) {
    ok(fs_->open_to_read(ino));
    fs_->release(ino);
  }
  // With one lookup counted, and unknown to whoever counted it.
  Ino unknown_file(std::string_view content) {
    const Ino f = file(kRootIno, "f", content);
    fs_->forget(f, 1);
    return look();
  }
  Ino look(std::string_view name = "f") { return ok(fs_->lookup(kRootIno, name)).ino; }
  // Files of small content each, made one after the other and looked up, unless they are to stay unknown.
  std::vector<Ino> files(size_t n, bool looked_up = true) {
    std::vector<Ino> out;
    for (size_t i = 0; i < n; ++i) {
      out.push_back(file(kRootIno, name(out.size()), content(i)));
      fs_->forget(out.back(), 1);
    }
    for (size_t i = 0; looked_up && i < n; ++i) look(name(i));
    return out;
  }
  static std::string name(size_t i) { return "file" + std::to_string(i); }
  static std::string content(size_t i) { return "content of " + std::to_string(i); }
  // Which of the files were taken, by their places.
  std::vector<size_t> taken(const std::vector<Ino>& all) const {
    std::vector<size_t> out;
    for (size_t i = 0; i < all.size(); ++i)
      if (taken_.contains(all[i])) out.push_back(i);
    return out;
  }
  static std::vector<size_t> up_to(size_t last) {
    std::vector<size_t> out(last + 1);
    std::iota(out.begin(), out.end(), 0);
    return out;
  }

  std::map<Ino, std::string> taken_;
  bool takes_ = true;
};

TEST_F(HandedOver, ASmallFileComesWithItsFirstOpen) {
  for (const std::string& content : {std::string("content"), std::string(kChunk, 'c')}) {
    const Ino f = unknown_file(content);
    EXPECT_EQ(open(f), content);
    EXPECT_EQ(open(f), "-") << "open already";
    fs_->release(f);
    fs_->release(f);
    EXPECT_EQ(open(f), "-") << "was handed over";
    fs_->release(f);
    fs_->forget(f, 1);
    look();
    EXPECT_EQ(open(f), content) << "forgotten in between";
    fs_->release(f);
    fs_->forget(f, 1);
    ok(fs_->unlink(kRootIno, "f"));
  }
}

TEST_F(HandedOver, WhatIsNotInTheLogYetComesToo) {
  const Ino f = unknown_file("one");
  ok(fs_->open(f, false, false));
  write(f, 3, " two");
  fs_->release(f);
  fs_->forget(f, 1);
  look();
  EXPECT_EQ(open(f), "one two");
}

TEST_F(HandedOver, NotWhileOpenNorWhatIsKnownOrLargeOrEmpty) {
  const Ino f = unknown_file("content");
  ok(fs_->open(f, false, false));
  EXPECT_EQ(open(f), "-") << "somebody may be writing";
  fs_->release(f);
  fs_->release(f);
  EXPECT_EQ(read(f), "content");
  EXPECT_EQ(open(f), "-") << "was read";
  fs_->release(f);
  ok(fs_->unlink(kRootIno, "f"));
  const Ino made = file(kRootIno, "f", "content");
  EXPECT_EQ(open(made), "-") << "was written";
  fs_->release(made);
  ok(fs_->unlink(kRootIno, "f"));
  EXPECT_EQ(open(unknown_file(std::string(kChunk + 1, 'c'))), "-") << "two chunks";
  ok(fs_->unlink(kRootIno, "f"));
  EXPECT_EQ(open(unknown_file("")), "-");
  const Ino d = dir(kRootIno, "d");
  EXPECT_EQ(open(d), "-");
}

TEST_F(HandedOver, AReadThatMovesTheTimeOfAccessHasToCome) {
  remount_with(/*relatime=*/true);
  const Ino f = unknown_file("content");
  EXPECT_EQ(open(f), "-");
  tick();
  EXPECT_EQ(read(f), "content");
  EXPECT_EQ(stat(f).atime.seconds, env_->now().seconds);
  fs_->release(f);
  fs_->forget(f, 1);
  look();
  EXPECT_EQ(open(f), "content");
  fs_->release(f);
  fs_->forget(f, 1);
  look();
  tick(24 * 3600);
  EXPECT_EQ(open(f), "-");
}

TEST_F(HandedOver, WhatCannotBeReadIsForTheReaderToSee) {
  const Ino f = unknown_file(std::string(3000, 'x'));
  remount_with(/*relatime=*/false);
  look();
  for (const std::string& name : env_->list("/store/segments")) env_->set_unreadable("/store/segments/" + name, 0, 16);
  EXPECT_EQ(open(f), "-");
  EXPECT_FALSE(fs_->read(f, 0, 3000));
}

TEST_F(HandedOver, FilesThatAreReadInTheirOrderComeAheadOfTheirOpens) {
  const std::vector<Ino> all = files(40);
  open_and_release(all[0]);
  open_and_release(all[1]);
  settle();
  EXPECT_EQ(taken(all), up_to(1)) << "two are no order";
  open_and_release(all[2]);
  EXPECT_EQ(taken(all), up_to(2)) << "not in the thread that opens";
  settle();
  EXPECT_EQ(taken(all), up_to(18));
  // None is given twice, and the rest comes in time.
  for (size_t i = 3; i < all.size(); ++i) {
    EXPECT_TRUE(taken_.contains(all[i])) << i;
    open_and_release(all[i]);
    settle();
  }
  for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(taken_[all[i]], content(i));
  EXPECT_EQ(fs_->cache_stats().hits, all.size()) << "to be given is no use";
}

TEST_F(HandedOver, NothingComesAheadToWhoJumps) {
  const std::vector<Ino> all = files(100);
  for (const size_t i : {50u, 0u, 70u, 20u, 90u, 35u}) open_and_release(all[i]);
  settle();
  EXPECT_EQ(taken(all), (std::vector<size_t>{0, 20, 35, 50, 70, 90}));
}

TEST_F(HandedOver, ThreadsThatOvertakeEachOtherAreInOrder) {
  const std::vector<Ino> all = files(30);
  for (const size_t i : {1u, 0u, 3u, 2u}) open_and_release(all[i]);
  settle();
  EXPECT_EQ(taken(all), up_to(19));
}

TEST_F(HandedOver, AheadComesOnlyWhatAnOpenWouldHaveBroughtToo) {
  const std::vector<Ino> all = files(12);
  fs_->forget(all[4], 1);               // unknown
  ok(fs_->open(all[5], false, false));  // open
  read(all[6]);                         // read before
  resize(all[7], kChunk + 1);           // large
  ok(fs_->unlink(kRootIno, name(8)));   // gone, but for its lookup
  for (size_t i = 0; i < 3; ++i) open_and_release(all[i]);
  settle();
  EXPECT_EQ(taken(all), (std::vector<size_t>{0, 1, 2, 3, 9, 10, 11}));
}

TEST_F(HandedOver, WhatWasGivenAheadAndForgottenComesAgain) {
  const std::vector<Ino> all = files(6);
  for (size_t i = 0; i < 3; ++i) open_and_release(all[i]);
  settle();
  ASSERT_EQ(taken(all), up_to(5));
  fs_->forget(all[4], 1);
  look(name(4));
  EXPECT_EQ(open(all[4]), content(4));
}

TEST_F(HandedOver, FilesThatAreLookedUpLateAreAskedForAgain) {
  const std::vector<Ino> all = files(12, /*looked_up=*/false);
  for (size_t i = 0; i < 3; ++i) look(name(i));
  for (size_t i = 0; i < 3; ++i) open_and_release(all[i]);
  settle();
  ASSERT_EQ(taken(all), up_to(2));
  for (size_t i = 3; i < all.size(); ++i) look(name(i));
  EXPECT_EQ(open(all[3]), content(3));
  settle();
  EXPECT_EQ(taken(all), up_to(11));
}

TEST_F(HandedOver, WhatWasNotTakenAheadComesWithTheOpen) {
  const std::vector<Ino> all = files(6);
  for (size_t i = 0; i < 3; ++i) open_and_release(all[i]);
  takes_ = false;
  settle();
  takes_ = true;
  EXPECT_EQ(open(all[3]), content(3));
}

TEST_F(HandedOver, AFileThatWasWrittenSinceItWasGivenAheadIsKnown) {
  const std::vector<Ino> all = files(6);
  for (size_t i = 0; i < 3; ++i) open_and_release(all[i]);
  settle();
  ASSERT_EQ(taken(all), up_to(5));
  ok(fs_->open(all[4], false, false));
  write(all[4], 0, "C");
  fs_->release(all[4]);
  EXPECT_EQ(open(all[4]), "-") << "whoever wrote it knows";
  fs_->release(all[4]);
  EXPECT_EQ(open(all[4]), "-");
}

TEST_F(HandedOver, NothingComesOnceTheTakerIsGone) {
  const std::vector<Ino> all = files(12);
  for (size_t i = 0; i < 3; ++i) open_and_release(all[i]);
  fs_->set_content_taker({});
  settle();
  open_and_release(all[3]);
  EXPECT_EQ(taken(all), up_to(2));
}

TEST_F(HandedOver, DamageAheadIsForTheReaderToSee) {
  std::vector<Ino> all;
  for (size_t i = 0; i < 6; ++i) all.push_back(file(kRootIno, name(i), std::string(3000, 'x')));
  remount_with(/*relatime=*/false);
  for (size_t i = 0; i < all.size(); ++i) look(name(i));
  for (size_t i = 0; i < 3; ++i) open_and_release(all[i]);
  for (const std::string& segment : env_->list("/store/segments"))
    env_->set_unreadable("/store/segments/" + segment, 0, 16);
  settle();
  EXPECT_EQ(taken(all), up_to(2));
  EXPECT_FALSE(fs_->read(all[3], 0, 100));
}

}  // namespace
}  // namespace cairn
