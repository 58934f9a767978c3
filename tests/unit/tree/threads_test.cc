// Many threads on one tree: no deadlock, no race, and fsck finds a good tree afterwards. Real threads, a real directory.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "cairn/filesystem.h"
#include "support/tree_fixture.h"
#include "tree/fsck_tree.h"

namespace cairn {
namespace {

class Threads : public ::testing::Test {
 public:
  Threads() {
    std::string name = (std::filesystem::temp_directory_path() / "cairn-threads-XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    const auto made = make_store(folder_ / "store", small_geometry(), false);
    EXPECT_TRUE(made) << made.error().message;
    Options options;
    options.commit_interval_ms = 5;
    auto store = Store::open(folder_ / "store", options);
    EXPECT_TRUE(store);
    FsOptions fs_options;
    fs_options.relatime = false;  // so that content is given with every open that may bring it
    fs_ = std::move(*FileSystem::open(std::move(*store), fs_options));
  }
  ~Threads() override {
    fs_.reset();
    std::filesystem::remove_all(folder_);
  }

  // Runs `work(fs, random numbers)` in some threads at once, each so many times.
  template <class Work>
  void run(int threads, int times, Work work) {
    std::vector<std::thread> all;
    for (int t = 0; t < threads; ++t) {
      all.emplace_back([this, t, times, work] {
        std::mt19937_64 rng(static_cast<uint64_t>(t));
        for (int i = 0; i < times; ++i) work(*fs_, rng);
      });
    }
    for (std::thread& thread : all) thread.join();
  }

  void expect_good_tree() {
    const auto closed = fs_->close();
    EXPECT_TRUE(closed) << closed.error().message;
    Options options;
    options.read_only = true;
    const auto store = Store::open(folder_ / "store", options);
    ASSERT_TRUE(store) << store.error().message;
    const auto report = tree::check_tree(**store, [](const FsckFinding& f) { ADD_FAILURE() << f.message; });
    ASSERT_TRUE(report);
    EXPECT_EQ(report->orphans, 0u);
  }

  std::filesystem::path folder_;
  std::unique_ptr<FileSystem> fs_;
};

constexpr Caller kUser{.uid = 1, .gid = 1, .umask = 022};

// What others do at the same time may make any of these fail, but only for such reasons.
template <class T>
bool fine(const Result<T>& result) {
  if (result) return true;
  const ErrorCode code = result.error().code;
  const bool expected = code == ErrorCode::kNotFound || code == ErrorCode::kExists || code == ErrorCode::kNotEmpty ||
                        code == ErrorCode::kIsDirectory || code == ErrorCode::kNotDirectory ||
                        code == ErrorCode::kInvalid || code == ErrorCode::kStale || code == ErrorCode::kPermission;
  EXPECT_TRUE(expected) << to_string(code) << " " << result.error().message;
  return false;
}

TEST_F(Threads, NamesMoveAboutWhileOthersReadAndSync) {
  std::vector<Ino> dirs{kRootIno};
  for (int i = 0; i < 4; ++i) {
    dirs.push_back(fs_->mkdir(dirs[static_cast<size_t>(i) / 2], "d" + std::to_string(i), 0755, kUser)->ino);
  }
  run(6, 400, [&](FileSystem& fs, std::mt19937_64& rng) {
    const Ino a = dirs[rng() % dirs.size()];
    const Ino b = dirs[rng() % dirs.size()];
    const std::string x = "n" + std::to_string(rng() % 8);
    const std::string y = "n" + std::to_string(rng() % 8);
    switch (rng() % 10) {
      case 0:
        if (const auto made = fs.create(a, x, 0644, kUser); fine(made)) {
          fine(fs.write(made->ino, rng() % 9000, std::string(rng() % 6000, 'x'), false, false));
          fs.release(made->ino);
          fs.forget(made->ino, 1);
        }
        break;
      case 1: fine(fs.unlink(a, x)); break;
      case 2:
        if (const auto made = fs.mkdir(a, x, 0755, kUser); fine(made)) fs.forget(made->ino, 1);
        break;
      case 3: fine(fs.rmdir(a, x)); break;
      case 4: fine(fs.rename(a, x, b, y, 0, kUser)); break;
      case 5: fine(fs.rename(a, x, b, y, kRenameExchange, kUser)); break;
      case 6:
        if (const auto found = fs.lookup(a, x); fine(found)) {
          if (fine(fs.link(found->ino, b, y))) fs.forget(found->ino, 1);
          fs.forget(found->ino, 1);
        }
        break;
      case 7: {
        std::vector<Attr> attrs;
        fine(fs.read_dir(a, 0, 100, &attrs));
        break;
      }
      case 8:
        if (const auto found = fs.lookup(a, x); fine(found)) {
          if (fine(fs.open(found->ino, rng() % 4 == 0 && S_ISREG(found->mode), false))) {
            if (S_ISREG(found->mode)) fine(fs.read(found->ino, 0, 20'000));
            fs.release(found->ino);
          }
          fs.forget(found->ino, 1);
        }
        break;
      case 9: EXPECT_TRUE(fs.sync()); break;
    }
  });
  for (size_t i = 1; i < dirs.size(); ++i) fs_->forget(dirs[i], 1);
  EXPECT_EQ(fs_->known_inodes(), 0u);
  expect_good_tree();
}

TEST_F(Threads, AppendsOfManyThreadsAreAllThereAndWhole) {
  const Ino f = fs_->create(kRootIno, "log", 0644, kUser)->ino;
  std::atomic<char> next = 'a';
  run(6, 200, [&](FileSystem& fs, std::mt19937_64& rng) {
    thread_local const char letter = next++;
    EXPECT_TRUE(fs.write(f, 0, std::string(10, letter), true, false));
    EXPECT_TRUE(rng() % 20 != 0 || fs.fsync(f));
  });
  std::string all;
  const auto pieces = fs_->read(f, 0, UINT64_MAX);
  for (const Value& piece : *pieces) all += piece.view();
  ASSERT_EQ(all.size(), 6u * 200 * 10);
  for (size_t i = 0; i < all.size(); i += 10) ASSERT_EQ(all.substr(i, 10), std::string(10, all[i]));
  fs_->release(f);
  expect_good_tree();
}

TEST_F(Threads, OneFileIsWrittenCutPunchedAndReadAtOnce) {
  const Ino f = fs_->create(kRootIno, "f", 0644, kUser)->ino;
  run(6, 150, [&](FileSystem& fs, std::mt19937_64& rng) {
    const uint64_t offset = rng() % 1'000'000;
    switch (rng() % 6) {
      case 0:
      case 1: EXPECT_TRUE(fs.write(f, offset, std::string(rng() % 30'000, 'w'), false, false)); break;
      case 2: {
        AttrChange change;
        change.set_size = true;
        change.size = rng() % 2 == 0 ? 0 : offset;
        EXPECT_TRUE(fs.setattr(f, change));
        break;
      }
      case 3: EXPECT_TRUE(fs.fallocate(f, kFallocPunch | kFallocKeepSize, offset, 50'000)); break;
      case 4: {
        const auto pieces = fs.read(f, offset, 50'000);
        ASSERT_TRUE(pieces);
        for (const Value& piece : *pieces)
          EXPECT_EQ(piece.view().find_first_not_of(ByteView("w\0", 2)), ByteView::npos);
        break;
      }
      case 5: (void)fs.seek(f, 0, SeekWhat::kData); break;
    }
  });
  fs_->release(f);
  expect_good_tree();
}

TEST_F(Threads, SmallFilesAreGivenWholeWhileTheyChange) {
  constexpr size_t kFiles = 24;
  constexpr size_t kSize = 2000;
  std::atomic<uint64_t> given = 0;
  fs_->set_content_taker([&given](Ino, const Value& content) {
    // Every write is of all of a file, so it is never a mix.
    EXPECT_EQ(content.view().find_first_not_of(content.view().front()), ByteView::npos);
    ++given;
    return given % 8 != 0;
  });
  const auto make = [](FileSystem& fs, const std::string& name) {
    if (const auto made = fs.create(kRootIno, name, 0644, kUser); made) {
      fs.release(made->ino);
      fs.forget(made->ino, 1);
    }
  };
  for (size_t i = 0; i < kFiles; ++i) make(*fs_, std::to_string(i));
  run(6, 1500, [&](FileSystem& fs, std::mt19937_64& rng) {
    const std::string name = std::to_string(rng() % kFiles);
    const auto found = fs.lookup(kRootIno, name);
    if (!found) return;
    const Ino ino = found->ino;
    switch (rng() % 8) {
      case 0:
        if (const auto opened = fs.open(ino, false, false); opened) {
          (void)fs.write(ino, 0, std::string(kSize, static_cast<char>('a' + rng() % 26)), false, false);
          fs.release(ino);
        }
        break;
      case 1: {
        AttrChange cut;
        cut.set_size = true;
        cut.size = 0;
        (void)fs.setattr(ino, cut);
        break;
      }
      case 2:
        if (fs.unlink(kRootIno, name)) make(fs, name);
        break;
      default:
        for (Ino next = ino; next < ino + 4; ++next)
          if (fs.open_to_read(next)) fs.release(next);
    }
    fs.forget(ino, 1);
  });
  fs_->set_content_taker({});
  EXPECT_GT(given, 0u);
  EXPECT_EQ(fs_->known_inodes(), 0u);
  expect_good_tree();
}

// Who opens by numbers that nobody gave him finds nothing, or the file that was just made, but never a second object for it.
TEST_F(Threads, NumbersAreGuessedWhileFilesAreMade) {
  std::atomic<Ino> newest = kRootIno;
  std::atomic<int> makers = 0;
  std::atomic<uint64_t> guessed = 0;
  run(12, 4000, [&](FileSystem& fs, std::mt19937_64& rng) {
    thread_local const int maker = makers++;
    if (maker % 2 == 0) {
      const auto made = fs.create(kRootIno, std::to_string(maker) + "." + std::to_string(rng()), 0644, kUser);
      ASSERT_TRUE(made);
      newest = made->ino;
      fs.release(made->ino);
      fs.forget(made->ino, 1);
      return;
    }
    const Ino next = newest + rng() % 5;  // the last one made, or one that is not made yet, or was meanwhile
    if (!fs.open_to_read(next)) return;
    ++guessed;
    fs.release(next);
  });
  EXPECT_GT(guessed, 0u);
  EXPECT_EQ(fs_->known_inodes(), 0u);
  expect_good_tree();
}

}  // namespace
}  // namespace cairn
