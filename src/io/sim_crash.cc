#include "io/sim_crash.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/check.h"

namespace cairn::io {
namespace {

// The bytes of one file after a crash, put together operation by operation.
class FileBuilder {
 public:
  explicit FileBuilder(const FileNode& file)
      : content_(*file.durable), old_end_(sector_count(file.durable->size())), size_(file.durable->size()) {}

  // The size as it would be if all that landed had landed as a whole.
  [[nodiscard]] uint64_t size() const { return size_; }

  // A write extends the size once a sector of it lands, or if it `grows` anyway.
  void add(const DataOp& op, bool grows, const SectorFilter& lands) {
    if (op.lost) return;
    // A truncation or an allocation is one change of the inode: it lands as a whole, by the verdict about its first
    // sector.
    const bool is_whole = op.kind == DataOp::Kind::kTruncate || op.kind == DataOp::Kind::kAllocate;
    if (is_whole && !lands(op.offset / kSectorSize)) return;
    bool any = grows;
    land(op, content_, [&](uint64_t sector) {
      if (!lands(sector)) return false;
      written_.insert(sector);
      any = true;
      return true;
    });
    switch (op.kind) {
      case DataOp::Kind::kTruncate:
        size_ = op.size_after;
        // What was cut off counts as never written, should the file grow again.
        old_end_ = std::min(old_end_, sector_count(size_));
        written_.erase(written_.lower_bound(sector_count(size_)), written_.end());
        break;
      case DataOp::Kind::kWrite:
        if (any) size_ = std::max(size_, op.offset + op.length);
        break;
      case DataOp::Kind::kAllocate: size_ = std::max(size_, op.offset + op.length); break;
      case DataOp::Kind::kPunch: break;
    }
  }

  // What is newly covered and was never written shows `stale(sector)`, null for zeros.
  SimContent finish(uint64_t size, const std::function<PagePtr(uint64_t sector)>& stale) {
    // The stale bytes that ext4 without data=ordered, and others, have shown in blocks that were allocated and not yet
    // written.
    for (uint64_t sector = old_end_; sector < sector_count(size); ++sector) {
      if (written_.contains(sector)) continue;
      if (const PagePtr page = stale(sector); page != nullptr) content_.set_sector(sector, page);
    }
    content_.resize(size);
    return std::move(content_);
  }

 private:
  SimContent content_;
  uint64_t old_end_;  // sectors from here on did not exist at the last sync
  uint64_t size_;
  std::set<uint64_t> written_;  // sectors
};

// How much of what is pending a random crash keeps. A mix, because a coin for each sector alone would hardly ever keep
// all or none of a large write.
enum class Keep : uint8_t { kNothing, kEverything, kOperations, kPages, kSectors, kPrefix };

SectorFilter random_filter(Keep keep, bool within_prefix, SimRandom& random) {
  switch (keep) {
    case Keep::kNothing: return [](uint64_t) { return false; };
    case Keep::kEverything: return [](uint64_t) { return true; };
    case Keep::kPrefix: return [within_prefix](uint64_t) { return within_prefix; };
    case Keep::kOperations: return [lands = random.coin()](uint64_t) { return lands; };
    case Keep::kPages:
      return [salt = random.next()](uint64_t sector) { return SimRandom(salt, sector / kSectorsPerPage).coin(); };
    case Keep::kSectors: return [salt = random.next()](uint64_t sector) { return SimRandom(salt, sector).coin(); };
  }
  return {};
}

// Any size that was reached, or one between two of them, where a write was torn.
uint64_t random_size(const FileNode& file, SimRandom& random) {
  // Sizes reach the disk apart from data: any that was reached, or a tear on the way to it.
  std::vector<uint64_t> sizes{file.durable->size()};
  for (const auto& op : file.pending) sizes.push_back(op->size_after);
  const size_t choice = random.below(sizes.size());
  if (choice == 0 || random.coin()) return sizes[choice];
  CHECK(choice < sizes.size());
  const uint64_t low = std::min(sizes[choice - 1], sizes[choice]);
  const uint64_t high = std::max(sizes[choice - 1], sizes[choice]);
  const uint64_t step = random.coin() ? kSectorSize : kPageSize;
  return std::min(high, low + random.below((high - low) / step + 1) * step);
}

using ContentOf = std::function<std::shared_ptr<SimContent>(NodeId, const FileNode&)>;

// A disk with the durable names of `dirs` and the files that they reach.
SimDisk assemble(const SimDisk& disk, const DirMap& dirs, const ContentOf& content_of) {
  FileMap files;
  // Directories that no durable name reaches are gone with all that is in them, as after fsck of a journalling file
  // system.
  DirMap reached;
  std::vector<NodeId> todo{kRootNode};
  while (!todo.empty()) {
    const NodeId id = todo.back();
    todo.pop_back();
    DirNode& dir = reached[id];
    dir.durable = dir.current = dirs.at(id).durable;
    for (const auto& [name, node] : dir.durable) {
      CHECK(!reached.contains(node) && !files.contains(node));  // no second names
      if (dirs.contains(node)) {
        todo.push_back(node);
        continue;
      }
      const FileNode& old = disk.files().at(node);
      FileNode& file = files[node];
      file.durable = file.current = content_of(node, old);
      file.bad_sectors = old.bad_sectors;
    }
  }
  return {std::move(files), std::move(reached), disk};
}

// The directories after those name operations that `lands` picks by their number.
DirMap names_after(const SimDisk& disk, const std::function<bool(size_t)>& lands) {
  DirMap dirs = disk.dirs();
  for (size_t i = 0; i < disk.pending_names().size(); ++i) {
    if (!lands(i)) continue;
    const NameOp& op = disk.pending_names()[i];
    if (op.kind == NameOp::Kind::kRename) {
      // A file has one name, also where an earlier rename of it did not land.
      for (auto& [id, dir] : dirs)
        std::erase_if(dir.durable, [&](const auto& entry) { return entry.second == op.node; });
    }
    land(op, dirs);
  }
  return dirs;
}

// Half of the time one that was at the same place of its file: a record that it holds is then where its checksum wants it.
PagePtr pick_stale(const std::vector<StalePage>& stale, uint64_t salt, uint64_t sector) {
  if (stale.empty()) return nullptr;
  const uint64_t index = sector / kSectorsPerPage;
  SimRandom random(salt, index);
  const size_t first = random.below(stale.size());
  if (random.coin()) return stale[first].page;
  for (size_t i = 0; i < stale.size(); ++i) {
    const StalePage& found = stale[(first + i) % stale.size()];
    if (found.index == index) return found.page;
  }
  return stale[first].page;
}

}  // namespace

std::vector<StalePage> stale_pages(const SimDisk& disk, NodeId node) {
  constexpr size_t kOfOthers = 64;  // pages; enough to meet some of every small file
  std::vector<StalePage> pages(disk.freed().begin(), disk.freed().end());
  const size_t limit = pages.size() + kOfOthers;
  for (const auto& [id, file] : disk.files()) {
    for (uint64_t i = 0; id != node && i < file.durable->page_limit() && pages.size() < limit; ++i) {
      if (PagePtr page = file.durable->page(i); page != nullptr) pages.push_back({i, std::move(page)});
    }
  }
  return pages;
}

SimContent random_content(const FileNode& file, const std::vector<StalePage>& stale, SimRandom& random) {
  static_assert(static_cast<int>(Keep::kPrefix) == 5, "below(6) draws any of them");
  const auto keep = static_cast<Keep>(random.below(6));
  const size_t prefix = random.below(file.pending.size() + 1);
  FileBuilder builder(file);
  for (size_t i = 0; i < file.pending.size(); ++i) {
    builder.add(*file.pending[i], false, random_filter(keep, i < prefix, random));
  }
  const uint64_t size = random.coin() ? builder.size() : random_size(file, random);
  const uint64_t salt = random.next();
  const uint64_t fill = random.below(3);  // zeros, stale bytes, both
  return builder.finish(size, [&](uint64_t sector) {
    const bool zero = fill == 0 || (fill == 2 && SimRandom(salt, sector).coin());
    return zero ? nullptr : pick_stale(stale, salt, sector);
  });
}

SimDisk crash_to_synced(const SimDisk& disk) {
  return assemble(disk, disk.dirs(), [](NodeId, const FileNode& file) { return file.durable; });
}

SimDisk crash_to_current(const SimDisk& disk) {
  return assemble(disk, names_after(disk, [](size_t) { return true; }),
                  [](NodeId, const FileNode& file) { return std::make_shared<SimContent>(*file.current); });
}

SimDisk crash_at_random(const SimDisk& disk, NameOrder order, SimRandom& random) {
  // One draw for all directories: an ordered file system has one journal.
  const size_t prefix = random.below(disk.pending_names().size() + 1);
  const bool ordered = order == NameOrder::kOrdered || random.below(4) == 0;
  const DirMap dirs = names_after(disk, [&](size_t i) { return ordered ? i < prefix : random.coin(); });
  return assemble(disk, dirs, [&](NodeId node, const FileNode& file) {
    if (file.pending.empty()) return file.durable;
    return std::make_shared<SimContent>(random_content(file, stale_pages(disk, node), random));
  });
}

namespace {

std::shared_ptr<SimContent> chosen_content(const FileNode& file, const CrashPlan& plan,
                                           const std::vector<StalePage>& stale) {
  FileBuilder builder(file);
  uint64_t size_limit = UINT64_MAX;
  for (const auto& op : file.pending) {
    if (plan.torn != op->order) {
      builder.add(*op, false, [landed = plan.landed(op->order)](uint64_t) { return landed; });
      continue;
    }
    builder.add(*op, true, [&](uint64_t sector) {
      return plan.hole ? sector != plan.tear : (sector < plan.tear) != plan.tail_lands;
    });
    // The tear may also be in the size: the file then ends within the write, but never before what was durable.
    if (plan.cut_size) size_limit = plan.tear * kSectorSize;
  }
  const auto unwritten = [&](uint64_t sector) { return plan.stale ? pick_stale(stale, 0, sector) : nullptr; };
  const uint64_t size = std::max(std::min(builder.size(), size_limit), std::min(builder.size(), file.durable->size()));
  return std::make_shared<SimContent>(builder.finish(size, unwritten));
}

}  // namespace

SimDisk crash_as_planned(const SimDisk& disk, const CrashPlan& plan) {
  const DirMap dirs = names_after(disk, [&](size_t i) { return plan.landed(disk.pending_names()[i].order); });
  return assemble(disk, dirs, [&](NodeId node, const FileNode& file) {
    return file.pending.empty() ? file.durable : chosen_content(file, plan, stale_pages(disk, node));
  });
}

}  // namespace cairn::io
