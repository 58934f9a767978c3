// A file that is a string: for tests of readers, which need bytes to come from a file and no crash, fault or clock.
#pragma once

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "io/env.h"

namespace cairn::test {

class MemoryFile : public io::File {
 public:
  MemoryFile() = default;
  explicit MemoryFile(Bytes bytes) : bytes_(std::move(bytes)) {}

  Bytes& bytes() { return bytes_; }
  // Every read that touches this block (4096 bytes) fails from now on, as a bad sector does.
  void break_block(uint64_t index) { bad_blocks_.push_back(index); }
  [[nodiscard]] int syncs() const { return syncs_; }

  Result<size_t> pread(uint64_t offset, std::span<char> buffer) const override {
    for (const uint64_t block : bad_blocks_) {
      if (offset < (block + 1) * io::kBlockSize && offset + buffer.size() > block * io::kBlockSize) {
        return fail(Error(ErrorCode::kIo, 5, "memory file: bad block"));
      }
    }
    if (offset >= bytes_.size()) return 0;
    const size_t length = std::min<uint64_t>(buffer.size(), bytes_.size() - offset);
    std::memcpy(buffer.data(), bytes_.data() + offset, length);
    return length;
  }
  Result<size_t> preadv(uint64_t offset, std::span<const std::span<char>> buffers) const override {
    size_t done = 0;
    for (const std::span<char> buffer : buffers) {
      const auto got = pread(offset + done, buffer);
      if (!got) return got;
      done += *got;
      if (*got < buffer.size()) break;
    }
    return done;
  }
  Result<void> pwrite(uint64_t offset, ByteView bytes) override {
    if (bytes_.size() < offset + bytes.size()) bytes_.resize(offset + bytes.size());
    bytes_.replace(offset, bytes.size(), bytes);
    return {};
  }
  Result<void> sync() override {
    ++syncs_;
    return {};
  }
  Result<void> truncate(uint64_t size) override {
    bytes_.resize(size);
    return {};
  }
  Result<void> allocate(uint64_t offset, uint64_t length) override {
    if (bytes_.size() < offset + length) bytes_.resize(offset + length);
    return {};
  }
  Result<void> punch(uint64_t offset, uint64_t length) override {
    const uint64_t end = std::min<uint64_t>(offset + length, bytes_.size());
    if (offset < end) std::fill_n(bytes_.begin() + static_cast<ptrdiff_t>(offset), end - offset, '\0');
    return {};
  }
  Result<io::FileStat> stat() const override { return io::FileStat{bytes_.size(), bytes_.size()}; }
  void drop_cache() const override {}
  Result<void> close() override { return {}; }

 private:
  Bytes bytes_;
  std::vector<uint64_t> bad_blocks_;
  int syncs_ = 0;
};

}  // namespace cairn::test
