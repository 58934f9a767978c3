#include "io/lock_owner.h"

#include <fmt/format.h>

#include "base/try.h"
#include "io/os_error.h"

namespace cairn::io {

Result<void> write_lock_owner(File& file, std::string_view owner) {
  const std::string line = fmt::format("{}\n", owner);
  // In place, so that a file that has its block keeps it.
  const Result<void> written = file.pwrite(0, line);
  if (!written && written.error().code != ErrorCode::kNoSpace) return written;
  return file.truncate(written ? line.size() : 0);
}

std::string describe_lock_owner(std::string_view text) {
  constexpr size_t kShown = 200;  // bytes
  // Whoever locked the store wrote it, which may be an older version or somebody else's program: escaped, and cut
  // short.
  text = text.substr(0, text.find('\n')).substr(0, kShown);
  if (text.empty()) return "in use by another process";
  const std::string printable = quoted(text);
  return fmt::format("in use by {}", std::string_view(printable).substr(1, printable.size() - 2));
}

}  // namespace cairn::io
