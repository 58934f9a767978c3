#include "index/manifest.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "format/checksum.h"
#include "format/decode.h"
#include "format/le.h"
#include "format/varint.h"
#include "io/os_error.h"

namespace cairn::index {
namespace {

using format::bytes_of;
using format::Le16;
using format::Le32;
using format::Le64;
using format::SegmentKind;

constexpr uint64_t kManifestMagic = 0x31'4e'41'4d'4e'52'49'43;  // "CIRNMAN1"
// Until it is renamed it means nothing; open and the next write remove it.
constexpr char kNewManifestFile[] = "manifest.new";
// 4 million segments: more than a store of 128 TiB has. What claims to be larger is not read into memory.
constexpr uint64_t kMaxManifestSize = 256 << 20;  // bytes

// FORMAT.md, "Manifest": this header, segments, runs, retired ids, checksum.
struct ManifestHeaderDisk {
  Le64 magic;                          //   0
  Le32 version;                        //   8  kFormatVersion
  Le32 zero;                           //  12
  Le64 size;                           //  16  bytes of the whole file
  std::array<unsigned char, 16> uuid;  //  24  the store's
  Le64 number;                         //  40
  Le64 next_segment;                   //  48
  Le64 next_table;                     //  56
  Le64 next_seq;                       //  64
  Le64 next_ino;                       //  72
  Le64 last_log;                       //  80
  Le64 last_mark;                      //  88
  Le64 last_mark_offset;               //  96
  Le64 last_mark_checksum;             // 104
  Le64 segments;                       // 112  how many follow
  Le64 runs;                           // 120  likewise
  Le64 retired;                        // 128  likewise
};
static_assert(sizeof(ManifestHeaderDisk) == 136 && alignof(ManifestHeaderDisk) == 1);
static_assert(offsetof(ManifestHeaderDisk, size) == 16 && offsetof(ManifestHeaderDisk, uuid) == 24);
static_assert(offsetof(ManifestHeaderDisk, number) == 40 && offsetof(ManifestHeaderDisk, last_mark_checksum) == 104);
static_assert(offsetof(ManifestHeaderDisk, segments) == 112 && offsetof(ManifestHeaderDisk, retired) == 128);

struct ManifestSegmentDisk {
  Le64 id;            //  0
  uint8_t kind;       //  8  SegmentKind
  uint8_t covered;    //  9  0 or 1
  Le16 zero;          // 10
  Le32 generation;    // 12
  Le64 first_seq;     // 16
  Le64 last_seq;      // 24
  Le64 salt;          // 32
  Le64 file_size;     // 40
  Le64 entries;       // 48
  Le64 record_bytes;  // 56
};
static_assert(sizeof(ManifestSegmentDisk) == 64 && alignof(ManifestSegmentDisk) == 1);
static_assert(offsetof(ManifestSegmentDisk, kind) == 8 && offsetof(ManifestSegmentDisk, record_bytes) == 56);

// Followed by the three keys.
struct ManifestTableDisk {
  Le64 id;                //  0
  Le64 file_size;         //  8
  Le64 entries;           // 16
  Le16 first_key_length;  // 24
  Le16 last_key_length;   // 26
  Le16 clip_length;       // 28
  Le16 zero;              // 30
};
static_assert(sizeof(ManifestTableDisk) == 32 && alignof(ManifestTableDisk) == 1);
static_assert(offsetof(ManifestTableDisk, first_key_length) == 24);
static_assert(format::kMaxKeyLength <= UINT16_MAX, "the lengths of a table's keys");

// --- the rules, held before writing and after reading ----------------------------------------------------------------

// Each sequence number has one owner (design §10, 3): with the ranges in order that is one comparison a segment.
// Extents own none, so they come last, by id.
const char* broken_rule(const Manifest& manifest, const ManifestSegment& segment, const ManifestSegment* previous) {
  const bool extent = segment.kind == SegmentKind::kExtent;
  if (segment.kind < SegmentKind::kLog || segment.kind > SegmentKind::kExtent) return "unknown kind of segment";
  if (segment.id == SegmentId{} || segment.id >= manifest.next_segment) return "segment id out of range";
  if (extent != segment.range.empty()) return "segment whose range does not suit its kind";
  if (segment.range.first == SeqNo{} || segment.range.last >= manifest.next_seq) return "sequence number out of range";
  if (previous == nullptr) return nullptr;
  const bool after_extent = previous->kind == SegmentKind::kExtent;
  if (extent) return after_extent && segment.id <= previous->id ? "extents out of order" : nullptr;
  return after_extent || segment.range.first <= previous->range.last ? "segments out of order" : nullptr;
}

// Tables of a run are found by binary search over last_key: hence disjoint and ascending. A table that is clipped away
// altogether would be found and hold nothing.
const char* broken_rule(const Manifest& manifest, const ManifestTable& table, const ManifestTable* previous) {
  if (table.id == TableId{} || table.id >= manifest.next_table) return "table id out of range";
  const size_t longest = std::max({table.first_key.size(), table.last_key.size(), table.clip.size()});
  if (longest > format::kMaxKeyLength) return "key too long";
  if (table.last_key < table.first_key) return "table whose last key is before its first";
  if (table.last_key < table.clip) return "table that is clipped away";
  return previous != nullptr && table.first_key <= previous->last_key ? "tables of a run out of order" : nullptr;
}

const char* broken_segment_rule(const Manifest& manifest) {
  // An id that is named and retired at once would be read by one and unlinked by another.
  std::unordered_set<SegmentId> ids;
  const ManifestSegment* previous = nullptr;
  for (const ManifestSegment& segment : manifest.segments) {
    if (const char* rule = broken_rule(manifest, segment, previous)) return rule;
    if (!ids.insert(segment.id).second) return "a segment id twice";
    previous = &segment;
  }
  for (const SegmentId id : manifest.retired) {
    if (id == SegmentId{} || id >= manifest.next_segment) return "segment id out of range";
    if (!ids.insert(id).second) return "a segment id twice";
  }
  return nullptr;
}

const char* broken_rule(const Manifest& manifest) {
  if (manifest.next_seq == SeqNo{}) return "sequence number out of range";
  // Counters stand above everything that is named: a number that is given out twice is a file that is overwritten.
  if (manifest.last_log != SegmentId{} && manifest.last_log >= manifest.next_segment) return "segment id out of range";
  if (const char* rule = broken_segment_rule(manifest)) return rule;
  std::unordered_set<TableId> ids;
  for (const ManifestRun& run : manifest.runs) {
    if (run.tables.empty()) return "run without a table";
    const ManifestTable* previous = nullptr;
    for (const ManifestTable& table : run.tables) {
      if (const char* rule = broken_rule(manifest, table, previous)) return rule;
      if (!ids.insert(table.id).second) return "a table id twice";
      previous = &table;
    }
  }
  return nullptr;
}

// --- encoding --------------------------------------------------------------------------------------------------------

ManifestHeaderDisk encode_header(const Manifest& manifest, const std::array<unsigned char, 16>& uuid) {
  ManifestHeaderDisk disk{};
  disk.magic = kManifestMagic;
  disk.version = format::kFormatVersion;
  disk.uuid = uuid;
  disk.number = manifest.number;
  disk.next_segment = manifest.next_segment.value;
  disk.next_table = manifest.next_table.value;
  disk.next_seq = manifest.next_seq.value;
  disk.next_ino = manifest.next_ino;
  disk.last_log = manifest.last_log.value;
  disk.last_mark = manifest.last_mark.value;
  disk.last_mark_offset = manifest.last_mark_offset;
  disk.last_mark_checksum = manifest.last_mark_checksum;
  disk.segments = manifest.segments.size();
  disk.runs = manifest.runs.size();
  disk.retired = manifest.retired.size();
  return disk;
}

ManifestSegmentDisk encode_segment(const ManifestSegment& segment) {
  ManifestSegmentDisk disk{};
  disk.id = segment.id.value;
  disk.kind = static_cast<uint8_t>(segment.kind);
  disk.covered = segment.covered ? 1 : 0;
  disk.generation = segment.generation;
  disk.first_seq = segment.range.first.value;
  disk.last_seq = segment.range.last.value;
  disk.salt = segment.salt;
  disk.file_size = segment.file_size;
  disk.entries = segment.entries;
  disk.record_bytes = segment.record_bytes;
  return disk;
}

void encode_table(const ManifestTable& table, Bytes& out) {
  ManifestTableDisk disk{};
  disk.id = table.id.value;
  disk.file_size = table.file_size;
  disk.entries = table.entries;
  // broken_rule() has bounded them.
  disk.first_key_length = static_cast<uint16_t>(table.first_key.size());
  disk.last_key_length = static_cast<uint16_t>(table.last_key.size());
  disk.clip_length = static_cast<uint16_t>(table.clip.size());
  out.append(bytes_of(disk)).append(table.first_key).append(table.last_key).append(table.clip);
}

// --- decoding --------------------------------------------------------------------------------------------------------

tl::unexpected<Error> bad(const char* what) { return fail(ErrorCode::kCorrupt, fmt::format("manifest: {}", what)); }

Result<ManifestSegment> decode_segment(format::Reader& reader) {
  const auto bytes = reader.take(sizeof(ManifestSegmentDisk));
  if (!bytes) return bad("cut short");
  const auto disk = format::load<ManifestSegmentDisk>(*bytes);
  if (disk.covered > 1 || disk.zero != 0) return bad("unused bytes are not zero");
  ManifestSegment segment;
  segment.id = SegmentId(disk.id);
  segment.kind = static_cast<SegmentKind>(disk.kind);
  segment.covered = disk.covered == 1;
  segment.range = {SeqNo(disk.first_seq), SeqNo(disk.last_seq)};
  segment.salt = disk.salt;
  segment.file_size = disk.file_size;
  segment.entries = disk.entries;
  segment.record_bytes = disk.record_bytes;
  segment.generation = disk.generation;
  return segment;
}

Result<ManifestTable> decode_table(format::Reader& reader) {
  const auto bytes = reader.take(sizeof(ManifestTableDisk));
  if (!bytes) return bad("cut short");
  const auto disk = format::load<ManifestTableDisk>(*bytes);
  // After a failure the reader gives nothing any more, so asking for the last one is enough.
  const auto first_key = reader.take(disk.first_key_length);
  const auto last_key = reader.take(disk.last_key_length);
  const auto clip = reader.take(disk.clip_length);
  if (!clip) return bad("cut short");
  if (disk.zero != 0) return bad("unused bytes are not zero");
  ManifestTable table;
  table.id = TableId(disk.id);
  table.file_size = disk.file_size;
  table.entries = disk.entries;
  table.first_key = *first_key;
  table.last_key = *last_key;
  table.clip = *clip;
  return table;
}

Result<ManifestRun> decode_run(format::Reader& reader) {
  const auto tables = reader.u32();
  if (!tables) return bad("cut short");
  ManifestRun run;
  // Not reserved by the stored count: each table takes bytes that are really there, and the first that does not ends
  // the loop.
  for (uint32_t i = 0; i < *tables; ++i) {
    TRY_ASSIGN(ManifestTable table, decode_table(reader));
    run.tables.push_back(std::move(table));
  }
  return run;
}

Manifest decode_counters(const ManifestHeaderDisk& disk) {
  Manifest manifest;
  manifest.number = disk.number;
  manifest.next_segment = SegmentId(disk.next_segment);
  manifest.next_table = TableId(disk.next_table);
  manifest.next_seq = SeqNo(disk.next_seq);
  manifest.next_ino = disk.next_ino;
  manifest.last_log = SegmentId(disk.last_log);
  manifest.last_mark = CommitNo(disk.last_mark);
  manifest.last_mark_offset = disk.last_mark_offset;
  manifest.last_mark_checksum = disk.last_mark_checksum;
  return manifest;
}

// The lists behind the header. Nothing is allocated by a stored count: each element takes bytes that are really there.
Result<Manifest> decode_lists(const ManifestHeaderDisk& header, ByteView lists) {
  Manifest manifest = decode_counters(header);
  format::Reader reader(lists);
  for (uint64_t i = 0; i < header.segments; ++i) {
    TRY_ASSIGN(const ManifestSegment segment, decode_segment(reader));
    manifest.segments.push_back(segment);
  }
  for (uint64_t i = 0; i < header.runs; ++i) {
    TRY_ASSIGN(ManifestRun run, decode_run(reader));
    manifest.runs.push_back(std::move(run));
  }
  for (uint64_t i = 0; i < header.retired; ++i) {
    const auto id = reader.u64();
    if (!id) return bad("cut short");
    manifest.retired.emplace_back(*id);
  }
  if (reader.remaining() != 0) return bad("bytes behind the end");
  return manifest;
}

// Writes all of `bytes` to `manifest.new` and makes that durable.
Result<void> write_new_file(io::Directory& store, ByteView bytes) {
  // A crash, or a full disk, may have left one. It is made anew rather than cut: it may have blocks that cannot be
  // written.
  if (auto left_over = store.unlink(kNewManifestFile); !left_over && left_over.error().code != ErrorCode::kNotFound) {
    return left_over;
  }
  io::OpenOptions options;
  options.mode = io::OpenMode::kCreate;
  auto created = store.open(kNewManifestFile, options);
  if (!created) return fail(io::own_file_error(std::move(created).error()));
  const std::unique_ptr<io::File> file = std::move(*created);
  TRY(file->pwrite(0, bytes));
  TRY(file->sync());
  return file->close();
}

// On a full disk: a file of the reserve already has its blocks.
Result<void> write_spare_file(const SpareFile& spare, ByteView bytes) {
  TRY_ASSIGN(const auto file, spare(kNewManifestFile, bytes.size()));
  TRY(file->pwrite(0, bytes));
  TRY(file->sync());
  return file->close();
}

}  // namespace

Bytes encode_manifest(const Manifest& manifest, const std::array<unsigned char, 16>& uuid) {
  // In memory it may be anything while it is edited; on its way to the disk it is held to the rules of reading.
  CHECK(broken_rule(manifest) == nullptr);
  Bytes lists;
  for (const ManifestSegment& segment : manifest.segments) lists.append(bytes_of(encode_segment(segment)));
  for (const ManifestRun& run : manifest.runs) {
    CHECK(run.tables.size() <= UINT32_MAX);
    lists.append(bytes_of(Le32(static_cast<uint32_t>(run.tables.size()))));
    for (const ManifestTable& table : run.tables) encode_table(table, lists);
  }
  for (const SegmentId id : manifest.retired) lists.append(bytes_of(Le64(id.value)));

  ManifestHeaderDisk header = encode_header(manifest, uuid);
  header.size = sizeof(header) + lists.size() + sizeof(Le64);
  CHECK(header.size <= kMaxManifestSize);
  Bytes out(bytes_of(header));
  out.append(lists);
  out.append(bytes_of(Le64(format::checksum(out))));
  return out;
}

Result<Manifest> decode_manifest(ByteView bytes, const std::array<unsigned char, 16>& uuid) {
  if (bytes.size() < sizeof(ManifestHeaderDisk) + sizeof(Le64)) return bad("cut short");
  const auto header = format::load<ManifestHeaderDisk>(bytes);
  if (header.magic != kManifestMagic) return bad("wrong magic");
  if (auto version = format::check_version(header.version, format::kFormatVersion); !version) {
    Error error = std::move(version).error();
    error.message = fmt::format("manifest: {}", error.message);
    return fail(std::move(error));
  }
  // Before the checksum, whose place the size says.
  if (header.size != bytes.size()) return bad("its size is not the one it was written with");
  const ByteView content = bytes.substr(0, bytes.size() - sizeof(Le64));
  if (format::load<Le64>(bytes.substr(content.size())) != format::checksum(content)) return bad("checksum mismatch");
  if (header.zero != 0) return bad("unused bytes are not zero");
  // No damage: somebody copied it here.
  if (header.uuid != uuid) return fail(ErrorCode::kInvalid, "manifest: belongs to another store");
  // What is wrong from here on was written so: counts that do not fit, or rules that do not hold.
  TRY_ASSIGN(Manifest manifest, decode_lists(header, content.substr(sizeof(header))));
  if (const char* rule = broken_rule(manifest)) return bad(rule);
  return manifest;
}

Result<Manifest> read_manifest(const io::Directory& store, const std::array<unsigned char, 16>& uuid) {
  TRY_ASSIGN(const std::unique_ptr<io::File> file, store.open(kManifestFile, {}));
  TRY_ASSIGN(const io::FileStat stat, file->stat());
  if (stat.size > kMaxManifestSize) return bad("too large");
  // Bounded by the real size of the file and by kMaxManifestSize.
  Bytes bytes(stat.size, '\0');
  TRY_ASSIGN(const size_t got, file->pread(0, bytes));
  bytes.resize(got);
  return decode_manifest(bytes, uuid);
}

Result<void> write_manifest(io::Directory& store, const Manifest& manifest, const std::array<unsigned char, 16>& uuid,
                            const SpareFile& spare) {
  const Bytes bytes = encode_manifest(manifest, uuid);
  auto written = write_new_file(store, bytes);
  // Gives its room back where a full disk was the reason. If that fails too, the next attempt removes it.
  if (!written) (void)store.unlink(kNewManifestFile);
  if (!written && written.error().code == ErrorCode::kNoSpace && spare) written = write_spare_file(spare, bytes);
  if (!written) return written;
  // Order (hazard 15): content synced, renamed, directory synced. A crash in between leaves the old one or the new one,
  // whole. An error from here on may have come after the rename: callers treat both as possible.
  TRY(store.rename(kNewManifestFile, kManifestFile));
  return store.sync();
}

Bytes table_file_name(TableId id) { return fmt::format("{:016x}.tab", id.value); }

std::optional<TableId> parse_table_file_name(ByteView name) {
  constexpr ByteView kSuffix = ".tab";
  // Exactly what table_file_name() makes; anything else is not ours to remove.
  if (name.size() != 16 + kSuffix.size() || name.substr(16) != kSuffix) return std::nullopt;
  uint64_t id = 0;
  for (const char c : name.substr(0, 16)) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit && !(c >= 'a' && c <= 'f')) return std::nullopt;
    id = id << 4 | static_cast<uint64_t>(digit ? c - '0' : c - 'a' + 10);
  }
  if (id == 0 || id == UINT64_MAX) return std::nullopt;  // none has come after the last number
  return TableId(id);
}

}  // namespace cairn::index
