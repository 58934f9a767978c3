#include "tree/sieve_hand.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/try.h"
#include "io/env.h"
#include "tree/units.h"

namespace cairn::tree {
namespace {

constexpr int kStepsAtOnce = 64;      // candidates looked at before other work gets its turn
constexpr int kRounds = 3;            // the rest of one, one that forgets all visits, one that finds who had none since
constexpr uint64_t kOverhead = 512;   // bytes of log that a file takes besides its content, about
constexpr uint64_t kRetryMs = 1000;   // between two looks for old files while only young ones go
constexpr uint64_t kSaveMs = 60'000;  // between two saves, at most, while files go
constexpr uint64_t kSaveFiles = 4096;  // and as many files
constexpr size_t kScanInodes = 4096;   // found in one scan
constexpr int kNextBeforeSeek = 8;     // keys of one inode stepped over before the cursor seeks behind them
static_assert(kRounds >= 2, "one that forgets visits, one that finds who had none since");

uint64_t page_cost() { return log_cost(format::kListKeySize, sizeof(format::VisitsDisk)); }

}  // namespace

// ---- Statistics ----

void EvictionLog::add(EvictReason reason, const Eviction& eviction, const Time& now) {
  const MutexLock lock(mutex_);
  CHECK(static_cast<size_t>(reason) < kEvictReasons);
  counts_.evicted_files[static_cast<size_t>(reason)] += eviction.files;
  counts_.evicted_bytes += eviction.bytes;
  if (reason == EvictReason::kDamaged) return;  // says nothing about how long files are kept
  ages_s_.push_back(std::max<int64_t>(0, now.seconds - eviction.last_use.seconds));
  if (ages_s_.size() > kRecent) ages_s_.pop_front();
}

void EvictionLog::add_directory() {
  const MutexLock lock(mutex_);
  ++counts_.evicted_directories;
}

void EvictionLog::add_to(CacheStats& stats) const {
  const MutexLock lock(mutex_);
  stats.evicted_files = counts_.evicted_files;
  stats.evicted_bytes = counts_.evicted_bytes;
  stats.evicted_directories = counts_.evicted_directories;
  if (ages_s_.empty()) return;
  stats.retention_s = *std::min_element(ages_s_.begin(), ages_s_.end());
}

// ---- The hand ----

EvictRules SieveHand::rules() const {
  EvictRules rules;
  rules.young_too = young_too_;
  if (tree_.options.min_age_s == 0) return rules;
  rules.young_after = tree_.now();
  // By the wall clock, as the times of files are. A clock that jumps makes files old or young; it costs an order,
  // nothing else.
  rules.young_after.seconds -= static_cast<int64_t>(tree_.options.min_age_s);
  return rules;
}

SieveHand::Progress SieveHand::evict_some(uint64_t want, bool has_units, const Listener& listener) {
  has_units_ = has_units;
  no_room_ = false;
  retry_old_ones();
  Progress progress;
  for (int i = 0; i < kStepsAtOnce && progress.freed < want; ++i) {
    if (no_room_) {  // it would be the same with all others
      progress.exhausted = true;
      return progress;
    }
    const InodeQueue::Step step = queue_.next();
    switch (step.kind) {
      case InodeQueue::Step::Kind::kCandidate: progress.freed += consider(step.ino, listener); break;
      case InodeQueue::Step::Kind::kUnknown:
        if (auto scanned = scan(step); !scanned) {
          tree_.note_error("eviction_scan_failed", step.ino, scanned.error());
          queue_.scanned(step.ino, step.end, {});  // what cannot be read now is not evicted before the next start
        }
        break;
      case InodeQueue::Step::Kind::kWrapped:
        if (went_round()) break;
        progress.exhausted = true;
        progress.open = last_open_;
        progress.pinned = last_pinned_;
        return progress;
    }
  }
  return progress;
}

// False if there is nothing more to hope for.
bool SieveHand::went_round() {
  CHECK(rounds_ < kRounds);
  last_open_ = std::exchange(open_, 0);
  last_pinned_ = std::exchange(pinned_, 0);
  // The hand came round without evicting anything. Once is not enough: the first round may only have forgotten visits.
  if (++rounds_ < kRounds) return true;
  rounds_ = 0;
  if (young_too_ || tree_.options.min_age_s == 0) return false;
  // Nothing old can go, so min_age gives way: a cache that refuses all new files would be worse.
  young_too_ = true;
  next_try_ms_ = tree_.store.env().monotonic_ms() + kRetryMs;
  if (young_at_) queue_.set_hand(*std::exchange(young_at_, std::nullopt));
  return true;
}

// While files younger than min_age go, older ones may have been closed, or have come of age.
void SieveHand::retry_old_ones() {
  if (!young_too_) return;
  const uint64_t now_ms = tree_.store.env().monotonic_ms();
  if (now_ms < next_try_ms_) return;
  young_too_ = false;
  young_at_ = queue_.hand();
  queue_.set_hand(0);
  rounds_ = kRounds - 2;  // one look at those before the first young one is enough
}

// Evicts what stands at the hand, unless it has to stay.
Result<Eviction> SieveHand::try_evict(Ino ino, EvictReason& reason) {
  const InodeRef inode = tree_.inodes.get(ino);
  bool directory = false;
  {
    const ReadLock lock(inode->mutex);
    directory = inode->loaded && inode->attributes.is_directory();
  }
  Eviction stays;
  Unit unit;
  if (has_units_) {
    auto found = unit_of(tree_, ino);
    if (!found && found.error().code == ErrorCode::kStale) return stays;  // gone
    TRY(found);
    unit = *found;
  }
  stays.outcome = unit.pinned ? EvictOutcome::kPinned : EvictOutcome::kDirectory;
  if (unit.pinned || (unit.group != 0 && unit.group != ino)) return stays;  // its group has a place of its own
  const EvictRules bounds = rules();
  if (unit.group == ino && ino != kRootIno) {
    reason = EvictReason::kGroup;
    return evict_group(tree_, ino, bounds);
  }
  // Never young_too for a directory: something is about to be made in it.
  if (!directory) return evict_file(tree_, ino, bounds);
  return evict_directory(tree_, ino, {.young_after = bounds.young_after});
}

// Bytes of log that come back.
uint64_t SieveHand::consider(Ino ino, const Listener& listener) {
  EvictReason reason = young_too_ ? EvictReason::kYoung : EvictReason::kCold;
  auto eviction = try_evict(ino, reason);
  if (!eviction) {
    // The store refuses an erase only when nothing more comes back: it is told, instead of every file being tried.
    no_room_ = eviction.error().code == ErrorCode::kNoSpace;
    tree_.note_error("eviction_failed", ino, eviction.error());
    return 0;
  }
  switch (eviction->outcome) {
    case EvictOutcome::kEvicted: break;
    case EvictOutcome::kGone: queue_.remove(ino); return 0;
    case EvictOutcome::kYoung:
      if (young_too_) return 0;
      if (!young_at_) young_at_ = ino;
      queue_.set_hand(InodeQueue::kEnd);  // all behind it are as young
      return 0;
    case EvictOutcome::kOpen: ++open_; return 0;
    case EvictOutcome::kPinned: ++pinned_; return 0;
    case EvictOutcome::kChanged:
    case EvictOutcome::kDirectory: return 0;
  }
  rounds_ = 0;
  if (eviction->directory) log_.add_directory();
  if (!eviction->directory || reason == EvictReason::kGroup) log_.add(reason, *eviction, tree_.now());
  finish(*eviction, listener);
  ++evicted_since_save_;
  // An estimate: the deficit is measured again before the next batch.
  return eviction->bytes + eviction->files * kOverhead + kOverhead;
}

// Those who know the names are told, and directories without entries go as well.
void SieveHand::finish(const Eviction& eviction, const Listener& listener) {
  // After the commit and without a lock: the kernel takes the directory's, whose holder may wait for us (hazard 38).
  for (const LostName& name : eviction.names) listener(name);
  std::deque<Ino> emptied(eviction.emptied.begin(), eviction.emptied.end());
  const EvictRules bounds{.young_after = rules().young_after};
  for (; !emptied.empty(); emptied.pop_front()) {
    auto removed = evict_directory(tree_, emptied.front(), bounds);
    if (!removed) {
      tree_.note_error("eviction_failed", emptied.front(), removed.error());
      continue;
    }
    if (removed->outcome != EvictOutcome::kEvicted) continue;
    log_.add_directory();
    for (const LostName& name : removed->names) listener(name);
    emptied.insert(emptied.end(), removed->emptied.begin(), removed->emptied.end());
  }
}

void SieveHand::evict_damaged(Ino ino, const Listener& listener) {
  // Whatever its age, and whoever has it open: nobody can read it.
  auto eviction = evict_file(tree_, ino, {.open_too = true, .young_too = true});
  if (!eviction) return tree_.note_error("eviction_failed", ino, eviction.error());
  if (eviction->outcome != EvictOutcome::kEvicted) return;
  log_.add(EvictReason::kDamaged, *eviction, tree_.now());
  finish(*eviction, listener);
}

// Which inodes the store has; at most kScanInodes of them are looked for at once.
Result<void> SieveHand::scan(const InodeQueue::Step& step) {
  std::vector<Ino> live;
  Ino end = step.end;
  Cursor cursor = tree_.store.scan({});
  // The root is never a candidate.
  cursor.seek(format::inode_prefix(std::max(step.ino, kRootIno + 1)));
  for (int same = 0; cursor.valid();) {
    const auto key = format::decode_tree_key(cursor.key());
    if (key && key->ino >= step.end) break;
    if (key && (live.empty() || live.back() != key->ino)) {
      if (live.size() == kScanInodes) {
        end = key->ino;
        break;
      }
      live.push_back(key->ino);
      same = 0;
    }
    // A large file has thousands of chunks: a seek costs as much as a few steps.
    if (key && ++same > kNextBeforeSeek) {
      cursor.seek(format::inode_prefix(key->ino + 1));
    } else {
      cursor.next();
    }
  }
  TRY(cursor.status());
  queue_.scanned(step.ino, end, live);
  return {};
}

// ---- What survives a restart ----

Result<Ino> SieveHand::saved_hand() const {
  const auto saved = tree_.store.get(format::hand_key());
  if (!saved && saved.error().code == ErrorCode::kNotFound) return 0;
  TRY(saved);
  return format::decode_hand(saved->view());
}

Result<void> SieveHand::load_visits() {
  Cursor cursor = tree_.store.scan(format::kind_prefix(0, format::KeyKind::kVisits));
  for (; cursor.valid(); cursor.next()) {
    TRY_ASSIGN(const auto key, format::decode_tree_key(cursor.key()));
    TRY_ASSIGN(const Value value, cursor.value());
    TRY_ASSIGN(const ByteView bits, format::decode_visits(value.view()));
    queue_.load_visits(key.number, bits);
  }
  return cursor.status();
}

// What cannot be read costs an order, not the mount.
void SieveHand::load() {
  const auto hand = saved_hand();
  if (!hand) tree_.note_error("eviction_state_lost", 0, hand.error());
  // Everything below that number is older than this run.
  queue_.start(hand ? *hand : 0, tree_.store.next_number());
  if (auto visits = load_visits(); !visits) tree_.note_error("eviction_state_lost", 0, visits.error());
}

Result<void> SieveHand::save(bool now) {
  const uint64_t now_ms = tree_.store.env().monotonic_ms();
  if (!now && evicted_since_save_ < kSaveFiles && (evicted_since_save_ == 0 || now_ms < next_save_ms_)) return {};
  // Also if it fails below: it is tried again with the next ones, not at once.
  evicted_since_save_ = 0;
  next_save_ms_ = now_ms + kSaveMs;
  const uint64_t room_max = tree_.store.max_operation_room();
  InodeQueue::Visits pages = queue_.take_changed();
  for (bool first = true; first || !pages.empty(); first = false) {
    const uint64_t at_once = std::clamp<uint64_t>(room_max / page_cost(), 2, 65) - 1;
    TRY_ASSIGN(auto operation,
               tree_.store.begin(std::min(room_max, (at_once + 1) * page_cost()), Store::OperationKind::kFree));
    WriteBatch batch;
    if (first) batch.put(format::hand_key(), format::encode_hand(queue_.hand()));
    for (uint64_t n = 0; n < at_once && !pages.empty(); ++n, pages.pop_back()) {
      const auto& [page, bits] = pages.back();
      const Bytes key = format::visits_key(page);
      if (bits.empty()) {
        batch.erase(key);
      } else {
        batch.put(key, format::encode_visits(bits));
      }
    }
    TRY(operation.write(batch));
  }
  return {};
}

}  // namespace cairn::tree
