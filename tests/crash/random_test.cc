// Runs that a seed makes up, crashed where they write; soak.cc runs them without end.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "crash/random_run.h"

namespace cairn::crash {
namespace {

TEST(CrashRandom, AfterAnyCrashTheTreeIsOneThatItWasAndNothingSyncedIsGone) {
  constexpr uint64_t kRuns = 400;
  RandomRuns runs;
  Counts counts;
  for (uint64_t seed = 1; seed <= kRuns; ++seed) {
    const auto run = runs.run(seed);
    ASSERT_TRUE(run) << run.error().message << "\n  repeat: tests/crash-soak --runs 1 --seed " << seed;
    add(counts, *run);
  }
  fmt::print("{}\n{} seals, {} merges, {} compactions\n", to_string(counts), runs.seals(), runs.merges(),
             runs.compactions());
  EXPECT_GT(counts.states, 20'000U);
  EXPECT_GT(runs.merges(), 50U);
  EXPECT_GT(runs.compactions(), 50U);
}

}  // namespace
}  // namespace cairn::crash
