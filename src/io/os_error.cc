#include "io/os_error.h"

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

namespace cairn::io {
namespace {

ErrorCode code_of(int err) {
  // What callers decide by. Everything else is "the device or the system failed", with the errno for people.
  switch (err) {
    case ENOSPC:
    // A quota is a full disk for whoever has it.
    case EDQUOT: return ErrorCode::kNoSpace;
    case ENOENT: return ErrorCode::kNotFound;
    case EEXIST: return ErrorCode::kExists;
    case ENOTDIR: return ErrorCode::kNotDirectory;
    case EISDIR: return ErrorCode::kIsDirectory;
    case ENOTEMPTY: return ErrorCode::kNotEmpty;
    case EACCES:
    case EPERM: return ErrorCode::kAccess;
    case EROFS: return ErrorCode::kReadOnly;
    case ENAMETOOLONG: return ErrorCode::kNameTooLong;
    case EOPNOTSUPP:
    case ENOSYS: return ErrorCode::kUnsupported;
    case ENOMEM: return ErrorCode::kOutOfMemory;
    default: return ErrorCode::kIo;
  }
}

}  // namespace

Error os_error(int err, std::string_view operation, std::string_view name, std::string_view directory) {
  // The GNU variant (_GNU_SOURCE): it returns the text, which may lie elsewhere than in the buffer. strerror() is not
  // thread-safe.
  char buffer[128];
  return io_error(code_of(err), err, operation, name, directory, strerror_r(err, buffer, sizeof buffer));
}

Error io_error(ErrorCode code, int err, std::string_view operation, std::string_view name, std::string_view directory,
               std::string_view text) {
  const std::string place = directory.empty() ? std::string() : fmt::format(" in {}", quoted(directory));
  return {code, err, fmt::format("{} {}{}: {}", operation, quoted(name), place, text)};
}

Error own_file_error(Error error) {
  // "Not found" would reach a caller as "no such key", which is a false answer and the worst of all (faults.md: never
  // ENOENT for EIO).
  if (error.code == ErrorCode::kNotFound || error.code == ErrorCode::kInvalid) error.code = ErrorCode::kCorrupt;
  if (error.code == ErrorCode::kExists) error.code = ErrorCode::kIo;
  return error;
}

std::string quoted(std::string_view name) {
  std::string out = "\"";
  for (const char c : name) {
    // Names may hold escape sequences for terminals, or a newline that looks like a log entry of its own.
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c >= ' ' && c <= '~') {
      out += c;
    } else {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  out += '"';
  return out;
}

bool is_plain_name(std::string_view name) {
  // NAME_MAX of Linux. A slash or ".." would leave the directory that is held.
  constexpr size_t kNameMax = 255;
  if (name.empty() || name.size() > kNameMax || name == "." || name == "..") return false;
  return name.find_first_of(std::string_view("/\0", 2)) == std::string_view::npos;
}

}  // namespace cairn::io
