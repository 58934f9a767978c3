#include "format/checksum.h"
#include "format/decode.h"
#include "format/table.h"
#include "fuzz/fuzz.h"

namespace cairn::format {
namespace {

constexpr uint64_t kFileSize = 65536;
constexpr uint64_t kOffset = kFileSize - kTableTrailerSize;

fuzz::Corpus corpus() {
  TableTrailer trailer;
  trailer.id = 5;
  trailer.salt = 0x5a17;
  trailer.filter_offset = 60000;
  trailer.filter_length = 100;
  trailer.index_offset = 60100;
  trailer.index_length = 100;
  trailer.entries = 100;
  trailer.range = {SeqNo(1), SeqNo(100)};
  TableTrailer footer = trailer;
  footer.kind = TableKind::kFooter;
  footer.base = 40960;
  footer.record_bytes = 36864;
  return {Bytes(bytes_of(encode_table_trailer(trailer, kOffset))),
          Bytes(bytes_of(encode_table_trailer(footer, kOffset)))};
}

void expect_canonical(ByteView bytes) {
  const auto trailer = decode_table_trailer(bytes, kFileSize);
  if (!trailer) return;
  FUZZ_EXPECT(bytes_of(encode_table_trailer(*trailer, kOffset)) == bytes);
  // What a reader takes from it without looking again.
  FUZZ_EXPECT(trailer->base <= trailer->index_offset && trailer->index_offset <= kOffset);
  FUZZ_EXPECT(trailer->index_length <= kOffset - trailer->index_offset);
  FUZZ_EXPECT(trailer->filter_length <= kOffset && trailer->filter_offset <= kOffset - trailer->filter_length);
}

void run(ByteView bytes) {
  expect_canonical(bytes);
  static_cast<void>(decode_table_trailer(bytes, bytes.size()));
  Bytes repaired(bytes);
  fuzz::change_struct<TableTrailerDisk>(repaired, [](TableTrailerDisk& disk) {
    disk.magic = kTableMagic;
    disk.version = kFormatVersion;
    disk.checksum = checksum(bytes_of(disk).substr(0, offsetof(TableTrailerDisk, checksum)),
                             place_seed(disk.salt, disk.id, kOffset));
  });
  expect_canonical(repaired);
}

}  // namespace
}  // namespace cairn::format

FUZZ_TARGET(TableTrailer, cairn::format::corpus, cairn::format::run);
