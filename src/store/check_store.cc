// Passes 1 and 2: every header, footer, trailer and record. Pass 3 is check_index.cc.
#include "store/check_store.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "base/log.h"
#include "base/try.h"
#include "format/decode.h"
#include "index/manifest.h"
#include "index/table.h"
#include "log/scan.h"
#include "store/check_index.h"
#include "store/layout.h"

namespace cairn::store {
namespace {

std::string segment_path(const std::string& name) { return std::string(format::kSegmentsDir) + "/" + name; }

// What the passes share. It never stops at damage: a finding is noted, and what can still be looked at is.
struct Checker {
  io::Env& env;
  io::Directory& directory;
  const std::string& path;
  const FsckOptions& options;
  StoreCheck out{};
  std::shared_ptr<const SegmentFiles> files{};
  format::Superblock superblock{};
  std::optional<index::Manifest> manifest{};
  std::map<SegmentId, format::SegmentHeader> headers{};              // of the segment files whose header is good
  std::vector<std::pair<std::string, log::Damage>> maybe_punched{};  // file name, and what does not verify in it

  // Segments of which nothing can be read, and the findings that say so.
  std::vector<std::pair<SegmentId, size_t>> lost{};

  // The newest finding is about all of this segment.
  void note_lost(SegmentId id) { lost.emplace_back(id, out.report.findings.size() - 1); }
  FsckFinding& find(int pass, std::string file, std::string structure, uint64_t offset, std::string message) {
    FsckFinding f;
    f.pass = pass;
    f.file = std::move(file);
    f.structure = std::move(structure);
    f.offset = offset;
    f.message = escaped(message);
    out.report.findings.push_back(std::move(f));
    return out.report.findings.back();
  }
  void progress(const std::string& line) const {
    if (options.progress) options.progress(line);
  }
};

// ---- Pass 1 ----

// A damaged superblock has copies in the segment headers: they tell what the store is, and that it is one.
Result<void> check_superblock(Checker& c) {
  auto superblock = read_superblock(c.directory, c.path);
  if (superblock) {
    c.superblock = *superblock;
    return {};
  }
  // No store, or a newer one, or a disk that cannot be read: nothing below would mean anything.
  if (superblock.error().code != ErrorCode::kCorrupt) return fail(superblock.error());
  FsckFinding& finding = c.find(1, format::kSuperblockFile, "superblock", 0, superblock.error().message);
  auto copy = superblock_from_segments(*c.files);
  if (!copy && copy.error().code != ErrorCode::kCorrupt) return fail(std::move(copy).error());
  finding.rebuildable = copy.has_value();
  if (copy) c.superblock = *copy;
  return {};
}

Result<void> check_manifest(Checker& c) {
  auto manifest = index::read_manifest(c.directory, c.superblock.uuid);
  if (manifest) {
    c.manifest = std::move(*manifest);
    return {};
  }
  const Error& e = manifest.error();
  if (e.code == ErrorCode::kIo || e.code == ErrorCode::kOutOfMemory) return fail(e);
  // What version the store has is for the superblock to say: one that only the manifest has is damage.
  const auto what = e.code == ErrorCode::kNotFound ? std::string("missing") : e.message;
  c.find(1, index::kManifestFile, "manifest", 0, what).rebuildable = true;
  return {};
}

Result<void> check_headers(Checker& c) {
  TRY_ASSIGN(const auto names, c.files->directory->list());
  for (const std::string& name : names) {
    if (format::parse_new_segment_file_name(name)) continue;  // its creation was cut short; the next mount removes it
    const auto id = format::parse_segment_file_name(name);
    if (!id) {
      c.find(1, segment_path(name), "file", 0, "does not belong here (no segment's name)");
      continue;
    }
    auto file = c.files->directory->open(name, {});
    if (!file) {
      c.find(1, segment_path(name), "file", 0, file.error().message);
      continue;
    }
    TRY_ASSIGN(const auto stat, (*file)->stat());
    c.out.report.stored_bytes += stat.allocated;
    auto header = log::read_segment_header(**file, name, *id, &c.superblock.uuid);
    if (!header) {
      c.find(1, segment_path(name), "segment header", 0, header.error().message);
      c.note_lost(*id);
    } else {
      c.headers.emplace(*id, *header);
    }
  }
  // Only the manifest knows which files must be there. Newer ones are found by the chain, in pass 3.
  if (!c.manifest) return {};
  for (const index::ManifestSegment& s : c.manifest->segments) {
    const auto name = format::segment_file_name(s.id);
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    c.find(1, segment_path(name), "segment", 0,
           fmt::format("missing; it holds sequence numbers {} to {}", s.range.first.value, s.range.last.value));
    c.note_lost(s.id);
  }
  return {};
}

// Every block of a table. What is damaged is a finding, and no error.
Result<void> verify_table(Checker& c, const std::string& file, const char* structure, const index::Table& table) {
  auto verified =
      table.verify([&](const std::string& what) { c.find(1, file, structure, 0, what).rebuildable = true; });
  if (!verified && verified.error().code != ErrorCode::kCorrupt) return verified;
  return {};
}

Result<void> check_table_files(Checker& c) {
  if (!c.manifest) return {};
  auto directory = c.directory.open_dir(index::kIndexDir);
  if (!directory) {
    c.find(1, index::kIndexDir, "directory", 0, directory.error().message).rebuildable = true;
    return {};
  }
  const std::shared_ptr<io::Directory> dir = std::move(*directory);
  for (const auto& run : c.manifest->runs) {
    for (const auto& meta : run.tables) {
      ++c.out.report.tables;
      const auto name = index::table_file_name(meta.id);
      index::Table::Identity identity;
      identity.id = meta.id.value;
      identity.name = std::string(index::kIndexDir) + "/" + name;
      // Stray table files are no finding: the next mount removes them.
      auto open = [&] { return c.files->files->open(*dir, name, {}); };
      auto table = index::Table::open(open, identity, c.files->blocks);
      if (!table) {
        c.find(1, identity.name, "table trailer", meta.file_size, table.error().message).rebuildable = true;
        continue;
      }
      c.out.report.stored_bytes += (meta.file_size + 4095) / 4096 * 4096;
      TRY(verify_table(c, identity.name, "table", **table));
    }
  }
  return {};
}

// ---- Pass 2 ----

const index::ManifestSegment* named(const Checker& c, SegmentId id) {
  if (!c.manifest) return nullptr;
  const auto& all = c.manifest->segments;
  const auto it = std::find_if(all.begin(), all.end(), [&](const auto& s) { return s.id == id; });
  return it == all.end() ? nullptr : &*it;
}

void report_damage(Checker& c, const std::string& name, const log::Damage& d) {
  c.find(2, segment_path(name), d.what.find("mark") != std::string::npos ? "commit mark" : "record", d.offset,
         fmt::format("{}, {} bytes", d.what, d.length));
  if (!d.key.empty()) c.out.damaged_keys.push_back({c.out.report.findings.size() - 1, d.key});
}

// A value in a cache of which at least one whole block reads as zeros: perhaps it is dead, and was punched (design §4.5).
bool may_be_punched(const Checker& c, const index::ManifestSegment* meta, const log::SegmentScan& scan,
                    const log::Damage& d) {
  if (c.superblock.mode != Mode::kCache || !meta || !meta->covered || d.key.empty() || !d.what.starts_with("value"))
    return false;
  CHECK(scan.image != nullptr);
  // Whole blocks only, as punch_step() punches them.
  const uint64_t end = std::min<uint64_t>(d.offset + d.length, scan.image->size());
  for (uint64_t at = (d.offset + io::kBlockSize - 1) / io::kBlockSize * io::kBlockSize; at + io::kBlockSize <= end;
       at += io::kBlockSize)
    if (format::all_zero(ByteView(*scan.image).substr(at, io::kBlockSize))) return true;
  return false;
}

// What may be punched is damage all the same unless something newer has taken its place.
Result<void> settle_punched(Checker& c) {
  if (c.maybe_punched.empty()) return {};
  CHECK(c.superblock.mode == Mode::kCache);  // may_be_punched() says so of no other
  auto recovered = recover_for_check(c.directory, c.path, c.superblock, c.files);
  if (!recovered && recovered.error().code == ErrorCode::kIo) return fail(recovered.error());
  for (const auto& [name, damage] : c.maybe_punched) {
    bool dead = false;
    if (recovered) {
      // The same question as a reader would ask: is there something newer, or nothing at all?
      const auto newest = recovered->version->find(damage.key, kMaxSeq);
      dead = newest && (!*newest || (*newest)->entry.seq > damage.seq);
    }
    if (!dead) report_damage(c, name, damage);
  }
  return {};
}

// The footer must list exactly the records that the walk found.
Result<void> compare_footer(Checker& c, const std::string& name, const log::SegmentScan& scan,
                            const index::Table& footer) {
  std::map<std::pair<ByteView, SeqNo>, const log::ScannedRecord*> records;
  // A record is named by key and number: two copies of one would be one here, and a footer lists each once.
  for (const auto& r : scan.records) records[{r.key, r.header.seq}] = &r;
  auto entries = footer.iterate(false);
  TRY(entries->seek({}));
  // With damage the footer rightly lists records that the walk could not read.
  const bool whole = scan.damage.empty();
  while (entries->valid()) {
    const format::IndexEntry& e = entries->entry();
    const auto it = records.find({entries->key(), e.seq});
    if (it == records.end()) {
      if (whole)
        c.find(2, segment_path(name), "footer", 0, fmt::format("lists record seq={} that is not there", e.seq.value))
            .rebuildable = true;
    } else {
      const format::RecordHeader& h = it->second->header;
      if (e.offset != it->second->offset || e.value_checksum != h.value_checksum ||
          e.stored_length != h.stored_length || e.raw_length != h.raw_length || e.type != h.type)
        c.find(2, segment_path(name), "footer", it->second->offset,
               fmt::format("disagrees with record seq={}", e.seq.value))
            .rebuildable = true;
      records.erase(it);
    }
    TRY(entries->next());
  }
  for (const auto& [key, record] : records)
    c.find(2, segment_path(name), "footer", record->offset,
           fmt::format("does not list record seq={}", key.second.value))
        .rebuildable = true;
  return {};
}

Result<void> check_size(Checker& c, const std::string& name, const io::File& file, uint64_t size) {
  TRY_ASSIGN(const auto stat, file.stat());
  if (stat.size != size)
    c.find(2, segment_path(name), "segment", stat.size, fmt::format("has {} bytes instead of {}", stat.size, size));
  return {};
}

Result<void> check_segment(Checker& c, SegmentId id, const format::SegmentHeader& header) {
  const auto name = format::segment_file_name(id);
  TRY_ASSIGN(auto file, c.files->directory->open(name, {}));
  CHECK(!header.prepared);
  log::ScanOptions options;
  options.verify_values = c.options.scrub || named(c, id) == nullptr;  // unproven ones always: recovery does as well
  options.keep_damaged = true;
  options.drop_cache = false;
  std::shared_ptr<const index::Table> footer;
  const auto* meta = named(c, id);
  // A footer alone proves nothing (design §4.2): without the manifest's or a later header's word this is the open
  // segment, and a torn tail is no damage.
  const bool successor_proves = std::any_of(c.headers.begin(), c.headers.end(), [&](const auto& h) {
    return h.second.kind == format::SegmentKind::kLog && !h.second.prepared && h.second.proven_id >= id;
  });
  const bool sealed = header.kind != format::SegmentKind::kExtent && (meta || successor_proves);
  if (sealed) {
    index::ManifestSegment probe;
    probe.id = id;
    probe.salt = header.salt;
    auto opened = Segment(probe, c.files).footer();
    if (!opened) {
      c.find(1, segment_path(name), "footer", 0, opened.error().message).rebuildable = true;
      TRY_ASSIGN(const auto stat, file->stat());
      // The footer is lost, but the segment was sealed: everything in it must verify.
      options.durable_end = stat.size;
    } else {
      footer = *opened;
      options.sealed_end = footer->trailer().base;
      TRY(verify_table(c, segment_path(name), "footer", *footer));
    }
  }
  if (header.kind == format::SegmentKind::kExtent && meta) options.sealed_end = meta->file_size;
  if (meta) TRY(check_size(c, name, *file, meta->file_size));
  TRY_ASSIGN(const auto scan, log::scan_segment(*file, header, options));
  ++c.out.report.segments;
  c.out.report.records += scan.records.size();
  c.out.report.commits += scan.marks.size();
  if (options.verify_values)
    for (const auto& r : scan.records) c.out.report.verified_bytes += r.stored.size();
  for (const log::Damage& d : scan.damage) {
    // Without a footer nobody knows where the records end: what lies behind them is the footer that is reported already.
    if (sealed && !footer && d.offset >= scan.end) continue;
    if (may_be_punched(c, meta, scan, d)) {
      c.maybe_punched.emplace_back(name, d);
    } else {
      report_damage(c, name, d);
    }
  }
  if (!footer) return {};
  return compare_footer(c, name, scan, *footer);
}

Result<void> check_segments(Checker& c) {
  uint64_t done = 0;
  for (const auto& [id, header] : c.headers) {
    // Never used.
    if (header.prepared) continue;
    if (c.manifest &&
        std::find(c.manifest->retired.begin(), c.manifest->retired.end(), id) != c.manifest->retired.end())
      continue;
    // A compaction that was not installed is removed by the next mount; its records are all in its sources.
    if (header.kind == format::SegmentKind::kCompacted && c.manifest && !named(c, id)) continue;
    auto checked = check_segment(c, id, header);
    if (!checked && checked.error().code == ErrorCode::kOutOfMemory) return checked;
    // A segment that cannot be read is a finding, so that the others are still checked. Memory is not: nothing further
    // would fit either.
    if (!checked) c.find(2, segment_path(format::segment_file_name(id)), "segment", 0, checked.error().message);
    if (++done % 64 == 0) c.progress(fmt::format("  {} of {} segments", done, c.headers.size()));
  }
  return {};
}

// Whose content was in the segments that are lost: the index still knows.
Result<void> name_lost_keys(Checker& c) {
  if (c.lost.empty()) return {};
  TRY_ASSIGN(const auto recovered, recover_for_check(c.directory, c.path, c.superblock, c.files));
  for (const auto& [id, finding] : c.lost) {
    const index::ManifestSegment* segment = named(c, id);
    if (!segment || segment->range.empty()) continue;
    Bytes last_inode;
    // One key for each inode is enough: all chunks of a file are of the same path.
    TRY(find_lost_keys(*recovered.version, segment->range, [&, at = finding](ByteView key) {
      const ByteView inode = key.substr(0, 8);
      if (inode != last_inode) c.out.damaged_keys.push_back({at, Bytes(key)});
      last_inode = inode;
    }));
  }
  return {};
}

}  // namespace

std::string escaped(ByteView text) {
  std::string out;
  for (const char ch : text) {
    const auto byte = static_cast<unsigned char>(ch);
    // The backslash too, so that every text has one meaning.
    if (byte >= 0x20 && byte < 0x7f && byte != '\\') {
      out.push_back(ch);
    } else {
      out += fmt::format("\\x{:02x}", byte);
    }
  }
  return out;
}

Result<StoreCheck> check_store(io::Env& env, io::Directory& directory, const std::string& path,
                               const FsckOptions& options) {
  Checker c{.env = env, .directory = directory, .path = path, .options = options};
  TRY_ASSIGN(c.files, open_segment_files(directory, 32u << 20));
  c.progress("Pass 1: checking superblock, headers, footers and tables");
  TRY(check_superblock(c));
  c.out.report.uuid = format::uuid_text(c.superblock.uuid);
  c.out.report.mode = c.superblock.mode == Mode::kCache ? "cache" : "cas";
  TRY(check_manifest(c));
  TRY(check_headers(c));
  TRY(check_table_files(c));
  const bool top_good = c.out.report.findings.empty();
  c.progress(options.scrub ? "Pass 2: checking all records and their values" : "Pass 2: checking records");
  TRY(check_segments(c));
  TRY(settle_punched(c));
  // Passes 3 and 4 open the store as a mount would, which refuses to go on without these.
  c.out.can_open =
      c.manifest && std::none_of(c.out.report.findings.begin(), c.out.report.findings.end(), [](const auto& f) {
        return f.structure == "superblock" || f.structure == "manifest" || f.file.starts_with(index::kIndexDir);
      });
  if (!c.out.can_open) {
    c.progress("Pass 3: skipped, the index cannot be read");
    return std::move(c.out);
  }
  c.progress("Pass 3: checking the index against the segments");
  auto checked = check_index(directory, path, c.superblock, c.files,
                             [&](const std::string& what) { c.find(3, "", "index", 0, what).rebuildable = true; });
  // What passes 1 and 2 reported keeps the index from being read; alone, it is a finding of its own.
  if (!checked && (top_good || checked.error().code == ErrorCode::kIo))
    c.find(3, "", "index", 0, checked.error().message).rebuildable = true;
  c.out.index_read = checked.has_value();
  // What it cannot tell, it leaves out: the damage itself has been reported.
  if (auto named_keys = name_lost_keys(c); !named_keys && named_keys.error().code != ErrorCode::kCorrupt)
    return fail(std::move(named_keys).error());
  return std::move(c.out);
}

}  // namespace cairn::store
