// A tree in a cache that is small, and words for what tests of eviction do with it.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "support/tree_fixture.h"

namespace cairn {

inline StoreGeometry tiny_cache() {
  StoreGeometry geometry = small_geometry(Mode::kCache);
  geometry.limit = 16 << 20;
  geometry.segment_size = 256 << 10;
  geometry.chunk_size = 16 << 10;
  return geometry;
}

class CacheFixture : public TreeFixture {
 public:
  static constexpr size_t kSize = 320'000;      // bytes of a file
  static constexpr uint64_t kLimit = 16 << 20;  // bytes: room for about 40 of them

  CacheFixture() : TreeFixture(tiny_cache()) { listen(); }

  void again() {
    fs_->set_eviction_listener({});
    remount();
    listen();
  }

  // Content that does not compress, and tells files apart.
  static std::string content(uint64_t seed, size_t size = kSize) {
    std::string out(size, '\0');
    uint64_t x = seed * 0x9e3779b97f4a7c15 + 1;
    for (size_t at = 0; at + sizeof x <= size; at += sizeof x) {
      x ^= x << 13;
      x ^= x >> 7;
      x ^= x << 17;
      std::memcpy(&out[at], &x, sizeof x);
    }
    return out;
  }
  static std::string name(uint64_t n) { return "file-" + std::to_string(n); }

  // A new file, closed. kNoSpace if nothing can go.
  Result<Ino> try_add(uint64_t n, Ino parent = kRootIno) {
    const auto made = fs_->create(parent, name(n), 0644, kUser);
    if (!made) return fail(made.error());
    const std::string data = content(n);
    uint64_t done = 0;
    while (done < data.size()) {
      const auto written = fs_->write(made->ino, done, ByteView(data).substr(done), false, false);
      if (!written) {
        fs_->release(made->ino);
        return fail(written.error());
      }
      done += *written;
    }
    fs_->release(made->ino);
    return made->ino;
  }
  Ino add(uint64_t n, Ino parent = kRootIno) { return ok(try_add(n, parent)); }
  // Files first..last, four seconds apart.
  void add_many(uint64_t first, uint64_t last, Ino parent = kRootIno) {
    for (uint64_t n = first; n <= last; ++n) {
      add(n, parent);
      tick(4);
    }
  }
  // Each is used once, so that the hand goes round faster than files come.
  void add_and_use_many(uint64_t first, uint64_t last) {
    for (uint64_t n = first; n <= last; ++n) {
      use(add(n));
      tick(4);
    }
    settle();
  }
  bool is_there(uint64_t n, Ino parent = kRootIno) { return find(parent, name(n)) != 0; }
  void use(Ino ino) {
    ok(fs_->open(ino, false, false));
    fs_->release(ino);
  }
  [[nodiscard]] uint64_t evicted() const {
    uint64_t sum = 0;
    for (const uint64_t n : fs_->cache_stats().evicted_files) sum += n;
    return sum;
  }

  std::vector<LostName> told_;

 private:
  void listen() {
    fs_->set_eviction_listener([this](const LostName& lost) { told_.push_back(lost); });
  }
};

}  // namespace cairn
