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
class ErrorLog {
 public:
  static constexpr uint64_t kPerWindow = 20;  // lines
  static constexpr int64_t kWindowSeconds = 10;

  explicit ErrorLog(std::shared_ptr<spdlog::logger> logger);
  void note(const Error& error);
  // The same at a given time (seconds, any origin that does not step back).
  void note_at(const Error& error, int64_t now_seconds);

 private:
  std::shared_ptr<spdlog::logger> logger_;
  std::atomic<int64_t> window_start_{INT64_MIN};
  std::atomic<uint64_t> in_window_{0};  // errors since window_start_
};

}  // namespace cairn::fusefs
