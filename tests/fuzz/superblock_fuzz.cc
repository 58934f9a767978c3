#include "format/checksum.h"
#include "format/decode.h"
#include "format/superblock.h"
#include "fuzz/fuzz.h"
#include "support/segment_image.h"

namespace cairn::format {
namespace {

fuzz::Corpus corpus() {
  Superblock cache = test::small_superblock();
  cache.mode = Mode::kCache;
  cache.limit = 1 << 30;
  cache.compression = {Codec::kZstd, 3};
  return {Bytes(bytes_of(encode_superblock(test::small_superblock()))),
          Bytes(bytes_of(encode_superblock(cache))) + Bytes(4096 - 128, '\0')};
}

// What decodes is exactly what the encoder writes: no two ways to say the same, no byte that nobody looked at.
void expect_canonical(ByteView bytes) {
  const auto superblock = decode_superblock(bytes);
  if (!superblock) return;
  FUZZ_EXPECT(bytes_of(encode_superblock(*superblock)) == bytes.substr(0, sizeof(SuperblockDisk)));
  FUZZ_EXPECT(all_zero(bytes.substr(sizeof(SuperblockDisk))));
}

void run(ByteView bytes) {
  expect_canonical(bytes);
  Bytes repaired(bytes);
  fuzz::change_struct<SuperblockDisk>(repaired, [](SuperblockDisk& disk) {
    disk.magic = kSuperblockMagic;
    disk.version = kFormatVersion;
    disk.checksum = checksum(bytes_of(disk).substr(0, offsetof(SuperblockDisk, checksum)));
  });
  expect_canonical(repaired);
}

}  // namespace
}  // namespace cairn::format

FUZZ_TARGET(Superblock, cairn::format::corpus, cairn::format::run);
