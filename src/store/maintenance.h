// Background work on sealed segments: finding what is dead, writing the liveness map, merging the index, compacting.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "base/log.h"
#include "base/mutex.h"
#include "cairn/result.h"
#include "index/merge.h"
#include "index/table.h"
#include "io/env.h"
#include "log/scan.h"
#include "store/catalog.h"
#include "store/evictions.h"
#include "store/liveness.h"
#include "store/log_writer.h"
#include "store/reserve.h"
#include "store/room.h"

namespace cairn::store {

// One step after the other, never two at once: hence kills, merges and compaction never race each other (design §4.4, §4.5).
//
// Before these the filter over all keys, when it is full; and 2 and 3 as soon as there is much of it, see overdue_step().
//
//  1. kills    for each sealed log segment, oldest first: which older records did its records replace?
//  2. map      after every kMapInterval segments the changed bitmaps go into the log, twice: now and with the next map
//  3. merge    footers whose kills are in a durable map become a run; neighbouring runs of similar size become one
//  4. punch    cache mode, when room is short: whole blocks inside dead values of covered segments go
//  5. compact  covered segments that are mostly dead are rewritten; nothing of the index changes
//  6. unlink   what was replaced, once no reader holds it; only when that is durable its id is forgotten
//  7. room     cache mode: asks for evictions, and tells those who wait for room when there will be none
//
// What makes it safe: a bit is set only for what a sealed segment replaced (4.4); a footer is merged only when its
// kills are in a durable map, so that recovery, which repeats kills from unmerged footers, misses none; a file goes
// only after a durable manifest has stopped naming it and the last reader has left (4.5). A crash between any two steps
// leaves more files than are needed, never fewer.
//
// Thread-safe. An error stops the work until the next kick; it is logged, and the store goes on (nothing is lost by not
// reclaiming).
class Maintenance : public std::enable_shared_from_this<Maintenance> {
 public:
  struct Config {
    io::Env* env = nullptr;
    std::shared_ptr<io::Directory> index_directory;
    std::shared_ptr<const SegmentFiles> files;
    std::shared_ptr<KeyFilter> filter;
    format::Superblock superblock;
    std::shared_ptr<Room> room;
    std::shared_ptr<Reserve> reserve;      // may be none
    std::shared_ptr<Evictions> evictions;  // cache mode; else none
    std::shared_ptr<Logger> logger;
  };
  Maintenance(Config config, Catalog* catalog, ValueReader* values, std::shared_ptr<LogWriter> log);

  // There may be something to do. Never waits; any number of calls are one job.
  void kick() EXCLUDES(mu_);
  // Works in this thread until there is nothing left that is worth it. Waits for the job that works, if one does. The
  // first error ends it.
  Result<void> settle() EXCLUDES(mu_);
  // Lets the current step finish and does no other. Waits for it, and for a job that was handed to the executor.
  void stop() EXCLUDES(mu_);
  // After stop(): forgets ids of files that are gone, writes the last manifest. So a store that was closed opens
  // without looking for numbers or following the log.
  Result<void> finish() EXCLUDES(mu_);

  [[nodiscard]] uint64_t live_bytes() const { return liveness_.live_bytes(*catalog_->current()->segments); }
  // Bytes of files that were replaced and are still there, because somebody reads them.
  [[nodiscard]] uint64_t unreclaimed_bytes() const { return unreclaimed_bytes_; }
  [[nodiscard]] uint64_t punched_bytes() const { return punched_bytes_; }
  [[nodiscard]] uint64_t copied_bytes() const { return copied_bytes_; }  // by compaction and merges
  [[nodiscard]] uint64_t merges() const { return merges_; }
  [[nodiscard]] uint64_t compactions() const { return compactions_; }

 private:
  // Everything below runs in one thread at a time (running_). Steps return whether they did anything; the pass then
  // begins anew.
  void job() EXCLUDES(mu_);
  Result<bool> step();  // false: nothing to do
  // Asked by what takes long, so that closing a store need not wait for it.
  [[nodiscard]] bool is_stopping() const EXCLUDES(mu_);
  Result<void> load();  // the map, once
  // --- Kills: which older records died by those of one sealed segment
  Result<bool> kill_step();
  Result<void> kill_segment(const Version& version, const LogLevel& level);
  Result<void> kill(const Version& version, ByteView key, const format::IndexEntry& entry);
  Result<void> retire_extents();
  // --- The liveness map: from memory into the log. kNoSpace only postpones it.
  Result<bool> map_step();
  Result<void> write_map(const std::vector<SegmentId>& changed);
  Result<void> write_map_record(const Bytes& key, const std::optional<Bytes>& value);  // nothing: erase
  // --- The index. Tables are paid for when they are created, and the claim kept once a manifest names them.
  Result<bool> merge_step();
  Result<bool> overdue_step();  // merges that must not wait for kills
  Result<void> unlink_created();
  Result<void> settle_created(Result<void> installed);
  Result<std::unique_ptr<io::File>> create_table(TableId id, uint64_t size);
  Result<bool> merge_footers(const Version& version);
  struct RunsMerge {
    size_t first = 0;                                             // place of the first one among the runs
    std::vector<std::shared_ptr<const Run>> inputs;               // what of them is not merged yet
    std::shared_ptr<const Run> output = std::make_shared<Run>();  // what is
    std::optional<Bytes> resume = Bytes();                        // key at which the next step begins; none: done
  };
  Result<bool> merge_runs(std::shared_ptr<const Version> version);
  Result<void> merge_runs_once(RunsMerge& merge, const index::MergeOptions& options);
  index::MergeOptions merge_options(bool bottom);
  Result<RunTable> open_table(const index::ManifestTable& meta);
  Result<void> install_merge_step(RunsMerge& merge, const std::shared_ptr<const Run>& longer);
  // --- Compaction
  struct Pick {
    std::vector<SegmentSet::Ref> sources;  // neighbours
  };
  Result<bool> early_filter_step();
  Result<bool> filter_step();
  Result<bool> compact_step();
  // Its records that are still needed.
  [[nodiscard]] RecordTally live_of(const Segment& segment) const;
  // What lives and what is dead, in the whole store.
  struct Balance {
    RecordTally live;
    uint64_t dead = 0;                       // bytes on disk, without tables and headers
    [[nodiscard]] uint64_t allowed() const;  // dead bytes
  };
  [[nodiscard]] Balance balance(const Version& version) const;
  [[nodiscard]] bool wants_density(const Version& version) const;
  [[nodiscard]] bool in_need() const;
  [[nodiscard]] uint64_t rewritten_size(const Segment& segment) const;
  [[nodiscard]] bool is_sparse(const Segment& segment, double threshold) const;
  // `most`: what is picked takes about so many bytes at most where it is written.
  Result<bool> compact_at_most(uint64_t most);
  [[nodiscard]] std::optional<Pick> grow_pick(const SegmentSet& all, size_t best, double threshold,
                                              uint64_t most) const;
  // Nothing: no segment is sparse enough to be worth copying.
  std::optional<Pick> pick_victims(const Version& version, uint64_t most) const;
  // What compaction copies. In memory for one compaction: keys and places, no values.
  struct KeptRecord {
    Bytes key;
    format::IndexEntry entry;  // without its small value
  };
  // Null: nothing of the sources lives. After an error no file is left, as far as the disk allows.
  Result<SegmentSet::Ref> write_compacted(const Pick& pick);
  Result<SegmentSet::Ref> write_kept(const Pick& pick, const std::vector<std::vector<KeptRecord>>& kept,
                                     const format::SegmentHeader& header, io::File& file);
  Result<std::unique_ptr<io::File>> create_compacted(const format::SegmentHeader& header, uint64_t size);
  Result<std::vector<KeptRecord>> kept_records(const Segment& source);
  // --- Room
  Result<bool> punch_step();
  void note_punchable(const Segment& owner, ByteView key, const format::IndexEntry& entry);
  Result<bool> room_step();
  void update_reclaimable();
  bool ask_for_evictions();  // true if an answer is to come
  // --- What is not needed any more. A file is unlinked, its directory synced, and only then its id and its room are
  // free.
  Result<void> replace_segments(const std::vector<SegmentSet::Ref>& sources, const SegmentSet::Ref& replacement);
  Result<bool> unlink_step();
  Result<void> unlink_segments(const std::vector<std::pair<SegmentId, uint64_t>>& gone);
  Result<void> unlink_abandoned();
  Result<void> unlink_tables();
  // An erase up to here hides nothing that could come back: all it killed is marked in two durable copies of the map.
  [[nodiscard]] bool erase_is_garbage(SeqNo seq) const { return seq <= erase_through_; }

  const Config config_;
  Catalog* const catalog_;
  ValueReader* const values_;
  const std::shared_ptr<LogWriter> log_;

  // Only the one that works (running_) touches these. erase_through_ <= merge_through_ <= map_through_ <=
  // killed_through_, each a step behind the next; none ever goes back.
  Liveness liveness_;  // thread-safe by itself: statistics read it
  bool loaded_ = false;
  SeqNo killed_through_;  // kills of all records up to here are in liveness_
  SeqNo map_through_;     // ... are in the map last written to the log
  SeqNo map_seq_;         // that map's last record: durable once the log is, up to here
  SeqNo merge_through_;   // ... are in a durable map: footers up to here may be merged
  SeqNo erase_through_;   // ... are in a durable map, twice: erases up to here are garbage
  SeqNo previous_map_through_;
  uint64_t killed_since_map_ = 0;  // segments
  uint64_t filter_again_at_ = 0;   // entries, after a walk that failed
  std::vector<SegmentId>
      changed_before_;  // segments whose bitmaps went into the last map once: they go into the next again
  Ordinals ordinals_;
  // Their pointers are dead: the whole file goes.
  std::vector<SegmentId> dead_extents_;
  // A dead value of which whole blocks may go once its segment is covered and nobody reads what was before its death.
  struct Punchable {
    SegmentId segment;
    uint64_t offset, length;  // whole blocks inside the value
    uint64_t readers;         // version number, see Catalog::renew()
  };
  std::vector<Punchable> punchable_;
  size_t punch_fresh_ = 0;       // the last so many of them have no version number yet
  uint64_t events_at_pass_ = 0;  // room->events() before the steps of this pass looked
  struct CreatedTable {
    TableId id;
    RoomClaim claim;
  };
  std::vector<CreatedTable> created_tables_;  // by a merge that is not installed
  struct DoomedTable {
    std::weak_ptr<const index::Table> readers;
    TableId id;
    uint64_t bytes;
  };
  std::vector<DoomedTable> doomed_tables_;  // merged away, perhaps still read
  std::vector<SegmentId> forgotten_;        // gone for good: their bitmaps are erased with the next map
  std::vector<SegmentId> uncompactable_;    // damaged: left as they are
  std::vector<SegmentId> erase_only_;       // could not shrink: holds erases that are still needed
  std::vector<std::pair<SegmentId, uint64_t>>
      abandoned_;                               // compacted, but could not be installed; what they were charged
  std::vector<CreatedTable> abandoned_tables_;  // merged, but could not be installed

  mutable Mutex mu_;
  CondVar idle_;
  // running_: a thread works. queued_: a job is with the executor and has not begun. Both may be true; then the job
  // finds somebody working and leaves a note (kicked_).
  bool running_ GUARDED_BY(mu_) = false;
  bool queued_ GUARDED_BY(mu_) = false;
  bool kicked_ GUARDED_BY(mu_) = false;  // while it ran
  bool stopping_ GUARDED_BY(mu_) = false;
  std::vector<std::pair<SegmentId, uint64_t>> released_ GUARDED_BY(mu_);  // retired, and no reader left; bytes
  // Statistics, but for the first: what is reclaimable includes it.
  std::atomic<uint64_t> unreclaimed_bytes_ = 0;
  std::atomic<uint64_t> punched_bytes_ = 0;
  std::atomic<uint64_t> copied_bytes_ = 0;
  std::atomic<uint64_t> merges_ = 0;
  std::atomic<uint64_t> compactions_ = 0;
};

}  // namespace cairn::store
