// Changing the limit of a cache while it is open.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "store/layout.h"
#include "store/store_impl.h"

namespace cairn {
namespace {

Result<void> check_limit(const Store::Impl& impl, uint64_t limit) {
  const format::Superblock& sb = impl.superblock;
  if (sb.mode != Mode::kCache)
    return fail(ErrorCode::kUnsupported,
                fmt::format("{} is a cas store: it never evicts, so it has no limit", impl.path));
  if (!impl.log) return fail(ErrorCode::kReadOnly, fmt::format("{} is open read-only: its limit stays", impl.path));
  // Segments keep the size that mkfs chose, so it bounds the limit from below.
  const uint64_t least = std::max(store::kMinLimit, store::kMinLimitSegments * sb.segment_size);
  if (limit < least)
    return fail(
        ErrorCode::kInvalid,
        fmt::format("{}: a limit of {} bytes is too small: {} segments of {} bytes have to fit, so at least {}; "
                    "for less make a new store",
                    impl.path, limit, store::kMinLimitSegments, sb.segment_size, least));
  return {};
}

// Evicts until what is used fits. Nothing is durable yet: after a crash the old limit holds.
Result<void> shrink(Store::Impl& impl, uint64_t limit) {
  // Each round the caller waits as a writer would who wants to grow: evictions, seals and compaction run for it.
  while (!impl.room->try_limit(limit)) {
    auto waited = impl.log->await_growth();
    if (waited) continue;
    impl.room->keep_limit();
    if (waited.error().code != ErrorCode::kNoSpace) return waited;
    return fail(ErrorCode::kNoSpace,
                fmt::format("{}: what is open, pinned or not yet evictable does not fit a limit of {} bytes: "
                            "{} bytes are taken; the limit stays at {} bytes",
                            impl.path, limit, impl.room->used(), impl.room->limit()));
  }
  return {};
}

Result<void> change_limit(Store::Impl& impl, uint64_t limit) {
  const uint64_t before = impl.room->limit();
  CHECK(before != 0);
  if (limit < before) TRY(shrink(impl, limit));
  format::Superblock superblock = impl.superblock;
  superblock.limit = limit;
  if (auto written = store::replace_superblock(*impl.directory, superblock); !written) {
    Error error = std::move(written).error();
    error.message = fmt::format("{}: a limit of {} bytes was not made durable: {}", impl.path, limit, error.message);
    return fail(std::move(error));
  }
  // A greater one only now: what was written by it must not meet the old one after a crash.
  if (limit > before) CHECK(impl.room->try_limit(limit));
  impl.logger->info("limit_changed from={} to={} allocated={}", before, limit, impl.room->used());
  impl.log->room_freed();
  impl.maintenance->kick();
  return {};
}

}  // namespace

Result<void> Store::set_limit(uint64_t limit) {
  TRY(check_limit(*impl_, limit));
  if (impl_->changing_limit.exchange(true))
    return fail(ErrorCode::kBusy, fmt::format("{}: its limit is being changed already", impl_->path));
  auto changed = change_limit(*impl_, limit);
  impl_->changing_limit = false;
  return changed;
}

}  // namespace cairn
