// LEB128 varints of 64 bits (as in DWARF and protobuf): seven bits a byte, lowest first, the top bit says that more
// follow. At most 10 bytes, shortest form only: a number has one encoding, so equal entries are equal bytes.
#pragma once

#include <cstdint>
#include <optional>

#include "cairn/bytes.h"

namespace cairn::format {

// Appends 1 to 10 bytes.
void put_varint(Bytes& out, uint64_t value);

// Reads from the front of a view and never past its end. After the first failure everything fails, so that a decoder
// may read all its fields and ask once. What it hands out points into the bytes it was given, which outlive it. For one
// thread.
class Reader {
 public:
  explicit Reader(ByteView bytes) : rest_(bytes) {}
  std::optional<uint64_t> varint();          // fails on more than 64 bits, on a longer form than needed, at the end
  std::optional<ByteView> take(uint64_t n);  // the next n bytes
  std::optional<uint8_t> u8();
  std::optional<uint64_t> u64();  // fixed, little-endian
  std::optional<uint32_t> u32();
  // Bytes not yet read; after a failure still those before it.
  [[nodiscard]] size_t remaining() const { return rest_.size(); }
  [[nodiscard]] bool failed() const { return failed_; }

 private:
  ByteView rest_;
  bool failed_ = false;
};

}  // namespace cairn::format
