// Compaction: neighbouring segments, mostly dead, become one denser segment that owns their joined range (design §4.3, §4.5).
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "log/scan.h"
#include "store/maintenance.h"
#include "store/recover.h"

namespace cairn::store {
namespace {

// Half dead: copying a byte then frees a byte. In need anything that shrinks is welcome, but for what would hardly do
// so.
constexpr double kSparse = 0.5;              // a segment is a victim when less of it is alive
constexpr double kSparseInNeed = 0.95;       // the same when room is short
constexpr double kSparseOnFullDisk = 0.99;   // and when the disk is full: whatever gives anything
constexpr uint64_t kLeastGain = 8 << 10;     // bytes: with less, what is written beside it takes as much
constexpr size_t kMaxSources = 16;           // at most, in one compaction
constexpr uint64_t kWriteBuffer = 1 << 20;   // bytes
constexpr uint64_t kReadWindow = 256 << 10;  // bytes read at once, at least
static_assert(kSparse < kSparseInNeed && kSparseInNeed < kSparseOnFullDisk && kSparseOnFullDisk < 1);
static_assert(kReadWindow % io::kBlockSize == 0 && kWriteBuffer % io::kBlockSize == 0);

// Appends to a file through a buffer.
class BufferedFile {
 public:
  BufferedFile(io::File& file, uint64_t offset) : file_(file), written_(offset) {}
  [[nodiscard]] uint64_t offset() const { return written_ + buffer_.size(); }
  Result<void> append(ByteView bytes) {
    buffer_.append(bytes);
    return buffer_.size() < kWriteBuffer ? Result<void>() : flush();
  }
  Result<void> flush() {
    TRY(file_.pwrite(written_, buffer_));
    written_ += buffer_.size();
    buffer_.clear();
    return {};
  }

 private:
  io::File& file_;
  uint64_t written_;
  Bytes buffer_;
};

// Reads records of one file in ascending order, many at a time.
class WindowedFile {
 public:
  explicit WindowedFile(const io::File& file) : file_(file) {}
  // The bytes [offset, offset + length), fewer at the end of the file. Until the next call.
  Result<ByteView> at(uint64_t offset, uint64_t length) {
    // Records are asked for in ascending order: what is dead in between is read only where it is cheaper than another
    // call.
    if (offset < begin_ || offset + length > begin_ + window_.size()) {
      window_.resize(std::max(length, kReadWindow));
      begin_ = offset;
      TRY_ASSIGN(const size_t got, file_.pread(offset, window_));
      window_.resize(got);
    }
    DCHECK(offset >= begin_);
    return ByteView(window_).substr(offset - begin_, length);
  }

 private:
  const io::File& file_;
  uint64_t begin_ = 0;
  Bytes window_;
};

tl::unexpected<Error> unfit(const Segment& source, const format::IndexEntry& entry, std::string_view what) {
  return fail(ErrorCode::kCorrupt, fmt::format("{}: record at {}: {}", source.name(), entry.offset, what));
}

// One record that is kept, verified.
Result<log::ScannedRecord> read_kept(const Segment& source, WindowedFile& file, ByteView key,
                                     const format::IndexEntry& entry) {
  TRY_ASSIGN(const ByteView bytes, file.at(entry.offset, format::record_size(key.size(), entry.stored_length)));
  const auto record = format::decode_record(bytes, {source.meta().salt, source.id(), entry.offset});
  if (!record) return unfit(source, entry, record.error().message);
  // Verified before it is copied: compaction must not give damage a new, sound checksum (hazard 36).
  if (record->key != key || record->header.seq != entry.seq || record->header.type != entry.type ||
      record->header.value_checksum != entry.value_checksum)
    return unfit(source, entry, "is not the one that the footer lists");
  if (!format::value_verifies(record->header, record->stored)) return unfit(source, entry, "value: checksum mismatch");
  log::ScannedRecord out;
  out.offset = entry.offset;
  out.header = record->header;
  out.key = record->key;
  out.stored = record->stored;
  return out;
}

uint64_t on_disk(const Segment& s) { return s.meta().file_size - s.punched(); }

uint64_t round_to_commit(uint64_t n) {
  return (n + format::kCommitAlignment - 1) / format::kCommitAlignment * format::kCommitAlignment;
}

}  // namespace

// What is alive of a segment takes so much in another, about: the records and their share of the footer.
uint64_t Maintenance::rewritten_size(const Segment& segment) const {
  const index::ManifestSegment& meta = segment.meta();
  const uint64_t live = live_of(segment).bytes;
  if (meta.record_bytes == 0) return live;
  const uint64_t fixed = meta.record_bytes + format::kSegmentHeaderSize;
  return live + (meta.file_size - std::min(meta.file_size, fixed)) * live / meta.record_bytes;
}

bool Maintenance::is_sparse(const Segment& segment, double threshold) const {
  const auto is_in = [&](const std::vector<SegmentId>& ids) {
    return std::find(ids.begin(), ids.end(), segment.id()) != ids.end();
  };
  if (segment.meta().kind == format::SegmentKind::kExtent || !segment.covered()) return false;
  if (is_in(uncompactable_) || is_in(erase_only_)) return false;
  // On a full disk every block counts, and what only looks sparse because its index is large gives none.
  const uint64_t kept = in_need() ? format::kSegmentHeaderSize + rewritten_size(segment) : live_of(segment).bytes;
  return static_cast<double>(kept) < threshold * static_cast<double>(on_disk(segment));
}

// From `best` over neighbours that are sparse too, as long as what lives of them fits one segment. None if nothing would come
// of it: headers and the ends of blocks can make a tiny segment look sparse.
std::optional<Maintenance::Pick> Maintenance::grow_pick(const SegmentSet& set, size_t best, double threshold,
                                                        uint64_t most) const {
  const auto& all = set.all();
  size_t first = best, last = best;
  uint64_t sum = rewritten_size(*all[best]), before = on_disk(*all[best]);
  if (sum > most) return std::nullopt;
  const uint64_t room = std::min(most, config_.superblock.segment_size / 8 * (in_need() ? 7 : 4));
  const auto take = [&](size_t i) {
    const uint64_t size = rewritten_size(*all[i]);
    if (!is_sparse(*all[i], threshold) || sum + size > room || last - first + 1 >= kMaxSources) return false;
    sum += size;
    before += on_disk(*all[i]);
    return true;
  };
  while (last + 1 < all.size() && take(last + 1)) ++last;
  while (first > 0 && take(first - 1)) --first;
  const uint64_t after = sum == 0 ? 0 : round_to_commit(sum + format::kSegmentHeaderSize) + format::kCommitAlignment;
  if (before < after + (in_need() ? kLeastGain : 1)) return std::nullopt;
  CHECK(first <= best && best <= last && last < all.size());
  Pick pick;
  for (size_t i = first; i <= last; ++i) pick.sources.push_back(all[i]);
  return pick;
}

// The neighbours that give most room back for what has to be copied. Garbage is judged globally: the sparsest segment starts the
// pick.
std::optional<Maintenance::Pick> Maintenance::pick_victims(const Version& version, uint64_t most) const {
  const double threshold = in_need() ? kSparseOnFullDisk : wants_density(version) ? kSparseInNeed : kSparse;
  const auto& all = version.segments->all();
  std::vector<std::pair<double, size_t>> candidates;  // share that lives, place
  for (size_t i = 0; i < all.size(); ++i) {
    if (!is_sparse(*all[i], threshold)) continue;
    candidates.emplace_back(static_cast<double>(live_of(*all[i]).bytes) / static_cast<double>(on_disk(*all[i])), i);
  }
  std::sort(candidates.begin(), candidates.end());
  for (const auto& [share, i] : candidates)
    if (auto pick = grow_pick(*version.segments, i, threshold, most)) return pick;
  return std::nullopt;
}

Result<bool> Maintenance::compact_step() {
  // With little room left what fits it is compacted, which makes more.
  Result<bool> did = false;
  for (uint64_t most = UINT64_MAX; most >= kLeastGain; most = std::min(most, config_.superblock.segment_size) / 2) {
    did = compact_at_most(most);
    if (did || did.error().code != ErrorCode::kNoSpace) return did;
    // It was the manifest that found no room: what was written for it is to go first, and a smaller pick is no help.
    if (!abandoned_.empty()) break;
  }
  // As with merges: evictions may still make room, and who waits is told only when nothing else does.
  config_.logger->warn("compaction_postponed reason=\"{}\"", did.error().message);
  return false;
}

Result<bool> Maintenance::compact_at_most(uint64_t most) {
  const auto version = catalog_->current();
  const auto pick = pick_victims(*version, most);
  if (!pick) return false;
  auto compacted = write_compacted(*pick);
  if (!compacted) {
    if (compacted.error().code != ErrorCode::kCorrupt) return fail(compacted.error());
    // It never deletes what it cannot read.
    config_.logger->error("compaction_skipped reason=\"{}\"", compacted.error().message);
    for (const auto& s : pick->sources) uncompactable_.push_back(s->id());
    return true;
  }
  uint64_t before = 0;
  for (const auto& s : pick->sources) before += on_disk(*s);
  if (auto replaced = replace_segments(pick->sources, *compacted); !replaced) {
    if (*compacted) abandoned_.emplace_back((*compacted)->id(), (*compacted)->charge());
    return fail(replaced.error());
  }
  ++compactions_;
  const uint64_t after = *compacted ? (*compacted)->meta().file_size : 0;
  copied_bytes_ += after;
  config_.logger->info("compacted sources={} bytes={} into={}", pick->sources.size(), before, after);

  // What could not shrink (erases that are still needed) waits until a map makes them garbage.
  if (*compacted && after * 10 > before * 9) erase_only_.push_back((*compacted)->id());
  update_reclaimable();
  return true;
}

// The records of one segment that are kept, in order of sequence numbers. By its footer: what is dead is not even read.
Result<std::vector<Maintenance::KeptRecord>> Maintenance::kept_records(const Segment& source) {
  TRY_ASSIGN(auto footer, source.footer());
  auto entries = footer->iterate(false);
  std::vector<KeptRecord> all;
  TRY(entries->seek({}));
  while (entries->valid()) {
    all.push_back({Bytes(entries->key()), entries->entry()});
    all.back().entry.small = {};
    all.back().entry.has_small = false;
    TRY(entries->next());
  }
  // Liveness bits go by the position among all entries. With one missing they would be off by one, and the living would
  // die.
  if (all.size() != source.meta().entries)
    return fail(ErrorCode::kCorrupt, fmt::format("{}: its footer lists {} records, the manifest {}", source.name(),
                                                 all.size(), source.meta().entries));
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.entry.seq < b.entry.seq; });
  std::vector<KeptRecord> kept;
  for (size_t i = 0; i < all.size(); ++i) {
    // An erase is garbage once the map that holds its kills is durable twice: a rebuild then does not need it (hazard
    // 21).
    const bool garbage = all[i].entry.type == format::RecordType::kErase ? erase_is_garbage(all[i].entry.seq)
                                                                         : liveness_.is_dead(source.id(), i);
    if (!garbage) kept.push_back(std::move(all[i]));
  }
  return kept;
}

// Paid for, allocated in one piece, and with its header, which says that it counts for nothing until the manifest names it.
Result<std::unique_ptr<io::File>> Maintenance::create_compacted(const format::SegmentHeader& header, uint64_t size) {
  io::Directory& segments = *config_.files->directory;
  const auto name = format::new_segment_file_name(header.id);  // until it is complete
  Bytes block(format::kSegmentHeaderSize, '\0');
  format::encode_segment_header_block(header, block.data());
  const auto create = [&]() -> Result<std::unique_ptr<io::File>> {
    TRY_ASSIGN(auto file, segments.open(name, {io::OpenMode::kCreate, false}));
    auto made = file->allocate(0, size);
    if (!made && made.error().code == ErrorCode::kUnsupported) made = {};
    if (made) made = file->pwrite(0, block);
    if (made) return file;
    TRY(segments.unlink(name));
    return fail(made.error());
  };
  auto file = create();
  if (!file && file.error().code == ErrorCode::kNoSpace && config_.reserve)
    return config_.reserve->take(segments, {name, size, block, false});
  return file;
}

// Writes the new segment, durable with its name, not yet in the manifest. Null if nothing is kept.
Result<SegmentSet::Ref> Maintenance::write_compacted(const Pick& pick) {
  format::SegmentHeader header;
  header.kind = format::SegmentKind::kCompacted;
  header.id = catalog_->new_segment_id();
  header.salt = config_.env->random();
  CHECK(!pick.sources.empty());
  header.first_seq = pick.sources.front()->meta().range.first;
  header.last_seq = pick.sources.back()->meta().range.last;
  header.superblock = config_.superblock;
  header.superblock.limit = config_.room->limit();
  for (const auto& s : pick.sources) header.generation = std::max(header.generation, s->meta().generation + 1);

  // The joined range, gaps between sources included: each sequence number keeps exactly one owner.
  std::vector<std::vector<KeptRecord>> kept;
  uint64_t size = format::kSegmentHeaderSize + 2 * format::kCommitAlignment + format::kTableOverhead, count = 0;
  for (const auto& source : pick.sources) {
    TRY_ASSIGN(auto records, kept_records(*source));
    for (const KeptRecord& r : records) size += log_cost(r.key.size(), r.entry.stored_length);
    count += records.size();
    kept.push_back(std::move(records));
  }
  // Nothing lives: the sources go without a successor, and nobody owns their numbers any more.
  if (count == 0) return SegmentSet::Ref();
  // Before the first byte is allocated; the sources give theirs back only when they are durably gone.
  if (!config_.room->take(Room::charge(size), Room::Use::kMaintain))
    return fail(ErrorCode::kNoSpace, "the store's limit leaves no room to compact");
  RoomClaim claim(config_.room.get(), Room::charge(size));
  TRY_ASSIGN(auto file, create_compacted(header, size));
  auto result = write_kept(pick, kept, header, *file);
  if (result) {
    claim.shrink_to((*result)->charge());
    claim.keep();
    return result;
  }
  // Must not stay: later kills would not reach it. The next open removes it too, should this fail.
  for (const auto& left : {format::new_segment_file_name(header.id), format::segment_file_name(header.id)}) {
    if (auto gone = config_.files->directory->unlink(left); !gone && gone.error().code != ErrorCode::kNotFound)
      config_.logger->error("compaction_left_behind file={} reason=\"{}\"", left, gone.error().message);
  }
  return result;
}

Result<SegmentSet::Ref> Maintenance::write_kept(const Pick& pick, const std::vector<std::vector<KeptRecord>>& kept,
                                                const format::SegmentHeader& header, io::File& file) {
  CHECK(kept.size() == pick.sources.size());
  index::Memtable entries;
  BufferedFile out(file, format::kSegmentHeaderSize);
  RecordTally erases;
  Bytes image;
  for (size_t i = 0; i < kept.size(); ++i) {
    const Segment& source = *pick.sources[i];
    TRY_ASSIGN(auto from, source.file());
    WindowedFile window(*from);
    for (const KeptRecord& k : kept[i]) {
      TRY_ASSIGN(log::ScannedRecord record, read_kept(source, window, k.key, k.entry));
      if (record.header.type == format::RecordType::kErase) erases.add(format::record_size(record.key.size(), 0));
      record.offset = out.offset();
      image.resize(format::record_size(record.key.size(), record.stored.size()));
      // The record as it was, with its number: only the header's checksum is new, as it lies elsewhere now.
      format::encode_record(record.header, record.key, record.stored, {header.salt, header.id, record.offset},
                            image.data());
      TRY(out.append(image));
      entries.insert(record.key, entry_of(record, header.id));
    }
  }
  const uint64_t base = round_to_commit(out.offset());
  TRY(out.append(Bytes(base - out.offset(), '\0')));
  format::TableTrailer trailer;
  trailer.kind = format::TableKind::kFooter;
  trailer.id = header.id.value;
  trailer.salt = header.salt;
  trailer.base = base;
  trailer.range = {header.first_seq, header.last_seq};
  TRY_ASSIGN(const Bytes footer, build_footer(entries, trailer));
  TRY(out.append(footer));
  TRY(out.flush());
  CHECK(out.offset() == base + footer.size());
  TRY(file.truncate(base + footer.size()));
  TRY(file.sync());
  TRY(file.close());
  // Content, then its name, then the manifest: a crash in between leaves a file that counts for nothing, and the
  // sources.
  TRY(config_.files->directory->rename(format::new_segment_file_name(header.id), format::segment_file_name(header.id)));
  TRY(config_.files->directory->sync());
  liveness_.set_erases(header.id, erases);
  CHECK(trailer.entries > 0 && !trailer.range.empty());
  index::ManifestSegment meta;
  meta.id = header.id;
  meta.kind = header.kind;
  meta.covered = true;
  meta.range = trailer.range;
  meta.salt = header.salt;
  meta.file_size = base + footer.size();
  meta.entries = trailer.entries;
  meta.record_bytes = trailer.record_bytes;
  meta.generation = header.generation;
  return SegmentSet::Ref(std::make_shared<const Segment>(meta, config_.files));
}

}  // namespace cairn::store
