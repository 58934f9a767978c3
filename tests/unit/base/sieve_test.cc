#include "base/sieve.h"

#include <list>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace cairn {
namespace {

// A cache of letters, each of weight 1: what a request evicts, and what is left, newest first.
class Letters {
 public:
  explicit Letters(size_t capacity) : sieve_(capacity) {}
  std::string request(char c) {
    std::string evicted;
    if (sieve_.find(c) == nullptr) {
      sieve_.insert(c, int{c}, 1, [&evicted](char key, int&&) { evicted.push_back(key); });
    }
    return evicted;
  }
  std::string content() const {
    std::string all;
    for (char c = 'A'; c <= 'Z'; ++c) {
      if (sieve_.peek(c) != nullptr) all.push_back(c);
    }
    return all;
  }

 private:
  Sieve<char, int> sieve_;
};

// The example of the paper's website, with what its picture shows after each step.
TEST(Sieve, EvictsInTheOrderOfThePapersTrace) {
  Letters cache(7);
  std::string evicted;
  for (const char c : std::string("AABBCDEFGG")) evicted += cache.request(c);
  EXPECT_EQ(evicted, "");
  EXPECT_EQ(cache.request('H'), "C") << "A and B were visited; C is the oldest that was not";
  EXPECT_EQ(cache.request('A'), "");
  EXPECT_EQ(cache.request('D'), "");
  EXPECT_EQ(cache.request('I'), "E") << "the hand stayed behind C, and D was visited meanwhile";
  EXPECT_EQ(cache.request('B'), "");
  EXPECT_EQ(cache.request('J'), "F");
  EXPECT_EQ(cache.content(), "ABDGHIJ");
}

TEST(Sieve, TheHandWrapsFromTheNewestToTheOldest) {
  Letters cache(3);
  for (const char c : std::string("ABCABC")) EXPECT_EQ(cache.request(c), "");
  EXPECT_EQ(cache.request('D'), "A") << "all were visited: one whole pass, then the oldest";
  EXPECT_EQ(cache.request('E'), "B");
  EXPECT_EQ(cache.request('F'), "C");
  EXPECT_EQ(cache.request('G'), "D");
}

// The algorithm of the paper, as literally as possible: a list with the newest in front.
class Reference {
 public:
  explicit Reference(size_t capacity) : capacity_(capacity) {}
  std::string request(int key) {
    std::string evicted;
    for (Item& item : items_) {
      if (item.key == key) {
        item.visited = true;
        return evicted;
      }
    }
    if (items_.size() == capacity_) evicted = std::to_string(evict());
    items_.push_front({key, false});
    return evicted;
  }

 private:
  struct Item {
    int key;
    bool visited;
  };
  int evict() {
    auto at = hand_ == items_.end() ? std::prev(items_.end()) : hand_;
    while (at->visited) {
      at->visited = false;
      at = at == items_.begin() ? std::prev(items_.end()) : std::prev(at);
    }
    const int key = at->key;
    hand_ = at == items_.begin() ? items_.end() : std::prev(at);
    items_.erase(at);
    return key;
  }

  size_t capacity_;
  std::list<Item> items_;
  std::list<Item>::iterator hand_ = items_.end();
};

TEST(Sieve, EvictsAsTheReferenceDoesOnLongRandomTraces) {
  for (const size_t capacity : {1u, 2u, 3u, 10u, 64u}) {
    SCOPED_TRACE(capacity);
    std::mt19937 random(42);
    Sieve<int, int> sieve(capacity);
    Reference reference(capacity);
    for (int i = 0; i < 20000; ++i) {
      const int key = static_cast<int>(std::min(random() % (capacity * 3), random() % (capacity * 3)));
      std::string evicted;
      if (sieve.find(key) == nullptr) {
        sieve.insert(key, key, 1, [&evicted](int old, int&&) { evicted += std::to_string(old); });
      }
      ASSERT_EQ(evicted, reference.request(key)) << "request " << i;
    }
  }
}

TEST(Sieve, TheSumOfWeightsNeverExceedsTheCapacity) {
  std::mt19937 random(7);
  Sieve<int, std::string> sieve(1000);
  for (int i = 0; i < 5000; ++i) {
    const size_t weight = random() % 300;
    sieve.erase(static_cast<int>(random() % 100));
    if (sieve.find(i) == nullptr) {
      ASSERT_TRUE(sieve.insert(i, std::string(weight, 'x'), weight));
    }
    ASSERT_LE(sieve.weight(), 1000u);
  }
  size_t sum = 0;
  for (int i = 0; i < 5000; ++i) sum += sieve.peek(i) == nullptr ? 0 : sieve.peek(i)->size();
  EXPECT_EQ(sum, sieve.weight());
}

TEST(Sieve, DoesNotKeepWhatIsHeavierThanTheWhole) {
  Sieve<int, int> sieve(10);
  ASSERT_TRUE(sieve.insert(1, 1, 10));
  EXPECT_FALSE(sieve.insert(2, 2, 11));
  EXPECT_NE(sieve.peek(1), nullptr) << "nothing may be evicted for something that does not fit anyway";
}

TEST(Sieve, TheHandSurvivesTheErasureOfWhatItPointsAt) {
  Letters warm(4);
  Sieve<char, int> sieve(4);
  const auto request = [&sieve](char c) {
    std::string evicted;
    if (sieve.find(c) == nullptr) sieve.insert(c, 0, 1, [&evicted](char key, int&&) { evicted.push_back(key); });
    return evicted;
  };
  for (const char c : std::string("ABCD")) request(c);
  EXPECT_EQ(request('E'), "A");  // the hand now points at B
  EXPECT_TRUE(sieve.erase('B'));
  EXPECT_EQ(request('F'), "");
  EXPECT_EQ(request('G'), "C");
  sieve.erase_if([](char c, int) { return c == 'D' || c == 'E'; });
  EXPECT_EQ(sieve.size(), 2u);
  EXPECT_EQ(request('H') + request('I'), "");
  EXPECT_EQ(request('J'), "F");
}

}  // namespace
}  // namespace cairn
