#include "format/varint.h"
#include "fuzz/fuzz.h"

namespace cairn::format {
namespace {

fuzz::Corpus corpus() {
  Bytes bytes;
  for (unsigned shift = 0; shift < 64; shift += 3) put_varint(bytes, uint64_t{1} << shift);
  return {bytes, Bytes(20, '\xff')};
}

void run(ByteView bytes) {
  Reader reader(bytes);
  Bytes again;
  while (const auto value = reader.varint()) put_varint(again, *value);
  FUZZ_EXPECT(bytes.starts_with(again));  // there is one form of each number
  FUZZ_EXPECT(reader.failed());
  FUZZ_EXPECT(!reader.u64() && !reader.take(0));
}

}  // namespace
}  // namespace cairn::format

FUZZ_TARGET(Varint, cairn::format::corpus, cairn::format::run);
