// SIEVE (Zhang et al., "SIEVE is Simpler than LRU", NSDI '24): a bounded map from keys to values that evicts what was
// not asked for since the hand last passed. For caches in memory; files are evicted by the same rule, without a list
// (tree/inode_queue.h).
#pragma once

#include <cstddef>
#include <functional>
#include <unordered_map>
#include <utility>

#include "base/check.h"

namespace cairn {

// Entries stand in the order they came. A hit only sets the entry's bit. To make room the hand walks from the oldest
// towards the newest, clears bits as it passes, and takes out the first entry without one; it stays there, so that an
// entry which survived is not looked at again before everything newer was. What is read once therefore goes soon, and
// what is hit again between two passes of the hand stays.
//
// Each entry has a weight in a unit of the owner's (bytes, files); their sum never exceeds the capacity. find() is O(1)
// and writes one bit; insert() is O(1) amortised, as each step of the hand undoes a hit; erase_if() looks at
// everything. May throw bad_alloc, in insert() only, and is then as before but for what was evicted. Not thread-safe:
// the owner locks.
template <class Key, class T, class Hash = std::hash<Key>>
class Sieve {
 public:
  // `capacity` in the unit of the weights. 0 keeps only what weighs nothing.
  explicit Sieve(size_t capacity) : capacity_(capacity) {}
  Sieve(const Sieve&) = delete;
  Sieve& operator=(const Sieve&) = delete;

  // The value, marked as visited; null if absent. Lives until the next call that is not find() or peek().
  T* find(const Key& key) {
    const auto it = nodes_.find(key);
    if (it == nodes_.end()) return nullptr;
    it->second.visited = true;
    return &it->second.value;
  }

  // As find(), but leaves no mark.
  const T* peek(const Key& key) const {
    const auto it = nodes_.find(key);
    return it == nodes_.end() ? nullptr : &it->second.value;
  }

  // Puts an entry in, which must not be there, and evicts until it fits. What is heavier than the whole capacity is not
  // kept: false. Evicted values are handed to `evicted(key, value)`, so that the owner can let go of them unlocked. It
  // must not call back into the map: the entry is still linked.
  template <class Evicted>
  bool insert(const Key& key, T value, size_t weight, Evicted&& evicted) {
    DCHECK(!nodes_.contains(key));
    if (weight > capacity_) return false;
    // Written so that the sum cannot overflow. Ends: with nothing left weight_ is 0.
    while (weight_ > capacity_ - weight) evict(evicted);
    const auto [it, fresh] = nodes_.try_emplace(key, std::move(value), weight);
    // The newest has no bit: only a hit after this earns one. What comes in and is never asked for again thus goes at
    // the first visit.
    CHECK(fresh);
    it->second.key = &it->first;
    link_newest(it->second);
    weight_ += weight;
    return true;
  }
  bool insert(const Key& key, T value, size_t weight) {
    return insert(key, std::move(value), weight, [](const Key&, T&&) {});
  }

  // Takes the entry out, whatever its bit. False if there is none.
  bool erase(const Key& key) {
    const auto it = nodes_.find(key);
    if (it == nodes_.end()) return false;
    remove(it->second);
    return true;
  }

  // Takes out every entry for which `doomed(key, value)` holds; oldest first. Linear in size(). `doomed` may move the
  // value elsewhere by copying it, and must not call back.
  template <class Doomed>
  void erase_if(Doomed&& doomed) {
    for (Node* node = oldest_; node != nullptr;) {
      Node* const newer = node->newer;
      if (doomed(std::as_const(*node->key), std::as_const(node->value))) remove(*node);
      node = newer;
    }
  }

  [[nodiscard]] size_t size() const { return nodes_.size(); }
  [[nodiscard]] size_t weight() const { return weight_; }
  [[nodiscard]] size_t capacity() const { return capacity_; }

 private:
  struct Node {
    // In the map and in the list at once; its address is fixed while it is in the map.
    Node(T v, size_t w) : value(std::move(v)), weight(w) {}
    T value;
    size_t weight;
    // The map's own copy of the key: found again from the list when it is evicted.
    const Key* key = nullptr;
    // Null at the ends: newer of newest_, older of oldest_.
    Node* newer = nullptr;
    Node* older = nullptr;
    bool visited = false;
  };

  // Puts the node behind all others. The hand does not move: it meets the node last.
  void link_newest(Node& node) {
    node.older = newest_;
    if (newest_ != nullptr) newest_->newer = &node;
    newest_ = &node;
    if (oldest_ == nullptr) oldest_ = &node;
  }

  // Unlinks and frees the node. A hand that stands on it goes on to the next newer one, as if it had passed.
  void remove(Node& node) {
    if (hand_ == &node) hand_ = node.newer;
    (node.newer != nullptr ? node.newer->older : newest_) = node.older;
    (node.older != nullptr ? node.older->newer : oldest_) = node.newer;
    CHECK(node.weight <= weight_);
    weight_ -= node.weight;
    nodes_.erase(nodes_.find(*node.key));
  }

  // One step of eviction: at most two rounds, since the first clears every bit it meets. Needs an entry.
  template <class Evicted>
  void evict(Evicted& evicted) {
    Node* victim = hand_ != nullptr ? hand_ : oldest_;
    CHECK(victim != nullptr);
    while (victim->visited) {
      victim->visited = false;
      victim = victim->newer != nullptr ? victim->newer : oldest_;
    }
    hand_ = victim->newer;  // null: past the newest, so the next walk begins at the oldest again
    evicted(*victim->key, std::move(victim->value));
    remove(*victim);
  }

  // Invariants: weight_ is the sum over nodes_ and at most capacity_; oldest_ and newest_ are both null or neither; the
  // hand is null or in the list.
  const size_t capacity_;
  size_t weight_ = 0;
  std::unordered_map<Key, Node, Hash> nodes_;  // its nodes stay where they are: links point into them
  Node* newest_ = nullptr;
  Node* oldest_ = nullptr;
  Node* hand_ = nullptr;  // where the next walk begins; null: at the oldest
};

}  // namespace cairn
