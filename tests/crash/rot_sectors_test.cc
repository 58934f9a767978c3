// Sectors of a store that contains every structure are lost, zeroed, swapped, misplaced and rolled back; its files are cut
// at every byte, missing, and replaced by one another.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "crash/rot_store.h"

namespace cairn::crash {
namespace {

constexpr uint64_t kSector = 512;  // bytes

uint64_t sectors(const RotFile& file) { return (file.size + kSector - 1) / kSector; }

Bytes sector(const io::SimEnv& env, const RotFile& file, uint64_t n) {
  return env.content(file.path).substr(n * kSector, kSector);
}

class RotSectors : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override { world_ = GetParam() ? killed_store("zstd:3") : closed_store("lz4"); }

  // What holds when the sectors `a` and `b` (may be the same) of `file` are not what they were.
  RotCheck check_of(const RotFile& file, uint64_t a, uint64_t b) {
    RotCheck check{.world = world_, .file = file.path};
    check.index = (std::max(a, b) + 1) * kSector > file.index_from;
    check.whole = check.index && !file.lost(a * kSector, (a + 1) * kSector, true).empty();
    for (const uint64_t n : {a, b}) {
      const Keys lost = file.lost(n * kSector, (n + 1) * kSector, check.whole);
      check.lost.insert(lost.begin(), lost.end());
    }
    check.must_find = a * kSector < file.found_until || b * kSector < file.found_until;
    // In the tail of an open segment lie the marks that prove what is before it.
    if (file.unsealed && (std::max(a, b) + 1) * kSector > file.found_until) {
      check.must_find = false;
      check.lost = file.lost(std::min(a, b) * kSector, UINT64_MAX);
    }
    check.may_forget = file.unsealed;
    ++count_;
    check.writes = count_ % 3 == 1;
    check.rebuild = count_ % 3 == 2;
    return check;
  }
  io::SimEnv copy() { return world_.env->peek_crash(io::kNothingLost); }

  RotWorld world_;
  uint64_t count_ = 0;
};

TEST_P(RotSectors, AnyZeroedSectorIsFoundAndCostsWhatItHeldAtMost) {
  for (const RotFile& file : world_.files) {
    for (uint64_t n = 0; n < sectors(file); ++n) {
      const Bytes old = sector(*world_.env, file, n);
      if (old.find_first_not_of('\0') == Bytes::npos) continue;
      for (const bool rebuild : {false, true}) {
        SCOPED_TRACE(fmt::format("sector {} of {} zeroed", n, file.path));
        io::SimEnv env = copy();
        env.zero_sector(file.path, n);
        RotCheck check = check_of(file, n, n);
        check.rebuild = rebuild;
        check.writes = !rebuild;
        check.run(env);
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(RotSectors, AnyUnreadableSectorIsAnErrorAndNothingElse) {
  for (const RotFile& file : world_.files) {
    for (uint64_t n = 0; n < sectors(file); ++n) {
      SCOPED_TRACE(fmt::format("sector {} of {} cannot be read", n, file.path));
      io::SimEnv env = copy();
      env.set_unreadable(file.path, n);
      RotCheck check = check_of(file, n, n);
      check.unreadable = true;
      check.rebuild = check.writes = false;
      check.run(env);
      if (HasFailure()) return;
    }
  }
}

TEST_P(RotSectors, AnySwappedSectorsAreFoundAndCostWhatTheyHeldAtMost) {
  const RotShare share = rot_share(29);
  uint64_t pair = 0;
  for (const RotFile& file : world_.files) {
    for (uint64_t a = 0; a < sectors(file); ++a) {
      for (uint64_t b = a + 1; b < sectors(file); ++b) {
        if (sector(*world_.env, file, a) == sector(*world_.env, file, b)) continue;
        if (++pair % share.step != share.first) continue;
        SCOPED_TRACE(fmt::format("sectors {} and {} of {} swapped", a, b, file.path));
        io::SimEnv env = copy();
        env.swap_sectors(file.path, a, b);
        check_of(file, a, b).run(env);
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(RotSectors, AnySectorOfAnotherFileIsFoundAndCostsWhatWasThereAtMost) {
  const RotShare share = rot_share(211);
  uint64_t pair = 0;
  for (const RotFile& file : world_.files) {
    for (const RotFile& other : world_.files) {
      for (uint64_t from = 0; &file != &other && from < sectors(other); ++from) {
        for (uint64_t n = 0; n < sectors(file); ++n) {
          if (++pair % share.step != share.first) continue;
          const Bytes wrong = sector(*world_.env, other, from);
          if (wrong == sector(*world_.env, file, n)) continue;
          SCOPED_TRACE(fmt::format("sector {} of {} came to sector {} of {}", from, other.path, n, file.path));
          io::SimEnv env = copy();
          env.overwrite(file.path, n * kSector, wrong);
          check_of(file, n, n).run(env);
          if (HasFailure()) return;
        }
      }
    }
  }
}

TEST_P(RotSectors, AnySectorThatRollsBackIsFoundAndCostsWhatItHeldAtMost) {
  uint64_t rolled = 0;
  for (const auto& older : world_.older) {
    for (const RotFile& file : world_.files) {
      if (!older->exists(file.path)) continue;
      for (uint64_t n = 0; n < sectors(file); ++n) {
        const Bytes wrong = sector(*older, file, n);
        if (wrong.empty() || wrong == sector(*world_.env, file, n)) continue;
        ++rolled;
        SCOPED_TRACE(fmt::format("sector {} of {} rolled back", n, file.path));
        io::SimEnv env = copy();
        env.overwrite(file.path, n * kSector, wrong);
        check_of(file, n, n).run(env);
        if (HasFailure()) return;
      }
    }
  }
  EXPECT_GT(rolled, 0u);
}

INSTANTIATE_TEST_SUITE_P(Stores, RotSectors, testing::Bool(),
                         [](const auto& killed) { return killed.param ? "killed" : "closed"; });

class RotFiles : public RotSectors {};

TEST_P(RotFiles, CutAtAnyByteAreFoundAndCostWhatIsMissingAtMost) {
  const RotShare share = rot_share(97);
  for (const RotFile& file : world_.files) {
    for (uint64_t size = share.first; size < file.size; size += share.step) {
      SCOPED_TRACE(fmt::format("{} cut to {} bytes", file.path, size));
      io::SimEnv env = copy();
      env.truncate(file.path, size);
      RotCheck check{.world = world_, .file = file.path};
      check.lost = file.lost(size, UINT64_MAX, true);
      check.must_find = size < file.found_until && !file.unsealed;  // the marks that prove it are cut off with it
      check.index = true;
      check.whole = true;
      check.may_forget = file.unsealed;
      check.rebuild = size % 3 == 0;
      check.writes = size % 3 == 1;
      check.run(env);
      if (HasFailure()) return;
    }
  }
}

TEST_P(RotFiles, MissingAreFoundAndCostWhatTheyHeldAtMost) {
  for (const RotFile& file : world_.files) {
    if (file.found_until == 0) continue;
    for (const bool rebuild : {false, true}) {
      SCOPED_TRACE(fmt::format("{} is missing", file.path));
      io::SimEnv env = copy();
      env.remove(file.path);
      RotCheck check{.world = world_, .file = file.path};
      check.lost = file.lost(0, UINT64_MAX, true);
      check.index = check.whole = true;
      check.must_find = !file.unsealed;  // nothing knows yet that there was such a segment
      check.may_forget = file.unsealed;
      check.rebuild = rebuild;
      check.run(env);
      if (HasFailure()) return;
    }
  }
}

TEST_P(RotFiles, WithTheContentOfAnotherAreFoundAndCostWhatTheyHeldAtMost) {
  for (const RotFile& file : world_.files) {
    for (const RotFile& other : world_.files) {
      if (&file == &other || file.found_until == 0) continue;
      SCOPED_TRACE(fmt::format("{} has the content of {}", file.path, other.path));
      io::SimEnv env = copy();
      env.copy_content(other.path, file.path);
      RotCheck check{.world = world_, .file = file.path};
      check.lost = file.lost(0, UINT64_MAX, true);
      check.index = check.whole = true;
      check.may_forget = file.unsealed;
      check.rebuild = other.size % 2 == 0;
      check.writes = !check.rebuild;
      check.run(env);
      if (HasFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Stores, RotFiles, testing::Bool(),
                         [](const auto& killed) { return killed.param ? "killed" : "closed"; });

}  // namespace
}  // namespace cairn::crash
