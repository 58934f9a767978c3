#include "store/key_filter.h"

#include <algorithm>
#include <utility>

#include "base/bloom_probe.h"
#include "base/check.h"
#include "base/try.h"
#include "index/table.h"

namespace cairn::store {
namespace {

// So that an empty store does not build a new one for every few keys.
constexpr uint64_t kSmallest = 1 << 16;  // keys
constexpr uint64_t kAskEvery = 1 << 14;  // keys: some milliseconds
constexpr uint64_t kBitsPerKey = 10;
// Some 10 % of answers for absent keys are wrong then; with fewer it is not worth its memory.
constexpr uint64_t kFewestBitsPerKey = 5;
static_assert(kBitsPerKey == kBloomBitsPerKey && kFewestBitsPerKey < kBitsPerKey);

}  // namespace

uint64_t KeyFilter::room_for(uint64_t entries) { return kSmallest + 2 * entries; }

void KeyFilter::add(std::span<const uint64_t> hashes) {
  MutexLock lock(mu_);
  // Both: a key that came while the walk was under way may be behind it already.
  for (cache::UnifiedFilter* filter : {current_.get(), building_.get()}) {
    if (filter == nullptr) continue;
    for (const uint64_t hash : hashes) filter->prefetch(hash);
    for (const uint64_t hash : hashes) filter->add(hash);
  }
}

bool KeyFilter::may_contain(uint64_t hash) const {
  Ref filter;
  {
    MutexLock lock(mu_);
    filter = current_;
  }
  return !filter || filter->may_contain(hash);
}

bool KeyFilter::wants_build(uint64_t entries) const {
  // A filter that is too small answers yes to nearly everything, and costs its memory all the same.
  if (entries * kFewestBitsPerKey / 8 > budget_) return false;
  MutexLock lock(mu_);
  if (!current_) return true;
  if (!current_->overfull()) return false;
  // One that is really larger, or as large and without what was erased since; not one like it again and again.
  const uint64_t bytes = std::min(budget_, room_for(entries) * kBitsPerKey / 8);
  return bytes > current_->bytes() / 4 * 5 || entries <= current_->keys() / 2;
}

Result<bool> KeyFilter::build(uint64_t entries, const std::function<std::unique_ptr<index::Iterator>()>& walk,
                              const std::function<bool()>& stop) {
  auto fresh = std::make_shared<cache::UnifiedFilter>(room_for(entries), budget_);
  {
    MutexLock lock(mu_);
    building_ = fresh;
  }
  const auto fill = [&]() -> Result<bool> {
    // Taken after building_ is set: a key is in the walk, or its writer sees building_, or both.
    auto all = walk();
    TRY(all->seek({}));
    for (uint64_t n = 0; all->valid(); ++n) {
      if (n % kAskEvery == 0 && stop()) return false;
      fresh->add(index::Table::hash(all->key()));
      TRY(all->next());
    }
    return true;
  };
  auto filled = fill();
  MutexLock lock(mu_);
  CHECK(building_ == fresh);  // one build at a time
  building_.reset();
  if (filled && *filled) current_ = std::move(fresh);
  return filled;
}

}  // namespace cairn::store
