// File over a descriptor. Made by PosixDirectory.
#pragma once

#include <string>

#include "base/unique_fd.h"
#include "io/env.h"

namespace cairn::io {

// Every call is one system call or a loop of one, on the descriptor, without state of its own but for close():
// thread-safe as the kernel is. With O_DIRECT offsets, lengths and buffers are multiples of kBlockSize (CHECK), but for
// the end of a file that is read.
class PosixFile final : public File {
 public:
  // `fd` is open on a regular file; `direct` says that it has O_DIRECT. The names are for messages.
  PosixFile(UniqueFd fd, std::string name, std::string directory, bool direct);

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
  // Names the operation, the file and the directory.
  Error error(int err, std::string_view operation) const;
  // allocate() and punch(). kUnsupported where the file system cannot; nothing to do for no bytes.
  Result<void> fallocate(int mode, uint64_t offset, uint64_t length, std::string_view operation);

  // Invalid after close(): further calls then give kIo (EBADF).
  UniqueFd fd_;
  // As they were when it was opened. A rename does not change what messages say.
  const std::string name_;
  const std::string directory_;
  const bool direct_;
};

}  // namespace cairn::io
