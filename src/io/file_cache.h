// A bounded number of open files for reading: segments and tables.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/mutex.h"
#include "base/sieve.h"
#include "cairn/result.h"
#include "io/env.h"

namespace cairn::io {

// Keeps at most `capacity` files open for itself (SIEVE evicts). What somebody still uses stays open through its
// shared_ptr, whatever the cache does: a descriptor is never closed under a reader, and numbers of descriptors appear
// nowhere. Directories must outlive the cache. Thread-safe.
class FileCache {
 public:
  static constexpr size_t kDefaultCapacity = 256;  // files; a process may usually have 1024 open

  // `capacity` in files; at least one is kept.
  explicit FileCache(size_t capacity = kDefaultCapacity);
  FileCache(const FileCache&) = delete;
  FileCache& operator=(const FileCache&) = delete;

  // The file `name` in `directory`, opened once and then shared. Needs options.mode == kRead.
  // Errors: those of Directory::open(), as own_file_error() has them; they are not remembered.
  Result<std::shared_ptr<const File>> open(const Directory& directory, std::string_view name, OpenOptions options = {})
      EXCLUDES(mutex_);
  // Lets go of `name` in every directory: after it was unlinked, renamed or replaced. Whoever opens it afterwards gets
  // what the name then stands for, even if another thread was opening it meanwhile.
  void forget(std::string_view name) EXCLUDES(mutex_);
  // Files that the cache keeps open. Those that are open only because somebody uses them are not counted.
  [[nodiscard]] size_t open_files() const EXCLUDES(mutex_);

 private:
  // What is opened twice in different ways is two files: a direct one takes aligned buffers only.
  struct Key {
    const Directory* directory;
    std::string name;
    bool direct;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const;
  };

  // Closing may write back on some file systems, and opening waits for the disk: neither holds up others who find their
  // file here.
  mutable Mutex mutex_;  // a leaf: files are opened and closed outside
  Sieve<Key, std::shared_ptr<const File>, KeyHash> files_ GUARDED_BY(mutex_);
  // Never goes back. An open that began before the last forget() is not kept: its name may mean another file by now.
  uint64_t forgotten_ GUARDED_BY(mutex_) = 0;  // how often forget() was called
};

}  // namespace cairn::io
