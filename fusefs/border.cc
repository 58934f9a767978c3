#include "fusefs/border.h"

#include <new>

namespace cairn::fusefs {

namespace {

// A call of the system failed on a file of the store's: what it says of that file is no answer about the user's.
int errno_of_failure(int err) {
  switch (err) {
    case ENOSPC:
    case EDQUOT: return ENOSPC;
    case ENOMEM: return ENOMEM;
    case EROFS: return EROFS;
    default: return EIO;
  }
}

}  // namespace

// No `default` below: a new ErrorCode without an errno is a warning of the compiler, and a failed build.
int to_errno(const Error& error) noexcept {
  // What the store says when it has stopped taking changes keeps the errno of the cause, but is a state of its own.
  if (error.os_errno != 0 && error.code != ErrorCode::kReadOnly) return errno_of_failure(error.os_errno);
  switch (error.code) {
    case ErrorCode::kNotFound: return ENOENT;
    case ErrorCode::kExists: return EEXIST;
    case ErrorCode::kInvalid: return EINVAL;
    case ErrorCode::kCorrupt: return EIO;
    case ErrorCode::kIo: return EIO;
    case ErrorCode::kNoSpace: return ENOSPC;
    case ErrorCode::kReadOnly: return EROFS;
    case ErrorCode::kBusy: return EBUSY;
    case ErrorCode::kUnsupported: return EOPNOTSUPP;
    case ErrorCode::kTooLarge: return EFBIG;
    case ErrorCode::kPermission: return EPERM;
    case ErrorCode::kAccess: return EACCES;
    case ErrorCode::kNotEmpty: return ENOTEMPTY;
    case ErrorCode::kNotDirectory: return ENOTDIR;
    case ErrorCode::kIsDirectory: return EISDIR;
    case ErrorCode::kStale: return ESTALE;
    case ErrorCode::kNoAttribute: return ENODATA;
    case ErrorCode::kRange: return ERANGE;
    case ErrorCode::kNameTooLong: return ENAMETOOLONG;
    case ErrorCode::kTooManyLinks: return EMLINK;
    case ErrorCode::kNoDevice: return ENXIO;
    case ErrorCode::kOutOfMemory: return ENOMEM;
  }
  return EIO;
}

// Nothing in src/ throws but the allocator. What else arrives here is a bug, and the program that called is told of an
// I/O error rather than left without an answer.
int errno_of_exception() noexcept {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  } catch (...) {
    return EIO;
  }
}

}  // namespace cairn::fusefs
