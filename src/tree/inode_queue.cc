#include "tree/inode_queue.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"

namespace cairn::tree {
namespace {

struct Place {
  uint64_t page = 0;
  uint64_t word = 0;
  uint64_t bit = 0;  // a mask
};

static_assert(InodeQueue::kPageInodes % 64 == 0);
static_assert(InodeQueue::kVisitBytes * 8 == InodeQueue::kPageInodes);

Place place_of(Ino ino) {
  const uint64_t in_page = ino % InodeQueue::kPageInodes;
  return {.page = ino / InodeQueue::kPageInodes, .word = in_page / 64, .bit = uint64_t{1} << (in_page % 64)};
}

}  // namespace

void InodeQueue::start(Ino hand, Ino first_new) {
  const MutexLock lock(mutex_);
  CHECK(first_new_ == 0);
  first_new_ = first_new;
  // The hand that was saved may be of a later run than the tree (a crash), or any number at all.
  hand_ = start_ = high_ = std::min(hand, first_new);
  low_ = 0;
}

bool InodeQueue::is_empty(const Page& page) {
  return page.count == 0 && std::all_of(page.visited.begin(), page.visited.end(), [](uint64_t w) { return w == 0; });
}

void InodeQueue::drop_if_empty(std::map<uint64_t, Page>::iterator page) {
  if (is_empty(page->second)) pages_.erase(page);
}

void InodeQueue::set_live(Ino ino) {
  const Place at = place_of(ino);
  Page& page = pages_[at.page];
  if ((page.live[at.word] & at.bit) != 0) return;
  page.live[at.word] |= at.bit;
  ++page.count;
  ++size_;
}

void InodeQueue::add(Ino ino) {
  const MutexLock lock(mutex_);
  set_live(ino);
}

void InodeQueue::remove(Ino ino) {
  const MutexLock lock(mutex_);
  const Place at = place_of(ino);
  const auto found = pages_.find(at.page);
  if (found == pages_.end()) return;
  Page& page = found->second;
  // The visit goes with the inode: its number is never used again, and the saved page must not keep it.
  if ((page.visited[at.word] & at.bit) != 0) changed_.insert(at.page);
  page.visited[at.word] &= ~at.bit;
  if ((page.live[at.word] & at.bit) != 0) {
    page.live[at.word] &= ~at.bit;
    CHECK(page.count > 0 && size_ > 0);
    --page.count;
    --size_;
  }
  drop_if_empty(found);
}

void InodeQueue::visit(Ino ino) {
  const MutexLock lock(mutex_);
  const Place at = place_of(ino);
  // Also of numbers that are not known to be there: what a restart has not read yet may be used all the same.
  Page& page = pages_[at.page];
  if ((page.visited[at.word] & at.bit) != 0) return;
  page.visited[at.word] |= at.bit;
  changed_.insert(at.page);
}

std::pair<Ino, Ino> InodeQueue::unknown() const {
  DCHECK(low_ <= start_ && start_ <= high_ && high_ <= first_new_);
  if (hand_ < start_ && low_ < start_) return {low_, start_};
  if (hand_ < first_new_ && high_ < first_new_) return {high_, first_new_};
  return {kEnd, kEnd};
}

// Moves the hand through one page, up to `end`. The number at which it stops, or kEnd if it has passed them all.
Ino InodeQueue::walk(uint64_t number, Page& page, Ino end) {
  const Ino base = number * kPageInodes;
  const Ino page_end = std::min(base + kPageInodes, end);

  hand_ = std::max(hand_, base);
  while (hand_ < page_end) {
    const uint64_t word = (hand_ - base) / kWordBits;
    const Ino word_base = base + word * kWordBits;
    const Ino word_end = std::min(word_base + kWordBits, page_end);
    // A word at a time: the bits from the hand to the end of the word or of what is known.
    uint64_t ahead = ~uint64_t{0} << (hand_ - word_base);
    if (word_end - word_base < kWordBits) ahead &= (uint64_t{1} << (word_end - word_base)) - 1;
    const uint64_t found = page.live[word] & ~page.visited[word] & ahead;
    if (found != 0) ahead &= (found & -found) - 1;  // those before the first of them
    if ((page.visited[word] & ahead) != 0) changed_.insert(number);
    // Passed: they have to earn another round.
    page.visited[word] &= ~ahead;
    if (found != 0) {
      const Ino ino = word_base + static_cast<Ino>(std::countr_zero(found));
      hand_ = ino + 1;
      return ino;
    }
    hand_ = word_end;
  }
  return kEnd;
}

InodeQueue::Step InodeQueue::next() {
  const MutexLock lock(mutex_);
  // Up to what is not known yet. The hand waits there until somebody has looked.
  const auto [limit, limit_end] = unknown();
  for (auto page = pages_.lower_bound(hand_ / kPageInodes); page != pages_.end();) {
    if (page->first * kPageInodes >= limit) break;
    if (const Ino ino = walk(page->first, page->second, limit); ino != kEnd) {
      return {.kind = Step::Kind::kCandidate, .ino = ino, .end = 0};
    }
    const auto passed = page++;
    drop_if_empty(passed);
  }
  if (limit != kEnd) {
    hand_ = std::max(hand_, limit);
    return {.kind = Step::Kind::kUnknown, .ino = limit, .end = limit_end};
  }
  hand_ = 0;
  return {.kind = Step::Kind::kWrapped, .ino = 0, .end = 0};
}

void InodeQueue::scanned(Ino first, Ino end, const std::vector<Ino>& live) {
  const MutexLock lock(mutex_);
  if (low_ < start_ && first == low_) {
    low_ = std::min(end, start_);
  } else {
    // Asked for by next(), and answered before it is asked again.
    CHECK(first == high_);
    high_ = std::min(end, first_new_);
  }
  // Those that went while the store was read stay in the queue: whoever gets one finds out.
  for (const Ino ino : live) set_live(ino);
}

Ino InodeQueue::hand() const {
  const MutexLock lock(mutex_);
  return hand_;
}

void InodeQueue::set_hand(Ino ino) {
  const MutexLock lock(mutex_);
  hand_ = ino;
}

uint64_t InodeQueue::size() const {
  const MutexLock lock(mutex_);
  return size_;
}

InodeQueue::Visits InodeQueue::take_changed() {
  const MutexLock lock(mutex_);
  Visits out;
  for (const uint64_t number : changed_) {
    const auto found = pages_.find(number);
    Bytes bits;
    if (found != pages_.end()) {
      const Bits& visited = found->second.visited;
      const bool any = std::any_of(visited.begin(), visited.end(), [](uint64_t w) { return w != 0; });
      // An empty string erases the key: a page without a visit is not stored.
      if (any) bits.assign(reinterpret_cast<const char*>(visited.data()), sizeof visited);
    }
    out.emplace_back(number, std::move(bits));
  }
  changed_.clear();
  return out;
}

void InodeQueue::load_visits(uint64_t page, ByteView bits) {
  CHECK(bits.size() == kVisitBytes);
  const MutexLock lock(mutex_);
  static_assert(sizeof(Bits) == kVisitBytes && std::endian::native == std::endian::little, "stored as they lie");
  std::memcpy(pages_[page].visited.data(), bits.data(), kVisitBytes);
}

}  // namespace cairn::tree
