// LEB128 varints of 64 bits: at most 10 bytes, shortest form only.
#pragma once

#include <cstdint>
#include <optional>

#include "cairn/bytes.h"

namespace cairn::format {

void put_varint(Bytes& out, uint64_t value);

// Reads from the front of a view and never past its end. After the first failure everything fails.
class Reader {
 public:
  explicit Reader(ByteView bytes) : rest_(bytes) {}
  std::optional<uint64_t> varint();          // fails on more than 64 bits, on a longer form than needed, at the end
  std::optional<ByteView> take(uint64_t n);  // the next n bytes
  std::optional<uint8_t> u8();
  std::optional<uint64_t> u64();  // fixed, little-endian
  std::optional<uint32_t> u32();
  [[nodiscard]] size_t remaining() const { return rest_.size(); }
  [[nodiscard]] bool failed() const { return failed_; }

 private:
  ByteView rest_;
  bool failed_ = false;
};

}  // namespace cairn::format
