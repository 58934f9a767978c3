// The order of background work in the simulation.
#include "io/sim_executor.h"

#include <set>
#include <string>

#include "unit/io/sim_fixture.h"

namespace cairn::io {
namespace {

using std::chrono::milliseconds;

std::string order_of(uint64_t seed, bool fifo = false) {
  SimEnv env(seed);
  env.executor().set_fifo(fifo);
  std::string order;
  for (char c = 'a'; c <= 'h'; ++c) env.executor().submit([&order, c] { order += c; });
  EXPECT_EQ(order, "") << "nothing runs inside submit()";
  env.executor().run_until_idle();
  return order;
}

TEST(SimExecutor, TheSameSeedGivesTheSameOrder) {
  std::set<std::string> orders;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::string order = order_of(seed);
    EXPECT_EQ(order, order_of(seed));
    EXPECT_EQ(order.size(), 8U);
    orders.insert(order);
  }
  EXPECT_GT(orders.size(), 10U);
  EXPECT_EQ(order_of(1, true), "abcdefgh");
}

TEST(SimExecutor, RunOneRunsOneJob) {
  SimEnv env(1);
  int count = 0;
  for (int i = 0; i < 3; ++i) env.executor().submit([&] { ++count; });
  EXPECT_TRUE(env.executor().run_one());
  EXPECT_EQ(count, 1);
  EXPECT_EQ(env.executor().queued(), 2U);
  env.executor().run_until_idle();
  EXPECT_FALSE(env.executor().run_one());
}

TEST(SimExecutor, TimersWaitForTheClock) {
  SimEnv env(1);
  std::string order;
  env.executor().submit_after(milliseconds(20), [&] { order += "b"; });
  env.executor().submit_after(milliseconds(10), [&] {
    order += "a";
    env.executor().submit_after(milliseconds(5), [&] { order += "c"; });
  });
  env.executor().run_until_idle();
  EXPECT_EQ(order, "");
  env.executor().advance(milliseconds(9));
  env.executor().run_until_idle();
  EXPECT_EQ(order, "");
  env.executor().advance(milliseconds(1));
  EXPECT_EQ(order, "") << "advancing runs nothing";
  env.executor().run_until_idle();
  EXPECT_EQ(order, "a");
  EXPECT_TRUE(env.executor().advance_to_timer());
  EXPECT_EQ(env.monotonic_ms(), 15U);
  env.executor().run_until_idle();
  EXPECT_TRUE(env.executor().advance_to_timer());
  env.executor().run_until_idle();
  EXPECT_EQ(order, "acb");
  EXPECT_FALSE(env.executor().advance_to_timer());
}

// A flag that somebody waits for.
struct Flag {
  Mutex mutex;
  CondVar changed;
  bool up GUARDED_BY(mutex) = false;

  void raise() {
    const MutexLock lock(mutex);
    up = true;
    changed.notify_all();
  }
  void wait(Executor& executor) {
    const MutexLock lock(mutex);
    executor.wait(mutex, changed, [this] {
      mutex.assert_held();
      return up;
    });
  }
};

TEST(SimExecutor, WaitLetsTimePassWhenNothingElseIsLeft) {
  SimEnv env(1);
  Flag flag;
  env.executor().submit_after(milliseconds(1'000), [&] { flag.raise(); });
  flag.wait(env.executor());
  EXPECT_EQ(env.monotonic_ms(), 1'000U);
}

TEST(SimExecutor, JobsThatWaitForWhatTheForegroundDoesLater) {
  SimEnv env(1);
  Flag started;
  Flag go;
  bool done = false;
  env.executor().submit([&] {
    started.raise();
    go.wait(env.executor());
    done = true;
  });
  started.wait(env.executor());
  env.executor().run_until_idle();
  EXPECT_FALSE(done);
  EXPECT_EQ(env.executor().waiting(), 1U);
  go.raise();
  env.executor().run_until_idle();
  EXPECT_TRUE(done);
  EXPECT_EQ(env.executor().waiting(), 0U);
}

TEST(SimExecutor, WhatGoesOnAndWhatBeginsHaveNoFixedOrder) {
  std::set<std::string> orders;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    SimEnv env(seed);
    Flag go;
    std::string order;
    env.executor().submit([&] {
      go.wait(env.executor());
      order += "on";
    });
    env.executor().run_until_idle();
    env.executor().submit([&] { order += "new"; });
    go.raise();
    env.executor().run_until_idle();
    orders.insert(order);
  }
  EXPECT_EQ(orders, (std::set<std::string>{"onnew", "newon"}));
}

TEST(SimExecutor, AJobThatSubmitsAndWaitsDoesNotDeadlock) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    SimEnv env(seed);
    Flag outer;
    int inner_jobs = 0;
    for (int i = 0; i < 5; ++i) {
      env.executor().submit([&] {
        Flag inner;
        env.executor().submit([&] {
          ++inner_jobs;
          inner.raise();
        });
        inner.wait(env.executor());
        if (inner_jobs == 5) outer.raise();
      });
    }
    outer.wait(env.executor());
    EXPECT_EQ(inner_jobs, 5);
    env.executor().run_until_idle();
  }
}

TEST(SimExecutor, JobsUseTheDiskOfTheirWorld) {
  SimEnv env(1);
  ASSERT_TRUE(env.make_dir("store").has_value());
  Flag done;
  env.executor().submit([&] {
    const auto dir = env.open_dir("store").value();
    EXPECT_TRUE(dir->open("f", {.mode = OpenMode::kCreate}).has_value());
    done.raise();
  });
  done.wait(env.executor());
  EXPECT_TRUE(env.exists("store/f"));
}

TEST(SimExecutorDeathTest, WaitingForWhatNeverComesIsABug) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  SimEnv env(1);
  Flag never;
  EXPECT_DEATH(never.wait(env.executor()), "CHECK");
}

}  // namespace
}  // namespace cairn::io
