// For tests of decoders: what they refuse, and that they refuse every single changed bit.
#pragma once

#include <gtest/gtest.h>

#include "cairn/bytes.h"
#include "cairn/result.h"

namespace cairn::test {

template <class T>
bool is_corrupt(const Result<T>& result) {
  return !result && result.error().code == ErrorCode::kCorrupt;
}

// `refuses(bytes)` is called with every copy of `bytes` in which one bit of the first `length` bytes is flipped.
template <class Refuses>
void expect_every_bit_flip_refused(const Bytes& bytes, size_t length, Refuses refuses) {
  for (size_t bit = 0; bit < length * 8; ++bit) {
    Bytes damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    EXPECT_TRUE(refuses(damaged)) << "byte " << bit / 8 << " bit " << bit % 8;
  }
}

}  // namespace cairn::test
