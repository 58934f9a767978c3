#include "format/codec.h"

#include <memory>
#include <span>

#include <fmt/format.h>
#include <lz4.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/check.h"

namespace cairn::format {
namespace {

constexpr size_t kScratchBytes = 128 << 10;  // a chunk of the usual size

// Contexts are made once per thread: making one per value costs more than compressing a small one.
struct FreeZstd {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

ZSTD_CCtx* zstd_compressor() {
  thread_local std::unique_ptr<ZSTD_CCtx, FreeZstd> context;
  if (!context) context.reset(ZSTD_createCCtx());
  return context.get();
}

ZSTD_DCtx* zstd_decompressor() {
  thread_local std::unique_ptr<ZSTD_DCtx, FreeZstd> context;
  if (!context) context.reset(ZSTD_createDCtx());
  return context.get();
}

static_assert(kMaxRawLength <= LZ4_MAX_INPUT_SIZE && kMaxRawLength <= INT32_MAX, "LZ4 takes lengths as int");

// Returns the length of the result, 0 if it does not fit `out` or cannot be made.
size_t compress_lz4(ByteView raw, std::span<char> out) {
  // 16 KiB, which LZ4_compress_default() would take from the stack of whoever writes.
  thread_local const auto state = std::make_unique<char[]>(static_cast<size_t>(LZ4_sizeofState()));
  return static_cast<size_t>(LZ4_compress_fast_extState(state.get(), raw.data(), out.data(),
                                                        static_cast<int>(raw.size()), static_cast<int>(out.size()), 1));
}

size_t compress_zstd(int level, ByteView raw, std::span<char> out) {
  // No memory for a context is no error: the value is stored as it is (hazard 34).
  ZSTD_CCtx* context = zstd_compressor();
  if (context == nullptr) return 0;
  const size_t length = ZSTD_compressCCtx(context, out.data(), out.size(), raw.data(), raw.size(), level);
  return ZSTD_isError(length) ? 0 : length;
}

tl::unexpected<Error> wrong_length(uint32_t raw_len) {
  return fail(ErrorCode::kCorrupt, fmt::format("compressed value does not decompress to {} bytes", raw_len));
}

}  // namespace

Codec compress(Compression how, ByteView raw, Bytes& out) {
  if (how.codec == Codec::kNone || raw.empty() || raw.size() > kMaxRawLength) return Codec::kNone;
  CHECK(how.codec <= Codec::kZstd);
  // What would not save an eighth does not fit, so that the compressor itself gives up early.
  const size_t most = raw.size() - (raw.size() + 7) / 8;
  // Room that is there already and not cleared first: for a small value that costs as much as compressing it.
  thread_local const auto scratch = std::make_unique_for_overwrite<char[]>(kScratchBytes);
  std::unique_ptr<char[]> large;
  if (most > kScratchBytes) large = std::make_unique_for_overwrite<char[]>(most);
  const std::span<char> room(large ? large.get() : scratch.get(), most);
  const size_t length = how.codec == Codec::kLz4 ? compress_lz4(raw, room) : compress_zstd(how.level, raw, room);
  CHECK(length <= most);
  if (length == 0) return Codec::kNone;
  out.assign(room.data(), length);
  return how.codec;
}

Result<void> decompress(Codec codec, ByteView stored, char* out, uint32_t raw_len) {
  CHECK(codec != Codec::kNone);
  // The record's header was verified, but whoever wrote it may have been hostile: lengths are bounded once more, here
  // (hazard 35).
  if (stored.empty() || stored.size() > kMaxRawLength || raw_len > kMaxRawLength) return wrong_length(raw_len);
  if (codec == Codec::kLz4) {
    const int length =
        LZ4_decompress_safe(stored.data(), out, static_cast<int>(stored.size()), static_cast<int>(raw_len));
    if (length < 0 || static_cast<uint32_t>(length) != raw_len) return wrong_length(raw_len);
    return {};
  }
  // Both decompressors get exactly the room that was declared and never write behind it; less than that is damage too.
  ZSTD_DCtx* context = zstd_decompressor();
  if (context == nullptr) return fail(ErrorCode::kOutOfMemory, "no memory for a zstd context");
  const size_t length = ZSTD_decompressDCtx(context, out, raw_len, stored.data(), stored.size());
  if (ZSTD_isError(length) && ZSTD_getErrorCode(length) == ZSTD_error_memory_allocation) {
    return fail(ErrorCode::kOutOfMemory, "no memory to decompress a value");
  }
  if (ZSTD_isError(length) || length != raw_len) return wrong_length(raw_len);
  return {};
}

}  // namespace cairn::format
