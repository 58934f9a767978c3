// File over a SimDisk.

#include <cerrno>
#include <utility>

#include "base/check.h"
#include "io/os_error.h"
#include "io/sim_crash.h"
#include "io/sim_world.h"

namespace cairn::io {
namespace {

// Every call asks the world first, which may refuse it, and then changes the disk. Unlike PosixFile it stays usable
// after a failed call: what a program may still do then is for the tests to find out.
class SimFile final : public File {
 public:
  SimFile(std::shared_ptr<SimWorld> world, NodeId node, std::string name, std::string dir, OpenOptions options)
      : world_(std::move(world)), node_(node), name_(std::move(name)), dir_(std::move(dir)), options_(options) {
    world_->disk.open(node_);
  }
  ~SimFile() override { forget(); }

  Result<size_t> pread(uint64_t offset, std::span<char> buffer) const override;
  Result<size_t> preadv(uint64_t offset, std::span<const std::span<char>> buffers) const override;
  Result<void> pwrite(uint64_t offset, ByteView bytes) override;
  Result<void> sync() override;
  Result<void> truncate(uint64_t size) override;
  Result<void> allocate(uint64_t offset, uint64_t length) override;
  Result<void> punch(uint64_t offset, uint64_t length) override;
  Result<FileStat> stat() const override;
  void drop_cache() const override;
  Result<void> close() override;

 private:
  SimWorld::Verdict enter(CallKind kind, uint64_t offset = 0, uint64_t length = 0) const;
  // For calls that write: a handle for reading only refuses.
  SimWorld::Verdict enter_to_write(CallKind kind, uint64_t offset, uint64_t length) const;
  Error error(const SimWorld::Verdict& verdict, std::string_view operation) const;
  Result<void> answer(int err, std::string_view operation) const;
  void forget();

  const std::shared_ptr<SimWorld> world_;
  const NodeId node_;
  const std::string name_;
  const std::string dir_;
  const OpenOptions options_;
  bool open_ = true;
};

void check_aligned(uint64_t offset, const char* data, size_t length) {
  CHECK(offset % kBlockSize == 0);
  CHECK(length % kBlockSize == 0);
  CHECK(reinterpret_cast<uintptr_t>(data) % kBlockSize == 0);
}

SimWorld::Verdict SimFile::enter(CallKind kind, uint64_t offset, uint64_t length) const {
  // As a closed descriptor. It does not count as a call.
  if (!open_) return {.err = EBADF};
  return world_->enter(kind, name_, offset, length);
}

SimWorld::Verdict SimFile::enter_to_write(CallKind kind, uint64_t offset, uint64_t length) const {
  if (options_.mode == OpenMode::kRead) return {.err = kind == CallKind::kTruncate ? EINVAL : EBADF};
  return enter(kind, offset, length);
}

Error SimFile::error(const SimWorld::Verdict& verdict, std::string_view operation) const {
  return SimWorld::error(verdict, operation, name_, dir_);
}

Result<void> SimFile::answer(int err, std::string_view operation) const {
  if (err != 0) return fail(os_error(err, operation, name_, dir_));
  return {};
}

Result<size_t> SimFile::pread(uint64_t offset, std::span<char> buffer) const {
  // The same rules as the real one, also on file systems of the test machine that have no O_DIRECT.
  if (options_.direct) check_aligned(offset, buffer.data(), buffer.size());
  const auto verdict = enter(CallKind::kRead, offset, buffer.size());
  if (!verdict.ok()) return fail(error(verdict, "read"));
  size_t got = 0;
  const int err = world_->disk.read(node_, offset, buffer, &got);
  if (err != 0) return fail(os_error(err, "read", name_, dir_));
  return got;
}

Result<size_t> SimFile::preadv(uint64_t offset, std::span<const std::span<char>> buffers) const {
  uint64_t size = 0;
  for (const std::span<char> buffer : buffers) {
    if (options_.direct) check_aligned(offset + size, buffer.data(), buffer.size());
    size += buffer.size();
  }
  // One call, as it is of the real one: it fails as a whole.
  const auto verdict = enter(CallKind::kRead, offset, size);
  if (!verdict.ok()) return fail(error(verdict, "read"));
  size_t done = 0;
  for (const std::span<char> buffer : buffers) {
    size_t got = 0;
    const int err = world_->disk.read(node_, offset + done, buffer, &got);
    if (err != 0) return fail(os_error(err, "read", name_, dir_));
    done += got;
    if (got < buffer.size()) break;
  }
  return done;
}

Result<void> SimFile::pwrite(uint64_t offset, ByteView bytes) {
  if (options_.direct) check_aligned(offset, bytes.data(), bytes.size());
  const auto verdict = enter_to_write(CallKind::kWrite, offset, bytes.size());
  // The disk itself may still say ENOSPC, after writing what fitted.
  if (verdict.ok()) return answer(world_->disk.write(node_, offset, bytes, verdict.lose), "write");
  if (!verdict.crashed && open_ && options_.mode != OpenMode::kRead && !bytes.empty()) {
    DCHECK(verdict.err != 0);
    // Part of it may have been written. Running out of space on the way changes nothing about the error.
    (void)world_->disk.write(node_, offset, bytes.substr(0, world_->fault_random.below(bytes.size())));
  }
  return fail(error(verdict, "write"));
}

Result<void> SimFile::sync() {
  const auto verdict = enter(CallKind::kSync);
  if (verdict.ok()) {
    world_->disk.sync(node_);
    return {};
  }
  if (!verdict.crashed && open_) {
    const FileNode& file = world_->disk.files().at(node_);
    // Some, all or none of what was pending is on disk, in any mixture, and from now on nobody knows which (faults.md).
    SimContent on_disk = random_content(file, stale_pages(world_->disk, node_), world_->fault_random);
    world_->disk.fail_sync(node_, std::move(on_disk));
  }
  return fail(error(verdict, "sync"));
}

Result<void> SimFile::truncate(uint64_t size) {
  const auto verdict = enter_to_write(CallKind::kTruncate, 0, size);
  if (!verdict.ok()) return fail(error(verdict, "truncate"));
  return answer(world_->disk.truncate(node_, size), "truncate");
}

Result<void> SimFile::allocate(uint64_t offset, uint64_t length) {
  if (length == 0) return {};
  const auto verdict = enter_to_write(CallKind::kAllocate, offset, length);
  if (!verdict.ok()) return fail(error(verdict, "allocate"));
  return answer(world_->disk.allocate(node_, offset, length), "allocate");
}

Result<void> SimFile::punch(uint64_t offset, uint64_t length) {
  if (length == 0) return {};
  const auto verdict = enter_to_write(CallKind::kPunch, offset, length);
  if (!verdict.ok()) return fail(error(verdict, "punch"));
  return answer(world_->disk.punch(node_, offset, length), "punch");
}

Result<FileStat> SimFile::stat() const {
  const auto verdict = enter(CallKind::kStat);
  if (!verdict.ok()) return fail(error(verdict, "stat"));
  return world_->disk.stat(node_);
}

void SimFile::drop_cache() const {
  // No call: it cannot fail, and a program cannot tell whether it did anything.
  if (open_ && !world_->dead) world_->disk.drop_cache(node_);
}

Result<void> SimFile::close() {
  if (!open_) return {};
  // The descriptor is gone whatever close(2) says.
  const auto verdict = enter(CallKind::kClose);
  forget();
  if (!verdict.ok()) return fail(error(verdict, "close"));
  return {};
}

void SimFile::forget() {
  // Also in a dead world: its disk may be looked at afterwards, and counts handles.
  if (open_) world_->disk.close(node_);
  open_ = false;
}

}  // namespace

std::unique_ptr<File> make_sim_file(std::shared_ptr<SimWorld> world, NodeId node, std::string name, std::string dir,
                                    OpenOptions options) {
  return std::make_unique<SimFile>(std::move(world), node, std::move(name), std::move(dir), options);
}

}  // namespace cairn::io
