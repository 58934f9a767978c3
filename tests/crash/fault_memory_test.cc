// Memory runs out at each allocation of an open and of a check: the caller hears of it, and nothing else happens.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include <fmt/format.h>

#include "cairn/filesystem.h"
#include "cairn/fsck.h"
#include "crash/fault_workload.h"

namespace {

thread_local uint64_t allocations_left = 0;  // 0: all succeed; 1: the next one fails, and only that

void* allocate(size_t size, size_t alignment) {
  if (allocations_left > 0 && --allocations_left == 0) throw std::bad_alloc();
  void* memory = alignment <= alignof(std::max_align_t)
                     ? std::malloc(size)
                     : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(size_t size) { return allocate(size, 0); }
void* operator new(size_t size, std::align_val_t alignment) { return allocate(size, static_cast<size_t>(alignment)); }
void* operator new(size_t size, const std::nothrow_t&) noexcept try {
  return allocate(size, 0);
} catch (const std::bad_alloc&) {
  return nullptr;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace cairn::crash {
namespace {

// A store that was killed, so that opening it has something to do.
io::SimEnv killed_store(TreeState* state) {
  FaultWorkload work(make_base(Mode::kCas, state), *state, Mode::kCas);
  EXPECT_TRUE(work.open());
  work.run();
  return work.env().peek_crash(io::kNothingLost);
}

// Calls `act` on a copy of the world for each allocation that it makes, which then fails. `act` gives its Result.
template <class Act>
uint64_t fail_each(io::SimEnv& world, const Act& act) {
  for (uint64_t n = 1;; ++n) {
    SCOPED_TRACE(fmt::format("allocation {}", n));
    io::SimEnv env = world.peek_crash(io::kNothingLost);
    allocations_left = n;
    auto done = act(env);
    const bool failed = allocations_left == 0;
    allocations_left = 0;
    if (!failed) {
      EXPECT_TRUE(done.has_value()) << done.error().message;
      return n;
    }
    // An error, or it did without what it wanted to remember.
    if (!done) {
      EXPECT_EQ(done.error().code, ErrorCode::kOutOfMemory) << done.error().message;
    }
    done = fail(ErrorCode::kInvalid);  // lets go of the store
    const auto again = act(env);
    EXPECT_TRUE(again.has_value()) << again.error().message;
    if (testing::Test::HasFailure()) return n;
  }
}

TEST(FaultMemory, ACheckWithoutMemorySaysSo) {
  TreeState state;
  io::SimEnv world = killed_store(&state);
  FsckOptions options;
  options.scrub = true;
  EXPECT_GT(fail_each(world, [&](io::SimEnv& env) { return fsck(env, kStorePath, options); }), 500u);
}

TEST(FaultMemory, AnOpenWithoutMemorySaysSoAndTheNextOneWorks) {
  TreeState state;
  io::SimEnv world = killed_store(&state);
  Options options;
  options.read_only = true;
  EXPECT_GT(fail_each(world, [&](io::SimEnv& env) { return Store::open(env, kStorePath, options); }), 100u);
  options.read_only = false;
  options.commit_interval_ms = 0;
  EXPECT_GT(fail_each(world, [&](io::SimEnv& env) { return Store::open(env, kStorePath, options); }), 100u);
}

// Numbers are taken before the batch is filled in: one that failed in between would have all later writers wait for ever,
// which the simulation takes for a deadlock. Long keys, so that the memtable often needs another block.
TEST(FaultMemory, AWriteWithoutMemoryChangesNothingAndTheNextOneGoesOn) {
  constexpr uint64_t kAllocations = 24;  // of one write, and some more
  constexpr int kRounds = 5000;
  io::SimEnv env(1);
  StoreGeometry geometry;
  geometry.segment_size = 64 << 20;  // all of it fits one
  ASSERT_TRUE(make_store(env, "/store", geometry, false).has_value());
  Options options;
  options.commit_interval_ms = 0;
  auto store = Store::open(env, "/store", options);
  ASSERT_TRUE(store.has_value());
  const std::string tail(900, 'k');
  uint64_t refused = 0, done = 0;
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE(round);
    const std::string first = fmt::format("a{:08}{}", round, tail);
    WriteBatch batch;
    batch.put(first, "value");
    bool threw = false;
    allocations_left = static_cast<uint64_t>(round) % kAllocations + 1;
    try {
      threw = !(*store)->write(batch, Durability::kNone).has_value();
    } catch (const std::bad_alloc&) {
      threw = true;
    }
    allocations_left = 0;
    ++(threw ? refused : done);
    WriteBatch next;
    next.put(fmt::format("b{:08}{}", round, tail), "other");
    ASSERT_TRUE((*store)->write(next, Durability::kNone).has_value());
    const auto found = (*store)->get(first);
    ASSERT_EQ(found.has_value(), !threw);
  }
  EXPECT_GT(refused, 0u);
  EXPECT_GT(done, 0u);
  EXPECT_TRUE((*store)->close().has_value());
}

// What comes with an open is read for it; an open that failed is none.
TEST(FaultMemory, AnOpenThatHandsOverIsCountedOnlyIfItSucceeds) {
  io::SimEnv env(1);
  ASSERT_TRUE(make_store(env, "/store", {}, false).has_value());
  FsOptions fs_options;
  fs_options.relatime = false;
  fs_options.caller_caches = true;
  const auto mount = [&] { return *FileSystem::open(*Store::open(env, "/store", {}), fs_options); };
  auto fs = mount();
  const Ino ino = fs->create(kRootIno, "f", 0644, {})->ino;
  ASSERT_TRUE(fs->write(ino, 0, Bytes(5000, 'x'), false, false).has_value());
  ASSERT_TRUE(fs->close().has_value());
  fs = mount();
  uint64_t refused = 0;
  for (uint64_t n = 1;; ++n) {
    SCOPED_TRACE(n);
    ASSERT_TRUE(fs->lookup(kRootIno, "f").has_value());
    bool opened = false;
    uint64_t taken = 0;
    fs->set_content_taker([&taken](Ino, const Value& value) {
      taken += value.size();
      return true;
    });
    allocations_left = n;
    try {
      opened = fs->open_to_read(ino).has_value();
    } catch (const std::bad_alloc&) {
      opened = false;
    }
    const bool failed = allocations_left == 0;
    allocations_left = 0;
    refused += opened ? 0 : 1;
    if (opened) fs->release(ino);
    fs->forget(ino, 1);
    ASSERT_EQ(fs->known_inodes(), 0u) << "an open that nobody will give back";
    if (failed) continue;
    EXPECT_EQ(taken, 5000u);
    break;
  }
  EXPECT_GT(refused, 3u);
  EXPECT_TRUE(fs->close().has_value());
}

}  // namespace
}  // namespace cairn::crash
