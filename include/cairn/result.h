// How every fallible call of CairnFS answers: a value, or an Error that says what kind of thing went wrong.
//
// Nothing here throws but std::bad_alloc. What only a bug of the caller can cause is not an Error: it is CHECKed, and
// aborts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <tl/expected.hpp>

namespace cairn {

// What a caller decides by. Names without a comment, and those with an errno, are what ext4 answers (fusefs/border.cc
// has the one table). For a key, name or inode a store answers kNotFound only if it is certain: what cannot be read is
// kCorrupt or kIo, never absent.
enum class ErrorCode : uint8_t {
  kNotFound,      // no such key, name, inode, file
  kExists,        // the name is taken
  kInvalid,       // an argument that can never be right
  kCorrupt,       // stored bytes fail their checksum or make no sense
  kIo,            // the device or the operating system failed
  kNoSpace,       // no room: disk, limit or reserve
  kReadOnly,      // the store stopped accepting writes (after a failed write or sync, or as opened)
  kBusy,          // in use by somebody else
  kUnsupported,   // known, but not done by this version or this mode
  kTooLarge,      // beyond a documented limit (EFBIG)
  kPermission,    // EPERM
  kAccess,        // EACCES
  kNotEmpty,      // directory not empty
  kNotDirectory,  //
  kIsDirectory,   //
  kStale,         // the inode is gone (ESTALE)
  kNoAttribute,   // no such extended attribute (ENODATA)
  kRange,         // the caller's buffer is too small (ERANGE)
  kNameTooLong,   //
  kTooManyLinks,  // EMLINK
  kNoDevice,      // ENXIO: SEEK_DATA/SEEK_HOLE past the end
  kOutOfMemory,   //
};

// Name for logs and messages, for example "corrupt".
// Constant; lives for ever.
std::string_view to_string(ErrorCode code);

// What went wrong. `message` is for people: one line that names the file and, where there is one, the remedy. It is
// empty on paths where errors are ordinary answers (a lookup that finds nothing), so that those allocate nothing.
struct Error {
  ErrorCode code = ErrorCode::kIo;
  int os_errno = 0;  // errno of the system call that failed, 0 if none did
  std::string message;

  // A call that allocates nothing: for answers that are expected.
  Error() = default;
  explicit Error(ErrorCode c) : code(c) {}
  Error(ErrorCode c, std::string text) : code(c), message(std::move(text)) {}
  // With the errno of the call that failed; the text says which, and of what.
  Error(ErrorCode c, int err, std::string text) : code(c), os_errno(err), message(std::move(text)) {}
};

// A value or an Error (tl::expected, the shape of C++23's std::expected). It must be looked at: [[nodiscard]] is an
// error in our builds. `if (result)` asks, `*result` is the value, `result.error()` the Error; the wrong one of the two
// is undefined, as in the standard. TRY (base/try.h) passes errors on.
template <class T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
};

// `return fail(ErrorCode::kNotFound);` and `return fail(ErrorCode::kCorrupt, fmt::format(...));`
// All three convert to any Result<T>. The last passes on an error as it is, so its message is only ever made once,
// where the failure was met.
[[nodiscard]] inline tl::unexpected<Error> fail(ErrorCode code) { return tl::make_unexpected(Error(code)); }
[[nodiscard]] inline tl::unexpected<Error> fail(ErrorCode code, std::string message) {
  return tl::make_unexpected(Error(code, std::move(message)));
}
[[nodiscard]] inline tl::unexpected<Error> fail(Error error) { return tl::make_unexpected(std::move(error)); }

}  // namespace cairn
