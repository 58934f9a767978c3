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

constexpr double kSparse = 0.5;             // a segment is a victim when less of it is alive
constexpr size_t kMaxSources = 16;          // at most, in one compaction
constexpr uint64_t kWriteBuffer = 1 << 20;  // bytes

bool is_covered(const Segment& s) { return s.meta().kind == format::SegmentKind::kCompacted || s.covered(); }

// Appends to a file through a buffer.
class BufferedFile {
 public:
  explicit BufferedFile(io::File& file) : file_(file) {}
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
  uint64_t written_ = 0;
  Bytes buffer_;
};

}  // namespace

// The neighbours that give most room back for what has to be copied. Garbage is judged globally: the sparsest segment starts the
// pick, and grows over neighbours that are sparse too, as long as what lives of them fits one segment.
std::optional<Maintenance::Pick> Maintenance::pick_victims(const Version& version) const {
  const auto& all = version.segments->all();
  const auto live = [&](size_t i) { return all[i]->meta().record_bytes - liveness_.dead_bytes(all[i]->id()); };
  const auto sparse = [&](size_t i) {
    const Segment& s = *all[i];
    return s.meta().kind != format::SegmentKind::kExtent && is_covered(s) &&
           std::find(uncompactable_.begin(), uncompactable_.end(), s.id()) == uncompactable_.end() &&
           static_cast<double>(live(i)) < kSparse * static_cast<double>(s.meta().file_size);
  };
  std::optional<size_t> best;
  double best_share = 1;
  for (size_t i = 0; i < all.size(); ++i) {
    if (!sparse(i)) continue;
    const double share = static_cast<double>(live(i)) / static_cast<double>(all[i]->meta().file_size);
    if (!best || share < best_share) {
      best = i;
      best_share = share;
    }
  }
  if (!best) return std::nullopt;
  size_t first = *best, last = *best;
  uint64_t sum = live(*best);
  const uint64_t room = config_.superblock.segment_size / 2;
  const auto can_take = [&](size_t i) { return sparse(i) && sum + live(i) <= room && last - first + 1 < kMaxSources; };
  while (last + 1 < all.size() && can_take(last + 1)) sum += live(++last);
  while (first > 0 && can_take(first - 1)) sum += live(--first);
  // A lone compacted segment that barely shrinks would be rewritten for nothing.
  Pick pick;
  for (size_t i = first; i <= last; ++i) pick.sources.push_back(all[i]);
  return pick;
}

Result<bool> Maintenance::compact_step() {
  const auto version = catalog_->current();
  const auto pick = pick_victims(*version);
  if (!pick) return false;
  uint64_t erases_kept = 0;
  auto compacted = write_compacted(*pick, erases_kept);
  if (!compacted) {
    if (compacted.error().code != ErrorCode::kCorrupt) return fail(compacted.error());
    // It never deletes what it cannot read.
    config_.logger->error("compaction_skipped reason=\"{}\"", compacted.error().message);
    for (const auto& s : pick->sources) uncompactable_.push_back(s->id());
    return true;
  }
  uint64_t before = 0;
  for (const auto& s : pick->sources) before += s->meta().file_size;
  if (auto replaced = replace_segments(pick->sources, *compacted); !replaced) {
    if (*compacted) abandoned_.push_back((*compacted)->id());
    return fail(replaced.error());
  }
  ++compactions_;
  const uint64_t after = *compacted ? (*compacted)->meta().file_size : 0;
  config_.logger->info("compacted sources={} bytes={} into={}", pick->sources.size(), before, after);
  // What could not shrink (erases that are still needed) waits until a map makes them garbage.
  if (*compacted && after * 10 > before * 9) uncompactable_.push_back((*compacted)->id());
  return true;
}

// The records of one segment that are kept, in order of sequence numbers.
Result<std::vector<log::ScannedRecord>> Maintenance::kept_records(const Segment& source, log::SegmentScan& scan) {
  TRY_ASSIGN(auto file, source.file());
  TRY_ASSIGN(const auto header, log::read_segment_header(*file, source.name(), source.id(), &config_.superblock.uuid));
  TRY_ASSIGN(auto footer, source.footer());
  log::ScanOptions options;
  options.sealed_end = footer->trailer().base;
  options.drop_cache = false;
  TRY_ASSIGN(scan, log::scan_segment(*file, header, options));
  if (!scan.damage.empty())
    return fail(ErrorCode::kCorrupt,
                fmt::format("{} at {}: {}", source.name(), scan.damage[0].offset, scan.damage[0].what));
  if (scan.records.size() != source.meta().entries)
    return fail(ErrorCode::kCorrupt, fmt::format("{}: {} records, its footer lists {}", source.name(),
                                                 scan.records.size(), source.meta().entries));
  std::vector<log::ScannedRecord> kept;
  for (size_t i = 0; i < scan.records.size(); ++i) {
    const log::ScannedRecord& r = scan.records[i];
    const bool garbage = r.header.type == format::RecordType::kErase ? erase_is_garbage(r.header.seq)
                                                                     : liveness_.is_dead(source.id(), i);
    if (!garbage) kept.push_back(r);
  }
  return kept;
}

// Writes the new segment, durable with its name, not yet in the manifest. Null if nothing is kept.
Result<SegmentSet::Ref> Maintenance::write_compacted(const Pick& pick, uint64_t& erases_kept) {
  format::SegmentHeader header;
  header.kind = format::SegmentKind::kCompacted;
  header.id = catalog_->new_segment_id();
  header.salt = config_.env->random();
  header.first_seq = pick.sources.front()->meta().range.first;
  header.last_seq = pick.sources.back()->meta().range.last;
  header.superblock = config_.superblock;
  for (const auto& s : pick.sources) header.generation = std::max(header.generation, s->meta().generation + 1);

  index::Memtable entries;
  std::unique_ptr<io::File> file;
  std::optional<BufferedFile> out;
  const auto name = format::segment_file_name(header.id);
  const auto new_name = format::new_segment_file_name(header.id);
  const auto copy = [&]() -> Result<void> {
    for (const auto& source : pick.sources) {
      log::SegmentScan scan;
      TRY_ASSIGN(const auto kept, kept_records(*source, scan));
      if (!kept.empty() && !file) {
        TRY_ASSIGN(file, config_.files->directory->open(new_name, {io::OpenMode::kCreate, false}));
        out.emplace(*file);
        Bytes block(format::kSegmentHeaderSize, '\0');
        format::encode_segment_header_block(header, block.data());
        TRY(out->append(block));
      }
      Bytes image;
      for (log::ScannedRecord record : kept) {
        if (record.header.type == format::RecordType::kErase) ++erases_kept;
        record.offset = out->offset();
        image.resize(format::record_size(record.key.size(), record.stored.size()));
        format::encode_record(record.header, record.key, record.stored, {header.salt, header.id, record.offset},
                              image.data());
        TRY(out->append(image));
        entries.insert(record.key, entry_of(record, header.id));
      }
    }
    return {};
  };
  const auto finish = [&]() -> Result<SegmentSet::Ref> {
    TRY(copy());
    if (!file) return SegmentSet::Ref();
    const uint64_t base =
        (out->offset() + format::kCommitAlignment - 1) / format::kCommitAlignment * format::kCommitAlignment;
    TRY(out->append(Bytes(base - out->offset(), '\0')));
    format::TableTrailer trailer;
    trailer.kind = format::TableKind::kFooter;
    trailer.id = header.id.value;
    trailer.salt = header.salt;
    trailer.base = base;
    trailer.range = {header.first_seq, header.last_seq};
    TRY_ASSIGN(const Bytes footer, build_footer(entries, trailer));
    TRY(out->append(footer));
    TRY(out->flush());
    TRY(file->sync());
    TRY(file->close());
    TRY(config_.files->directory->rename(new_name, name));
    TRY(config_.files->directory->sync());
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
  };
  auto result = finish();
  if (!result && file) {
    // Must not stay: later kills would not reach it. The next open removes it too, should this fail.
    for (const auto& left : {new_name, name}) {
      if (auto gone = config_.files->directory->unlink(left); !gone && gone.error().code != ErrorCode::kNotFound)
        config_.logger->error("compaction_left_behind file={} reason=\"{}\"", left, gone.error().message);
    }
  }
  return result;
}

}  // namespace cairn::store
