// The one seam to the operating system: files, directories, clock, randomness and background work.
//
// Everything the store does to the world goes through an Env, so that SimEnv can crash it, fail it, fill its disk, rot
// its bytes and order its threads by a seed. PosixEnv is the real one.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "cairn/bytes.h"
#include "cairn/result.h"

namespace cairn::io {

// Alignment (bytes) of buffers, offsets and lengths of direct I/O, and of commits in the log.
inline constexpr size_t kBlockSize = 4096;

struct FileStat {
  uint64_t size = 0;       // bytes
  uint64_t allocated = 0;  // bytes on disk (st_blocks * 512)
};

enum class OpenMode : uint8_t {
  kRead,       // must exist
  kReadWrite,  // must exist
  kCreate,     // read and write; must not exist (O_EXCL); mode 0600 whatever the umask
};

// An open regular file. Thread-safe for calls on disjoint ranges. The destructor closes and drops the error: whoever
// wrote calls close() first.
// Errors: kIo with the errno, kNoSpace for ENOSPC/EDQUOT; messages name the file.
class File {
 public:
  virtual ~File() = default;
  File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  // Fills as much of `buffer` as the file has from `offset`; less than asked only at the end of the file.
  virtual Result<size_t> pread(uint64_t offset, std::span<char> buffer) const = 0;
  // The same into several buffers, one behind the other, by one read of the device. Needs at most 1024 of them. With direct I/O each is
  // of whole blocks.
  virtual Result<size_t> preadv(uint64_t offset, std::span<const std::span<char>> buffers) const = 0;
  // Writes all of `bytes`; short writes and EINTR are handled inside. After an error any part may have been written.
  virtual Result<void> pwrite(uint64_t offset, ByteView bytes) = 0;
  // fdatasync: content and size are durable afterwards. A failure is final: the caller must not sync this file again.
  virtual Result<void> sync() = 0;
  virtual Result<void> truncate(uint64_t size) = 0;
  // Allocates disk space for the range and extends the file over it (fallocate mode 0). kUnsupported where the file
  // system cannot: the caller goes on without.
  virtual Result<void> allocate(uint64_t offset, uint64_t length) = 0;
  // Gives the range's disk space back; it reads as zeros afterwards (FALLOC_FL_PUNCH_HOLE).
  virtual Result<void> punch(uint64_t offset, uint64_t length) = 0;
  virtual Result<FileStat> stat() const = 0;
  // Drops the file's clean pages from the page cache, so that the next read comes from the device. Best effort.
  virtual void drop_cache() const = 0;
  virtual Result<void> close() = 0;
};

struct OpenOptions {
  OpenMode mode = OpenMode::kRead;
  bool direct = false;  // O_DIRECT where the file system has it (falls back silently); the caller keeps to kBlockSize
};

// Held for life; releasing it (or dying) lets others in.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

// An open directory. All names are single components, resolved relative to the held descriptor, never through links.
// Files must be regular, with one link; anything else is kInvalid. Thread-safe.
class Directory {
 public:
  virtual ~Directory() = default;
  Directory() = default;
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  virtual Result<std::unique_ptr<File>> open(std::string_view name, OpenOptions options) const = 0;
  virtual Result<std::unique_ptr<Directory>> open_dir(std::string_view name) const = 0;
  // Mode 0700. kExists if the name is taken.
  virtual Result<void> make_dir(std::string_view name) = 0;
  virtual Result<void> rename(std::string_view from, std::string_view to) = 0;  // replaces `to`
  virtual Result<void> rename_into(std::string_view from, Directory& target, std::string_view to) = 0;
  virtual Result<void> unlink(std::string_view name) = 0;     // kNotFound if absent
  virtual Result<std::vector<std::string>> list() const = 0;  // sorted; without "." and ".."
  // Makes creations, renames and unlinks in this directory durable.
  virtual Result<void> sync() = 0;
  // Takes the exclusive lock on file `name` (created if missing) and writes `owner` into it. kBusy with the owner's
  // text in the message if somebody else holds it. On a read-only file system the file has to be there, and keeps its text.
  virtual Result<std::unique_ptr<FileLock>> lock(std::string_view name, std::string_view owner) = 0;
  // Bytes (allocated) of the directory itself, and of the file system around it.
  struct Space {
    uint64_t total = 0;      // bytes
    uint64_t available = 0;  // bytes, to an ordinary user
  };
  virtual Result<Space> space() const = 0;
  virtual const std::string& path() const = 0;  // for messages only
};

// Runs background work. In PosixEnv a small pool of threads; in SimEnv steps that the seed orders.
class Executor {
 public:
  virtual ~Executor() = default;
  // Runs `job` once, soon, on some background thread. Never runs it inside the call.
  virtual void submit(std::function<void()> job) = 0;
  // Runs `job` once, not before `delay` has passed. There is no cancel: jobs check whether they are still wanted.
  virtual void submit_after(std::chrono::milliseconds delay, std::function<void()> job) = 0;
  // Returns once `ready` is true. `mutex` is held by the caller, during `ready`, and on return; it is released while
  // waiting. Whoever makes `ready` true notifies `cond`. The simulation runs background steps here, and CHECK-fails if
  // none is left and `ready` is still false (a deadlock).
  virtual void wait(Mutex& mutex, CondVar& cond, const std::function<bool()>& ready) REQUIRES(mutex) = 0;
};

struct Timestamp {
  int64_t seconds = 0;       // since 1970, UTC
  uint32_t nanoseconds = 0;  // 0..999,999,999
};

// Thread-safe. Outlives everything opened from it.
class Env {
 public:
  virtual ~Env() = default;
  // Opens the directory at `path`. kNotFound, kNotDirectory, kAccess as open(2) says.
  virtual Result<std::unique_ptr<Directory>> open_dir(const std::string& path) = 0;
  // Creates one directory (mode 0700), its parent must exist. kExists if there is something.
  virtual Result<void> make_dir(const std::string& path) = 0;
  virtual Timestamp now() const = 0;          // wall clock: only for times that users see
  virtual uint64_t monotonic_ms() const = 0;  // only for timers and statistics
  virtual uint64_t random() = 0;              // unpredictable in PosixEnv, from the seed in SimEnv
  virtual Executor& executor() = 0;
};

// The real operating system. One instance for the process; lives until exit.
Env& posix_env();

}  // namespace cairn::io
