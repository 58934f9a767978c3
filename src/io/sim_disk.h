// A simulated disk with its page cache: what is there now, what a crash is sure to leave, and what lies between.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/env.h"
#include "io/sim_content.h"

namespace cairn::io {

using NodeId = uint64_t;  // an inode; 1 is the root directory, 0 none
inline constexpr NodeId kRootNode = 1;

// One change of a file since its last sync.
struct DataOp {
  enum class Kind : uint8_t { kWrite, kTruncate, kAllocate, kPunch };
  Kind kind = Kind::kWrite;
  bool lost = false;   // the device acknowledges it and forgets it
  uint64_t order = 0;  // in time, among all operations of the disk
  uint64_t offset = 0;
  uint64_t length = 0;
  uint64_t size_after = 0;
  // The pages that a write or punch touched, as they were right after it, from page offset / kPageSize on. They hold
  // what earlier writes put into the same sectors, so a sector taken from here was in the page cache at some time.
  std::vector<PagePtr> images = {};
};

struct FileNode {
  std::shared_ptr<SimContent> durable = std::make_shared<SimContent>();  // as last synced; never changed, only replaced
  std::shared_ptr<SimContent> current = durable;                         // as the running system sees it
  bool current_shared = true;  // `current` belongs to somebody else too and is copied before it changes
  bool diverged = false;       // `durable` plus `pending` is not `current`: a sync failed, or a write was lost
  std::vector<std::shared_ptr<const DataOp>> pending;  // since the last sync, in order; shared by copies of the disk
  std::set<uint64_t> bad_sectors;                      // reading these fails
  bool linked = true;                                  // has a name, as far as the running system sees it
  bool gone = false;                                   // neither name nor handle; a crash may still bring it back
  uint32_t handles = 0;
};

struct DirNode {
  std::map<std::string, NodeId, std::less<>> current;
  std::map<std::string, NodeId, std::less<>> durable;
};

// A page of content that is gone, and where in its file it was.
struct StalePage {
  uint64_t index = 0;
  PagePtr page = {};
};

// One change of names since the last sync of its directory.
struct NameOp {
  enum class Kind : uint8_t { kAdd, kRemove, kRename };  // kAdd: create or mkdir
  Kind kind = Kind::kAdd;
  uint64_t order = 0;  // as in DataOp
  // The directory of `name`; of a rename the one it leaves.
  NodeId dir = 0;
  std::string name = {};
  NodeId node = 0;        // what is added or renamed
  NodeId target_dir = 0;  // of a rename
  std::string target_name = {};
};

using FileMap = std::map<NodeId, FileNode>;
using DirMap = std::map<NodeId, DirNode>;

// Applies `op` as far as sectors (numbered from the start of the file) land; the size is the caller's to set.
using SectorFilter = std::function<bool(uint64_t sector)>;
void land(const DataOp& op, SimContent& content, const SectorFilter& lands);

// Applies `op` to the durable names.
void land(const NameOp& op, DirMap& dirs);

static_assert(kRootNode != 0, "0 is no node");

// A value: copying it (through fork()) costs a few pointers per file. Calls answer with an errno, 0 for success; node
// numbers must be right. Knows nothing of faults. Not thread-safe.
//
// Two states at once: `current`, which the running system sees, and `durable`, which a crash is sure to leave. What
// lies between them are the pending operations, in the order of time; a crash lands some of them on `durable`
// (sim_crash.h). A sync lands all of its file's or directory's.
class SimDisk {
 public:
  SimDisk();
  // After a crash: every file and directory is as durable as it is current; `older` gives the rest (its capacity, what
  // it freed).
  SimDisk(FileMap files, DirMap dirs, const SimDisk& older);

  // A copy that shares all content, without open handles; both can be changed.
  SimDisk fork();

  // Names. A lookup that fails gives 0.
  [[nodiscard]] NodeId lookup(NodeId dir, std::string_view name) const;
  [[nodiscard]] bool is_dir(NodeId node) const { return dirs_.contains(node); }
  // As open(2) with O_EXCL, mkdir(2), rename(2) and unlink(2), with their errnos where the simulation knows the case.
  // `dir` is a directory.
  int create(NodeId dir, std::string_view name, NodeId* node);
  int make_dir(NodeId dir, std::string_view name);
  int rename(NodeId dir, std::string_view from, NodeId target_dir, std::string_view to);
  int unlink(NodeId dir, std::string_view name);
  // Also makes durable what the directory's changes build on: earlier changes of the same names elsewhere.
  void sync_dir(NodeId dir);

  // Content. `node` is a file.
  int read(NodeId node, uint64_t offset, std::span<char> buffer, size_t* got) const;
  // Writes as much as there is room for; ENOSPC if that is not all. A `lost` write never becomes durable.
  int write(NodeId node, uint64_t offset, ByteView bytes, bool lost = false);
  int truncate(NodeId node, uint64_t size);
  int allocate(NodeId node, uint64_t offset, uint64_t length);
  int punch(NodeId node, uint64_t offset, uint64_t length);
  void sync(NodeId node);
  // What Linux leaves after a failed write-back: `on_disk` is durable, but the cache counts as clean, so that reads
  // show what is not on disk, and the next sync succeeds without it.
  void fail_sync(NodeId node, SimContent on_disk);
  // Reads show what is on disk from now on, and what is not synced.
  void drop_cache(NodeId node);
  [[nodiscard]] FileStat stat(NodeId node) const;
  // A file without name and handles gives its space back.
  void open(NodeId node);
  void close(NodeId node);

  // Makes everything durable, as sync(2).
  void sync_all();
  // Damage: applies `change` to what is on disk and to what the cache holds.
  void damage(NodeId node, const std::function<void(SimContent&)>& change);
  // Reading these sectors fails until they are written.
  void set_unreadable(NodeId node, uint64_t first_sector, uint64_t count);

  // 0 pages: no end. What is beyond it already stays.
  void set_capacity(uint64_t pages) { capacity_pages_ = pages; }
  [[nodiscard]] uint64_t capacity_pages() const { return capacity_pages_; }
  [[nodiscard]] uint64_t used_pages() const { return used_pages_; }
  [[nodiscard]] uint64_t peak_pages() const { return peak_pages_; }  // the most there ever were

  [[nodiscard]] const FileMap& files() const { return files_; }
  [[nodiscard]] const DirMap& dirs() const { return dirs_; }
  [[nodiscard]] const std::vector<NameOp>& pending_names() const {
    return pending_names_;
  }  // all directories, in order
  // Pages of files that are gone: what unwritten blocks may show after a crash.
  [[nodiscard]] const std::deque<StalePage>& freed() const { return freed_; }

 private:
  static constexpr size_t kFreedMax = 256;  // pages; enough to meet old records, bounded for long runs

  // O(pages of all files); checked at each fork.
  [[nodiscard]] bool is_consistent() const;
  // For so many more than are used.
  [[nodiscard]] bool has_room(uint64_t pages) const;
  // Whether `dir` is `ancestor` or below it: no directory moves into itself.
  [[nodiscard]] bool inside(NodeId dir, NodeId ancestor) const;
  // The file's current content, for this disk alone.
  SimContent& writable(FileNode& file);
  void add_name_op(NameOp op);
  // Ends a change of `file`: the operation is pending, the space is counted.
  void finish(FileNode& file, DataOp op, uint64_t pages_before);
  // The running system's last name of it is gone; the space goes with its last handle.
  void drop_name(NodeId node);
  void release_if_gone(NodeId node);
  // Forgets nodes that neither the system nor a crash can see any more.
  void collect();
  // Remembers pages from `first_page` on as what unwritten blocks may show: the disk does not clean up after a file.
  void keep_freed(const SimContent& content, uint64_t first_page);

  FileMap files_;
  DirMap dirs_;
  std::vector<NameOp> pending_names_;
  std::deque<StalePage> freed_;
  uint64_t capacity_pages_ = 0;
  // Of files that are not gone; 0 capacity: no end.
  uint64_t used_pages_ = 0;
  uint64_t peak_pages_ = 0;
  // Neither is ever used twice, across crashes too (the crash constructor goes on from the older disk).
  NodeId next_node_ = kRootNode + 1;
  uint64_t next_order_ = 0;
};

}  // namespace cairn::io
