#include "store/reserve.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"

namespace cairn::store {

namespace {

constexpr uint64_t kKept = 2;  // files: one for a compaction, and one for the manifest that makes it count

}  // namespace

Result<std::unique_ptr<Reserve>> Reserve::open(io::Directory& store, uint64_t file_size, unsigned count, Room* room,
                                               std::shared_ptr<Logger> logger) {
  if (auto made = store.make_dir(kReserveDir); !made) {
    // On a disk as full as that there is nothing to set aside; the store opens without.
    if (made.error().code == ErrorCode::kNoSpace) return std::unique_ptr<Reserve>();
    if (made.error().code != ErrorCode::kExists) return fail(made.error());
  }
  TRY_ASSIGN(auto directory, store.open_dir(kReserveDir));
  CHECK(file_size != 0 && count != 0 && room != nullptr);
  std::unique_ptr<Reserve> out(new Reserve(std::move(directory), file_size, count, room, std::move(logger)));
  {
    MutexLock lock(out->mu_);
    TRY(out->adopt());
  }
  TRY(out->refill());
  return out;
}

uint64_t Reserve::files_wanted() const {
  return room_->limited() ? count_ : std::max<uint64_t>(count_, room_->used() / (kStoreShare * file_size_));
}

Result<void> Reserve::adopt() {
  TRY_ASSIGN(const auto names, directory_->list());
  // Files of an earlier run. One that is not whole, as a crash or another segment size left it, is made anew.
  for (const std::string& name : names) {
    TRY_ASSIGN(auto file, directory_->open(name, {}));
    TRY_ASSIGN(const auto stat, file->stat());
    // Allocated, not only as long: a hole is no reserve.
    const bool whole = stat.size == file_size_ && stat.allocated >= file_size_;
    if (whole && files_.size() < files_wanted()) {
      files_.push_back(name);
      // Not taken: it is on disk whatever the limit says.
      room_->add(Room::charge(file_size_));
    } else {
      TRY(directory_->unlink(name));
    }
  }
  return {};
}

Result<void> Reserve::refill() {
  MutexLock lock(mu_);
  for (unsigned i = 0; files_.size() < files_wanted(); ++i) {
    const auto name = fmt::format("{:016x}", i);
    if (std::find(files_.begin(), files_.end(), name) != files_.end()) continue;
    RoomClaim claim;
    // Later, then: maintenance tries again when something was unlinked.
    if (!room_->take(Room::charge(file_size_), Room::Use::kFree)) return {};
    claim = RoomClaim(room_, Room::charge(file_size_));
    if (auto made = make(name); !made) {
      if (made.error().code == ErrorCode::kNoSpace || made.error().code == ErrorCode::kUnsupported) return {};
      return made;
    }
    claim.keep();
    files_.push_back(name);
  }
  return {};
}

Result<void> Reserve::make(const std::string& name) {
  TRY_ASSIGN(auto file, directory_->open(name, {io::OpenMode::kCreate, false}));
  auto made = file->allocate(0, file_size_);
  // Synced with its name, so that a crash does not make it one of the leftovers that need room first.
  if (made) made = file->sync();
  if (made) made = directory_->sync();
  if (made) return file->close();
  if (auto gone = directory_->unlink(name); !gone) made.error().message += "; and " + gone.error().message;
  return made;
}

Result<std::unique_ptr<io::File>> Reserve::take(io::Directory& target, const Wanted& wanted) {
  MutexLock lock(mu_);
  return take_locked(target, wanted);
}

Result<std::unique_ptr<io::File>> Reserve::take_unless_last(io::Directory& target, const Wanted& wanted) {
  MutexLock lock(mu_);
  if (files_.size() <= std::min<uint64_t>(kKept, files_wanted() / 2))
    return fail(ErrorCode::kNoSpace,
                fmt::format("no room for {} on the disk, and compaction needs the reserve", wanted.name));
  return take_locked(target, wanted);
}

Result<std::unique_ptr<io::File>> Reserve::take_locked(io::Directory& target, const Wanted& wanted) {
  if (files_.empty())
    return fail(ErrorCode::kNoSpace,
                fmt::format("no room for {} on the disk, and the reserve is used up", wanted.name));
  const std::string from = files_.back();
  {
    TRY_ASSIGN(auto file, directory_->open(from, {io::OpenMode::kReadWrite, false}));
    // The header is on disk before the file has its new name: a `.seg` file that cannot be read is damage (FORMAT.md).
    CHECK(wanted.head.size() <= file_size_);
    if (!wanted.head.empty()) TRY(file->pwrite(0, wanted.head));
    // Whoever takes it has paid for so much; the rest would be on disk without being in anybody's account.
    if (wanted.size < file_size_) TRY(file->truncate(wanted.size));
    TRY(file->sync());
    TRY(file->close());
  }
  TRY(directory_->rename_into(from, target, wanted.name));
  // From here on it is the caller's, or gone.
  CHECK(!files_.empty() && files_.back() == from);
  files_.pop_back();
  room_->take_back(Room::charge(file_size_), room_->refusals());
  logger_->info("reserve_used for={} left={}", wanted.name, files_.size());
  // The new name first: in between a crash may show both or one, never none.
  auto durable = target.sync();
  if (durable) durable = directory_->sync();
  Result<std::unique_ptr<io::File>> file;
  if (durable) file = target.open(wanted.name, {io::OpenMode::kReadWrite, wanted.direct});
  if (durable && file) return file;
  Error error = durable ? file.error() : durable.error();
  if (auto gone = target.unlink(wanted.name); !gone) error.message += "; and " + gone.error().message;
  return fail(std::move(error));
}

bool Reserve::is_whole() const {
  MutexLock lock(mu_);
  return files_.size() >= files_wanted();
}

}  // namespace cairn::store
