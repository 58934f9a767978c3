// The part of LogWriter that writes the blocks of segments ahead, so that a sync of many small commits finds them there (src/README.md, "Syncs").
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "format/segment.h"
#include "store/log_writer.h"

namespace cairn::store {
namespace {

// Commits in a segment from which on the next one is filled with zeros ahead: at least so many, and one for so many bytes.
constexpr uint64_t kManyCommits = 4;
constexpr uint64_t kBytesPerCommit = 128ull << 10;
constexpr uint64_t kFillPiece = 256ull << 10;  // bytes of the open segment between two commits
static_assert(kFillPiece % format::kCommitAlignment == 0);

}  // namespace

// When the open segment sees many small commits it will see more, and so will the next one: then it pays to have their blocks
// written ahead.
void LogWriter::maybe_fill() {
  const uint64_t many = std::max(kManyCommits, config_.superblock.segment_size / kBytesPerCommit);
  if (active_->commits < many || stopping_ || failure_) return;
  if (!active_->writer.filled() && !filling_open_) {
    filling_open_ = true;
    submit(&LogWriter::fill_open_job);
  }
  if (prepared_ && !prepared_->filled && !preparing_) {
    preparing_ = true;
    submit(&LogWriter::fill_prepared_job);
  }
}

// Ahead of what is written, in pieces between the commits: whoever waits for one goes first.
void LogWriter::fill_open_job() {
  MutexLock lock(mu_);
  const SegmentPtr segment = active_;
  const auto ended = [&] {
    mu_.assert_held();
    return segment != active_ || stopping_ || failure_;
  };
  for (uint64_t at = 0; at < config_.superblock.segment_size;) {
    wait([&] {
      mu_.assert_held();
      return (!io_busy_ && synced_requests_ >= sync_requests_) || ended();
    });
    if (ended()) break;
    io_busy_ = true;
    // Never over what was written: that may hold commits. Nor over the header, which stands before anything was written: zeros
    // there would be damage after a crash.
    at = std::max({at, format::kSegmentHeaderSize, segment->writer.written()});
    const uint64_t length = std::min(kFillPiece, config_.superblock.segment_size - at);
    mu_.unlock();
    auto filled = length > 0 ? segment->writer.fill(at, length) : Result<void>();
    mu_.lock();
    if (!filled) fail_store(filled.error());
    drop_token();
    at += length;
  }
  if (!ended()) segment->writer.set_filled();
  filling_open_ = false;
}

void LogWriter::fill_prepared_job() {
  MutexLock lock(mu_);
  if (!prepared_ || gate_shut_) {  // a roll was faster, or relies on it: then the next commit asks again
    preparing_ = false;
    request_prepared(Room::Use::kGrow);
    changed_.notify_all();
    return;
  }
  log::PreparedFile file = std::move(*prepared_);
  prepared_.reset();
  lock.unlock();
  auto filled = log::fill_with_zeros(file, config_.superblock.segment_size);
  if (!filled) {
    config_.logger->warn("segment_not_filled file={} reason=\"{}\"", file.name, filled.error().message);
    // A file that failed once is not used. What stays behind if this fails too, recovery removes.
    if (auto gone = config_.files->directory->unlink(file.name); !gone)
      config_.logger->warn("prepared_file_left_behind file={} reason=\"{}\"", file.name, gone.error().message);
  }
  lock.lock();
  preparing_ = false;
  if (filled) {
    prepared_ = std::move(file);
  } else {
    prepared_claim_ = {};
    request_prepared(Room::Use::kGrow);
  }
  changed_.notify_all();
}

}  // namespace cairn::store
