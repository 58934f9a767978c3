// The manifest: which segment owns which sequence numbers, which tables make which run. FORMAT.md, "Manifest".
//
// One small file, `manifest`, replaced atomically (write `manifest.new`, sync, rename, sync directory). Everything in
// it can be rebuilt from the segments, but nothing is guessed: without it the store refuses to open and names the fsck
// command.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/types.h"
#include "cairn/result.h"
#include "format/segment.h"
#include "io/env.h"

namespace cairn::index {

// What is known of a segment without opening it. A segment is named here once it is sealed and synced, so the manifest
// also proves it.
struct ManifestSegment {
  SegmentId id;
  format::SegmentKind kind = format::SegmentKind::kLog;
  bool covered = false;       // its entries are in a run
  SeqRange range;             // owned; never empty but for extents, which own nothing
  uint64_t salt = 0;          // equals the header's
  uint64_t file_size = 0;     // bytes
  uint64_t entries = 0;       // records listed by its footer
  uint64_t record_bytes = 0;  // sum of record_size() over them
  // As in the segment's header; 0 but for compacted ones.
  uint32_t generation = 0;
  // Bytes of it that are no records: of a log segment about what its footer takes, and a table of the same entries.
  [[nodiscard]] uint64_t overhead() const { return file_size - std::min(file_size, record_bytes); }
  friend bool operator==(const ManifestSegment&, const ManifestSegment&) = default;
};

// A table of a run.
struct ManifestTable {
  TableId id;
  uint64_t file_size = 0;  // bytes
  uint64_t entries = 0;
  // Of its entries, both included; so that a lookup opens one table of a run at most.
  Bytes first_key, last_key;
  // Entries with key < clip were already merged elsewhere and do not count; empty = none. Not above last_key: a table
  // of which nothing counts is not named any more.
  Bytes clip;
  friend bool operator==(const ManifestTable&, const ManifestTable&) = default;
};

struct ManifestRun {
  std::vector<ManifestTable> tables;  // key ranges ascending and disjoint, at least one table
  friend bool operator==(const ManifestRun&, const ManifestRun&) = default;
};

// In memory it runs ahead of the file by what the log has sealed since (store/catalog.h).
struct Manifest {
  uint64_t number = 0;     // grows by one with every replacement
  SegmentId next_segment;  // ids at or above this were never used when the manifest was written
  TableId next_table;
  SeqNo next_seq{1};  // above everything owned by `segments`
  // Numbers at or above this were not given out when the manifest was written (inodes, cookies).
  uint64_t next_ino = 0;
  SegmentId last_log;  // the newest log segment named here, or 0; newer ones follow by their headers' chain
  CommitNo last_mark;  // of last_log
  uint64_t last_mark_offset = 0;
  uint64_t last_mark_checksum = 0;
  std::vector<ManifestSegment> segments;  // ranges ascending and disjoint (extents last, by id)
  std::vector<ManifestRun> runs;          // newest first
  std::vector<SegmentId> retired;         // replaced, perhaps not yet unlinked durably
  friend bool operator==(const Manifest&, const Manifest&) = default;
};

inline constexpr char kManifestFile[] = "manifest";
inline constexpr char kIndexDir[] = "index";  // table files: "%016x.tab"

// Needs every rule stated above, ids that are not 0, below the next one and named once (CHECKed: a manifest that we
// would not read again must not replace one that we would).
Bytes encode_manifest(const Manifest& manifest, const std::array<unsigned char, 16>& uuid);
// Checks magic, version, uuid (kInvalid message "belongs to another store"), size, checksum, and every rule stated
// above.
Result<Manifest> decode_manifest(ByteView bytes, const std::array<unsigned char, 16>& uuid);

// Errors: kCorrupt, kUnsupported (newer version).
// Reads `manifest` in `store`. kNotFound if missing.
Result<Manifest> read_manifest(const io::Directory& store, const std::array<unsigned char, 16>& uuid);
// Replaces it atomically and durably. After an error the old or the new one is in place. `spare`, if given, makes the file of
// `size` bytes for it, with room, where the disk has none.
using SpareFile = std::function<Result<std::unique_ptr<io::File>>(const std::string& name, uint64_t size)>;
Result<void> write_manifest(io::Directory& store, const Manifest& manifest, const std::array<unsigned char, 16>& uuid,
                            const SpareFile& spare = {});

// "00000000000000a7.tab" and back; nothing for any other name.
Bytes table_file_name(TableId id);
std::optional<TableId> parse_table_file_name(ByteView name);

}  // namespace cairn::index
