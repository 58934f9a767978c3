#include "fusefs/sync_queue.h"

#include <atomic>
#include <condition_variable>
#include <future>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace cairn::fusefs {
namespace {

// A queue over a disk that can be held up, and what it answered.
class SyncQueueTest : public testing::Test {
 protected:
  // Requests are told apart by their `written`.
  static SyncRequest request(uint64_t id) {
    return {.req = nullptr, .written = id, .over_io_uring = false, .caller = 0};
  }
  static SyncRequest ring_request(uint64_t id) {
    return {.req = nullptr, .written = id, .over_io_uring = true, .caller = 0};
  }

  Result<void> sync() {
    ++syncs_;
    if (hold_) {
      started_.set_value();
      go_on_.get_future().wait();
    }
    if (slow_) std::this_thread::sleep_for(std::chrono::milliseconds(10));  // the disk
    if (failing_) return fail(ErrorCode::kIo, "no disk");
    return {};
  }
  void answer(const SyncRequest& request, const Result<void>& result) {
    const std::lock_guard lock(mutex_);
    answers_[*request.written].push_back(result.has_value());
    by_[*request.written] = std::this_thread::get_id();
    answered_.notify_all();
  }
  void wait_for_answers(size_t count) {
    std::unique_lock lock(mutex_);
    answered_.wait(lock, [&] { return answers_.size() == count; });
  }

  std::atomic<int> syncs_ = 0;
  std::atomic<bool> hold_ = false, failing_ = false, slow_ = false;
  std::promise<void> started_, go_on_;
  std::mutex mutex_;
  std::condition_variable answered_;
  std::map<uint64_t, std::vector<bool>> answers_;
  std::map<uint64_t, std::thread::id> by_;
  SyncQueue queue_{[this] { return sync(); }, [this](const SyncRequest& r, const Result<void>& s) { answer(r, s); }};
};

TEST_F(SyncQueueTest, ALoneCallerSyncsAndIsAnsweredBeforeItReturns) {
  queue_.add(request(1));
  EXPECT_EQ(answers_[1], std::vector{true});
  EXPECT_EQ(by_[1], std::this_thread::get_id());
  EXPECT_EQ(syncs_, 1);
}

TEST_F(SyncQueueTest, WhoComesDuringASyncReturnsAtOnceAndSharesTheNextOne) {
  hold_ = true;
  std::thread leader([&] { queue_.add(request(1)); });
  started_.get_future().wait();
  hold_ = false;  // for the second sync
  for (uint64_t id = 2; id <= 9; ++id) queue_.add(request(id));
  {
    const std::lock_guard lock(mutex_);
    EXPECT_TRUE(answers_.empty()) << "a sync that began before a request does not cover it";
  }
  go_on_.set_value();
  leader.join();
  EXPECT_EQ(syncs_, 2);
  for (uint64_t id = 1; id <= 9; ++id) EXPECT_EQ(answers_[id], std::vector{true}) << id;
}

TEST_F(SyncQueueTest, WhoMayNotLeadIsAnsweredByAnotherThread) {
  hold_ = true;
  queue_.add(ring_request(1));
  started_.get_future().wait();
  hold_ = false;
  queue_.add(request(2));  // could lead, but somebody does
  go_on_.set_value();
  wait_for_answers(2);
  EXPECT_NE(by_[1], std::this_thread::get_id());
  EXPECT_NE(by_[2], std::this_thread::get_id());
}

TEST_F(SyncQueueTest, WhereNobodyElseMayAnswerEachSyncsForItself) {
  hold_ = true;
  std::thread first([this] {
    queue_.add(request(1));
    EXPECT_EQ(by_[1], std::this_thread::get_id());
  });
  started_.get_future().wait();
  hold_ = false;
  for (uint64_t id = 2; id < 10; ++id) {
    SyncRequest mine = ring_request(id);
    mine.own_thread = true;
    queue_.add(mine);
    EXPECT_EQ(by_[id], std::this_thread::get_id()) << id;
  }
  EXPECT_EQ(syncs_, 9);
  go_on_.set_value();
  first.join();
}

TEST_F(SyncQueueTest, AProgramThatIsAloneWithItsSyncsIsAnsweredByItsOwnThreadUntilAnotherComes) {
  const auto from = [](uint64_t id, pid_t caller) {
    SyncRequest request = ring_request(id);
    request.caller = caller;
    return request;
  };
  uint64_t id = 0;
  const auto is_answered_here = [&](pid_t caller) {
    queue_.add(from(++id, caller));
    wait_for_answers(id);
    return by_[id] == std::this_thread::get_id();
  };
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(is_answered_here(100)) << i;
  // The queue's thread may not yet know that it has nothing more to do.
  bool here = false;
  for (int tries = 0; tries < 10'000 && !here; ++tries) here = is_answered_here(100);
  EXPECT_TRUE(here);
  EXPECT_FALSE(is_answered_here(200));
  EXPECT_FALSE(is_answered_here(100));
}

TEST_F(SyncQueueTest, AFailedSyncIsToldToAllWhoWaitForIt) {
  failing_ = true;
  hold_ = true;
  std::thread leader([&] { queue_.add(request(1)); });
  started_.get_future().wait();
  hold_ = false;
  queue_.add(request(2));
  queue_.add(ring_request(3));
  go_on_.set_value();
  leader.join();
  for (uint64_t id = 1; id <= 3; ++id) EXPECT_EQ(answers_[id], std::vector{false}) << id;
}

TEST_F(SyncQueueTest, EveryRequestOfManyThreadsIsAnsweredOnce) {
  constexpr uint64_t kThreads = 8, kEach = 500;
  {
    std::vector<std::thread> threads;
    for (uint64_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (uint64_t i = 0; i < kEach; ++i)
          queue_.add(t % 2 == 0 ? request(t * kEach + i) : ring_request(t * kEach + i));
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  wait_for_answers(kThreads * kEach);  // the queue's own thread may still be at it
  for (const auto& [id, answers] : answers_) EXPECT_EQ(answers.size(), 1u) << id;
  EXPECT_LE(syncs_, static_cast<int>(kThreads * kEach));
}

// The next sync of a slow disk waits for whom the last one answered; here for as long as a sync takes, so that a slow machine
// does not matter.
class SlowDisk : public SyncQueueTest {
 protected:
  // Asks as a program does, which is not the thread that leads.
  void ask(uint64_t id) {
    patient_.add(ring_request(id));
    std::unique_lock lock(mutex_);
    answered_.wait(lock, [&] { return answers_.contains(id); });
  }
  SyncQueue patient_{[this] { return sync(); },
                     [this](const SyncRequest& r, const Result<void>& s) { answer(r, s); },
                     {.slow = std::chrono::microseconds(0), .most = std::chrono::hours(1), .share = 1}};
};

TEST_F(SlowDisk, NobodysOwnThreadLeadsHoweverAloneItIs) {
  for (uint64_t id = 1; id <= 8; ++id) {
    SyncRequest mine = ring_request(id);
    mine.caller = 7;
    patient_.add(mine);
    wait_for_answers(id);
    EXPECT_NE(by_[id], std::this_thread::get_id()) << id;
  }
}

TEST_F(SlowDisk, ProgramsThatComeAgainShareEachSync) {
  slow_ = hold_ = true;
  std::thread first([&] {
    for (uint64_t id = 1; id <= 39; id += 2) ask(id);
  });
  started_.get_future().wait();
  hold_ = false;
  std::thread second([&] {
    for (uint64_t id = 2; id <= 38; id += 2) ask(id);
  });
  go_on_.set_value();
  second.join();
  first.join();
  EXPECT_EQ(answers_.size(), 39u);
  EXPECT_LT(syncs_, 36) << "39 if they take turns, 20 if they share all";
}

}  // namespace
}  // namespace cairn::fusefs
