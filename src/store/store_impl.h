// What a Store consists of. The pieces know each other only through what is passed to them:
//
//   LogWriter -> Catalog, Room, Reserve, KeyFilter appends and seals
//   Maintenance -> LogWriter, Catalog, Room, Evictions reclaims
//   readers -> Catalog (a Version), ValueReader take no part in either
//
// Jobs of the first two keep them alive by themselves; what they point to (`catalog`, `values`) lives until ~Impl has
// waited for them.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "base/log.h"
#include "cairn/store.h"
#include "format/superblock.h"
#include "io/env.h"
#include "store/catalog.h"
#include "store/evictions.h"
#include "store/log_writer.h"
#include "store/maintenance.h"
#include "store/reserve.h"
#include "store/room.h"
#include "store/segment_set.h"
#include "store/version.h"

namespace cairn {

class Store::Impl {
 public:
  // Members in the order they are made; destroyed the other way round.
  io::Env* env = nullptr;
  Options options;
  std::shared_ptr<Logger> logger;
  std::string path;
  std::shared_ptr<io::Directory> directory;
  std::unique_ptr<io::FileLock> lock;
  format::Superblock superblock;  // as it was when the store was opened: the limit is `room`'s
  std::shared_ptr<const store::SegmentFiles> files;
  std::shared_ptr<io::Directory> index_directory;
  std::shared_ptr<store::Room> room;
  std::shared_ptr<store::Reserve> reserve;  // none when read-only, or where files cannot be allocated
  std::shared_ptr<store::Catalog> catalog;
  std::unique_ptr<store::ValueReader> values;
  std::shared_ptr<store::KeyFilter> filter;         // none when read-only
  std::shared_ptr<store::Evictions> evictions;      // cache mode, unless read-only
  std::shared_ptr<store::LogWriter> log;            // none when read-only
  std::shared_ptr<store::Maintenance> maintenance;  // none when read-only
  // Read-only nothing is written, so these numbers are for nobody to keep.
  std::atomic<uint64_t> read_only_next_number = 1024;
  // One change of the limit at a time.
  std::atomic<bool> changing_limit = false;
  // Only close() sets it.
  bool closed = false;

  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl();  // an open that failed half-way has jobs that use the members

  static Result<std::unique_ptr<Impl>> open(io::Env& env, const std::string& path, const Options& options);
  // Compresses and hashes; values of more than an eighth of a segment become extents first (their pointer is what is
  // returned). No lock is held, and nothing of it can be seen. The views in what is returned point into `batch`.
  // kInvalid, kTooLarge; for extents kNoSpace and what writing them says: such a file goes again with the last
  // reference to the change.
  Result<std::vector<store::PreparedChange>> prepare(const WriteBatch& batch);
  // Synced with its name, charged, and named by nothing yet.
  Result<void> write_extent(const WriteBatch::Change& change, store::PreparedChange& out);
  // Bytes of the record that dies by `change`, or 0 if that is not worth looking up.
  [[nodiscard]] store::Doomed replaced_by(const store::PreparedChange& change) const;
  // In an operation with room for `cost`. Only now extents become part of the store: had begin() failed, nothing would name them.
  void write_prepared(std::vector<store::PreparedChange>& changes, uint64_t cost);
  // Bytes. Larger values would not fit an operation with their footer entries.
  [[nodiscard]] uint64_t largest_record_value() const { return superblock.segment_size / 8; }
};

// A cursor's inside: an iterator over all levels, filtered to the newest visible version of each key.
class Cursor::Impl {
 public:
  Impl(std::shared_ptr<const store::Version> version, SeqNo max_seq, Bytes prefix, store::ValueReader* values);
  // Errors end the walk: status() has them, and valid() is false.
  void seek(ByteView key);
  void next();
  [[nodiscard]] bool valid() const { return valid_; }
  [[nodiscard]] ByteView key() const { return iterator_->key(); }
  [[nodiscard]] Result<uint64_t> size() const;
  [[nodiscard]] Result<Value> value() const;
  [[nodiscard]] const Result<void>& status() const { return status_; }

 private:
  // Skips what is younger than max_seq_, erases, and what those hide.
  void settle();  // moves to the next entry that counts
  [[nodiscard]] store::FoundEntry found() const;

  // Pins everything that the walk may meet.
  std::shared_ptr<const store::Version> version_;
  SeqNo max_seq_;
  Bytes prefix_;
  store::ValueReader* values_;
  // Over all levels; stands on the current entry while valid_.
  std::unique_ptr<index::Iterator> iterator_;
  bool valid_ = false;
  Result<void> status_;
};

// A moment: the version and the number that was visible then, taken together (Catalog::current_at()).
class Snapshot::Impl {
 public:
  std::shared_ptr<const store::Version> version;
  SeqNo seq;
  store::ValueReader* values = nullptr;
};

}  // namespace cairn
