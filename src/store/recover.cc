#include "store/recover.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "index/table.h"

namespace cairn::store {
namespace {

constexpr uint64_t kFirstNumber = 1024;  // numbers below are the tree's fixed ones

std::string advice(const RecoverContext& c) { return fmt::format("run: fsck.cairnfs --rebuild-index {}", c.path); }

// One file in segments/ that the manifest does not name.
struct Unnamed {
  SegmentId id;
  std::string name;
  format::SegmentHeader header;
};

// What is known so far: first what the manifest names, then what the log adds, segment by segment.
struct State {
  const RecoverContext& context;
  Recovered out;
  std::vector<SegmentSet::Ref> segments;
  std::vector<LogLevel> levels;  // oldest first
  std::vector<Unnamed> logs, extents;
  log::MarkPlace last_mark;
  SegmentId last_log;
  SeqNo next_seq{1};
  uint64_t next_number = kFirstNumber;
  SegmentId highest_id;
};

// Not through the cache: files that are only looked at once need not stay open.
Result<std::shared_ptr<const io::File>> open_file(const RecoverContext& c, const std::string& name) {
  TRY_ASSIGN(auto file, c.files->directory->open(name, {}));
  return std::shared_ptr<const io::File>(std::move(file));
}

// ---- What the manifest names ----

Result<void> load_named(State& s) {
  const RecoverContext& c = s.context;
  auto manifest = index::read_manifest(*c.store, c.superblock.uuid);
  if (!manifest) {
    // Nothing is guessed from the segments here: that is a rebuild, which somebody has to ask for.
    const Error& e = manifest.error();
    if (e.code == ErrorCode::kNotFound)
      return fail(ErrorCode::kCorrupt, fmt::format("{}/manifest is missing; {}", c.path, advice(c)));
    return fail(e.code, fmt::format("{}/manifest: {}; {}", c.path, e.message, advice(c)));
  }
  s.out.manifest = std::move(*manifest);
  const index::Manifest& m = s.out.manifest;
  for (const index::ManifestSegment& meta : m.segments) {
    auto segment = std::make_shared<const Segment>(meta, c.files);
    s.segments.push_back(segment);
    s.highest_id = std::max(s.highest_id, meta.id);
    if (meta.kind != format::SegmentKind::kExtent && !meta.covered)
      s.levels.push_back({segment, nullptr, nullptr, nullptr});
  }
  s.last_log = m.last_log;
  s.last_mark = {m.last_mark, m.last_mark_offset, m.last_mark_checksum};
  s.next_seq = m.next_seq;
  s.next_number = std::max(s.next_number, m.next_ino);
  // Ids start above everything that was ever named or seen: a file of an older life must not meet one with its name.
  s.highest_id = std::max(s.highest_id, m.next_segment.prev());
  for (SegmentId id : m.retired) s.highest_id = std::max(s.highest_id, id);
  return {};
}

Result<void> load_runs(State& s) {
  const RecoverContext& c = s.context;
  for (const index::ManifestRun& run : s.out.manifest.runs) {
    auto loaded = std::make_shared<Run>();
    for (const index::ManifestTable& meta : run.tables) {
      const auto name = index::table_file_name(meta.id);
      index::Table::Identity identity;
      identity.id = meta.id.value;
      identity.name = std::string(index::kIndexDir) + "/" + name;
      auto open = [files = c.files->files, dir = c.index, name] { return files->open(*dir, name, {}); };
      auto table = index::Table::open(std::move(open), identity, c.files->blocks);
      if (!table)
        return fail(table.error().code,
                    fmt::format("{}/{}: {}; {}", c.path, identity.name, table.error().message, advice(c)));
      loaded->tables.push_back({meta, std::move(*table)});
    }
    DCHECK(!loaded->tables.empty());
    s.out.version->runs.push_back(std::move(loaded));
  }
  return {};
}

// ---- What it does not name ----

Result<void> classify(State& s, SegmentId id, const std::string& name) {
  const RecoverContext& c = s.context;
  s.highest_id = std::max(s.highest_id, id);
  // Its unlinking was not durable yet: done again.
  const auto& retired = s.out.manifest.retired;
  if (std::find(retired.begin(), retired.end(), id) != retired.end()) {
    s.out.leftovers.push_back(name);
    return {};
  }
  auto file = open_file(c, name);
  // A link, a FIFO or somebody else's file in the place of what may be acknowledged: going on without it would be a guess.
  if (!file && file.error().code == ErrorCode::kInvalid)
    return fail(file.error().code,
                fmt::format("{}; move it away, then run: fsck.cairnfs {}", file.error().message, c.path));
  if (!file) return fail(file.error());
  auto header = log::read_segment_header(**file, name, id, &c.superblock.uuid);
  if (!header) {
    if (header.error().code == ErrorCode::kIo) return fail(header.error());
    // Damage: a file gets this name once its header is durable. It is not ours to delete.
    c.logger->warn("segment_header_unreadable file={} reason=\"{}\"", name, header.error().message);
    s.out.unreadable.push_back(name);
    return {};
  }
  if (header->prepared) s.next_number = std::max(s.next_number, header->next_ino);
  if (header->prepared || header->kind == format::SegmentKind::kCompacted) {
    s.out.leftovers.push_back(name);  // never used; or a compaction that was not installed: its sources are all there
  } else if (header->kind == format::SegmentKind::kExtent) {
    // May be named by a record that is still to be found.
    s.extents.push_back({id, name, *header});
    // Behind the manifest: check_chain() decides whether it belongs to the log.
  } else if (id > s.last_log) {
    s.logs.push_back({id, name, *header});
  } else {
    return fail(ErrorCode::kCorrupt,
                fmt::format("{}/segments/{}: a log segment that the manifest should name but does not; {}", c.path,
                            name, advice(c)));
  }
  return {};
}

Result<void> list_unnamed(State& s) {
  std::set<SegmentId> named;
  for (const auto& segment : s.segments) named.insert(segment->id());
  TRY_ASSIGN(const auto names, s.context.files->directory->list());
  std::set<SegmentId> present;
  for (const std::string& name : names) {
    if (const auto torn = format::parse_new_segment_file_name(name)) {
      s.highest_id = std::max(s.highest_id, *torn);
      s.out.leftovers.push_back(name);
      continue;
    }
    const auto id = format::parse_segment_file_name(name);
    if (!id) {
      s.context.logger->warn("unexpected_file file=segments/{}", name);
      continue;
    }
    present.insert(*id);
    if (!named.contains(*id)) TRY(classify(s, *id, name));
  }
  for (const auto& segment : s.segments) {
    if (present.contains(segment->id())) continue;
    // Not refused: the rest of the store is whole, and its owner can still be read from.
    ++s.out.damaged;  // what it held reads as an error
    s.context.logger->error("segment_missing file={} first_seq={} last_seq={}", segment->name(),
                            segment->meta().range.first.value, segment->meta().range.last.value);
  }
  // The chain's order: each header names the id before it.
  std::sort(s.logs.begin(), s.logs.end(), [](const Unnamed& a, const Unnamed& b) { return a.id < b.id; });
  return {};
}

// ---- The log behind the manifest ----

Result<void> check_chain(const State& s, const Unnamed& segment) {
  // The predecessor's id, mark and the mark's checksum: a segment of an older life with the right id does not fit.
  const format::SegmentHeader& h = segment.header;
  if (h.previous_id == s.last_log && h.previous_mark == s.last_mark.number &&
      h.previous_mark_checksum == s.last_mark.checksum)
    return {};
  return fail(
      ErrorCode::kCorrupt,
      fmt::format(
          "{}/segments/{} follows segment {} (commit {}), but the log before it ends with segment {} (commit {}); {}",
          s.context.path, segment.name, h.previous_id.value, h.previous_mark.value, s.last_log.value,
          s.last_mark.number.value, advice(s.context)));
}

index::ManifestSegment meta_of(const Unnamed& segment, const format::TableTrailer& trailer, uint64_t file_size) {
  index::ManifestSegment meta;
  meta.id = segment.id;
  meta.kind = segment.header.kind;
  meta.salt = segment.header.salt;
  meta.range = trailer.range;
  meta.file_size = file_size;
  meta.entries = trailer.entries;
  meta.record_bytes = trailer.record_bytes;
  meta.generation = segment.header.generation;
  return meta;
}

void append_level(State& s, const Unnamed& segment, LogLevel level, const log::MarkPlace& mark, uint64_t next_ino) {
  const index::ManifestSegment& meta = level.segment->meta();
  CHECK(segment.id > s.last_log);  // in the order in which they were written
  CHECK(meta.kind == format::SegmentKind::kLog);
  s.out.manifest.segments.push_back(meta);
  s.segments.push_back(level.segment);
  s.levels.push_back(std::move(level));
  s.last_log = segment.id;
  s.last_mark = mark;
  s.next_seq = std::max(s.next_seq, meta.range.last.next());
  s.next_number = std::max({s.next_number, next_ino, segment.header.next_ino});
  s.out.changed = true;
}

// A segment that a later header proves: its footer says what is in it.
Result<bool> load_by_footer(State& s, const Unnamed& segment, const format::SegmentHeader& successor) {
  index::ManifestSegment probe;
  probe.id = segment.id;
  probe.salt = segment.header.salt;
  TRY_ASSIGN(auto file, open_file(s.context, segment.name));
  TRY_ASSIGN(const auto stat, file->stat());
  auto footer = Segment(probe, s.context.files).footer();
  if (!footer) {
    if (footer.error().code == ErrorCode::kIo) return fail(footer.error());
    s.context.logger->error("footer_damaged file=segments/{} reason=\"{}\"", segment.name, footer.error().message);
    ++s.out.damaged;
    return false;
  }
  const format::TableTrailer& t = (*footer)->trailer();
  // A footer of another life, or of a seal that was cut short and done anew: the walk finds out.
  if (t.last_mark != successor.previous_mark || t.last_mark_checksum != successor.previous_mark_checksum) return false;
  auto sealed = std::make_shared<const Segment>(meta_of(segment, t, stat.size), s.context.files);
  append_level(s, segment, {sealed, nullptr, nullptr, *footer}, {t.last_mark, t.last_mark_offset, t.last_mark_checksum},
               t.next_ino);
  return true;
}

// Writes the kept bytes again (after an I/O error the page cache may look clean while the disk is not), the footer behind them,
// and cuts the rest off. Of the header's two copies one may still be that of the prepared file.
Result<uint64_t> reseal(const RecoverContext& c, const Unnamed& segment, const log::SegmentScan& scan,
                        ByteView footer) {
  const std::string& name = segment.name;
  Bytes header(format::kSegmentHeaderSize, '\0');
  format::encode_segment_header_block(segment.header, header.data());
  TRY_ASSIGN(auto file, c.files->directory->open(name, {io::OpenMode::kReadWrite, false}));
  const uint64_t base = footer_place(scan);
  // What lay behind the last complete commit goes first: it was acknowledged to nobody, and must not be found by a
  // later walk (hazard 20).
  TRY(file->truncate(scan.end));
  TRY(file->truncate(base));  // zeros, where a record lost its end
  // Both copies, in use: of a segment whose first commit was torn one may still call it prepared.
  CHECK(base >= scan.end && base % format::kCommitAlignment == 0);
  TRY(file->pwrite(0, header));
  TRY(file->pwrite(header.size(), ByteView(*scan.image).substr(header.size(), scan.end - header.size())));
  TRY(file->pwrite(base, footer));
  TRY(file->sync());
  TRY(file->close());
  c.files->files->forget(name);
  return base + footer.size();
}

// The newest segment, or one whose footer is damaged: walked record by record.
Result<void> load_by_scan(State& s, const Unnamed& segment, uint64_t durable_end) {
  const RecoverContext& c = s.context;
  TRY_ASSIGN(auto file, open_file(c, segment.name));
  log::ScanOptions options;
  options.durable_end = durable_end;
  options.keep_damaged = true;  // listed, so that reading it is an error, and never an older version
  TRY_ASSIGN(const auto scan, log::scan_segment(*file, segment.header, options));
  for (const log::Damage& d : scan.damage) {
    ++s.out.damaged;
    c.logger->error("log_damaged file=segments/{} offset={} length={} what=\"{}\"", segment.name, d.offset, d.length,
                    d.what);
  }
  if (scan.records.empty()) {
    // Without damage nothing in it was ever acknowledged; with damage it is not ours to delete.
    (scan.damage.empty() ? s.out.leftovers : s.out.unreadable).push_back(segment.name);
    s.next_number = std::max(s.next_number, segment.header.next_ino);
    return {};
  }
  format::TableTrailer trailer;
  trailer.kind = format::TableKind::kFooter;
  trailer.id = segment.id.value;
  trailer.salt = segment.header.salt;
  trailer.base = footer_place(scan);
  trailer.range = {segment.header.first_seq, scan.records.back().header.seq};
  // Without a mark in it the log's newest is still the one before: the next segment names that.
  log::MarkPlace mark = s.last_mark;
  if (!scan.marks.empty()) {
    const log::ScannedMark& last = scan.marks.back();
    mark = {last.mark.number, last.offset, last.checksum};
    trailer.next_ino = last.mark.next_ino;
  }
  trailer.last_mark = mark.number;
  trailer.last_mark_offset = mark.offset;
  trailer.last_mark_checksum = mark.checksum;
  auto memtable = index_records(scan.records, segment.id);
  TRY_ASSIGN(const Bytes footer, build_footer(*memtable, trailer));
  uint64_t size = trailer.base + footer.size();
  // Read-only everything is the same but in memory: a check finds what a mount would.
  if (!c.read_only) {
    TRY_ASSIGN(size, reseal(c, segment, scan, footer));
  }
  auto sealed = std::make_shared<const Segment>(meta_of(segment, trailer, size), c.files);
  CHECK(size > trailer.base);
  append_level(s, segment, {sealed, std::move(memtable), nullptr, nullptr}, mark, trailer.next_ino);
  c.logger->info("log_recovered file=segments/{} records={} commits={} torn_tail={}", segment.name, scan.records.size(),
                 scan.marks.size(), scan.torn_tail);
  return {};
}

Result<void> follow_log(State& s) {
  for (size_t i = 0; i < s.logs.size(); ++i) {
    const Unnamed& segment = s.logs[i];
    TRY(check_chain(s, segment));
    const Unnamed* successor = i + 1 < s.logs.size() ? &s.logs[i + 1] : nullptr;
    bool loaded = false;
    if (successor && successor->header.proven_id >= segment.id) {
      TRY_ASSIGN(loaded, load_by_footer(s, segment, successor->header));
    }
    if (loaded) continue;
    // The successor's header was written after this segment was synced up to the mark that it names.
    const uint64_t durable_end = successor ? successor->header.previous_mark_offset + format::kMarkRecordSize : 0;
    TRY(load_by_scan(s, segment, durable_end));
  }
  return {};
}

// Footers of levels that the manifest names; one that is damaged is made again in memory from its records.
Result<void> load_footers(State& s) {
  for (LogLevel& level : s.levels) {
    if (level.footer || level.memtable) continue;
    auto footer = level.segment->footer();
    if (footer) {
      level.footer = *footer;
      continue;
    }
    if (footer.error().code == ErrorCode::kIo) return fail(footer.error());
    s.context.logger->error("footer_damaged file={} reason=\"{}\"", level.segment->name(), footer.error().message);
    ++s.out.damaged;
    auto file = level.segment->file();
    if (!file) {
      return fail(file.error().code, fmt::format("{}/{}: {}; {}", s.context.path, level.segment->name(),
                                                 file.error().message, advice(s.context)));
    }
    TRY_ASSIGN(const auto header,
               log::read_segment_header(**file, level.segment->name(), level.segment->id(), nullptr));
    log::ScanOptions options;
    options.durable_end = level.segment->meta().file_size;
    options.keep_damaged = true;
    TRY_ASSIGN(const auto scan, log::scan_segment(**file, header, options));
    // Nobody knows the keys of records that are lost, so older versions would stand in for them.
    if (scan.records.size() < level.segment->meta().entries)
      return fail(ErrorCode::kCorrupt,
                  fmt::format("{}/{}: of {} records {} can be read; {}", s.context.path, level.segment->name(),
                              level.segment->meta().entries, scan.records.size(), advice(s.context)));
    // The footer on disk stays damaged; merging takes the entries from here, and a rebuild writes it anew.
    level.memtable = index_records(scan.records, level.segment->id());
  }
  return {};
}

// An extent counts once a record names it; one without a record was being written when the crash came.
Result<void> adopt_extents(State& s) {
  std::map<SegmentId, format::ExtentPointer> pointers;
  for (const LogLevel& level : s.levels) {
    if (s.extents.empty()) break;
    auto entries = level.iterate(false);
    TRY(entries->seek({}));
    while (entries->valid()) {
      if (entries->entry().type == format::RecordType::kExtent && entries->entry().has_small) {
        if (auto pointer = format::decode_extent_pointer(entries->entry().small))
          pointers.emplace(pointer->segment, *pointer);
      }
      TRY(entries->next());
    }
  }
  for (const Unnamed& extent : s.extents) {
    const auto it = pointers.find(extent.id);
    // The salt: an id may have been used by an extent whose pointer never became durable.
    if (it == pointers.end() || it->second.salt != extent.header.salt) {
      // The record that names it may be among what is damaged.
      (s.out.damaged == 0 ? s.out.leftovers : s.out.unreadable).push_back(extent.name);
      continue;
    }
    TRY_ASSIGN(auto file, open_file(s.context, extent.name));
    TRY_ASSIGN(const auto stat, file->stat());
    const auto meta = meta_of(extent, {}, stat.size);
    s.out.manifest.segments.push_back(meta);
    s.segments.push_back(std::make_shared<const Segment>(meta, s.context.files));
    s.out.changed = true;
  }
  return {};
}

}  // namespace

format::IndexEntry entry_of(const log::ScannedRecord& record, SegmentId id) {
  format::IndexEntry entry;
  entry.seq = record.header.seq;
  entry.type = record.header.type;
  entry.codec = record.header.codec;
  entry.segment = id;
  entry.offset = record.offset;
  entry.stored_length = record.header.stored_length;
  entry.raw_length = record.header.raw_length;
  entry.value_checksum = record.header.value_checksum;
  // What does not verify stays out of the entry: reads then find the damage where it is.
  entry.has_small = record.value_ok && entry.codec == format::Codec::kNone &&
                    entry.type != format::RecordType::kErase && record.stored.size() <= format::kMaxInlineValue;
  if (entry.has_small) entry.small = record.stored;
  return entry;
}

uint64_t footer_place(const log::SegmentScan& scan) {
  uint64_t end = scan.end;
  if (!scan.records.empty()) {
    const log::ScannedRecord& last = scan.records.back();
    // A record whose end the file lost is listed as damaged; its place is not given to the footer.
    end = std::max(end, last.offset + format::record_size(last.header.key_length, last.header.stored_length));
  }
  return (end + format::kCommitAlignment - 1) / format::kCommitAlignment * format::kCommitAlignment;
}

std::shared_ptr<index::Memtable> index_records(const std::vector<log::ScannedRecord>& records, SegmentId id) {
  auto memtable = std::make_shared<index::Memtable>();
  for (const log::ScannedRecord& record : records) memtable->insert(record.key, entry_of(record, id));
  return memtable;
}

Result<Bytes> build_footer(const index::Memtable& memtable, format::TableTrailer& trailer) {
  CHECK(trailer.entries == 0 && trailer.record_bytes == 0);
  index::TableBuilder builder(trailer);
  auto entries = memtable.iterate();
  TRY(entries->seek({}));
  while (entries->valid()) {
    builder.add(entries->key(), entries->entry());
    trailer.record_bytes += format::record_size(entries->key().size(), entries->entry().stored_length);
    ++trailer.entries;
    TRY(entries->next());
  }
  return builder.finish();
}

Result<Recovered> recover(const RecoverContext& context) {
  State s{.context = context,
          .out = {},
          .segments = {},
          .levels = {},
          .logs = {},
          .extents = {},
          .last_mark = {},
          .last_log = {},
          .highest_id = {}};
  s.out.version = std::make_shared<Version>();
  // In this order: the manifest says which files to expect, the chain which others count, and only with all levels
  // known an extent's record can be found.
  TRY(load_named(s));
  TRY(list_unnamed(s));
  TRY(load_runs(s));
  TRY(follow_log(s));
  TRY(load_footers(s));
  TRY(adopt_extents(s));

  index::Manifest& m = s.out.manifest;
  // Numbers that only a file told of which goes now.
  s.out.changed = s.out.changed || s.next_number > std::max(m.next_ino, kFirstNumber);
  CHECK(s.next_seq >= m.next_seq && s.highest_id >= s.last_log);
  m.last_log = s.last_log;
  m.last_mark = s.last_mark.number;
  m.last_mark_offset = s.last_mark.offset;
  m.last_mark_checksum = s.last_mark.checksum;
  m.next_seq = s.next_seq;
  m.next_ino = s.next_number;
  m.next_segment = s.highest_id.next();
  DCHECK(std::all_of(s.levels.begin(), s.levels.end(), [](const LogLevel& l) { return l.footer || l.memtable; }));
  s.out.start = {s.next_seq, s.last_mark, s.last_log, s.next_number};
  s.out.version->segments = std::make_shared<SegmentSet>(std::move(s.segments));
  s.out.version->log.assign(std::make_move_iterator(s.levels.rbegin()), std::make_move_iterator(s.levels.rend()));
  return std::move(s.out);
}

}  // namespace cairn::store
