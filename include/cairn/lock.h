// Waiting for a store that somebody else is about to let go.
#pragma once

#include <chrono>
#include <filesystem>

#include "cairn/result.h"

namespace cairn {

// Returns once nobody holds the store at `path`. It may be taken again right after; whoever wants it opens it and
// looks. Polls every 20 ms by the real clock: for tools, not for a server. Holds the lock for an instant itself, so
// somebody who opens the store then finds it busy.
// Errors: kBusy, with who holds it, when `timeout` has passed; kNotFound or kInvalid if there is no store.
Result<void> wait_until_closed(const std::filesystem::path& path, std::chrono::milliseconds timeout);

}  // namespace cairn
