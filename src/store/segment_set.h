// The segments a store consists of: identity, footer, reading records, and life until the last reader leaves.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "cairn/result.h"
#include "format/segment.h"
#include "index/block_cache.h"
#include "index/manifest.h"
#include "index/table.h"
#include "io/buffer_pool.h"
#include "io/env.h"
#include "io/file_cache.h"
#include "log/segment_reader.h"

namespace cairn::store {

// What every segment needs to open its file: outlives them all.
struct SegmentFiles {
  std::shared_ptr<io::Directory> directory;  // segments/
  std::shared_ptr<io::FileCache> files;
  std::shared_ptr<index::BlockCache> blocks;
  std::shared_ptr<io::BufferPool> buffers;  // for large values
  bool direct_reads = false;                // of records: Options::direct_reads
};

// A sealed segment of any kind (or, with `meta.file_size` 0, the open one, whose bytes are in a slab). Immutable and
// thread-safe, but for the flag that has its file unlinked when the last reference goes (design §4.5: readers pin).
class Segment {
 public:
  // `meta` is believed: whoever makes one has it from the manifest, a footer or a writer. Opens nothing.
  Segment(index::ManifestSegment meta, std::shared_ptr<const SegmentFiles> files);
  // Tells who retired it, if anybody did.
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  [[nodiscard]] const index::ManifestSegment& meta() const { return meta_; }
  [[nodiscard]] SegmentId id() const { return meta_.id; }
  [[nodiscard]] const std::string& name() const { return name_; }  // in messages: "segments/….seg"

  // The footer, opened on first use. kCorrupt, kIo.
  Result<std::shared_ptr<const index::Table>> footer() const EXCLUDES(mu_);
  // Stored bytes of the record that `entry` describes (entry.offset is right for this segment), verified.
  // kCorrupt, kIo, kOutOfMemory. One read of the file.
  Result<Value> read(ByteView key, const format::IndexEntry& entry) const;
  // read() of each by one read of the file. Needs what log::read_records() needs. Nothing is where read() will say why.
  std::vector<std::optional<Value>> read_together(std::span<const log::RecordRequest> requests) const;
  // Out of the cache of open files: stays open as long as it is held. kCorrupt if it is missing.
  Result<std::shared_ptr<const io::File>> file() const;

  // Its entries are in a run, so nobody needs its footer to find anything.
  [[nodiscard]] bool covered() const { return covered_.load(std::memory_order_relaxed); }
  // Never taken back.
  void mark_covered() const { covered_.store(true, std::memory_order_relaxed); }
  // Bytes of the file that were given back to the disk inside it: dead values (design §4.5).
  [[nodiscard]] uint64_t punched() const { return punched_.load(std::memory_order_relaxed); }
  // Looks at the file. kIo; what is missing or no regular file counts as all there.
  Result<void> find_punched() const;
  // What Room was charged for it.
  // Bytes.
  [[nodiscard]] uint64_t charge() const;
  // Calls `released` when the last reference goes.
  // `released` is called once, in the thread that lets go, perhaps under its locks: it only notes the id. Null takes it
  // back.
  void retire(std::function<void(SegmentId)> released) const EXCLUDES(mu_);

 private:
  const index::ManifestSegment meta_;
  const std::shared_ptr<const SegmentFiles> files_;
  const std::string file_name_;
  const std::string name_;
  mutable std::atomic<bool> covered_;
  mutable std::atomic<uint64_t> punched_ = 0;
  mutable Mutex mu_;  // a leaf, but for opening the footer's file
  mutable std::shared_ptr<const index::Table> footer_ GUARDED_BY(mu_);
  mutable std::function<void(SegmentId)> released_ GUARDED_BY(mu_);
};

// All segments of a version: by id, and by the sequence numbers they own. Immutable.
class SegmentSet {
 public:
  using Ref = std::shared_ptr<const Segment>;
  SegmentSet() = default;
  // In any order. Ranges are disjoint and ids distinct, as decode_manifest() and recovery see to.
  explicit SegmentSet(std::vector<Ref> segments);
  // Null if there is none. find() is O(1), owner() O(log segments).
  [[nodiscard]] const Ref* find(SegmentId id) const;
  [[nodiscard]] const Ref* owner(SeqNo seq) const;                         // null if nobody owns it
  [[nodiscard]] const std::vector<Ref>& all() const { return by_range_; }  // owners by range, then extents by id

 private:
  std::vector<Ref> by_range_;
  size_t owners_ = 0;  // the first so many of by_range_ own ranges
  std::unordered_map<SegmentId, size_t> by_id_;
};

}  // namespace cairn::store
