// Preallocated files, so that what makes room always has some: on a disk that is really full too.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/mutex.h"
#include "cairn/result.h"
#include "io/env.h"
#include "store/room.h"

namespace cairn::store {

inline constexpr char kReserveDir[] = "reserve";

// A few files of a segment's size in `reserve/`, allocated but empty. When the disk has no room for a file without which nothing
// can be freed (a log segment for erases, a compacted segment, a table, the manifest), one of them is renamed into its place: no
// block has to be found for it. refill() makes them anew once there is room (hazard 25).
//
// Erases of tiny files take about as much of the log as what they kill, and it may lie scattered over all segments: until a share
// of a segment is dead, nothing can be had by compacting any. So without a limit the number of files grows with the store, to
// that share of it (kStoreShare).
//
// What is in them means nothing; they come and go, and a store without them is whole. Charged to `room`, which outlives it.
// Thread-safe.
class Reserve {
 public:
  // Takes over the files that are there, drops what is of no use, and makes what is missing as far as the disk has room.
  static Result<std::unique_ptr<Reserve>> open(io::Directory& store, uint64_t file_size, unsigned count, Room* room,
                                               std::shared_ptr<Logger> logger);

  // What a file is to become.
  struct Wanted {
    std::string name;
    uint64_t size;  // bytes; the file is cut to it, should it be longer, so that nobody has to pay for the rest
    ByteView head;  // its first bytes
    bool direct;
  };
  // Moves one into `target`, where no file of that name may be, durably, and opens it there. kNoSpace when none is left.
  Result<std::unique_ptr<io::File>> take(io::Directory& target, const Wanted& wanted) EXCLUDES(mu_);
  // The same for what frees nothing by itself (a log segment, a table): compaction does free, and has to have files left then, for
  // itself and for the manifest. Only where there never are more than one it gets that one.
  Result<std::unique_ptr<io::File>> take_unless_last(io::Directory& target, const Wanted& wanted) EXCLUDES(mu_);
  // Makes what is missing. Having no room for it is no error.
  Result<void> refill() EXCLUDES(mu_);
  [[nodiscard]] bool is_whole() const EXCLUDES(mu_);

  static constexpr uint64_t kStoreShare = 32;  // one part in so many of what the store takes

 private:
  Reserve(std::unique_ptr<io::Directory> directory, uint64_t file_size, unsigned count, Room* room,
          std::shared_ptr<Logger> logger)
      : directory_(std::move(directory)),
        file_size_(file_size),
        count_(count),
        room_(room),
        logger_(std::move(logger)) {}
  Result<std::unique_ptr<io::File>> take_locked(io::Directory& target, const Wanted& wanted) REQUIRES(mu_);
  Result<void> adopt() REQUIRES(mu_);
  Result<void> make(const std::string& name) REQUIRES(mu_);
  [[nodiscard]] uint64_t files_wanted() const;

  const std::unique_ptr<io::Directory> directory_;
  const uint64_t file_size_;  // bytes
  const unsigned count_;      // files, at least
  Room* const room_;
  const std::shared_ptr<Logger> logger_;
  mutable Mutex mu_;  // held while files are made; nothing that locks is called under it, but for the disk
  std::vector<std::string> files_ GUARDED_BY(mu_);  // names in directory_
};

}  // namespace cairn::store
