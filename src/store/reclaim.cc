// Room: punching dead values, what may still be reclaimed, and who is told when.
#include <algorithm>

#include "base/check.h"
#include "base/try.h"
#include "store/maintenance.h"

namespace cairn::store {
namespace {

constexpr uint64_t kPunchedValueMin = 64 << 10;  // bytes; smaller holes fragment more than they give (hazard 30)
static_assert(kPunchedValueMin >= 2 * io::kBlockSize, "at least one whole block lies inside");
constexpr size_t kPunchedAtOnce = 256;  // values
constexpr uint64_t kLargeRecord =
    8 << 10;  // bytes, on average: a store of files of 64 KiB and more, each a few records

}  // namespace

// ---- Punching ----

// Whole blocks strictly inside the stored value: the record's header, and what follows it, stay.
void Maintenance::note_punchable(const Segment& owner, ByteView key, const format::IndexEntry& entry) {
  if (!config_.room->limited() || entry.stored_length < kPunchedValueMin) return;
  uint64_t at = entry.offset;
  if (owner.id() != entry.segment) {
    auto moved = locate(owner, key, entry.seq);
    if (!moved) return;  // damaged: left to compaction, which reports it
    at = moved->offset;
  }
  const uint64_t begin = at + format::kRecordHeaderSize + key.size();
  const uint64_t first = (begin + io::kBlockSize - 1) / io::kBlockSize * io::kBlockSize;
  const uint64_t last = (begin + entry.stored_length) / io::kBlockSize * io::kBlockSize;
  CHECK(first < last);
  punchable_.push_back({owner.id(), first, last - first, 0});
  ++punch_fresh_;
}

// Only in a cache that fills up: what dies as a whole is unlinked as a whole, for less. Only covered segments, and only what nobody reads
// any more. What killed the values is in a sealed segment, so it is durable (design §4.4). The space counts as free once a crash
// cannot bring it back.
Result<bool> Maintenance::punch_step() {
  if (punchable_.empty() || !config_.room->is_filling()) return false;
  const auto version = catalog_->current();
  std::map<SegmentId, std::vector<Punchable>> chosen;
  std::vector<Punchable> left;
  size_t count = 0;
  for (const Punchable& p : punchable_) {
    const auto* segment = version->segments->find(p.segment);
    if (!segment) continue;  // compacted, or gone as a whole
    const bool ready = count < kPunchedAtOnce && (*segment)->covered() && !catalog_->readers_before(p.readers);
    if (ready) ++count;
    (ready ? chosen[p.segment] : left).push_back(p);
  }
  punchable_ = std::move(left);
  for (const auto& [id, values] : chosen) {
    const auto& segment = *version->segments->find(id);
    TRY_ASSIGN(auto file,
               config_.files->directory->open(format::segment_file_name(id), {io::OpenMode::kReadWrite, false}));
    for (const Punchable& p : values) {
      auto punched = file->punch(p.offset, p.length);
      if (punched) continue;
      if (punched.error().code == ErrorCode::kUnsupported) return false;  // compaction has to do
      // A hole may need a block to be noted in. On a full disk compaction has to do as well.
      if (punched.error().code == ErrorCode::kNoSpace) break;
      return fail(punched.error());
    }
    TRY(file->sync());
    TRY(file->close());
    // Measured: what an earlier run of the program punched already frees nothing.
    const uint64_t before = segment->charge();
    TRY(segment->find_punched());
    const uint64_t freed = before - segment->charge();
    CHECK(segment->charge() <= before);  // find_punched() never takes back what it has found
    config_.room->give_back(freed);
    punched_bytes_ += freed;
  }
  if (!chosen.empty()) log_->room_freed();
  return !chosen.empty();
}

// ---- What may still come back ----

// What is needed: not dead, and no erase that is garbage.
RecordTally Maintenance::live_of(const Segment& segment) const {
  const index::ManifestSegment& meta = segment.meta();
  if (meta.kind == format::SegmentKind::kExtent) return {meta.entries, meta.file_size};
  const RecordTally dead = liveness_.dead(segment.id());
  const RecordTally erases = erase_is_garbage(meta.range.last) ? liveness_.erases(segment.id()) : RecordTally();
  return {meta.entries - std::min(meta.entries, dead.records + erases.records),
          meta.record_bytes - std::min(meta.record_bytes, dead.bytes + erases.bytes)};
}

Maintenance::Balance Maintenance::balance(const Version& version) const {
  Balance out;
  for (const auto& segment : version.segments->all()) {
    const index::ManifestSegment& meta = segment->meta();
    if (meta.kind == format::SegmentKind::kExtent) continue;
    const RecordTally live = live_of(*segment);
    out.live.records += live.records;
    out.live.bytes += live.bytes;
    out.dead += meta.file_size - std::min(meta.file_size, live.bytes + meta.overhead() + segment->punched());
  }
  return out;
}

// The published bound on space amplification, less what headers, footers, and the ends of blocks take: a twelfth of what is alive, or a
// sixth where small records make compaction dear, and their footers are larger (tables take the rest of the bound).
uint64_t Maintenance::Balance::allowed() const {
  const bool large = live.records == 0 || live.bytes / live.records >= kLargeRecord;
  return large ? live.bytes / 12 : live.bytes / 6;
}

void Maintenance::update_reclaimable() {
  if (!config_.room->limited()) return;
  const Balance all = balance(*catalog_->current());
  config_.room->set_reclaimable(all.dead - std::min(all.dead, all.allowed()) + unreclaimed_bytes_);
  config_.room->set_sealed_live(all.live.bytes);
}

// Whether segments that are only a little sparse are worth compacting: when the cache fills up, and what is dead takes more than
// its share.
bool Maintenance::wants_density(const Version& version) const {
  if (!config_.room->is_filling()) return false;
  // What the newest segments hold of it cannot be had before they are covered: others have to make up for it.
  const Balance all = balance(version);
  return all.dead > all.allowed();
}

// A full disk without a limit (cas): what makes deleting work is used up, in part.
bool Maintenance::in_need() const {
  return !config_.room->limited() && (log_->is_short() || (config_.reserve && !config_.reserve->is_whole()));
}

// ---- Who is told ----

// Asked for ahead of need: what is evicted takes a seal, its kills and an unlink until it is room.
bool Maintenance::ask_for_evictions() {
  return config_.room->deficit() > 0 && config_.evictions && config_.evictions->request();
}

// The last step: nothing else had anything to do.
Result<bool> Maintenance::room_step() {
  Room& room = *config_.room;
  if (config_.reserve && !config_.reserve->is_whole()) {
    TRY(config_.reserve->refill());
    if (config_.reserve->is_whole()) log_->room_freed();
  }
  const auto starving = log_->starving();
  const bool somebody = starving.grow || starving.free;
  // What was thought to come back has not: it is no help to who waits.
  if (room.shortage() > 0) update_reclaimable();
  if (somebody) room.set_reclaimable(0);
  const bool asked = ask_for_evictions();
  if (!somebody && !log_->is_short() && room.shortage() == 0) return false;
  if (room.doomed() > 0 && log_->request_seal()) return false;  // the seal kicks
  if (starving.free && in_need() && map_seq_ != SeqNo() && log_->durable() < map_seq_) {
    TRY(log_->sync());  // what the map says makes erases garbage
    return true;
  }
  if (!somebody) return false;
  // Nothing more will come, unless something has happened since this pass began: then another look.
  bool settled = true;
  if (starving.free) settled = log_->deny_room(Store::OperationKind::kFree, events_at_pass_);
  if (starving.grow && !asked) settled = log_->deny_room(Store::OperationKind::kGrow, events_at_pass_) && settled;
  return !settled;
}

}  // namespace cairn::store
