#include <cstdio>
#include <cstdlib>

#include <spdlog/sinks/null_sink.h>

#include "base/check.h"
#include "base/log.h"
#include "cairn/result.h"

namespace cairn {

void check_failed(const char* expression, const char* file, int line) noexcept {
  // One write to a stream without a buffer: the line arrives whole although other threads go on, and although memory
  // may be short.
  std::fprintf(stderr, "cairn: bug: CHECK(%s) failed at %s:%d\n", expression, file, line);
  std::abort();
}

std::shared_ptr<Logger> null_logger() {
  // One for the process: loggers are shared by whoever logs, and this one has no state that could tell its users apart.
  static const auto logger = std::make_shared<Logger>("null", std::make_shared<spdlog::sinks::null_sink_mt>());
  return logger;
}

// No default: the compiler names the code that was forgotten here. What is no code at all (a bug elsewhere) still
// prints.
std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNotFound: return "not found";
    case ErrorCode::kExists: return "exists";
    case ErrorCode::kInvalid: return "invalid argument";
    case ErrorCode::kCorrupt: return "corrupt";
    case ErrorCode::kIo: return "input/output error";
    case ErrorCode::kNoSpace: return "no space";
    case ErrorCode::kReadOnly: return "read-only";
    case ErrorCode::kBusy: return "busy";
    case ErrorCode::kUnsupported: return "unsupported";
    case ErrorCode::kTooLarge: return "too large";
    case ErrorCode::kPermission: return "not permitted";
    case ErrorCode::kAccess: return "access denied";
    case ErrorCode::kNotEmpty: return "directory not empty";
    case ErrorCode::kNotDirectory: return "not a directory";
    case ErrorCode::kIsDirectory: return "is a directory";
    case ErrorCode::kStale: return "stale inode";
    case ErrorCode::kNoAttribute: return "no such attribute";
    case ErrorCode::kRange: return "buffer too small";
    case ErrorCode::kNameTooLong: return "name too long";
    case ErrorCode::kTooManyLinks: return "too many links";
    case ErrorCode::kNoDevice: return "no such offset";
    case ErrorCode::kOutOfMemory: return "out of memory";
  }
  return "unknown";
}

}  // namespace cairn
