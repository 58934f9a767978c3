#include "format/varint.h"

#include "format/decode.h"
#include "format/le.h"

namespace cairn::format {

void put_varint(Bytes& out, uint64_t value) {
  // The cast keeps the low eight bits; the top one is the continuation.
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

std::optional<uint64_t> Reader::varint() {
  uint64_t value = 0;
  // Ten bytes carry 70 bits: of the tenth only one counts.
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const auto byte = u8();
    if (!byte) return std::nullopt;
    const uint64_t bits = *byte & 0x7fu;
    // Both are refused as damage. A longer form would be a second encoding of the same number, for which nobody looks.
    const bool overflows = shift == 63 && bits > 1;
    const bool longer_than_needed = *byte == 0 && shift > 0;
    if (overflows || longer_than_needed) break;
    value |= bits << shift;
    if (*byte < 0x80) return value;
  }
  // A varint that ends in the middle has failed in u8() already.
  failed_ = true;
  return std::nullopt;
}

std::optional<ByteView> Reader::take(uint64_t n) {
  // `n` comes from the bytes themselves: compared, never added to anything.
  if (failed_ || n > rest_.size()) {
    failed_ = true;
    return std::nullopt;
  }
  const ByteView taken = rest_.substr(0, n);
  rest_.remove_prefix(n);
  return taken;
}

std::optional<uint8_t> Reader::u8() {
  const auto bytes = take(1);
  if (!bytes) return std::nullopt;
  return static_cast<uint8_t>(bytes->front());
}

std::optional<uint64_t> Reader::u64() {
  const auto bytes = take(sizeof(Le64));
  if (!bytes) return std::nullopt;
  return load<Le64>(*bytes);
}

std::optional<uint32_t> Reader::u32() {
  const auto bytes = take(sizeof(Le32));
  if (!bytes) return std::nullopt;
  return load<Le32>(*bytes);
}

}  // namespace cairn::format
