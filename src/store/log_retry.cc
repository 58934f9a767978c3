// The part of LogWriter for a cache whose disk fails, or is filled by others: nothing was promised, so nothing has to stop.
//
// A segment is whole in its slab until it is sealed. One whose seal failed stays there, with those behind it, and is written to a
// new file later; one for which no file can be made is begun without. How many wait is bounded; then writers are told that there
// is no room, and reads go on. Room for each was taken from the limit when it was begun, so the limit holds all the time.
//
// A disk that others have filled is made usable by evictions (Room::shortage()): as much as is written, and a little at first.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "store/log_writer.h"

namespace cairn::store {
namespace {

constexpr size_t kMaxSealing = 2;                      // segments waiting for their seal before writers wait
constexpr uint64_t kUnwrittenBytes = 64ull << 20;      // of such, at most, while the disk fails
constexpr uint64_t kFirstRetryMs = 500;                // between two attempts, and twice as long after each that fails,
constexpr uint64_t kLastRetryMs = 16 * kFirstRetryMs;  // up to this
constexpr uint64_t kLogAgainMs = 60'000;               // a full disk that evictions keep usable comes and goes
constexpr uint64_t kSegmentsAhead = 3;  // to fit a full disk at first: those to come, and what erasing takes
constexpr uint64_t kTopsUp = 2;         // segments
static_assert(kMaxSealing >= 1 && kFirstRetryMs > 0 && kFirstRetryMs <= kLastRetryMs);

}  // namespace

size_t LogWriter::max_sealing() const {
  return degraded_ ? std::max<size_t>(kMaxSealing, kUnwrittenBytes / config_.superblock.segment_size) : kMaxSealing;
}

bool LogWriter::memory_full() const { return degraded_ && sealing_.size() >= max_sealing(); }

std::optional<Error> LogWriter::degraded() const {
  MutexLock lock(mu_);
  return degraded_;
}

uint64_t LogWriter::unwritten_bytes() const {
  MutexLock lock(mu_);
  uint64_t bytes = active_ ? active_->writer.end() - std::min(active_->writer.end(), active_->writer.written()) : 0;
  for (const SegmentPtr& segment : sealing_) bytes += segment->writer.end();
  return bytes;
}

void LogWriter::degrade(const Error& error) {
  CHECK(!durable_mode_);
  // Logged when it begins, and when it ends: not for each attempt.
  const uint64_t now = config_.env->monotonic_ms();
  if (!degraded_logged_ && (degraded_logged_ms_ == 0 || now - degraded_logged_ms_ >= kLogAgainMs)) {
    config_.logger->error("degraded reason=\"{}\" unwritten_segments={}", error.message, sealing_.size());
    degraded_logged_ms_ = now;
    degraded_logged_ = true;
  }
  const bool begins = !std::exchange(degraded_, error).has_value();
  if (begins) {
    disk_full_ = error.code == ErrorCode::kNoSpace;
    shortage_due_ = disk_full_;
  }
  schedule_retry();
  changed_.notify_all();
}

// The disk has taken something. With nothing left that it has refused, all is well again.
void LogWriter::note_written() {
  if (!degraded_ || !sealing_.empty() || (prepared_ && !prepared_->file)) return;
  // What is open is to be on disk too before evictions for it end; retry_job() sees to that.
  if (disk_full_ && prepared_ && !active_->writer.has_file() && holds_something()) return;
  degraded_.reset();
  disk_full_ = shortage_due_ = false;
  config_.room->end_shortage();
  tops_up_ = 0;
  kept_for_erases_ = false;
  retry_ms_ = 0;
  if (std::exchange(degraded_logged_, false)) config_.logger->warn("writing_resumed last_segment={}", last_log_.value);
  config_.room->give_back(0);  // whoever was refused room for the disk's sake looks again
  changed_.notify_all();
}

// At once, not when the memory is full: what evictions free comes back when their erases are on disk, and by then they would lie behind
// all that waits. The segment that is open when the disk is found full still has its file, as a rule; each that is begun without one takes
// the erases that make room for it before any new data, and the oldest may have what was set aside. So whenever one is written, the
// next fits.
void LogWriter::note_shortage(uint64_t segments) {
  if (!disk_full_) return;
  if (std::exchange(shortage_due_, false)) segments += kSegmentsAhead;
  kept_for_erases_ = true;
  config_.room->add_shortage(segments * Room::charge(config_.superblock.segment_size));
}

// All that was to be evicted has come back and still no segment fits: what is free lies a little below one, as tables and what was
// compacted took the rest. A few times only: where evictions do not help (a quota, others who fill what comes free) they end.
void LogWriter::top_up_shortage() {
  if (!disk_full_ || shortage_due_ || config_.room->shortage() > 0 || tops_up_ == kTopsUp) return;
  DCHECK(degraded_ && tops_up_ < kTopsUp);
  ++tops_up_;
  note_shortage(1);
}

void LogWriter::schedule_retry() {
  if (retry_scheduled_ || stopping_) return;
  DCHECK(degraded_);
  retry_scheduled_ = true;
  retry_ms_ = retry_ms_ == 0 ? kFirstRetryMs : std::min(2 * retry_ms_, kLastRetryMs);
  std::weak_ptr<LogWriter> self = weak_from_this();
  config_.env->executor().submit_after(std::chrono::milliseconds(retry_ms_), [self] {
    auto writer = self.lock();
    if (!writer) return;
    MutexLock lock(writer->mu_);
    writer->retry_scheduled_ = false;
    writer->request_retry();
  });
}

void LogWriter::request_retry() {
  if (!degraded_ || retrying_ || stopping_ || failure_) return;
  submit(&LogWriter::retry_job);
  retrying_ = true;
}

void LogWriter::retry_job() {
  MutexLock lock(mu_);
  take_token();
  Result<void> done;
  while (done && !sealing_.empty() && !stopping_) done = seal_front();
  drop_token();
  if (done && prepared_ && !prepared_->file && !preparing_ && !gate_shut_ && !stopping_) done = make_prepared_file();
  if (done) note_written();
  retrying_ = false;
  if (!degraded_) return;
  if (!done) top_up_shortage();
  // What is open has no file either, but the next has: so it is sealed, into one of its own.
  if (done && disk_full_ && prepared_ && prepared_->file && !stopping_) force_seal();
  schedule_retry();  // an error was noted by who met it
  if (stopping_) return;
  // Maintenance counted on this attempt, as on a seal.
  lock.unlock();
  config_.on_starved();
  lock.lock();
}

// On a full disk the oldest that waits may hold the erases that free the next: so it gets what was set aside.
log::SegmentWriter::Spare LogWriter::spare_for_seal() const {
  if (!config_.reserve || !disk_full_) return {};
  return [this](const std::string& name, uint64_t size) {
    return config_.reserve->take_unless_last(*config_.files->directory, {name, size, {}, true});
  };
}

// What was freed of a full disk goes to the reserve first: without it no manifest can be written, and nothing more be freed.
Result<void> LogWriter::await_reserve(const std::string& name) const {
  if (!config_.reserve || !disk_full_ || config_.reserve->is_whole()) return {};
  return fail(ErrorCode::kNoSpace, fmt::format("no room for {} on the disk until the reserve is full again", name));
}

// For the prepared segment that has none.
Result<void> LogWriter::make_prepared_file() {
  CHECK(prepared_ && !prepared_->file && !preparing_);
  log::PreparedFile in_memory = std::move(*prepared_);
  prepared_.reset();
  preparing_ = true;
  const auto header = prepared_header(in_memory.id, in_memory.salt);
  mu_.unlock();
  const auto make = [&]() -> Result<log::PreparedFile> {
    TRY(await_reserve(in_memory.name));
    return log::prepare_segment_file(*config_.files->directory, header);
  };
  auto made = make();
  mu_.lock();
  preparing_ = false;
  prepared_ = made ? std::move(*made) : std::move(in_memory);
  changed_.notify_all();
  if (made) return {};
  degrade(made.error());
  return fail(made.error());
}

}  // namespace cairn::store
