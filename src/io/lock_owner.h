// The text in a lock file that says who holds it.
#pragma once

#include <string>
#include <string_view>

#include "io/env.h"

namespace cairn::io {

// Replaces the content of the locked `file` by one line. A full disk is no reason to refuse the lock: then the file is
// left empty.
Result<void> write_lock_owner(File& file, std::string_view owner);

// What a message says about the holder of a lock whose file holds `text`, which may be any bytes.
std::string describe_lock_owner(std::string_view text);

}  // namespace cairn::io
