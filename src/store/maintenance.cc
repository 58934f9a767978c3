// Scheduling, kills, the map, unlinking. Merging is merge_runs.cc, compaction compact.cc.
#include "store/maintenance.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "format/checksum.h"
#include "store/layout.h"

namespace cairn::store {
namespace {

constexpr uint64_t kMapInterval =
    4;  // sealed segments between two maps; merging follows the map, so it bounds unmerged footers

}  // namespace

Maintenance::Maintenance(Config config, Catalog* catalog, ValueReader* values, std::shared_ptr<LogWriter> log)
    : config_(std::move(config)), catalog_(catalog), values_(values), log_(std::move(log)) {}

// ---- Scheduling ----

void Maintenance::kick() {
  MutexLock lock(mu_);
  // One is enough: it looks at everything.
  if (queued_ || stopping_) return;
  config_.env->executor().submit([self = shared_from_this()] { self->job(); });
  queued_ = true;  // not before: without memory there is no job
}

void Maintenance::job() {
  {
    MutexLock lock(mu_);
    queued_ = false;
    if (stopping_ || running_) {
      kicked_ = true;  // whoever runs may be past looking
      idle_.notify_all();
      return;
    }
    running_ = true;
  }
  for (;;) {
    // Without the lock: a step takes as long as the disk.
    auto more = step();
    if (!more) {
      config_.logger->error("maintenance_failed reason=\"{}\"", more.error().message);
      // Nobody waits for ever for what does not come.
      for (const auto kind : {Store::OperationKind::kGrow, Store::OperationKind::kFree})
        (void)log_->deny_room(kind, config_.room->events());
    }
    MutexLock lock(mu_);
    // After an error too: whoever kicked meanwhile may have brought what was missing.
    const bool kicked = std::exchange(kicked_, false);
    if (((more && *more) || kicked) && !stopping_) continue;
    running_ = false;
    idle_.notify_all();
    return;
  }
}

Result<void> Maintenance::settle() {
  {
    MutexLock lock(mu_);
    config_.env->executor().wait(mu_, idle_, [&] {
      mu_.assert_held();
      return !running_;
    });
    running_ = true;
  }
  for (;;) {
    auto more = step();
    MutexLock lock(mu_);
    // As in job(), which leaves it to us to look again.
    const bool kicked = std::exchange(kicked_, false);
    if (more && (*more || kicked) && !stopping_) continue;
    running_ = false;
    idle_.notify_all();
    if (more) return {};
    lock.unlock();
    if (kicked) kick();
    return fail(more.error());
  }
}

bool Maintenance::is_stopping() const {
  MutexLock lock(mu_);
  return stopping_;
}

void Maintenance::stop() {
  MutexLock lock(mu_);
  stopping_ = true;
  config_.env->executor().wait(mu_, idle_, [&] {
    mu_.assert_held();
    return !running_ && !queued_;
  });
}

Result<void> Maintenance::finish() {
  TRY(unlink_step());
  return catalog_->apply([&](index::Manifest& m) { m.next_ino = std::max(m.next_ino, log_->next_number()); },
                         [](Version&) {});
}

// The cheapest and most urgent first; true if anything was done.
Result<bool> Maintenance::step() {
  if (!loaded_) {
    TRY(load());
    loaded_ = true;
  }
  using Step = Result<bool> (Maintenance::*)();
  // Before anything is looked at: what happens from now on makes room_step() look again.
  events_at_pass_ = config_.room->events();
  for (const Step part :
       {&Maintenance::unlink_step, &Maintenance::early_filter_step, &Maintenance::map_step, &Maintenance::overdue_step,
        &Maintenance::kill_step, &Maintenance::merge_step, &Maintenance::punch_step, &Maintenance::compact_step,
        &Maintenance::filter_step, &Maintenance::room_step}) {
    // From the top again after each: a long merge must not keep segments from being unlinked.
    TRY_ASSIGN(const bool did, (this->*part)());
    if (did) return true;
  }
  return false;
}

// ---- The map ----

// What earlier runs of the program knew.
Result<void> Maintenance::load() {
  const auto version = catalog_->current();
  const auto damaged = [&](const std::string& what) {
    config_.logger->error("liveness_map_damaged what=\"{}\"", what);
  };
  changed_before_.clear();
  TRY_ASSIGN(const auto header, load_liveness(*version, *values_, liveness_, damaged, &changed_before_));
  // Recovery begins where the map ends: kills of younger segments, none of which is merged, are done again. Doing one
  // twice is harmless.
  killed_through_ = map_through_ = merge_through_ = previous_map_through_ = header.through;
  erase_through_ = header.twice_through;
  return {};
}

// Writes the changed bitmaps, and once more those that changed before the last map. Each piece is an operation of its own; the header
// comes last, so a map of which a crash leaves a part is not believed.
Result<bool> Maintenance::map_step() {
  // What was written last is durable by now?
  if (map_seq_ != SeqNo() && log_->durable() >= map_seq_) {
    merge_through_ = map_through_;
    erase_through_ = previous_map_through_;
    map_seq_ = SeqNo();
    erase_only_.clear();  // what they still had to hide is garbage now
  }
  CHECK(erase_through_ <= merge_through_ && merge_through_ <= map_through_ && map_through_ <= killed_through_);
  if (killed_since_map_ < (in_need() ? 1 : kMapInterval) || map_seq_ != SeqNo()) return false;
  auto changed = liveness_.take_changed();
  if (auto written = write_map(changed); !written) {
    liveness_.give_back_changed(changed);  // a later map must not say that it has them
    // Without room for a map the work goes on: what it frees makes room for the next attempt.
    if (written.error().code == ErrorCode::kNoSpace) return false;
    return fail(written.error());
  }
  killed_since_map_ = 0;
  changed_before_ = std::move(changed);
  forgotten_.clear();
  previous_map_through_ = map_through_;
  map_through_ = killed_through_;
  // Its header is at or below this; that it is durable the log says.
  map_seq_ = log_->visible();
  return true;
}

Result<void> Maintenance::write_map(const std::vector<SegmentId>& changed) {
  std::vector<std::pair<unsigned, SegmentId>> pieces;
  for (SegmentId id : changed) pieces.emplace_back(0, id);
  for (SegmentId id : changed_before_) pieces.emplace_back(1, id);
  for (const auto& [copy, id] : pieces) {
    const auto value = liveness_.encode(id);
    if (!value) continue;  // retired meanwhile
    TRY(write_map_record(liveness_key(copy, id), *value));
  }
  for (SegmentId id : forgotten_)
    for (unsigned copy : {0u, 1u}) TRY(write_map_record(liveness_key(copy, id), std::nullopt));
  // What is in the second copies is what the map before this one covered.
  const LivenessHeader header{killed_through_, map_through_, catalog_->manifest().retired};
  return write_map_record(liveness_header_key(), encode_liveness_header(header));
}

Result<void> Maintenance::write_map_record(const Bytes& key, const std::optional<Bytes>& value) {
  std::vector<PreparedChange> changes(1);
  PreparedChange& c = changes[0];
  c.key = key;
  if (value) {
    c.stored = *value;
    c.raw_length = static_cast<uint32_t>(value->size());
    if (value->size() > format::kMaxInlineValue) {
      c.codec = format::compress(config_.superblock.compression, *value, c.storage);
      if (c.codec != format::Codec::kNone) c.stored = c.storage;
    }
  } else {
    c.type = format::RecordType::kErase;
  }
  c.value_checksum = format::checksum(c.stored);
  const uint64_t cost = log_cost(c.key.size(), c.stored.size());
  // It does not wait for room: only this thread makes any.
  TRY(log_->begin(cost, Store::OperationKind::kFree, false));
  log_->write(changes, cost);
  log_->end(0);
  return {};
}

// ---- Kills ----

Result<bool> Maintenance::kill_step() {
  if (!dead_extents_.empty()) TRY(retire_extents());
  const auto version = catalog_->current();
  for (auto level = version->log.rbegin(); level != version->log.rend(); ++level) {
    if (!level->footer && level->segment->meta().file_size == 0) break;  // not sealed
    const SeqRange range = level->segment->meta().range;
    if (range.last <= killed_through_) continue;

    TRY(kill_segment(*version, *level));
    killed_through_ = range.last;
    ++killed_since_map_;
    if (punch_fresh_ > 0) {
      const uint64_t number = catalog_->renew();
      CHECK(punch_fresh_ <= punchable_.size());
      for (size_t i = punchable_.size() - punch_fresh_; i < punchable_.size(); ++i) punchable_[i].readers = number;
      punch_fresh_ = 0;
    }
    config_.room->killed(level->segment->id());
    update_reclaimable();
    (void)ask_for_evictions();
    return true;
  }
  return false;
}

// Marks what the records of one sealed segment replaced: older records of the same keys, in it and in older levels.
Result<void> Maintenance::kill_segment(const Version& version, const LogLevel& level) {
  const SegmentId id = level.segment->id();
  auto entries = level.iterate(false);
  TRY(entries->seek({}));
  OlderEntries older(version, id);
  Bytes key;
  RecordTally erases;
  while (entries->valid()) {
    key = entries->key();
    if (entries->entry().type == format::RecordType::kErase) erases.add(format::record_size(key.size(), 0));
    TRY(entries->next());
    // Newest first: all but the first version are replaced within the segment.
    while (entries->valid() && entries->key() == key) {
      TRY(kill(version, key, entries->entry()));
      TRY(entries->next());
    }
    // And the newest in older levels. What that one replaced died when its own segment was gone through.
    TRY_ASSIGN(const auto found, older.find(key));
    if (found) TRY(kill(version, key, found->entry));
  }
  liveness_.set_erases(id, erases);
  return {};
}

// One record that something newer, in a sealed segment, replaces. Erases are not marked: they are garbage by their number.
Result<void> Maintenance::kill(const Version& version, ByteView key, const format::IndexEntry& entry) {
  if (entry.type == format::RecordType::kErase) return {};
  const auto* owner = version.segments->owner(entry.seq);
  if (!owner) return {};  // its segment is gone: then it was dead already, or it is lost
  auto ordinal = ordinals_.of(**owner, entry.seq);
  if (!ordinal && ordinal.error().code == ErrorCode::kNotFound) return {};  // compacted away: it was dead already
  if (!ordinal) return fail(ordinal.error());
  const bool fresh = liveness_.kill(**owner, *ordinal, format::record_size(key.size(), entry.stored_length));
  // Once for each record, also where a restart repeats the kill: what was punched before is measured, not guessed.
  if (fresh) note_punchable(**owner, key, entry);
  if (fresh && entry.type == format::RecordType::kExtent && entry.has_small) {
    TRY_ASSIGN(const auto pointer, format::decode_extent_pointer(entry.small));
    dead_extents_.push_back(pointer.segment);
  }
  return {};
}

Result<void> Maintenance::retire_extents() {
  const auto version = catalog_->current();
  std::vector<SegmentSet::Ref> dead;
  for (SegmentId id : dead_extents_)
    if (const auto* segment = version->segments->find(id)) dead.push_back(*segment);
  if (!dead.empty()) TRY(replace_segments(dead, nullptr));
  dead_extents_.clear();
  return {};
}

// ---- The filter ----

// Not in a cache that fills up: its writers wait for kills, and the walk pins what is to go.
Result<bool> Maintenance::early_filter_step() { return config_.room->is_filling() ? false : filter_step(); }

Result<bool> Maintenance::filter_step() {
  const auto version = catalog_->current();
  uint64_t entries = 0;
  for (const auto& segment : version->segments->all()) entries += segment->meta().entries;
  if (entries < filter_again_at_ || !config_.filter->wants_build(entries)) return false;
  std::shared_ptr<const Version> walked;  // outlives the walk
  const auto walk = [&] {
    log_->settle_visible();
    walked = catalog_->current();
    return walked->iterate(false);
  };
  const auto built = config_.filter->build(entries, walk, [this] { return is_stopping(); });
  if (built) return *built;
  // Reading goes on without it, and nothing here needs it: an index that cannot be read in one place must not stop the rest.
  config_.logger->warn("filter_not_built reason=\"{}\"", built.error().message);
  filter_again_at_ = 2 * entries + 1;
  return false;
}

// ---- Replacing and unlinking ----

Result<void> Maintenance::unlink_tables() {
  const auto unread = [](const DoomedTable& t) { return t.readers.expired(); };
  const auto gone = std::stable_partition(doomed_tables_.begin(), doomed_tables_.end(),
                                          [&](const DoomedTable& t) { return !unread(t); });
  if (gone == doomed_tables_.end()) return {};
  for (auto it = gone; it != doomed_tables_.end(); ++it) {
    const auto name = index::table_file_name(it->id);
    config_.files->files->forget(name);
    if (auto unlinked = config_.index_directory->unlink(name);
        !unlinked && unlinked.error().code != ErrorCode::kNotFound)
      return unlinked;
  }
  TRY(config_.index_directory->sync());
  for (auto it = gone; it != doomed_tables_.end(); ++it) {
    CHECK(unreclaimed_bytes_ >= it->bytes);
    unreclaimed_bytes_ -= it->bytes;
    config_.room->give_back(Room::charge(it->bytes));
  }
  doomed_tables_.erase(gone, doomed_tables_.end());
  log_->room_freed();
  return {};
}

// Installs `replacement` (or nothing) in the place of `sources`: manifest first, sources become retired; their files go when the last
// reader does.
Result<void> Maintenance::replace_segments(const std::vector<SegmentSet::Ref>& sources,
                                           const SegmentSet::Ref& replacement) {
  const auto is_source = [&](SegmentId id) {
    return std::any_of(sources.begin(), sources.end(), [&](const auto& s) { return s->id() == id; });
  };
  CHECK(!sources.empty());
  TRY(catalog_->apply(
      [&](index::Manifest& m) {
        std::erase_if(m.segments, [&](const auto& s) { return is_source(s.id); });
        // Retired: a crash may bring the file back, and the next open must know that it means nothing.
        for (const auto& s : sources) m.retired.push_back(s->id());
        if (replacement) m.segments.push_back(replacement->meta());
      },
      [&](Version& v) {
        auto all = v.segments->all();
        std::erase_if(all, [&](const auto& s) { return is_source(s->id()); });
        if (replacement) all.push_back(replacement);
        v.segments = std::make_shared<SegmentSet>(std::move(all));
      }));
  std::weak_ptr<Maintenance> self = weak_from_this();
  for (const auto& s : sources) {
    unreclaimed_bytes_ += s->charge();
    // Called by whoever lets go last, perhaps under locks of its own: it only notes the id, and the job does the rest.
    s->retire([self, bytes = s->charge()](SegmentId id) {
      auto maintenance = self.lock();
      if (!maintenance) return;  // the next open unlinks it: the manifest calls it retired
      {
        MutexLock lock(maintenance->mu_);
        maintenance->released_.emplace_back(id, bytes);
      }
      maintenance->kick();
    });
  }
  return {};
}

Result<bool> Maintenance::unlink_step() {
  std::vector<std::pair<SegmentId, uint64_t>> gone;
  {
    MutexLock lock(mu_);
    gone.swap(released_);
  }
  if (auto unlinked = unlink_segments(gone); !unlinked) {
    MutexLock lock(mu_);
    released_.insert(released_.end(), gone.begin(), gone.end());
    return fail(unlinked.error());
  }
  TRY(unlink_abandoned());
  TRY(unlink_tables());
  if (!gone.empty()) {
    if (config_.reserve) TRY(config_.reserve->refill());
    log_->room_freed();
  }
  return !gone.empty();
}

Result<void> Maintenance::unlink_segments(const std::vector<std::pair<SegmentId, uint64_t>>& gone) {
  if (gone.empty()) return {};
  for (const auto& [id, bytes] : gone) {
    const auto name = format::segment_file_name(id);
    config_.files->files->forget(name);
    if (auto unlinked = config_.files->directory->unlink(name);
        !unlinked && unlinked.error().code != ErrorCode::kNotFound)
      return unlinked;
  }
  TRY(config_.files->directory->sync());
  // Only now nothing can bring them back.
  CHECK(!gone.empty());
  std::vector<SegmentId> ids;
  for (const auto& [id, bytes] : gone) {
    ids.push_back(id);
    CHECK(unreclaimed_bytes_ >= bytes);
    unreclaimed_bytes_ -= bytes;
    config_.room->give_back(bytes);
    liveness_.forget(id);
    forgotten_.push_back(id);
  }
  catalog_->unlinked(ids);
  update_reclaimable();
  return {};
}

// Later kills would not reach them, and a rebuild would believe them. But the manifest on disk may name them until it is
// written again: the error may have come after the rename.
Result<void> Maintenance::unlink_abandoned() {
  if (abandoned_.empty() && abandoned_tables_.empty()) return {};
  TRY(catalog_->apply([](index::Manifest&) {}, [](Version&) {}));
  created_tables_.insert(created_tables_.end(), std::make_move_iterator(abandoned_tables_.begin()),
                         std::make_move_iterator(abandoned_tables_.end()));
  abandoned_tables_.clear();
  TRY(unlink_created());
  for (const auto& [id, charge] : abandoned_)
    if (auto unlinked = config_.files->directory->unlink(format::segment_file_name(id));
        !unlinked && unlinked.error().code != ErrorCode::kNotFound)
      return unlinked;
  TRY(config_.files->directory->sync());
  for (const auto& [id, charge] : abandoned_) config_.room->give_back(charge);
  abandoned_.clear();
  return {};
}

}  // namespace cairn::store
