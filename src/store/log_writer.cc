// Operations, writes and rolling over. The part that touches the disk is log_commit.cc.
#include "store/log_writer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "index/table.h"

namespace cairn::store {
namespace {

constexpr uint64_t kWriteBehindBytes = 4ull
                                       << 20;  // unwritten bytes of the open segment before they are written behind
constexpr uint64_t kTouchBytes = 2ull << 20;   // of the slab at a time
// Segments' worth of files that go for one that a full disk has no room for: what is freed also has to hold tables, manifests and the
// reserve.
constexpr uint64_t kEvictedForOne = 2;
// One: the slab of the segment that was sealed last is the next but one's.
constexpr size_t kIdleSlabs = 1;
static_assert(kMaxKeySize == format::kMaxKeyLength && kMaxValueSize == format::kMaxExtentLength, "the public limits");

Error read_only_error(const Error& cause) {
  return {ErrorCode::kReadOnly, cause.os_errno, "store is read-only after an error: " + cause.message};
}

}  // namespace

LogWriter::LogWriter(Config config, Catalog* catalog, const Start& start)
    : config_(std::move(config)),
      catalog_(catalog),
      slabs_(std::make_shared<log::SlabPool>(config_.superblock.segment_size, kIdleSlabs)),
      durable_mode_(config_.superblock.mode == Mode::kCas),
      next_seq_(start.next_seq),
      commit_first_(start.next_seq),
      last_mark_(start.last_mark),
      last_log_(start.last_log),
      visible_seq_(start.next_seq.value - 1),
      durable_seq_(start.next_seq.value - 1),
      next_number_(start.next_number) {}

uint64_t LogWriter::kept_max() const { return std::min<uint64_t>(16ull << 20, config_.superblock.segment_size / 4); }

void LogWriter::wait(const std::function<bool()>& ready) { config_.env->executor().wait(mu_, changed_, ready); }

Result<void> LogWriter::check_running() const {
  if (failure_) return fail(read_only_error(*failure_));
  CHECK(active_ != nullptr);
  return {};
}

std::optional<Error> LogWriter::failure() const {
  MutexLock lock(mu_);
  return failure_;
}

void LogWriter::fail_store(const Error& error) {
  // The first one stays: what follows it are consequences.
  if (failure_) return;
  failure_ = error;
  config_.logger->error("store_read_only reason=\"{}\"", error.message);
  changed_.notify_all();
}

// ---- Operations ----

bool LogWriter::holds_something() const {
  return active_->writer.has_uncommitted() || active_->writer.last_mark().offset != 0;
}

// Room that the open segment still has for promises: what is left after records, their footer entries, one mark, and the table's
// fixed parts.
bool LogWriter::fits(uint64_t room) const {
  // A sum of what is there and what is promised, so that a promise never has to be broken: a batch, the mark behind it
  // and the footer fit.
  const uint64_t used =
      active_->writer.end() + active_->footer_cost + promised_ + log::SegmentWriter::kMarkRoom + format::kTableOverhead;
  return used + room <= config_.superblock.segment_size;
}

void LogWriter::end(uint64_t unused_room) {
  MutexLock lock(mu_);
  CHECK(open_operations_ > 0 && promised_ >= unused_room);
  promised_ -= unused_room;
  if (--open_operations_ == 0 && gate_shut_) changed_.notify_all();
}

bool LogWriter::keep(uint64_t bytes) {
  MutexLock lock(mu_);
  if (kept_ + bytes > kept_max()) return false;
  DCHECK(kept_ + bytes <= promised_);
  kept_ += bytes;
  return true;
}

void LogWriter::reclaim(uint64_t bytes) {
  MutexLock lock(mu_);
  CHECK(kept_ >= bytes);
  kept_ -= bytes;
}

void LogWriter::set_hook(std::function<Result<void>()> hook) {
  MutexLock lock(mu_);
  wait([&] {
    mu_.assert_held();
    return !gate_shut_;
  });
  hook_ = std::move(hook);
}

uint64_t LogWriter::take_kept() {
  MutexLock lock(mu_);
  CHECK(gate_shut_);
  ++open_operations_;
  // The hook's operation goes through the shut gate; run_hook() waits until it has ended.
  return std::exchange(kept_, 0);
}

void LogWriter::write(std::vector<PreparedChange>& changes, uint64_t cost) {
  if (changes.empty()) return;
  uint64_t length = 0, footer = 0, raw = 0;
  Doomed replaced;
  size_t memory = 0;
  for (const PreparedChange& c : changes) {
    replaced += c.replaces;
    raw += c.raw_length;
    length += format::record_size(c.key.size(), c.stored.size());
    const uint64_t small = c.stored.size() <= format::kMaxInlineValue ? c.stored.size() : 0;
    footer += format::max_entry_size(c.key.size(), small) + format::kEntryOverhead;
    memory += index::Memtable::memory_of(c.key.size(), small);
  }
  // log_cost() of the batch: what was promised covers the records and their share of the footer.
  CHECK(length + footer <= cost);
  bytes_in_.fetch_add(raw, std::memory_order_relaxed);
  SegmentPtr segment;
  uint64_t offset = 0;
  SeqNo first, last;
  {
    MutexLock lock(mu_);
    CHECK(open_operations_ > 0 && promised_ >= cost);
    // All that memory may be missing for comes first: once a number is taken, those after it wait until it is published.
    maybe_write_behind();
    maybe_touch();
    segment = active_;
    if (replaced.all > 0) config_.room->doom(segment->writer.id(), replaced);
    segment->memtable->reserve(memory);
    CHECK(tickets_.empty() || tickets_.back().last < next_seq_);
    tickets_.emplace_back();
    // Sequence numbers and the place in the slab are taken together, under one lock: a slow writer cannot land behind a
    // newer one (hazard 2).
    DCHECK(segment->writer.end() + length + segment->footer_cost + footer <= config_.superblock.segment_size);
    offset = segment->writer.reserve(length);
    segment->footer_cost += footer;
    promised_ -= cost;
    first = next_seq_;
    next_seq_ = first.next(changes.size());
    last = next_seq_.prev();
    tickets_.back() = {last, offset, segment.get(), false};
  }
  // Nothing below can fail.
  fill(*segment, offset, first, changes);
  segment->memtable->release(memory);
  publish(last);
}

// Before the index: whoever knows that a key is there must find its bits (hazard 9).
void LogWriter::add_to_filter(const std::vector<PreparedChange>& changes) {
  std::array<uint64_t, 8> hashes = {};
  for (size_t begin = 0; begin < changes.size(); begin += hashes.size()) {
    const size_t count = std::min(hashes.size(), changes.size() - begin);
    for (size_t i = 0; i < count; ++i) hashes[i] = index::Table::hash(changes[begin + i].key);
    config_.filter->add(std::span(hashes).first(count));
  }
}

// Encodes the changes into the slab from `offset` on, numbered from `first`, and makes them known to the segment's index.
void LogWriter::fill(OpenSegment& segment, uint64_t offset, SeqNo first, const std::vector<PreparedChange>& changes) {
  add_to_filter(changes);
  char* slab = segment.writer.slab()->data();
  uint64_t at = offset;
  for (size_t i = 0; i < changes.size(); ++i) {
    const PreparedChange& c = changes[i];
    format::RecordHeader header;
    header.type = c.type;
    header.codec = c.codec;
    header.seq = first.next(i);
    header.raw_length = c.raw_length;
    header.value_checksum = c.value_checksum;
    header.flags =
        static_cast<uint8_t>((i == 0 ? format::kBatchFirst : 0) | (i + 1 == changes.size() ? format::kBatchLast : 0));
    format::encode_record(header, c.key, c.stored, segment.writer.place(at), slab + at);
    format::IndexEntry entry;
    entry.seq = header.seq;
    entry.type = c.type;
    entry.codec = c.codec;
    entry.segment = segment.writer.id();
    entry.offset = at;
    entry.stored_length = static_cast<uint32_t>(c.stored.size());
    entry.raw_length = c.raw_length;
    entry.value_checksum = c.value_checksum;
    entry.has_small = c.type != format::RecordType::kErase && c.codec == format::Codec::kNone &&
                      c.stored.size() <= format::kMaxInlineValue;
    if (entry.has_small) entry.small = c.stored;
    segment.memtable->insert(c.key, entry);
    at += format::record_size(c.key.size(), c.stored.size());
  }
}

// The batch that ends with `last` is filled in: it can be seen once all before it can. Returns then.
void LogWriter::publish(SeqNo last) {
  MutexLock lock(mu_);
  const auto ticket = std::find_if(tickets_.begin(), tickets_.end(), [&](const Ticket& t) { return t.last == last; });
  CHECK(ticket != tickets_.end());
  ticket->done = true;
  size_t published = 0;
  for (; !tickets_.empty() && tickets_.front().done; ++published) {
    DCHECK(visible_seq_.load() < tickets_.front().last.value);
    visible_seq_.store(tickets_.front().last.value, std::memory_order_release);
    tickets_.pop_front();
  }
  if (published > 0) changed_.notify_all();  // others wait for their turn, and it may have come
  if (visible_seq_.load() < last.value) {
    wait([&] { return visible_seq_.load() >= last.value; });
  }
}

void LogWriter::settle_visible() {
  MutexLock lock(mu_);
  const uint64_t last = next_seq_.prev().value;
  wait([&] { return visible_seq_.load() >= last; });
}

// ---- The gate ----

void LogWriter::shut_gate() {
  wait([&] {
    mu_.assert_held();
    return !gate_shut_;
  });
  // New operations wait from now on; those that are open end by themselves, as none of them waits for the gate.
  gate_shut_ = true;
  wait([&] {
    mu_.assert_held();
    return open_operations_ == 0;
  });
}

void LogWriter::open_gate() {
  CHECK(gate_shut_ && open_operations_ == 0);
  gate_shut_ = false;
  changed_.notify_all();
}

// Writes what the layer above buffers. With the gate shut; mu_ is let go meanwhile.
Result<void> LogWriter::run_hook() {
  // Nothing is buffered that needs room.
  if (!hook_ || kept_ == 0) return {};
  CHECK(gate_shut_ && open_operations_ == 0);
  auto hook = hook_;
  mu_.unlock();
  Result<void> result;
  try {
    result = hook();
  } catch (const std::bad_alloc&) {
    // The gate is shut: whoever waits for it would wait for ever.
    result = fail(ErrorCode::kOutOfMemory, "writing what is buffered: out of memory");
  }
  mu_.lock();
  wait([&] {
    mu_.assert_held();
    return open_operations_ == 0;
  });
  if (!result) fail_store(result.error());
  return result;
}

// With the gate shut: no operation is open, so every reserved byte is filled and visible.
void LogWriter::place_mark() {
  CHECK(gate_shut_ && tickets_.empty());
  CHECK(commit_first_ <= next_seq_ && visible_seq_.load() == next_seq_.prev().value);
  const SeqRange range{commit_first_, next_seq_.prev()};
  last_mark_ = active_->writer.place_mark(range, last_mark_, reserved_number());
  active_->last_seq = range.last;
  mark_repeated_ = range.empty();
  ++active_->commits;
  commit_first_ = next_seq_;
  ++commits_;
}

// ---- Rolling over ----

// Ends the open segment (mark, to be sealed in the background) and opens the next. Another thread may have done it meanwhile: then
// nothing happens, unless `force`. kNoSpace when there is no room for another segment; the store goes on as it was.
Result<void> LogWriter::roll(uint64_t room, bool force, Room::Use use) {
  for (;;) {
    TRY(wait_for_next_segment(use));
    if ((kept_for_erases_ || shortage_due_) && use == Room::Use::kGrow)
      return {};  // found out meanwhile: begin() waits for them
    shut_gate();
    if (failure_ || (!force && fits(room))) {
      open_gate();
      return {};
    }
    if (prepared_ && sealing_.size() < max_sealing()) break;
    open_gate();  // somebody else took it
  }
  auto result = run_hook();
  if (result && holds_something() && (force || !fits(room))) {
    if (active_->writer.has_uncommitted()) place_mark();
    result = switch_segment();
  }
  open_gate();
  return result;
}

Result<void> LogWriter::wait_for_next_segment(Room::Use use) {
  for (;;) {
    prepare_error_.reset();
    request_prepared(use);
    const bool for_us = prepared_ || prepare_use_ == use;  // the attempt under way may be one for less
    wait([&] {
      mu_.assert_held();
      return failure_ || prepare_error_ || memory_full() || (prepared_ && sealing_.size() < max_sealing());
    });
    TRY(check_running());
    if (prepared_ && sealing_.size() < max_sealing()) return {};
    if (memory_full())
      return fail(ErrorCode::kNoSpace, "the memory for what the disk does not take is full: " + degraded_->message);
    if (for_us) return fail(*prepare_error_);
  }
}

format::SegmentHeader LogWriter::next_header(SegmentId id, uint64_t salt) const {
  format::SegmentHeader header;
  header.kind = format::SegmentKind::kLog;
  header.id = id;
  header.salt = salt;
  header.previous_id = last_log_;
  header.previous_mark = last_mark_.number;
  header.previous_mark_offset = last_mark_.offset;
  header.previous_mark_checksum = last_mark_.checksum;
  // From here on numbers belong to this segment.
  header.first_seq = next_seq_;
  header.next_ino = reserved_number();
  header.proven_id = last_log_;  // true when it is written: the segment before is sealed and synced first
  header.superblock = config_.superblock;
  header.superblock.limit = config_.room->limit();
  return header;
}

Result<void> LogWriter::switch_segment() {
  CHECK(prepared_.has_value());
  // Before anything changes: without memory the log goes on in the segment it has, or says that it cannot.
  TRY_ASSIGN(auto slab, slabs_->take());
  const bool is_first = active_ == nullptr;
  if (!is_first) {
    CHECK(gate_shut_ && tickets_.empty() && !active_->writer.has_uncommitted());
    last_log_ = active_->writer.id();
    sealing_.push_back(active_);
    submit(&LogWriter::seal_job);
  }
  log::PreparedFile file = std::move(*prepared_);
  prepared_.reset();
  CHECK(file.id > last_log_);
  const auto header = next_header(file.id, file.salt);
  active_ = std::make_shared<OpenSegment>(std::move(file), slab, header);
  active_->claim = std::move(prepared_claim_);
  active_->from_reserve = prepared_from_reserve_;
  if (!is_first && !active_->writer.has_file()) note_shortage(kEvictedForOne);
  index::ManifestSegment meta;
  meta.id = header.id;
  meta.salt = header.salt;
  meta.range = {header.first_seq, kMaxSeq};
  catalog_->add_open({std::make_shared<Segment>(meta, config_.files), active_->memtable, slab, nullptr});
  request_prepared(Room::Use::kGrow);
  return {};
}

void LogWriter::request_prepared(Room::Use use) {
  if (prepared_ || preparing_ || stopping_) return;
  preparing_ = true;
  prepare_use_ = use;
  submit(&LogWriter::prepare_job);
}

void LogWriter::maybe_write_behind() {
  if (!durable_mode_ || write_behind_queued_ || stopping_ || failure_) return;
  // In a cache nothing is written before the seal, so a crash loses no more and writes no more.
  if (active_->writer.end() < active_->written_hint + kWriteBehindBytes) return;
  submit(&LogWriter::write_behind_job);
  write_behind_queued_ = true;
}

// Zeroing the slab's pages is left to the background: whoever writes there first would wait for it.
void LogWriter::maybe_touch() {
  const log::Slab& slab = *active_->writer.slab();
  if (touching_ || stopping_ || slab.size() < 2 * kTouchBytes || slab.touched() == slab.size()) return;
  if (active_->writer.end() + kTouchBytes < slab.touched()) return;
  submit(&LogWriter::touch_job);
  touching_ = true;
}

void LogWriter::touch_job() {
  MutexLock lock(mu_);
  const std::shared_ptr<log::Slab> slab = active_->writer.slab();
  // The piece that is being filled and two more.
  const uint64_t until = (active_->writer.end() / kTouchBytes + 3) * kTouchBytes;
  mu_.unlock();
  slab->touch(std::min<uint64_t>(until, slab->size()));
  mu_.lock();
  touching_ = false;
}

void LogWriter::submit(void (LogWriter::*job)()) {
  config_.env->executor().submit([self = shared_from_this(), job] {
    ((*self).*job)();
    MutexLock lock(self->mu_);
    --self->jobs_;
    self->changed_.notify_all();
  });
  ++jobs_;  // not before: without memory there is no job. It cannot end before mu_ is free.
}

}  // namespace cairn::store
