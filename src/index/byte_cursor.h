// Decoding the fields of blocks. As format::Reader, but inline: an entry has nine varints, nearly all of one to three
// bytes, and a block some 200 entries that are all decoded when it is read (in half the time that format::Reader
// takes).
#pragma once

#include <cstdint>
#include <cstring>

#include "cairn/bytes.h"
#include "format/le.h"

namespace cairn::index {

// Reads from the front of a view and never past its end. After a failure everything gives zeros; look at ok() once at
// the end, and before a length that was read is used.
class ByteCursor {
 public:
  // `bytes` outlives it and what it hands out. For one thread.
  explicit ByteCursor(ByteView bytes) : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  // Fails on more than 64 bits, on a longer form than needed, at the end.
  uint64_t varint() {
    // Most numbers are below 128.
    if (at_ != end_ && static_cast<unsigned char>(*at_) < 0x80) return static_cast<unsigned char>(*at_++);
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && at_ != end_; shift += 7) {
      const auto byte = static_cast<unsigned char>(*at_++);
      // The tenth byte has room for one bit.
      const bool overflows = shift == 63 && byte > 1;
      const bool longer_than_needed = byte == 0 && shift > 0;
      if (overflows || longer_than_needed) break;
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
    return failed();
  }

  // The next n bytes, or nothing and a failure. `n` may be any number that was read.
  ByteView take(uint64_t n) {
    if (n > remaining()) {
      failed();
      return {};
    }
    const ByteView taken(at_, n);
    at_ += n;
    return taken;
  }

  uint8_t u8() { return at_ != end_ ? static_cast<uint8_t>(*at_++) : static_cast<uint8_t>(failed()); }

  // Fixed width, little-endian.
  uint64_t u64() {
    const ByteView bytes = take(sizeof(format::Le64));
    if (bytes.empty()) return 0;
    format::Le64 value;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }

  // 0 after a failure, so that loops over what is left end.
  [[nodiscard]] uint64_t remaining() const { return static_cast<uint64_t>(end_ - at_); }
  [[nodiscard]] bool ok() const { return ok_; }

 private:
  // Goes to the end, so that nothing more is read.
  uint64_t failed() {
    ok_ = false;
    at_ = end_;
    return 0;
  }

  // at_ <= end_ always.
  const char* at_;
  const char* end_;
  bool ok_ = true;
};

}  // namespace cairn::index
