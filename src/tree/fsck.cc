// fsck: the passes, one after the other.
#include "cairn/fsck.h"

#include <unistd.h>

#include <new>
#include <utility>

#include <fmt/format.h>

#include "base/try.h"
#include "cairn/store.h"
#include "io/env.h"
#include "store/check_store.h"
#include "store/layout.h"
#include "tree/fsck_tree.h"

namespace cairn {
namespace {

void fill_tree_counts(FsckReport& report, const tree::TreeReport& t) {
  report.inodes = t.inodes;
  report.directories = t.directories;
  report.files = t.files;
  report.symlinks = t.symlinks;
  report.others = t.others;
  report.orphans = t.orphans;
  report.content_bytes = t.content_bytes;
}

// Pass 4, and the paths of what passes 1 to 3 found damaged.
Result<void> check_names(io::Env& env, const std::string& path, const FsckOptions& options, store::StoreCheck& check) {
  Options open;
  open.read_only = true;
  open.owner = "fsck.cairnfs";
  // Read-only: as the next mount would see it, recovered in memory.
  auto store = Store::open(env, path, open);
  if (!store) {
    const ErrorCode code = store.error().code;
    if (code == ErrorCode::kBusy || code == ErrorCode::kIo || code == ErrorCode::kOutOfMemory)
      return fail(store.error());
    // What has been reported keeps it from being opened.
    if (!check.index_read) {
      if (options.progress) options.progress("Pass 4: skipped, the store cannot be opened");
      return {};
    }
    // Passes 1 to 3 were content with it, so this is something that only a mount looks at: a finding, not the end of
    // the check.
    FsckFinding f;
    f.pass = 4;
    f.structure = "store";
    f.message = store::escaped(store.error().message);
    f.rebuildable = true;
    check.report.findings.push_back(std::move(f));
    return {};
  }
  // Keys mean paths only with the tree at hand.
  for (const store::DamagedKey& d : check.damaged_keys) {
    auto& affected = check.report.findings[d.finding].affected;
    for (std::string& affected_path : tree::affected_paths(**store, d.key))
      affected.push_back(std::move(affected_path));
  }
  if (options.progress) options.progress("Pass 4: checking the tree");
  TRY_ASSIGN(const auto report, tree::check_tree(**store, [&](FsckFinding f) {
               f.pass = 4;
               check.report.findings.push_back(std::move(f));
             }));
  fill_tree_counts(check.report, report);
  return {};
}

Result<FsckReport> check(io::Env& env, const std::string& path, const FsckOptions& options) {
  TRY_ASSIGN(auto directory, store::open_store_directory(env, path));
  // Before anything is written, even the lock file: is this a store at all?
  if (auto superblock = store::read_superblock(*directory, path);
      !superblock && superblock.error().code != ErrorCode::kCorrupt)
    return fail(superblock.error());
  auto lock = store::lock_store(*directory, path, fmt::format("pid {}, fsck.cairnfs", getpid()));
  if (!lock) return fail(lock.error());
  // Under the same lock as the passes: nobody mounts in between.
  if (options.rebuild_index) TRY(store::rebuild_index(env, *directory, path));
  TRY_ASSIGN(auto check, store::check_store(env, *directory, path, options));
  check.report.rebuilt = options.rebuild_index;
  lock->reset();  // the store takes it itself
  if (check.can_open) {
    TRY(check_names(env, path, options, check));
  } else if (options.progress) {
    options.progress("Pass 4: skipped, the index cannot be read");
  }
  return std::move(check.report);
}

}  // namespace

Result<FsckReport> fsck(const std::filesystem::path& path, const FsckOptions& options) {
  return fsck(io::posix_env(), path.string(), options);
}

Result<FsckReport> fsck(io::Env& env, const std::string& path, const FsckOptions& options) {
  try {
    // Nothing is half written then: a rebuild replaces the manifest last.
    return check(env, path, options);
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kOutOfMemory, "checking " + path + ": out of memory");
  }
}

}  // namespace cairn
