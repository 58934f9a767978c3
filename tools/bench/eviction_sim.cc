// Which eviction policy suits a cache of files: miss ratios of SIEVE, FIFO, LRU, S3-FIFO and SIEVE with a probation queue on
// synthetic traces. Objects have one size; every miss inserts. `eviction_sim [requests]` prints a table.
//
// Traces: Zipf over a million objects; the same with scans that read a stretch of cold objects once (grep -r, a backup);
// and loops over more objects than fit.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include <fmt/format.h>

namespace {

using Key = uint64_t;

class Policy {
 public:
  virtual ~Policy() = default;
  virtual bool request(Key key) = 0;  // true: hit
};

class Fifo : public Policy {
 public:
  explicit Fifo(size_t capacity) : capacity_(capacity) {}
  bool request(Key key) override {
    if (present_.contains(key)) return true;
    if (present_.size() == capacity_) {
      present_.erase(queue_.front());
      queue_.pop_front();
    }
    present_.insert(key);
    queue_.push_back(key);
    return false;
  }

 private:
  const size_t capacity_;
  std::unordered_set<Key> present_;
  std::deque<Key> queue_;
};

class Lru : public Policy {
 public:
  explicit Lru(size_t capacity) : capacity_(capacity) {}
  bool request(Key key) override {
    if (const auto found = places_.find(key); found != places_.end()) {
      order_.splice(order_.begin(), order_, found->second);
      return true;
    }
    if (places_.size() == capacity_) {
      places_.erase(order_.back());
      order_.pop_back();
    }
    order_.push_front(key);
    places_.emplace(key, order_.begin());
    return false;
  }

 private:
  const size_t capacity_;
  std::list<Key> order_;
  std::unordered_map<Key, std::list<Key>::iterator> places_;
};

// The oldest first; the hand moves towards the newest and stays where it evicted.
class Sieve : public Policy {
 public:
  explicit Sieve(size_t capacity) : capacity_(capacity) {}
  bool request(Key key) override {
    if (visit(key)) return true;
    insert(key);
    return false;
  }
  bool visit(Key key) {
    const auto found = places_.find(key);
    if (found == places_.end()) return false;
    found->second->visited = true;
    return true;
  }
  void insert(Key key) {
    if (places_.size() == capacity_) evict();
    places_.emplace(key, queue_.insert(queue_.end(), {key, false}));
    if (hand_ == queue_.end()) hand_ = std::prev(queue_.end());
  }

 private:
  struct Entry {
    Key key;
    bool visited;
  };
  void evict() {
    for (;;) {
      if (hand_ == queue_.end()) hand_ = queue_.begin();
      if (!hand_->visited) break;
      hand_->visited = false;
      ++hand_;
    }
    places_.erase(hand_->key);
    hand_ = queue_.erase(hand_);
  }
  const size_t capacity_;
  std::list<Entry> queue_;
  std::list<Entry>::iterator hand_ = queue_.end();
  std::unordered_map<Key, std::list<Entry>::iterator> places_;
};

// Keys that were evicted lately.
class Ghosts {
 public:
  explicit Ghosts(size_t capacity) : capacity_(capacity) {}
  void add(Key key) {
    if (!present_.insert(key).second) return;
    queue_.push_back(key);
    if (queue_.size() <= capacity_) return;
    present_.erase(queue_.front());
    queue_.pop_front();
  }
  bool contains(Key key) const { return present_.contains(key); }

 private:
  const size_t capacity_;
  std::unordered_set<Key> present_;
  std::deque<Key> queue_;
};

// A small FIFO that everything passes first; what was hit twice there, or came back soon, goes on to the main queue.
class Probation {
 public:
  explicit Probation(size_t capacity) : capacity_(std::max<size_t>(1, capacity)) {}
  bool visit(Key key) {
    const auto found = counts_.find(key);
    if (found == counts_.end()) return false;
    found->second = std::min(found->second + 1, 3);
    return true;
  }
  // `leave(key, hits)` gets whoever has to make room.
  template <class Leave>
  void insert(Key key, Leave&& leave) {
    if (queue_.size() == capacity_) {
      const Key out = queue_.front();
      queue_.pop_front();
      const int hits = counts_.at(out);
      counts_.erase(out);
      leave(out, hits);
    }
    queue_.push_back(key);
    counts_.emplace(key, 0);
  }

 private:
  const size_t capacity_;
  std::deque<Key> queue_;
  std::unordered_map<Key, int> counts_;
};

// A FIFO in which what was hit goes round again, as often as it was hit (at most three times).
class Clock {
 public:
  explicit Clock(size_t capacity) : capacity_(capacity) {}
  bool visit(Key key) {
    const auto found = counts_.find(key);
    if (found == counts_.end()) return false;
    found->second = std::min(found->second + 1, 3);
    return true;
  }
  void insert(Key key) {
    while (queue_.size() >= capacity_) {
      const Key out = queue_.front();
      queue_.pop_front();
      int& hits = counts_.at(out);
      if (hits == 0) {
        counts_.erase(out);
      } else {
        --hits;
        queue_.push_back(out);
      }
    }
    queue_.push_back(key);
    counts_.emplace(key, 0);
  }

 private:
  const size_t capacity_;
  std::deque<Key> queue_;
  std::unordered_map<Key, int> counts_;
};

// Yang et al., SOSP '23, with a tenth of the room as probation; and the same with SIEVE as the main queue.
template <class Main>
class WithProbation : public Policy {
 public:
  explicit WithProbation(size_t capacity) : small_(capacity / 10), main_(capacity - capacity / 10), ghosts_(capacity) {}
  bool request(Key key) override {
    if (small_.visit(key) || main_.visit(key)) return true;
    if (ghosts_.contains(key)) {
      main_.insert(key);
      return false;
    }
    small_.insert(key, [this](Key out, int hits) { hits > 1 ? main_.insert(out) : ghosts_.add(out); });
    return false;
  }

 private:
  Probation small_;
  Main main_;
  Ghosts ghosts_;
};

// ---- Traces ----

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }
  double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  uint64_t state_;
};

constexpr uint64_t kObjects = 1'000'000;
constexpr Key kColdObjects = 1ull << 40;  // numbers of what only scans read

// Ranks by inversion of the continuous distribution: near enough to Zipf for comparing policies.
class Zipf {
 public:
  explicit Zipf(double skew) : one_less_(1 - skew), top_(std::pow(static_cast<double>(kObjects), one_less_) - 1) {}
  Key next(Random& random) const {
    return static_cast<Key>(std::pow(top_ * random.unit() + 1, 1 / one_less_)) * 0x9e3779b97f4a7c15;
  }

 private:
  double one_less_, top_;
};

std::vector<Key> zipf_trace(size_t requests, double skew) {
  Random random(1);
  const Zipf zipf(skew);
  std::vector<Key> out(requests);
  for (Key& key : out) key = zipf.next(random);
  return out;
}

// After every `every` requests a scan of `length` objects that nobody else wants; `again`: it is repeated at once, as by
// two tools that walk the same tree.
std::vector<Key> scanned_trace(size_t requests, size_t every, size_t length, bool again) {
  std::vector<Key> out;
  Key cold = kColdObjects;
  size_t since = 0;
  for (const Key key : zipf_trace(requests, 0.9)) {
    out.push_back(key);
    if (++since < every) continue;
    since = 0;
    for (int pass = 0; pass < (again ? 2 : 1); ++pass) {
      for (size_t i = 0; i < length; ++i) out.push_back(cold + i);
    }
    cold += length;
  }
  return out;
}

std::vector<Key> loop_trace(size_t requests, size_t length) {
  std::vector<Key> out(requests);
  for (size_t i = 0; i < requests; ++i) out[i] = i % length;
  return out;
}

// Only requests of the wanted kind are counted: a scan misses whatever the policy.
double miss_ratio(Policy& policy, const std::vector<Key>& trace) {
  uint64_t counted = 0, misses = 0;
  for (const Key key : trace) {
    const bool hit = policy.request(key);
    const bool cold = key >= kColdObjects && key < kColdObjects + (1ull << 30);
    if (cold) continue;
    ++counted;
    if (!hit) ++misses;
  }
  return static_cast<double>(misses) / static_cast<double>(counted);
}

struct Trace {
  std::string name;
  std::vector<Key> keys;
};

template <class P>
double run(size_t capacity, const Trace& trace) {
  P policy(capacity);
  return miss_ratio(policy, trace.keys);
}

}  // namespace

int main(int argc, char** argv) {
  const size_t requests = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 2'000'000;
  const size_t capacity = kObjects / 20;
  const std::vector<Trace> traces = {
      {"zipf 0.7", zipf_trace(requests, 0.7)},
      {"zipf 0.9", zipf_trace(requests, 0.9)},
      {"zipf 1.1", zipf_trace(requests, 1.1)},
      {"zipf 0.9, scans of 1/2 the cache", scanned_trace(requests, capacity, capacity / 2, false)},
      {"zipf 0.9, scans of 2 caches", scanned_trace(requests, capacity, 2 * capacity, false)},
      {"zipf 0.9, the same scan twice", scanned_trace(requests, capacity, capacity / 2, true)},
      {"loop over 1.1 caches", loop_trace(requests, capacity + capacity / 10)},
      {"loop over 2 caches", loop_trace(requests, 2 * capacity)},
  };
  fmt::print("miss ratios; cache of {} objects of {}\n", capacity, kObjects);
  fmt::print("{:34} {:>7} {:>7} {:>7} {:>8} {:>15}\n", "trace", "FIFO", "LRU", "SIEVE", "S3-FIFO", "SIEVE+probation");
  for (const Trace& trace : traces) {
    fmt::print("{:34} {:7.4f} {:7.4f} {:7.4f} {:8.4f} {:15.4f}\n", trace.name, run<Fifo>(capacity, trace),
               run<Lru>(capacity, trace), run<Sieve>(capacity, trace), run<WithProbation<Clock>>(capacity, trace),
               run<WithProbation<Sieve>>(capacity, trace));
  }
  return 0;
}
