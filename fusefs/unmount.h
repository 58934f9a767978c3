// Taking a mount away, as root or with the help of fusermount3.
#pragma once

#include <string>

#include "cairn/result.h"

namespace cairn::fusefs {

// Unmounts what is mounted at `point`. With `lazy` it is detached at once and goes away when nothing uses it any more.
// kBusy if something uses it, kPermission if the caller may not, kIo otherwise; one line each.
Result<void> unmount(const std::string& point, bool lazy);

}  // namespace cairn::fusefs
