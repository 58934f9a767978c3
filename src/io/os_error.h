// Turns errno values and file names into Errors, the same way in every Env.
#pragma once

#include <string>
#include <string_view>

#include "cairn/result.h"

namespace cairn::io {

// What went wrong with `name` in `directory` (both may be any bytes; `directory` may be empty), for example
//   open "000017.seg" in "/var/cache/cairn": No space left on device
// ENOSPC, EDQUOT -> kNoSpace; ENOENT -> kNotFound; EEXIST -> kExists; ENOTDIR -> kNotDirectory; EISDIR -> kIsDirectory;
// ENOTEMPTY -> kNotEmpty; EACCES, EPERM -> kAccess; EROFS -> kReadOnly; ENAMETOOLONG -> kNameTooLong; EOPNOTSUPP,
// ENOSYS -> kUnsupported; ENOMEM -> kOutOfMemory; anything else -> kIo. os_errno is `err`.
Error os_error(int err, std::string_view operation, std::string_view name, std::string_view directory);
// The same with a code and a text of our own.
Error io_error(ErrorCode code, int err, std::string_view operation, std::string_view name, std::string_view directory,
               std::string_view text);

// For the files that a store needs for itself: that such a file is missing, or there already, is no answer to anybody's
// question but a failure. kNotFound and kInvalid (no regular file of one link) become kCorrupt, kExists becomes kIo.
Error own_file_error(Error error);

// `name` in double quotes, safe to print whatever is in it: other than printable ASCII becomes \xNN.
std::string quoted(std::string_view name);

// A single path component that a Directory may be asked for: 1-255 bytes, no '/', no NUL, neither "." nor "..".
bool is_plain_name(std::string_view name);

}  // namespace cairn::io
