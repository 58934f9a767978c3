// Decompressors get any bytes and any length; compressors must give back what they got.
#include "format/codec.h"
#include "format/decode.h"
#include "format/le.h"
#include "fuzz/fuzz.h"

namespace cairn::format {
namespace {

constexpr uint32_t kMaxRoom = 1 << 20;  // bytes

// A compressed value behind the length that it claims.
fuzz::Corpus corpus() {
  Bytes raw;
  for (int i = 0; i < 300; ++i) raw += "line " + std::to_string(i * i) + "\n";
  fuzz::Corpus corpus = {Bytes(40, '\0')};
  for (const Compression how :
       {Compression{Codec::kLz4, 0}, Compression{Codec::kZstd, 1}, Compression{Codec::kZstd, 19}}) {
    Bytes stored;
    FUZZ_EXPECT(compress(how, raw, stored) == how.codec);
    corpus.push_back(Bytes(bytes_of(Le32(static_cast<uint32_t>(raw.size())))) + stored);
  }
  return corpus;
}

void expect_round_trip(Compression how, ByteView raw) {
  Bytes stored;
  if (compress(how, raw, stored) == Codec::kNone) return;
  FUZZ_EXPECT(stored.size() <= raw.size() - raw.size() / 8);
  Bytes back(raw.size(), 'x');
  FUZZ_EXPECT(decompress(how.codec, stored, back.data(), static_cast<uint32_t>(raw.size())));
  FUZZ_EXPECT(back == raw);
}

void run(ByteView bytes) {
  expect_round_trip({Codec::kLz4, 0}, bytes);
  expect_round_trip({Codec::kZstd, 1}, bytes);
  if (bytes.size() < sizeof(Le32)) return;
  const uint32_t length = load<Le32>(bytes) % kMaxRoom;
  Bytes room(length + 16, 'x');
  for (const Codec codec : {Codec::kLz4, Codec::kZstd}) {
    static_cast<void>(decompress(codec, bytes.substr(sizeof(Le32)), room.data(), length));
    FUZZ_EXPECT(ByteView(room).substr(length) == Bytes(16, 'x'));
  }
}

}  // namespace
}  // namespace cairn::format

FUZZ_TARGET(Codec, cairn::format::corpus, cairn::format::run);
