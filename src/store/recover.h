// Opening: from the manifest and what lies behind it in the log to a version.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "cairn/result.h"
#include "format/superblock.h"
#include "index/manifest.h"
#include "io/env.h"
#include "log/scan.h"
#include "store/log_writer.h"
#include "store/version.h"

namespace cairn::store {

// What the store is when it is opened. Nothing on disk was changed but by reseal(), whose result counts only with the
// manifest below.
struct Recovered {
  // As it has to be written before anything else is.
  index::Manifest manifest;
  std::shared_ptr<Version> version;
  // Numbers in it are above anything seen on disk, in any file.
  LogWriter::Start start;
  std::vector<std::string>
      leftovers;  // files in segments/ that hold nothing: to be unlinked once the manifest is written
  std::vector<std::string> unreadable;  // files in segments/ whose header cannot be read: to be moved to quarantine/
  bool changed = false;                 // the manifest on disk is behind `manifest`
  uint64_t damaged = 0;                 // ranges found damaged below a durable position
};

// Pointers outlive the call. `files` and `index` are kept by what is returned.
struct RecoverContext {
  std::string path;  // of the store, for messages
  io::Directory* store = nullptr;
  std::shared_ptr<const SegmentFiles> files;
  std::shared_ptr<io::Directory> index;  // index/
  format::Superblock superblock;
  bool read_only = false;
  Logger* logger = nullptr;
};

// Design §4.6. Nothing is inferred: the manifest names segments, runs and retired ids; newer log segments follow the chain of
// their headers; the newest, unproven one is scanned, cut behind its last complete commit and sealed (in memory only, if read-only).
// kCorrupt with the file and the fsck command if the manifest, a table or a link of the chain is missing or damaged;
// kInvalid where something that is no file of ours lies in a segment's place; kIo, kOutOfMemory. Damaged records are
// counted, and reading them is an error. A crash within it changes nothing about what the next one finds.
Result<Recovered> recover(const RecoverContext& context);

// Time: the manifest, a footer for each unmerged segment, and one walk of the newest.
// Index entries of scanned records, sorted for a footer.
std::shared_ptr<index::Memtable> index_records(const std::vector<log::ScannedRecord>& records, SegmentId id);
format::IndexEntry entry_of(const log::ScannedRecord& record, SegmentId id);
// Where the footer of a scanned segment belongs: behind its records, even if the last one lost its end with the file's.
uint64_t footer_place(const log::SegmentScan& scan);
// The footer of a segment whose records are `memtable`; fills in trailer.entries and trailer.record_bytes as well.
Result<Bytes> build_footer(const index::Memtable& memtable, format::TableTrailer& trailer);

}  // namespace cairn::store
