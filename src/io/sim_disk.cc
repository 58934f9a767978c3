#include "io/sim_disk.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/check.h"

namespace cairn::io {
namespace {

bool everything(uint64_t /*sector*/) { return true; }

}  // namespace

void land(const DataOp& op, SimContent& content, const SectorFilter& lands) {
  switch (op.kind) {
    // These touch no content: their sectors need no filter.
    case DataOp::Kind::kTruncate: content.resize(op.size_after); return;
    case DataOp::Kind::kAllocate: content.allocate(op.offset, op.length); return;
    case DataOp::Kind::kWrite:
    case DataOp::Kind::kPunch: break;
  }
  const uint64_t first_page = op.offset / kPageSize;
  const uint64_t last_sector = sector_count(op.offset + op.length);
  for (uint64_t i = 0; i < op.images.size(); ++i) {
    if (op.kind == DataOp::Kind::kPunch && op.images[i] == nullptr) {  // a hole appears as a whole or not at all
      if (lands((first_page + i) * kSectorsPerPage)) content.set_page(first_page + i, nullptr);
      continue;
    }
    const uint64_t begin = std::max((first_page + i) * kSectorsPerPage, op.offset / kSectorSize);
    const uint64_t end = std::min((first_page + i + 1) * kSectorsPerPage, last_sector);
    std::vector<uint64_t> chosen;
    for (uint64_t sector = begin; sector < end; ++sector) {
      if (lands(sector)) chosen.push_back(sector);
    }
    // A whole page is shared, a part of one copied.
    if (chosen.size() == kSectorsPerPage) {
      content.set_page(first_page + i, op.images[i]);
    } else {
      for (const uint64_t sector : chosen) content.set_sector(sector, op.images[i]);
    }
  }
}

SimDisk::SimDisk() { dirs_[kRootNode]; }

SimDisk::SimDisk(FileMap files, DirMap dirs, const SimDisk& older)
    : files_(std::move(files)),
      dirs_(std::move(dirs)),
      freed_(older.freed_),
      capacity_pages_(older.capacity_pages_),
      next_node_(older.next_node_) {
  // Capacity counts what survived: files that nobody names any more have given their room back.
  for (const auto& [node, file] : files_) used_pages_ += file.current->allocated_pages();
}

bool SimDisk::is_consistent() const {
  uint64_t pages = 0;
  for (const auto& [node, file] : files_) {
    if (file.gone && file.handles > 0) return false;
    if (!file.gone) pages += file.current->allocated_pages();
    // What is in the cache is on disk or waits for it.
    if (file.pending.empty() && !file.diverged && file.current != file.durable) return false;
  }
  return pages == used_pages_;
}

SimDisk SimDisk::fork() {
  // Every state that is tried begins here, so a wrong account of pages shows at the step that made it.
  CHECK(is_consistent());
  // Both copies now point at the same content; whoever changes it first takes its own.
  for (auto& [node, file] : files_) file.current_shared = true;
  SimDisk copy = *this;
  std::vector<NodeId> unlinked;
  for (auto& [node, file] : copy.files_) {
    file.handles = 0;
    if (!file.linked) unlinked.push_back(node);
  }
  for (const NodeId node : unlinked) copy.release_if_gone(node);
  return copy;
}

int SimDisk::read(NodeId node, uint64_t offset, std::span<char> buffer, size_t* got) const {
  const FileNode& file = files_.at(node);
  *got = 0;
  // One bad sector fails the whole read, as a disk does; whoever wants the rest reads in smaller pieces.
  const auto bad = file.bad_sectors.lower_bound(offset / kSectorSize);
  if (!buffer.empty() && bad != file.bad_sectors.end() && *bad * kSectorSize < offset + buffer.size()) return EIO;
  *got = file.current->read(offset, buffer);
  return 0;
}

bool SimDisk::has_room(uint64_t pages) const { return capacity_pages_ == 0 || used_pages_ + pages <= capacity_pages_; }

SimContent& SimDisk::writable(FileNode& file) {
  // `durable` never changes in place: crash states of earlier moments share it.
  CHECK(file.current_shared || file.current != file.durable);
  if (file.current_shared) {
    file.current = std::make_shared<SimContent>(*file.current);
    file.current_shared = false;
  }
  return *file.current;
}

void SimDisk::finish(FileNode& file, DataOp op, uint64_t pages_before) {
  used_pages_ = used_pages_ + file.current->allocated_pages() - pages_before;

  peak_pages_ = std::max(peak_pages_, used_pages_);
  op.order = next_order_++;
  op.size_after = file.current->size();
  file.diverged = file.diverged || op.lost;
  file.pending.push_back(std::make_shared<const DataOp>(std::move(op)));
}

int SimDisk::write(NodeId node, uint64_t offset, ByteView bytes, bool lost) {
  FileNode& file = files_.at(node);
  if (offset > kSimFileSizeMax || bytes.size() > kSimFileSizeMax - offset) return EFBIG;
  // Overwriting needs none: the simulated file system writes in place, as ext4 does.
  // Pages that are there already need no room; the first hole without room ends the write.
  uint64_t length = bytes.size();
  uint64_t holes = 0;
  for (uint64_t index = offset / kPageSize; index < page_count(offset + length); ++index) {
    if (file.current->page(index) != nullptr) continue;
    if (has_room(++holes)) continue;
    length = std::max(index * kPageSize, offset) - offset;
    break;
  }
  if (length > 0) {
    SimContent& content = writable(file);
    const uint64_t pages_before = content.allocated_pages();
    content.write(offset, bytes.substr(0, length));
    DataOp op{.kind = DataOp::Kind::kWrite, .lost = lost, .offset = offset, .length = length};
    for (uint64_t index = offset / kPageSize; index < page_count(offset + length); ++index) {
      op.images.push_back(content.page(index));
    }
    // A disk remaps a sector that is written, and it can be read again.
    file.bad_sectors.erase(file.bad_sectors.lower_bound(offset / kSectorSize),
                           file.bad_sectors.lower_bound(sector_count(offset + length)));
    finish(file, std::move(op), pages_before);
  }
  return length == bytes.size() ? 0 : ENOSPC;
}

int SimDisk::truncate(NodeId node, uint64_t size) {
  if (size > kSimFileSizeMax) return EFBIG;
  FileNode& file = files_.at(node);
  SimContent& content = writable(file);
  const uint64_t pages_before = content.allocated_pages();
  // Before they go: the blocks may be given to another file, which then shows them after a crash.
  keep_freed(content, page_count(size));
  content.resize(size);
  finish(file, {.kind = DataOp::Kind::kTruncate}, pages_before);
  return 0;
}

int SimDisk::allocate(NodeId node, uint64_t offset, uint64_t length) {
  if (offset > kSimFileSizeMax || length > kSimFileSizeMax - offset) return EFBIG;
  if (length == 0) return 0;
  FileNode& file = files_.at(node);
  uint64_t holes = 0;
  for (uint64_t index = offset / kPageSize; index < page_count(offset + length); ++index) {
    if (file.current->page(index) == nullptr) ++holes;
  }
  // All or nothing, as ext4's fallocate mostly is; a partial one would only be found out by a stat.
  if (holes > 0 && !has_room(holes)) return ENOSPC;
  SimContent& content = writable(file);
  const uint64_t pages_before = content.allocated_pages();
  content.allocate(offset, length);
  if (offset + length > content.size()) content.resize(offset + length);
  finish(file, {.kind = DataOp::Kind::kAllocate, .offset = offset, .length = length}, pages_before);
  return 0;
}

int SimDisk::punch(NodeId node, uint64_t offset, uint64_t length) {
  if (offset > kSimFileSizeMax || length > kSimFileSizeMax - offset) return EFBIG;
  FileNode& file = files_.at(node);
  DCHECK(file.current->page_limit() <= page_count(kSimFileSizeMax));
  // Behind the last page there is nothing to punch.
  const uint64_t end = file.current->page_limit() * kPageSize;
  if (offset >= end || length == 0) return 0;
  length = std::min(length, end - offset);
  SimContent& content = writable(file);
  const uint64_t pages_before = content.allocated_pages();
  content.punch(offset, length);
  DataOp op{.kind = DataOp::Kind::kPunch, .offset = offset, .length = length};
  for (uint64_t index = offset / kPageSize; index < page_count(offset + length); ++index) {
    op.images.push_back(content.page(index));
  }
  finish(file, std::move(op), pages_before);
  return 0;
}

void SimDisk::sync(NodeId node) {
  FileNode& file = files_.at(node);
  if (!file.diverged) {
    // The usual case: what is pending leads from the one to the other.
    file.durable = file.current;
    file.current_shared = true;
    // After a failed sync or a lost write the two have parted: only what is pending reaches the disk now, on top of what
    // is there.
  } else if (!file.pending.empty()) {
    SimContent content = *file.durable;
    for (const auto& op : file.pending) {
      if (!op->lost) land(*op, content, everything);
    }
    content.resize(file.current->size());
    file.durable = std::make_shared<SimContent>(std::move(content));
  }
  file.pending.clear();
}

void SimDisk::fail_sync(NodeId node, SimContent on_disk) {
  FileNode& file = files_.at(node);
  // Linux marks the pages clean after a failed write-back: the next sync has nothing to write and succeeds (hazard 14;
  // Rebello et al., "Can Applications Recover from fsync Failures?", ATC '20).
  file.durable = std::make_shared<SimContent>(std::move(on_disk));
  file.pending.clear();
  file.diverged = true;
}

void SimDisk::drop_cache(NodeId node) {
  FileNode& file = files_.at(node);
  // Clean pages that agree with the disk can be dropped without anybody seeing it.
  if (!file.diverged) return;
  SimContent content = *file.durable;
  for (const auto& op : file.pending) land(*op, content, everything);
  content.resize(file.current->size());  // the size is in the inode, which stays in memory
  used_pages_ = used_pages_ + content.allocated_pages() - file.current->allocated_pages();
  file.current = std::make_shared<SimContent>(std::move(content));
  file.current_shared = false;
}

FileStat SimDisk::stat(NodeId node) const {
  const SimContent& content = *files_.at(node).current;
  return {.size = content.size(), .allocated = content.allocated_pages() * kPageSize};
}

void SimDisk::damage(NodeId node, const std::function<void(SimContent&)>& change) {
  FileNode& file = files_.at(node);
  SimContent& content = writable(file);
  const uint64_t pages_before = content.allocated_pages();
  change(content);
  used_pages_ = used_pages_ + content.allocated_pages() - pages_before;
  // The cache agrees with the disk, so that one change is both. Else each gets it: a read shows it, and so does a crash.
  if (file.pending.empty() && !file.diverged) {
    file.durable = file.current;
    file.current_shared = true;
    return;
  }
  SimContent durable = *file.durable;
  change(durable);
  file.durable = std::make_shared<SimContent>(std::move(durable));
}

void SimDisk::set_unreadable(NodeId node, uint64_t first_sector, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) files_.at(node).bad_sectors.insert(first_sector + i);
}

}  // namespace cairn::io
