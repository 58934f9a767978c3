// fsck --rebuild-index: manifest and tables from nothing but superblock and segments (design §4.4: what the liveness map does
// not call dead, and of that the newest).
//
// Order: nothing that exists is changed before its replacement is durable. Footers are written behind the records they
// list, tables under new ids, the manifest last and atomically. A crash at any point leaves a store that can be rebuilt
// again.
#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "format/decode.h"
#include "index/merge.h"
#include "log/scan.h"
#include "log/segment_reader.h"
#include "store/check_store.h"
#include "store/layout.h"
#include "store/recover.h"

namespace cairn::store {
namespace {

// A segment file whose header can be read.
struct Source {
  SegmentId id;
  std::string name;
  format::SegmentHeader header;
  index::ManifestSegment meta;
  log::MarkPlace last_mark;
  uint64_t next_ino = 0;
  std::shared_ptr<const Segment> segment;
};

// What the steps share. Memory: a few hundred bytes for each segment, and one segment while it is walked.
struct Rebuild {
  io::Env& env;
  io::Directory& directory;
  const std::string& path;
  std::shared_ptr<const SegmentFiles> files{};
  std::shared_ptr<io::Directory> index_directory{};
  format::Superblock superblock{};
  std::optional<index::Manifest> manifest{};  // the one that is replaced, if it can be read: it proves seals, no more
  std::vector<Source> sources{};              // log and compacted, by range
  std::vector<Source> extents{};
  std::vector<SegmentId> dropped{};   // retired, or replaced by a compaction that is complete
  std::vector<std::string> unused{};  // prepared files and torn compactions: nothing in them that is not elsewhere
  SegmentId highest_id{};
  uint64_t next_number = 1024;
};

// ---- What is there ----

// A superblock that is damaged is written again from the copies in the segments, if they agree.
Result<void> load_superblock(Rebuild& r) {
  auto superblock = read_superblock(r.directory, r.path);
  if (!superblock && superblock.error().code != ErrorCode::kCorrupt) return fail(std::move(superblock).error());
  if (superblock) {
    r.superblock = *superblock;
    return {};
  }
  auto copy = superblock_from_segments(*r.files);
  if (!copy) return fail(copy.error().code, superblock.error().message + "; and " + copy.error().message);
  r.superblock = *copy;
  TRY(write_superblock(r.directory, r.superblock));
  return r.directory.sync();
}

Result<void> list_sources(Rebuild& r) {
  TRY_ASSIGN(const auto names, r.files->directory->list());
  for (const std::string& name : names) {
    if (const auto torn = format::parse_new_segment_file_name(name)) {
      r.highest_id = std::max(r.highest_id, *torn);
      r.unused.push_back(name);
      continue;
    }
    const auto id = format::parse_segment_file_name(name);
    if (!id) continue;
    // Also of what cannot be read: ids start above everything that was ever seen.
    r.highest_id = std::max(r.highest_id, *id);
    TRY_ASSIGN(auto file, r.files->directory->open(name, {}));
    auto header = log::read_segment_header(*file, name, *id, &r.superblock.uuid);
    if (!header && header.error().code == ErrorCode::kIo) return fail(header.error());
    if (!header) continue;  // the check after the rebuild reports it, and the next mount sets it aside
    r.next_number = std::max(r.next_number, header->next_ino);
    if (header->prepared) {
      r.unused.push_back(name);
      continue;
    }
    Source s;
    s.id = *id;
    s.name = name;
    s.header = *header;
    (header->kind == format::SegmentKind::kExtent ? r.extents : r.sources).push_back(std::move(s));
  }
  return {};
}

// A compaction of which the footer is missing: if other segments own its numbers, it was never finished, and they have all of it.
bool replaces_others(const Rebuild& r, const Source& s) {
  return std::any_of(r.sources.begin(), r.sources.end(), [&](const Source& o) {
    return o.id != s.id && s.header.first_seq <= o.header.first_seq && o.header.first_seq <= s.header.last_seq;
  });
}

// The log segment that follows `s`, if its header can be read: it says where `s` ends.
const Source* successor(const Rebuild& r, const Source& s) {
  const auto it = std::find_if(r.sources.begin(), r.sources.end(), [&](const Source& o) {
    return o.header.kind == format::SegmentKind::kLog && o.header.previous_id == s.id;
  });
  return it == r.sources.end() ? nullptr : &*it;
}

void set_meta(Source& s, const format::TableTrailer& t, uint64_t file_size) {
  s.meta.id = s.id;
  s.meta.kind = s.header.kind;
  s.meta.salt = s.header.salt;
  s.meta.range = t.range;
  s.meta.file_size = file_size;
  s.meta.entries = t.entries;
  s.meta.record_bytes = t.record_bytes;
  s.meta.generation = s.header.generation;
  s.last_mark = {t.last_mark, t.last_mark_offset, t.last_mark_checksum};
  s.next_ino = t.next_ino;
}

// What the manifest says of a segment: it names one once that is sealed and synced. That is all that is believed of it;
// without it, damage in a log segment that has no successor any more would pass for a torn tail.
const index::ManifestSegment* sealed_as(const Rebuild& r, const Source& s) {
  if (!r.manifest) return nullptr;
  const auto& all = r.manifest->segments;
  const auto it = std::find_if(all.begin(), all.end(), [&](const index::ManifestSegment& m) {
    return m.id == s.id && m.salt == s.header.salt && m.kind == s.header.kind;
  });
  return it == all.end() ? nullptr : &*it;
}

// Whether the store went on behind `s`: when the header of any later segment was written, all log segments before it were sealed
// and synced. The successor itself may have been compacted since.
bool others_follow(const Rebuild& r, const Source& s) {
  return std::any_of(r.sources.begin(), r.sources.end(),
                     [&](const Source& o) { return o.header.first_seq > s.header.first_seq; });
}

// Uses the footer if every block of it is good. A log segment's footer says nothing about the bytes before it, so it has to be
// proven: its mark is the one that the successor names (design §4.2), or others follow it.
Result<bool> use_footer(Rebuild& r, Source& s) {
  index::ManifestSegment probe;
  probe.id = s.id;
  probe.salt = s.header.salt;
  auto footer = Segment(probe, r.files).footer();
  if (!footer && footer.error().code == ErrorCode::kIo) return fail(footer.error());
  if (!footer) return false;
  const format::TableTrailer& t = (*footer)->trailer();
  if (s.header.kind == format::SegmentKind::kLog) {
    const Source* next = successor(r, s);
    DCHECK(!next || next->header.kind == format::SegmentKind::kLog);
    const bool proven = next ? next->header.previous_mark_checksum == t.last_mark_checksum : others_follow(r, s);
    const auto* named = sealed_as(r, s);
    if (!proven && !(named && named->range == t.range && named->entries == t.entries)) return false;
  }
  auto verified = (*footer)->verify([](const std::string&) {});
  if (!verified && verified.error().code != ErrorCode::kCorrupt) return fail(verified.error());
  if (!verified) return false;
  TRY_ASSIGN(auto file, r.files->directory->open(s.name, {}));
  TRY_ASSIGN(const auto stat, file->stat());
  set_meta(s, t, stat.size);
  return true;
}

// All but the blocks that are zero in the file already, some of which may be holes: what was punched is not written again.
Result<void> write_blocks(io::File& file, ByteView image) {
  for (uint64_t at = 0; at < image.size(); at += io::kBlockSize) {
    const ByteView block = image.substr(at, io::kBlockSize);
    if (!format::all_zero(block)) TRY(file.pwrite(at, block));
  }
  return {};
}

// Walks the records and writes the footer again. False: nothing in it counts.
Result<bool> make_footer(Rebuild& r, Source& s) {
  TRY_ASSIGN(auto file, r.files->directory->open(s.name, {}));
  log::ScanOptions options;
  if (const Source* next = successor(r, s))
    options.durable_end = next->header.previous_mark_offset + format::kMarkRecordSize;
  const auto* named = sealed_as(r, s);
  if (named) {
    options.durable_end = named->file_size;
  } else if (options.durable_end == 0 && others_follow(r, s)) {
    TRY_ASSIGN(const auto stat, file->stat());
    options.durable_end = stat.size;  // else a value that was punched would pass for a torn tail
  }
  options.keep_damaged = true;  // a damaged value stays listed: reading it is an error, never an older version
  TRY_ASSIGN(const auto scan, log::scan_segment(*file, s.header, options));
  // Nothing in it was ever acknowledged, or nothing of it can be read: it is set aside, not deleted.
  if (scan.records.empty()) return false;
  format::TableTrailer t;
  t.kind = format::TableKind::kFooter;
  t.id = s.id.value;
  t.salt = s.header.salt;
  t.base = footer_place(scan);
  t.range = {s.header.first_seq, scan.records.back().header.seq};
  if (s.header.kind == format::SegmentKind::kCompacted) t.range.last = s.header.last_seq;
  if (named) t.range.last = named->range.last;  // numbers of records that are lost are not given out again
  if (!scan.marks.empty()) {
    const auto& last = scan.marks.back();
    t.last_mark = last.mark.number;
    t.last_mark_offset = last.offset;
    t.last_mark_checksum = last.checksum;
    t.next_ino = last.mark.next_ino;
  }
  const auto memtable = index_records(scan.records, s.id);
  TRY_ASSIGN(const Bytes footer, build_footer(*memtable, t));
  TRY_ASSIGN(auto out, r.files->directory->open(s.name, {io::OpenMode::kReadWrite, false}));
  // The old footer, or a torn tail, goes first: stale bytes must not lie between the records and the new footer.
  TRY(out->truncate(scan.end));
  TRY(out->truncate(t.base));                                          // zeros, where a record lost its end
  TRY(write_blocks(*out, ByteView(*scan.image).substr(0, scan.end)));  // padding that a crash left dirty is zero in it
  TRY(out->pwrite(t.base, footer));
  TRY(out->sync());
  TRY(out->close());
  r.files->files->forget(s.name);
  CHECK(scan.end <= t.base && !footer.empty());
  set_meta(s, t, t.base + footer.size());
  return true;
}

Result<void> load_sources(Rebuild& r) {
  std::vector<Source> good;
  for (Source& s : r.sources) {
    TRY_ASSIGN(bool usable, use_footer(r, s));
    // A compaction without a footer counts only if nobody else has its records.
    if (!usable && !(s.header.kind == format::SegmentKind::kCompacted && replaces_others(r, s))) {
      TRY_ASSIGN(usable, make_footer(r, s));
    }
    if (!usable) {
      r.unused.push_back(s.name);
      continue;
    }
    r.next_number = std::max(r.next_number, s.next_ino);
    s.segment = std::make_shared<const Segment>(s.meta, r.files);
    good.push_back(s);
  }
  r.sources = std::move(good);
  return {};
}

// ---- Who owns what ----

// The liveness map as the segments hold it: the newest version of each of its records, wherever.
struct FoundMap {
  LivenessHeader header;
  SeqNo header_seq;
  std::map<SegmentId, std::vector<std::pair<SeqNo, Bytes>>> bits;
};

Result<FoundMap> find_map(const Rebuild& r) {
  FoundMap out;
  for (const Source& s : r.sources) {
    TRY_ASSIGN(auto footer, s.segment->footer());
    auto entries = footer->iterate(false);
    for (const Bytes& prefix : {liveness_header_key(), liveness_prefix(0), liveness_prefix(1)}) {
      TRY(entries->seek(prefix));
      while (entries->valid() && entries->key().starts_with(prefix)) {
        const format::IndexEntry& entry = entries->entry();
        if (entry.type == format::RecordType::kPut) {
          auto stored = s.segment->read(entries->key(), entry);
          if (!stored && stored.error().code == ErrorCode::kIo) return fail(stored.error());
          // The other copy, or an older version, stands in for one that is damaged.
          if (stored) stored = log::decode_value(entry, *stored);
          if (stored) {
            if (const auto id = parse_liveness_key(entries->key())) {
              out.bits[*id].emplace_back(entry.seq, Bytes(stored->view()));
            } else if (auto header = decode_liveness_header(stored->view()); header && entry.seq > out.header_seq) {
              out.header = *header;
              out.header_seq = entry.seq;
            }
          }
        }
        TRY(entries->next());
      }
    }
  }
  return out;
}

// Drops what the map calls retired, and what a finished compaction replaced: its range lies inside that of a later generation.
void settle_ownership(Rebuild& r, const FoundMap& map) {
  const auto& retired = map.header.retired;
  std::vector<Source> kept;
  // Later generations first: where ranges overlap the compaction stays and its sources go. Two logs never overlap.
  std::stable_sort(r.sources.begin(), r.sources.end(),
                   [](const Source& a, const Source& b) { return a.meta.generation > b.meta.generation; });
  for (Source& s : r.sources) {
    const bool replaced = std::find(retired.begin(), retired.end(), s.id) != retired.end() ||
                          std::any_of(kept.begin(), kept.end(), [&](const Source& k) {
                            return k.meta.range.first <= s.meta.range.last && s.meta.range.first <= k.meta.range.last;
                          });
    if (replaced) {
      // Retired again: its file may be there until the next open unlinks it, and must not be taken for one that is
      // missing.
      r.dropped.push_back(s.id);
    } else {
      kept.push_back(std::move(s));
    }
  }
  std::sort(kept.begin(), kept.end(),
            [](const Source& a, const Source& b) { return a.meta.range.first < b.meta.range.first; });
  r.sources = std::move(kept);
}

// ---- The index ----

// What is not dead. Mapped segments only: of what is younger than the map the store itself finds out at the next open what it
// replaced, so those stay levels of their own.
class LiveEntries final : public index::Iterator {
 public:
  LiveEntries(std::shared_ptr<const index::Table> footer, std::shared_ptr<const Segment> segment,
              const Liveness& liveness)
      : footer_(std::move(footer)),
        segment_(std::move(segment)),
        liveness_(liveness),
        inner_(footer_->iterate(false)) {}
  Result<void> seek(ByteView target, SeqNo max_seq) override {
    TRY(inner_->seek(target, max_seq));
    return skip();
  }
  Result<void> next() override {
    TRY(inner_->next());
    return skip();
  }
  [[nodiscard]] bool valid() const override { return inner_->valid(); }
  [[nodiscard]] ByteView key() const override { return inner_->key(); }
  [[nodiscard]] const format::IndexEntry& entry() const override { return inner_->entry(); }

 private:
  Result<void> skip() {
    while (inner_->valid()) {
      // kNotFound cannot be: the footer that lists the entry is what ordinals are found by.
      TRY_ASSIGN(const uint64_t ordinal, ordinals_.of(*segment_, inner_->entry().seq));
      if (!liveness_.is_dead(segment_->id(), ordinal)) break;
      TRY(inner_->next());
    }
    return {};
  }
  std::shared_ptr<const index::Table> footer_;
  std::shared_ptr<const Segment> segment_;
  const Liveness& liveness_;
  Ordinals ordinals_;
  std::unique_ptr<index::Iterator> inner_;
};

// Of compactions too: where the newest map is damaged, an older one may not reach what was compacted after it, and a run is
// older than any level.
bool belongs_in_run(const Source& s, const FoundMap& map) { return s.meta.range.last <= map.header.through; }

Result<index::ManifestRun> write_tables(Rebuild& r, const FoundMap& map, uint64_t& next_table) {
  Liveness liveness;
  std::vector<std::unique_ptr<index::Iterator>> inputs;
  for (const Source& s : r.sources) {
    if (!belongs_in_run(s, map)) continue;
    if (const auto it = map.bits.find(s.id); it != map.bits.end())
      for (const auto& [seq, value] : it->second) {
        // Bits are only ever added: every version that fits the segment counts, and one that does not belongs to nothing here.
        if (auto loaded = liveness.load(s.id, s.meta.entries, value);
            !loaded && loaded.error().code != ErrorCode::kCorrupt)
          return fail(loaded.error());
      }
    TRY_ASSIGN(auto footer, s.segment->footer());
    inputs.push_back(std::make_unique<LiveEntries>(std::move(footer), s.segment, liveness));
  }
  auto merged = index::merge_iterators(std::move(inputs));
  index::MergeOptions options;
  // One run holds all there is, so no erase has anything to hide.
  options.bottom = true;
  options.max_step_bytes = UINT64_MAX;
  options.next_id = [&] { return TableId(next_table++); };
  options.create = [&](TableId id, uint64_t /*size*/) {
    return r.index_directory->open(index::table_file_name(id), {io::OpenMode::kCreate, false});
  };
  options.random = [&] { return r.env.random(); };
  TRY_ASSIGN(auto output, index::merge_step(*merged, {}, options));
  TRY(r.index_directory->sync());
  return index::ManifestRun{std::move(output.tables)};
}

Result<void> open_index_directory(Rebuild& r, uint64_t& next_table) {
  auto opened = r.directory.open_dir(index::kIndexDir);
  if (!opened && opened.error().code == ErrorCode::kNotFound) {
    TRY(r.directory.make_dir(index::kIndexDir));
    TRY(r.directory.sync());
    opened = r.directory.open_dir(index::kIndexDir);
  }
  if (!opened) return fail(opened.error());
  r.index_directory = std::move(*opened);
  TRY_ASSIGN(const auto names, r.index_directory->list());
  for (const std::string& name : names)
    // Old tables stay until the new manifest is durable; theirs are other names.
    if (const auto id = index::parse_table_file_name(name)) next_table = std::max(next_table, id->value + 1);
  return {};
}

// Extents that are named by a record. The others stay out of the manifest, and the next open removes them.
Result<void> add_extents(const Rebuild& r, index::Manifest& manifest) {
  std::set<SegmentId> named;
  for (const Source& s : r.sources) {
    if (r.extents.empty()) break;
    TRY_ASSIGN(auto footer, s.segment->footer());
    auto entries = footer->iterate(false);
    TRY(entries->seek({}));
    while (entries->valid()) {
      if (entries->entry().type == format::RecordType::kExtent && entries->entry().has_small)
        if (auto pointer = format::decode_extent_pointer(entries->entry().small)) named.insert(pointer->segment);
      TRY(entries->next());
    }
  }
  for (const Source& e : r.extents) {
    if (!named.contains(e.id)) continue;
    index::ManifestSegment meta;
    meta.id = e.id;
    meta.kind = e.header.kind;
    meta.salt = e.header.salt;
    TRY_ASSIGN(auto file, r.files->directory->open(e.name, {}));
    TRY_ASSIGN(const auto stat, file->stat());
    meta.file_size = stat.size;
    manifest.segments.push_back(meta);
  }
  return {};
}

// Table files of before, which nothing names any more, go with the next open; files of no use are set aside, not deleted.
Result<void> set_aside(Rebuild& r) {
  if (r.unused.empty()) return {};
  if (auto made = r.directory.make_dir(kQuarantineDir); !made && made.error().code != ErrorCode::kExists) return made;
  TRY_ASSIGN(auto quarantine, r.directory.open_dir(kQuarantineDir));
  for (const std::string& name : r.unused) TRY(r.files->directory->rename_into(name, *quarantine, name));
  TRY(quarantine->sync());
  TRY(r.files->directory->sync());
  return r.directory.sync();
}

index::Manifest make_manifest(const Rebuild& r, const FoundMap& map, index::ManifestRun run, uint64_t next_table) {
  index::Manifest m;
  m.number = 1;
  m.next_segment = r.highest_id.next();
  m.next_table = TableId(next_table);
  CHECK(next_table != 0);
  m.next_ino = r.next_number;
  for (const Source& s : r.sources) {
    m.segments.push_back(s.meta);
    m.segments.back().covered = belongs_in_run(s, map);
    m.next_seq = std::max(m.next_seq, s.meta.range.last.next());
    if (s.header.kind != format::SegmentKind::kLog || s.id < m.last_log) continue;
    m.last_log = s.id;
    m.last_mark = s.last_mark.number;
    m.last_mark_offset = s.last_mark.offset;
    m.last_mark_checksum = s.last_mark.checksum;
  }
  if (!run.tables.empty()) m.runs.push_back(std::move(run));
  m.retired = r.dropped;
  return m;
}

}  // namespace

Result<void> rebuild_index(io::Env& env, io::Directory& directory, const std::string& path) {
  Rebuild r{.env = env, .directory = directory, .path = path};
  TRY_ASSIGN(r.files, open_segment_files(directory, 32u << 20));
  TRY(load_superblock(r));
  if (auto manifest = index::read_manifest(directory, r.superblock.uuid)) r.manifest = std::move(*manifest);
  uint64_t next_table = 1;
  TRY(open_index_directory(r, next_table));
  TRY(list_sources(r));
  TRY(load_sources(r));
  // Sources first, as the map lies in them; then who of them counts, by the map; then the index of those.
  TRY_ASSIGN(const auto map, find_map(r));
  settle_ownership(r, map);
  TRY_ASSIGN(auto run, write_tables(r, map, next_table));
  auto manifest = make_manifest(r, map, std::move(run), next_table);
  TRY(add_extents(r, manifest));
  TRY(index::write_manifest(directory, manifest, r.superblock.uuid));
  // Last: until the manifest is durable nothing is moved that an older one may need.
  return set_aside(r);
}

}  // namespace cairn::store
