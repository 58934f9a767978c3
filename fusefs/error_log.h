// What the mount says about errors that are its own trouble, without flooding the log.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "cairn/result.h"

namespace spdlog {
class logger;
}

namespace cairn::fusefs {

// Notes errors that no caller caused: damage, failing devices, a store that turned read-only, lack of memory. At most
// kPerWindow lines in kWindowSeconds; what is left out is counted and said with the next window's first line. Thread-safe.
// A failing disk makes every request fail, thousands in a second. The first lines say all there is to know; the rest
// would only fill the system's log and push everything else out of it.
class ErrorLog {
 public:
  // Enough to see several different errors at once, and few enough to read.
  static constexpr uint64_t kPerWindow = 20;  // lines
  static constexpr int64_t kWindowSeconds = 10;

  explicit ErrorLog(std::shared_ptr<spdlog::logger> logger);
  void note(const Error& error);
  // The same at a given time (seconds, any origin that does not step back).
  void note_at(const Error& error, int64_t now_seconds);

 private:
  // Relaxed atomics, no lock: a handler that fails must not wait for another. A line more or less at the edge of a
  // window does no harm.
  std::shared_ptr<spdlog::logger> logger_;
  std::atomic<int64_t> window_start_{INT64_MIN};
  std::atomic<uint64_t> in_window_{0};  // errors since window_start_
};

}  // namespace cairn::fusefs
