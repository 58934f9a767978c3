// File over a descriptor. Made by PosixDirectory.
#pragma once

#include <string>

#include "base/unique_fd.h"
#include "io/env.h"

namespace cairn::io {

class PosixFile final : public File {
 public:
  // `fd` is open on a regular file; `direct` says that it has O_DIRECT. The names are for messages.
  PosixFile(UniqueFd fd, std::string name, std::string directory, bool direct);

  Result<size_t> pread(uint64_t offset, std::span<char> buffer) const override;
  Result<void> pwrite(uint64_t offset, ByteView bytes) override;
  Result<void> sync() override;
  Result<void> truncate(uint64_t size) override;
  Result<void> allocate(uint64_t offset, uint64_t length) override;
  Result<void> punch(uint64_t offset, uint64_t length) override;
  Result<FileStat> stat() const override;
  void drop_cache() const override;
  Result<void> close() override;

 private:
  Error error(int err, std::string_view operation) const;
  Result<void> fallocate(int mode, uint64_t offset, uint64_t length, std::string_view operation);

  UniqueFd fd_;
  const std::string name_;
  const std::string directory_;
  const bool direct_;
};

}  // namespace cairn::io
