// Evictions: one question at a time, and none of which nobody waits when the hook goes.
#include "store/evictions.h"

#include <gtest/gtest.h>

#include "io/sim_env.h"

namespace cairn::store {
namespace {

TEST(Evictions, AsksOnceUntilItIsAnswered) {
  io::SimEnv env(1);
  const auto evictions = std::make_shared<Evictions>(env);
  EXPECT_FALSE(evictions->request()) << "without a hook nobody answers";
  int calls = 0;
  evictions->set_hook([&calls] { ++calls; });
  EXPECT_TRUE(evictions->request());
  EXPECT_TRUE(evictions->request());
  env.executor().run_until_idle();
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(evictions->answered(true));
  EXPECT_TRUE(evictions->request());
  env.executor().run_until_idle();
  EXPECT_EQ(calls, 2);
}

// The hook answers before it returns, and is asked again at once: its first call then ends while the second is still to come.
TEST(Evictions, TakingTheHookAwayWaitsForEveryCallThatWasHandedOut) {
  io::SimEnv env(1);
  const auto evictions = std::make_shared<Evictions>(env);
  int calls = 0;
  evictions->set_hook([&] {
    if (++calls > 1) return;
    EXPECT_TRUE(evictions->answered(true));
    EXPECT_TRUE(evictions->request());
  });
  EXPECT_TRUE(evictions->request());
  EXPECT_TRUE(env.executor().run_one());
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(env.executor().queued(), 1u);
  evictions->set_hook({});
  EXPECT_EQ(env.executor().queued(), 0u) << "a call is left that would use what the hook's owner destroys next";
}

}  // namespace
}  // namespace cairn::store
