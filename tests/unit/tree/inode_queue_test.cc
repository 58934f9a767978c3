// The order of eviction, on traces that are written out (hazard 31: a hand that walks the wrong way).
#include "tree/inode_queue.h"

#include <gtest/gtest.h>

#include <vector>

namespace cairn::tree {
namespace {

using Kind = InodeQueue::Step::Kind;

// The next one to go, over the end of the queue if need be. 0: nobody, after two rounds.
Ino evict(InodeQueue& queue) {
  for (int wraps = 0; wraps < 3;) {
    const auto step = queue.next();
    if (step.kind == Kind::kWrapped) ++wraps;
    if (step.kind != Kind::kCandidate) continue;
    queue.remove(step.ino);
    return step.ino;
  }
  return 0;
}

std::vector<Ino> evict(InodeQueue& queue, int n) {
  std::vector<Ino> out;
  for (int i = 0; i < n; ++i) out.push_back(evict(queue));
  return out;
}

class Queue : public ::testing::Test {
 public:
  Queue() { queue_.start(0, 0); }
  void add(std::initializer_list<Ino> inos) {
    for (const Ino ino : inos) queue_.add(ino);
  }
  InodeQueue queue_;
};

TEST_F(Queue, TheOldestGoesFirst) {
  add({10, 11, 12});
  EXPECT_EQ(evict(queue_, 4), (std::vector<Ino>{10, 11, 12, 0}));
}

// In the manner of the paper's figure: A to G came in this order, the hand is at the oldest, and A, B and G were visited.
TEST_F(Queue, TheHandPassesVisitedOnesAndStaysWhereItEvicted) {
  enum : Ino { A = 1, B, C, D, E, F, G, H, I, J };
  add({A, B, C, D, E, F, G});
  for (const Ino ino : {A, B, G}) queue_.visit(ino);
  EXPECT_EQ(evict(queue_), C);  // for H
  add({H});
  queue_.visit(A);
  queue_.visit(D);
  EXPECT_EQ(evict(queue_), E);  // for I: the hand goes on behind C, not at the oldest again
  add({I});
  queue_.visit(B);
  EXPECT_EQ(evict(queue_), F);  // for J
  add({J});
  // G was visited: passed. H, I and J were not. Then from the oldest again: A and B were visited since, D no more.
  EXPECT_EQ(evict(queue_, 4), (std::vector<Ino>{H, I, J, D}));
  EXPECT_EQ(evict(queue_, 4), (std::vector<Ino>{G, A, B, 0}));
}

TEST_F(Queue, WhatIsNewIsNotLookedAtBeforeTheHandGetsThere) {
  add({1, 2, 3});
  EXPECT_EQ(evict(queue_), 1u);
  add({4});
  EXPECT_EQ(evict(queue_, 3), (std::vector<Ino>{2, 3, 4}));
}

TEST_F(Queue, IfAllWereVisitedTheSecondRoundFindsTheOldest) {
  add({1, 2, 3});
  for (const Ino ino : {1, 2, 3}) queue_.visit(ino);
  EXPECT_EQ(evict(queue_), 1u);
}

TEST_F(Queue, NumbersFarApartKeepTheirOrder) {
  add({5, 4095, 4096, 4096 * 64 + 63, 1ull << 40});
  queue_.visit(4096);
  EXPECT_EQ(evict(queue_, 5), (std::vector<Ino>{5, 4095, 4096 * 64 + 63, 1ull << 40, 4096}));
  EXPECT_EQ(queue_.size(), 0u);
}

TEST_F(Queue, WhatIsRemovedIsNoCandidateAndItsVisitIsForgotten) {
  add({1, 2});
  queue_.visit(1);
  queue_.remove(1);
  queue_.remove(77);
  EXPECT_EQ(evict(queue_, 2), (std::vector<Ino>{2, 0}));
}

// What an earlier run left is asked for when the hand gets there, from the hand upwards and then from the bottom.
TEST(QueueOfAnEarlierRun, IsLearntInTheOrderOfTheHand) {
  InodeQueue queue;
  queue.start(100, 300);
  queue.add(300);
  auto step = queue.next();
  EXPECT_EQ(step.kind, Kind::kUnknown);
  EXPECT_EQ(step.ino, 100u);
  EXPECT_EQ(step.end, 300u);
  queue.scanned(100, 200, {150});
  step = queue.next();
  EXPECT_EQ(step.kind, Kind::kCandidate);
  EXPECT_EQ(step.ino, 150u);
  step = queue.next();
  EXPECT_EQ(step.kind, Kind::kUnknown);
  EXPECT_EQ(step.ino, 200u);
  queue.scanned(200, 300, {250});
  EXPECT_EQ(queue.next().ino, 250u);
  EXPECT_EQ(queue.next().ino, 300u);
  EXPECT_EQ(queue.next().kind, Kind::kWrapped);
  step = queue.next();
  EXPECT_EQ(step.kind, Kind::kUnknown);
  EXPECT_EQ(step.ino, 0u);
  EXPECT_EQ(step.end, 100u);
  queue.scanned(0, 100, {7, 99});
  EXPECT_EQ(queue.next().ino, 7u);
  EXPECT_EQ(queue.next().ino, 99u);
  EXPECT_EQ(queue.next().ino, 150u);
}

TEST(QueueOfAnEarlierRun, VisitsBeforeItIsLearntCount) {
  InodeQueue queue;
  queue.start(0, 10);
  queue.visit(1);
  queue.scanned(0, 10, {1, 2});
  EXPECT_EQ(evict(queue, 2), (std::vector<Ino>{2, 1}));
}

// The order survives: visits and hand, taken from one queue and given to another, decide as if nothing had happened.
TEST(QueueOfAnEarlierRun, GoesOnWhereItStood) {
  InodeQueue before;
  before.start(0, 0);
  for (Ino ino = 1; ino <= 10'000; ++ino) before.add(ino);
  for (const Ino ino : {3, 5, 4097, 9000}) before.visit(ino);
  EXPECT_EQ(evict(before, 3), (std::vector<Ino>{1, 2, 4}));

  InodeQueue after;
  after.start(before.hand(), 10'001);
  for (const auto& [page, bits] : before.take_changed()) {
    if (!bits.empty()) after.load_visits(page, bits);
  }
  EXPECT_TRUE(before.take_changed().empty());
  std::vector<Ino> live = {3};
  for (Ino ino = 5; ino <= 10'000; ++ino) live.push_back(ino);
  auto step = after.next();
  ASSERT_EQ(step.kind, Kind::kUnknown);
  after.scanned(step.ino, step.end, {live.begin() + 1, live.end()});
  for (int i = 0; i < 9000; ++i) {
    const Ino ours = evict(after);
    ASSERT_EQ(evict(before), ours) << i;
  }
}

TEST_F(Queue, AVisitThatIsForgottenIsSavedAsForgotten) {
  add({1, 2});
  queue_.visit(1);
  ASSERT_EQ(queue_.take_changed().size(), 1u);
  EXPECT_EQ(evict(queue_), 2u);  // passes 1
  const auto changed = queue_.take_changed();
  ASSERT_EQ(changed.size(), 1u);
  EXPECT_TRUE(changed[0].second.empty());
}

}  // namespace
}  // namespace cairn::tree
