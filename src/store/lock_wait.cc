#include <algorithm>
#include <thread>

#include <fmt/format.h>
#include <unistd.h>

#include "base/try.h"
#include "cairn/lock.h"
#include "format/superblock.h"
#include "io/env.h"

namespace cairn {
namespace {

constexpr std::chrono::milliseconds kBetweenTries{20};

}  // namespace

// The lock tells nobody when it goes, so it is tried again and again. This waits for another process, hence for the real
// clock, and belongs to tools only.
Result<void> wait_until_closed(const std::filesystem::path& path, std::chrono::milliseconds timeout) {
  TRY_ASSIGN(const auto directory, io::posix_env().open_dir(path.string()));
  // Taking the lock makes its file: nothing is made in a directory that is no store.
  if (auto superblock = directory->open(format::kSuperblockFile, {}); !superblock) return fail(superblock.error());
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    const auto lock = directory->lock("lock", fmt::format("pid {}, which looks whether it is free", ::getpid()));
    if (lock) return {};
    if (lock.error().code != ErrorCode::kBusy) return fail(lock.error());
    if (std::chrono::steady_clock::now() >= deadline) return fail(lock.error());
    std::this_thread::sleep_for(kBetweenTries);
  }
}

}  // namespace cairn
