// The unified filter of a store: one look answers most lookups of absent keys, before any level is asked.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/mutex.h"
#include "cache/bloom.h"
#include "cairn/result.h"
#include "index/iterator.h"

namespace cairn::store {

// Until it was built once, and when it would not fit its budget, it answers yes to everything. Thread-safe.
//
// A key is added after its sequence number is taken and before it enters the memtable (hazard 9). So build() misses nothing if it
// walks a version that is taken after every number given out before it began is visible.
class KeyFilter {
 public:
  explicit KeyFilter(uint64_t byte_budget) : budget_(byte_budget) {}
  // Hashes are index::Table::hash.
  void add(std::span<const uint64_t> hashes) EXCLUDES(mu_);
  [[nodiscard]] bool may_contain(uint64_t hash) const EXCLUDES(mu_);
  // Whether build() would help: there is none yet, or it is full, and one for so many keys would be better. Where the budget
  // is too small for ten bits a key it is made with fewer, down to five.
  [[nodiscard]] bool wants_build(uint64_t entries) const EXCLUDES(mu_);
  // Makes a new one for `entries` keys and as many again. `walk` gives all entries, and is called once keys are being added to the
  // new filter too. After an error the old one stays, and when `stop`, asked now and then, says yes: false.
  Result<bool> build(uint64_t entries, const std::function<std::unique_ptr<index::Iterator>()>& walk,
                     const std::function<bool()>& stop) EXCLUDES(mu_);

 private:
  using Ref = std::shared_ptr<cache::UnifiedFilter>;
  static uint64_t room_for(uint64_t entries);

  const uint64_t budget_;  // bytes
  mutable Mutex mu_;       // a leaf
  Ref current_ GUARDED_BY(mu_);
  Ref building_ GUARDED_BY(mu_);
};

}  // namespace cairn::store
