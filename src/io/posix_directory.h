// Directory over a held descriptor.
#pragma once

#include <string>

#include "base/unique_fd.h"
#include "io/env.h"

namespace cairn::io {

// Everything is resolved relative to the descriptor, so the directory may be renamed or replaced meanwhile. What is
// opened is looked at again through its own descriptor: not a regular file, not one link, or (unless we are root) not
// our file gives kInvalid.
class PosixDirectory final : public Directory {
 public:
  // Takes `fd` over and keeps it open for life.
  // `fd` is open on a directory; `path` is for messages.
  PosixDirectory(UniqueFd fd, std::string path);

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
  // Errors name the operation, the file and the directory; check_name() also keeps a name from leaving the directory.
  Error error(int err, std::string_view operation, std::string_view name) const;
  Result<void> check_name(std::string_view operation, std::string_view name) const;
  // kInvalid for anything that is not a regular file of ours with one link.
  Result<void> check_file(int fd, std::string_view name) const;
  // Root working in somebody's store leaves nothing there that its owner could not use afterwards: what is made belongs
  // to whom the directory belongs to.
  Result<void> give_to_owner(int fd, std::string_view name) const;
  // Opens, or creates with O_CREAT in `flags`, and checks.
  Result<UniqueFd> open_fd(std::string_view name, int flags) const;
  struct LockFile {
    UniqueFd fd;
    bool writable = false;  // false: on a read-only file system
  };
  Result<UniqueFd> lock_directory(std::string_view name) const;
  Result<LockFile> open_lock_file(std::string_view name) const;
  // Whether `name` is still the file that `fd` is open on. False also if that cannot be found out: whoever asks then
  // tries again.
  bool still_named(int fd, const std::string& name) const;

  // All threads share it: every call is relative to it and none moves its position (list() opens its own).
  const UniqueFd fd_;
  const std::string path_;
};

}  // namespace cairn::io
