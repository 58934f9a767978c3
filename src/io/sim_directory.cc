// Directory over a SimDisk.

#include <cerrno>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "io/lock_owner.h"
#include "io/os_error.h"
#include "io/sim_world.h"

namespace cairn::io {
namespace {

// Holds the node open, so that it stays the file that was locked although somebody unlinks it.
class SimLock final : public FileLock {
 public:
  SimLock(std::shared_ptr<SimWorld> world, NodeId node) : world_(std::move(world)), node_(node) {
    world_->disk.open(node_);
  }
  ~SimLock() override {
    // In a world that died, die() has freed it already.
    world_->locks.erase(node_);
    world_->disk.close(node_);
  }
  SimLock(const SimLock&) = delete;
  SimLock& operator=(const SimLock&) = delete;

 private:
  const std::shared_ptr<SimWorld> world_;
  const NodeId node_;
};

// The same names and rules as PosixDirectory (unit/io/env_conformance_test runs on both), but for what a simulation has
// no need of: owners, links and special files.
class SimDirectory final : public Directory {
 public:
  SimDirectory(std::shared_ptr<SimWorld> world, NodeId node, std::string path)
      : world_(std::move(world)), node_(node), path_(std::move(path)) {}

  Result<std::unique_ptr<File>> open(std::string_view name, OpenOptions options) const override;
  Result<std::unique_ptr<Directory>> open_dir(std::string_view name) const override;
  Result<void> make_dir(std::string_view name) override;
  Result<void> rename(std::string_view from, std::string_view to) override;
  Result<void> rename_into(std::string_view from, Directory& target, std::string_view to) override;
  Result<void> unlink(std::string_view name) override;
  Result<std::vector<std::string>> list() const override;
  Result<void> sync() override;
  Result<std::unique_ptr<FileLock>> lock(std::string_view name, std::string_view owner) override;
  Result<Space> space() const override;
  const std::string& path() const override { return path_; }

 private:
  Result<void> check_name(std::string_view operation, std::string_view name) const;
  // Asks the world; "." is this directory.
  Result<void> enter(CallKind kind, std::string_view operation, std::string_view name) const;
  Result<void> answer(int err, std::string_view operation, std::string_view name) const;

  const std::shared_ptr<SimWorld> world_;
  const NodeId node_;
  const std::string path_;
};

Result<void> SimDirectory::check_name(std::string_view operation, std::string_view name) const {
  if (is_plain_name(name)) return {};
  return fail(io_error(ErrorCode::kInvalid, EINVAL, operation, name, path_, "not a plain file name"));
}

Result<void> SimDirectory::enter(CallKind kind, std::string_view operation, std::string_view name) const {
  // Names are checked before: a call that the real one refuses without a system call must not count as one.
  const auto verdict = world_->enter(kind, name == "." ? path_ : name);
  if (!verdict.ok()) return fail(SimWorld::error(verdict, operation, name, path_));
  return {};
}

Result<void> SimDirectory::answer(int err, std::string_view operation, std::string_view name) const {
  if (err != 0) return fail(os_error(err, operation, name, path_));
  return {};
}

Result<std::unique_ptr<File>> SimDirectory::open(std::string_view name, OpenOptions options) const {
  NodeId node = 0;
  if (options.mode == OpenMode::kCreate) {
    TRY(check_name("create", name));
    TRY(enter(CallKind::kCreate, "create", name));
    TRY(answer(world_->disk.create(node_, name, &node), "create", name));
  } else {
    TRY(check_name("open", name));
    TRY(enter(CallKind::kOpen, "open", name));
    // After enter(): a fault or the crash comes before the call looks at anything.
    node = world_->disk.lookup(node_, name);
    TRY(answer(node == 0 ? ENOENT : 0, "open", name));
    if (world_->disk.is_dir(node)) {
      return fail(io_error(ErrorCode::kInvalid, EISDIR, "open", name, path_, "not a regular file"));
    }
  }
  return make_sim_file(world_, node, std::string(name), path_, options);
}

Result<std::unique_ptr<Directory>> SimDirectory::open_dir(std::string_view name) const {
  TRY(check_name("open directory", name));
  TRY(enter(CallKind::kOpen, "open directory", name));
  const NodeId node = world_->disk.lookup(node_, name);
  TRY(answer(node == 0 ? ENOENT : 0, "open directory", name));
  TRY(answer(world_->disk.is_dir(node) ? 0 : ENOTDIR, "open directory", name));
  return make_sim_directory(world_, node, fmt::format("{}/{}", path_, name));
}

Result<void> SimDirectory::make_dir(std::string_view name) {
  TRY(check_name("make directory", name));
  TRY(enter(CallKind::kMakeDir, "make directory", name));
  return answer(world_->disk.make_dir(node_, name), "make directory", name);
}

Result<void> SimDirectory::rename(std::string_view from, std::string_view to) { return rename_into(from, *this, to); }

Result<void> SimDirectory::rename_into(std::string_view from, Directory& target, std::string_view to) {
  TRY(check_name("rename", from));
  TRY(check_name("rename to", to));
  const auto* other = dynamic_cast<const SimDirectory*>(&target);
  // Two worlds are two machines.
  CHECK(other != nullptr && other->world_ == world_);
  TRY(enter(CallKind::kRename, "rename", from));
  return answer(world_->disk.rename(node_, from, other->node_, to), fmt::format("rename to {}:", quoted(to)), from);
}

Result<void> SimDirectory::unlink(std::string_view name) {
  TRY(check_name("unlink", name));
  TRY(enter(CallKind::kUnlink, "unlink", name));
  return answer(world_->disk.unlink(node_, name), "unlink", name);
}

Result<std::vector<std::string>> SimDirectory::list() const {
  TRY(enter(CallKind::kList, "list", "."));
  std::vector<std::string> names;
  // The map is ordered, and so are the names, as Directory::list() promises.
  for (const auto& [name, node] : world_->disk.dirs().at(node_).current) names.push_back(name);
  return names;
}

Result<void> SimDirectory::sync() {
  TRY(enter(CallKind::kSyncDir, "sync", "."));
  // A sync of a directory that is told to fail changes nothing: none, some or all of the names may still land in a
  // crash.
  world_->disk.sync_dir(node_);
  return {};
}

Result<std::unique_ptr<FileLock>> SimDirectory::lock(std::string_view name, std::string_view owner) {
  TRY(check_name("lock", name));
  TRY(enter(CallKind::kLock, "lock", name));
  NodeId node = world_->disk.lookup(node_, name);
  if (node != 0 && world_->disk.is_dir(node)) {
    return fail(io_error(ErrorCode::kInvalid, EISDIR, "open", name, path_, "not a regular file"));
  }
  if (node == 0) {
    TRY(enter(CallKind::kCreate, "create", name));
    TRY(answer(world_->disk.create(node_, name, &node), "create", name));
  }
  if (const auto held = world_->locks.find(node); held != world_->locks.end()) {
    return fail(io_error(ErrorCode::kBusy, EWOULDBLOCK, "lock", name, path_, describe_lock_owner(held->second)));
  }
  auto file = make_sim_file(world_, node, std::string(name), path_, {.mode = OpenMode::kReadWrite});
  // May be refused for want of space or by a fault; then there is no lock, and the file stays, as with flock.
  TRY(write_lock_owner(*file, owner));
  TRY(file->close());
  DCHECK(!world_->locks.contains(node));
  auto lock = std::make_unique<SimLock>(world_, node);
  world_->locks[node] = owner;
  return lock;
}

Result<Directory::Space> SimDirectory::space() const {
  TRY(enter(CallKind::kStat, "statvfs", "."));
  // Of a disk without an end, bytes: more than any test writes.
  constexpr uint64_t kEndless = uint64_t{1} << 40;
  const SimDisk& disk = world_->disk;
  // Full disks may hold more than their capacity, after it was set lower: nothing is available then.
  const uint64_t used = disk.used_pages() * kPageSize;
  const uint64_t total = disk.capacity_pages() == 0 ? kEndless : disk.capacity_pages() * kPageSize;
  return Space{.total = total, .available = total > used ? total - used : 0};
}

}  // namespace

std::unique_ptr<Directory> make_sim_directory(std::shared_ptr<SimWorld> world, NodeId node, std::string path) {
  return std::make_unique<SimDirectory>(std::move(world), node, std::move(path));
}

}  // namespace cairn::io
