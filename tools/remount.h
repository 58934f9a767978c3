// `mount -o remount` of a cairnfs.
#pragma once

#include <string>

#include "cairn/result.h"

namespace cairn::tools {

// Has mount(8) change the kernel's flags (ro, noexec, ...) of the cairnfs on `mount_point` by `options`, a list with "remount"
// in it. What only the daemon knows stays as it was told at its start. kReadOnly if it is to become writable and its daemon
// opened the store read-only.
Result<void> remount(const std::string& mount_point, const std::string& options, bool read_only);

}  // namespace cairn::tools
