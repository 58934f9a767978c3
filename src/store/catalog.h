// The current version and the manifest behind it.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "cairn/result.h"
#include "index/manifest.h"
#include "io/env.h"
#include "log/segment_writer.h"
#include "store/version.h"

namespace cairn::store {

// Owns the current Version (replaced, never changed) and the manifest in memory, which runs ahead of the one on disk by the log
// segments sealed since; those need no manifest, recovery finds them by the chain of headers.
// Thread-safe. Lock order: manifest_mu_, then mu_. mu_ is a leaf and never held across I/O.
class Catalog {
 public:
  Catalog(std::shared_ptr<io::Directory> store, std::array<unsigned char, 16> uuid, index::Manifest manifest,
          std::shared_ptr<const Version> version);
  // Where the manifest goes on a full disk. Once, before the first change.
  void set_spare(index::SpareFile spare) EXCLUDES(manifest_mu_);

  [[nodiscard]] std::shared_ptr<const Version> current() const EXCLUDES(mu_);
  // The version and a sequence number that fit together: everything merged away in it is older. `visible` is read inside.
  std::pair<std::shared_ptr<const Version>, SeqNo> current_at(const std::function<SeqNo()>& visible) const
      EXCLUDES(mu_);

  // Makes the next version, equal to the current one, current, and gives its number. Once readers_before() says no for it,
  // whoever reads saw everything that was visible now.
  uint64_t renew() EXCLUDES(mu_);
  // Whether somebody still holds a version older than `number`.
  [[nodiscard]] bool readers_before(uint64_t number) const EXCLUDES(mu_);

  // Never given out before: recovery starts them above every id that it saw, on disk or in the manifest.
  SegmentId new_segment_id() { return SegmentId(next_segment_.fetch_add(1)); }
  TableId new_table_id() { return TableId(next_table_.fetch_add(1)); }

  // --- The log ---
  // The level becomes the newest. It has a memtable and no footer yet.
  void add_open(LogLevel level) EXCLUDES(mu_);
  // The open level of that segment is sealed now: `level` has the footer and the final meta.
  void sealed(LogLevel level, const log::MarkPlace& last_mark, uint64_t next_ino) EXCLUDES(manifest_mu_, mu_);
  // Nothing was written into the newest open level: it goes.
  void drop_open(SegmentId id) EXCLUDES(mu_);
  // Lets go of slabs and memtables of sealed levels but for the newest `keep`.
  void release_memory(size_t keep) EXCLUDES(mu_);
  // An extent segment, complete and synced, that a record now names.
  void add_extent(std::shared_ptr<const Segment> extent) EXCLUDES(manifest_mu_, mu_);

  // --- Maintenance (one thread at a time) ---
  // Writes the manifest changed by `edit_manifest`, and then makes the version changed by `edit_version` current. After an error
  // nothing has changed in memory; on disk the old or the new manifest is in place.
  Result<void> apply(const std::function<void(index::Manifest&)>& edit_manifest,
                     const std::function<void(Version&)>& edit_version) EXCLUDES(manifest_mu_, mu_);
  // Files of retired segments are durably gone: the manifest may forget them, once it is written for something else.
  void unlinked(const std::vector<SegmentId>& ids) EXCLUDES(manifest_mu_);
  [[nodiscard]] index::Manifest manifest() const EXCLUDES(manifest_mu_);

 private:
  // The next version is a copy with `change` applied: readers of the old one notice nothing.
  std::shared_ptr<const Version> replace(const std::function<void(Version&)>& change) REQUIRES(mu_);

  const std::shared_ptr<io::Directory> store_;
  const std::array<unsigned char, 16> uuid_;
  // Atomic, so that jobs can take ids without a lock. The manifest gets them when it is written.
  std::atomic<uint64_t> next_segment_;
  std::atomic<uint64_t> next_table_;
  mutable Mutex manifest_mu_;  // held while the manifest is written
  // What the next one will say. Ahead of the file by sealed segments and forgotten ids.
  index::Manifest manifest_ GUARDED_BY(manifest_mu_);
  index::SpareFile spare_ GUARDED_BY(manifest_mu_);
  mutable Mutex mu_;
  std::shared_ptr<const Version> version_ GUARDED_BY(mu_);
  uint64_t number_ GUARDED_BY(mu_) = 0;  // of version_
  struct Former {
    uint64_t number;
    std::weak_ptr<const Version> readers;
  };
  mutable std::deque<Former> former_ GUARDED_BY(mu_);  // versions before, ascending, perhaps still read
};

}  // namespace cairn::store
