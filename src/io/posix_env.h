// The real operating system as an Env. Thread-safe.
#pragma once

#include "io/env.h"
#include "io/posix_executor.h"

namespace cairn::io {

// One instance for the process (posix_env()); never destroyed, so that background threads may run until the very end.
// Starts no thread before the first background job.
class PosixEnv final : public Env {
 public:
  PosixEnv();

  // Unlike everything inside, these two follow symbolic links: the path is the user's.
  Result<std::unique_ptr<Directory>> open_dir(const std::string& path) override;
  Result<void> make_dir(const std::string& path) override;
  // CLOCK_REALTIME may jump; CLOCK_MONOTONIC does not count while the machine sleeps. random() is getrandom(2), and
  // waits only before the kernel has gathered its first entropy.
  Timestamp now() const override;
  uint64_t monotonic_ms() const override;
  uint64_t random() override;
  Executor& executor() override { return *executor_; }

 private:
  ~PosixEnv() override = default;  // never called

  // Owned, and never given back.
  PosixExecutor* const executor_;
};

}  // namespace cairn::io
