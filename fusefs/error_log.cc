#include "fusefs/error_log.h"

#include <chrono>

#include <spdlog/logger.h>

namespace cairn::fusefs {
namespace {

static_assert(ErrorLog::kPerWindow > 0 && ErrorLog::kWindowSeconds > 0);

// Whether an administrator has to know. A program that asks for a missing file is no news.
bool is_our_trouble(ErrorCode code) {
  switch (code) {
    case ErrorCode::kCorrupt:
    case ErrorCode::kIo:
    case ErrorCode::kOutOfMemory: return true;
    default: return false;  // an answer to the caller, or a state that the store itself has logged
  }
}

}  // namespace

ErrorLog::ErrorLog(std::shared_ptr<spdlog::logger> logger) : logger_(std::move(logger)) {}

void ErrorLog::note(const Error& error) {
  if (!is_our_trouble(error.code)) return;
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  note_at(error, std::chrono::duration_cast<std::chrono::seconds>(now).count());
}

// The time is a parameter so that tests need not wait for the window to end.
void ErrorLog::note_at(const Error& error, int64_t now_seconds) {
  if (!logger_ || !is_our_trouble(error.code)) return;
  int64_t start = window_start_.load(std::memory_order_relaxed);
  if (start == INT64_MIN || now_seconds - start >= kWindowSeconds) {
    // Whoever moves the window starts its count; the others fall into it.
    if (window_start_.compare_exchange_strong(start, now_seconds, std::memory_order_relaxed)) {
      const uint64_t seen = in_window_.exchange(0, std::memory_order_relaxed);
      if (seen > kPerWindow) logger_->error("errors_not_logged count={}", seen - kPerWindow);
    }
  }
  // Counted before it is decided, so that what is left out is counted too.
  if (in_window_.fetch_add(1, std::memory_order_relaxed) >= kPerWindow) return;
  logger_->error("request_failed error=\"{}\" detail=\"{}\"", to_string(error.code), error.message);
}

}  // namespace cairn::fusefs
