// A mounted tree in a simulated world, and short words for what tests do with it.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cairn/filesystem.h"
#include "cairn/store.h"
#include "io/sim_env.h"

namespace cairn {

// Small geometry, so that little data already means many chunks and segments.
inline StoreGeometry small_geometry(Mode mode = Mode::kCas) {
  StoreGeometry geometry;
  geometry.mode = mode;
  geometry.limit = mode == Mode::kCache ? 64 << 20 : 0;
  geometry.segment_size = 64 << 10;
  geometry.chunk_size = 4096;
  return geometry;
}

class TreeFixture : public ::testing::Test {
 public:
  static constexpr char kPath[] = "/store";
  static constexpr uint64_t kChunk = 4096;  // bytes
  static constexpr Caller kUser{.uid = 1000, .gid = 100, .umask = 0};

  explicit TreeFixture(const StoreGeometry& geometry = small_geometry(), uint64_t seed = 1)
      : env_(std::make_unique<io::SimEnv>(seed)) {
    env_->set_now({.seconds = 1'000'000, .nanoseconds = 5});
    const auto made = make_store(*env_, kPath, geometry, false);
    EXPECT_TRUE(made) << made.error().message;
    mount();
  }

  void mount() {
    Options options;
    options.commit_interval_ms = 0;
    auto store = Store::open(*env_, kPath, options);
    ASSERT_TRUE(store) << store.error().message;
    auto opened = FileSystem::open(std::move(*store), fs_options_);
    ASSERT_TRUE(opened) << opened.error().message;
    fs_ = std::move(*opened);
  }
  void unmount() {
    const auto closed = fs_->close();
    EXPECT_TRUE(closed) << closed.error().message;
    fs_.reset();
  }
  void remount() {
    unmount();
    mount();
  }
  // The power goes; what survives is mounted again.
  void crash(const io::CrashChoice& choice) {
    auto survivor = std::make_unique<io::SimEnv>(env_->crash(choice));
    fs_.reset();
    env_ = std::move(survivor);
    mount();
  }
  void tick(int64_t seconds = 1) {
    const io::Timestamp now = env_->now();
    env_->set_now({.seconds = now.seconds + seconds, .nanoseconds = now.nanoseconds});
  }

  template <class T>
  static T ok(Result<T> result) {
    EXPECT_TRUE(result) << to_string(result.error().code) << " " << result.error().message;
    return result ? std::move(*result) : T();
  }
  static void ok(const Result<void>& result) {
    EXPECT_TRUE(result) << to_string(result.error().code) << " " << result.error().message;
  }
  template <class T>
  static void fails(ErrorCode code, const Result<T>& result) {
    if (result) {
      ADD_FAILURE() << "worked, instead of: " << to_string(code);
    } else {
      EXPECT_EQ(result.error().code, code) << to_string(result.error().code) << " " << result.error().message;
    }
  }

  // A closed file, directory.
  Ino file(Ino parent, std::string_view name, std::string_view content = {}) {
    const Attr attr = ok(fs_->create(parent, name, 0644, kUser));
    if (!content.empty()) write(attr.ino, 0, content);
    fs_->release(attr.ino);
    return attr.ino;
  }
  Ino dir(Ino parent, std::string_view name) { return ok(fs_->mkdir(parent, name, 0755, kUser)).ino; }
  void write(Ino ino, uint64_t offset, std::string_view data) {
    EXPECT_EQ(ok(fs_->write(ino, offset, data, false, false)), data.size());
  }
  std::string read(Ino ino, uint64_t offset = 0, uint64_t size = UINT64_MAX) {
    std::string out;
    for (const Value& piece : ok(fs_->read(ino, offset, size))) out += piece.view();
    expect_read_into(ino, offset, out, size);
    return out;
  }
  // The other way to read says the same, at once and in two steps of which the second goes on where the first ended.
  void expect_read_into(Ino ino, uint64_t offset, std::string_view expected, uint64_t size) {
    std::string buffer(std::min<uint64_t>(size, expected.size() + 1), '~');
    for (const size_t first : {buffer.size(), buffer.size() / 2}) {
      buffer.assign(buffer.size(), '~');
      if (!fs_->getattr(ino)) return;  // a cache that is short of room, whose eviction the read before has set off
      uint64_t got = ok(fs_->read_into(ino, offset, {buffer.data(), first}));
      if (first != buffer.size()) got += ok(fs_->read_into(ino, offset + first, std::span(buffer).subspan(first)));
      EXPECT_EQ(got, expected.size());
      EXPECT_TRUE(buffer.starts_with(expected)) << "inode " << ino << " from " << offset << " first " << first;
      EXPECT_TRUE(got == buffer.size() || buffer.back() == '~') << "written behind the end";
    }
  }
  void resize(Ino ino, uint64_t size) {
    AttrChange change;
    change.set_size = true;
    change.size = size;
    ok(fs_->setattr(ino, change));
  }
  Attr stat(Ino ino) { return ok(fs_->getattr(ino)); }
  Ino find(Ino parent, std::string_view name) {
    auto attr = fs_->lookup(parent, name);
    if (!attr) return 0;
    fs_->forget(attr->ino, 1);
    return attr->ino;
  }
  std::vector<std::string> names(Ino dir_ino) {
    std::vector<std::string> out;
    for (const DirEntry& entry : ok(fs_->read_dir(dir_ino, 0, SIZE_MAX, nullptr))) out.push_back(entry.name);
    return out;
  }
  // Runs what waits in the background, also what waits for a moment after a close.
  void settle() {
    env_->executor().run_until_idle();
    env_->executor().advance(std::chrono::milliseconds(10));
    env_->executor().run_until_idle();
  }

  std::unique_ptr<io::SimEnv> env_;
  FsOptions fs_options_;
  std::unique_ptr<FileSystem> fs_;
};

}  // namespace cairn
