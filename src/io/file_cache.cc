#include "io/file_cache.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "io/os_error.h"

namespace cairn::io {

size_t FileCache::KeyHash::operator()(const Key& key) const {
  // By the address of the directory: whoever has two Directory objects for one directory has each file twice, which is
  // only waste.
  const size_t name = std::hash<std::string>{}(key.name);
  return name ^ std::hash<const void*>{}(key.directory) * 31 ^ (key.direct ? 1 : 0);
}

FileCache::FileCache(size_t capacity) : files_(std::max<size_t>(capacity, 1)) {}

Result<std::shared_ptr<const File>> FileCache::open(const Directory& directory, std::string_view name,
                                                    OpenOptions options) {
  CHECK(options.mode == OpenMode::kRead);
  Key key{&directory, std::string(name), options.direct};
  uint64_t forgotten_before = 0;
  {
    const MutexLock lock(mutex_);
    if (const auto* file = files_.find(key)) return *file;
    forgotten_before = forgotten_;
  }
  // Without the lock: an open may take as long as the disk likes. Two threads may open one file at once; the second
  // one's goes again.
  auto result = directory.open(name, options);
  if (!result) return fail(own_file_error(std::move(result).error()));
  std::shared_ptr<const File> opened = std::move(*result);
  std::vector<std::shared_ptr<const File>> evicted;  // closed after the lock is released
  const MutexLock lock(mutex_);
  if (const auto* file = files_.find(key)) {
    DCHECK(*file != nullptr);
    evicted.push_back(std::exchange(opened, *file));
    return opened;
  }
  // A forget() meanwhile may have been about this name: the file is good for this caller, but not for later ones.
  if (forgotten_ == forgotten_before) {
    files_.insert(key, opened, 1,
                  [&evicted](const Key&, std::shared_ptr<const File>&& file) { evicted.push_back(std::move(file)); });
  }
  return opened;
}

void FileCache::forget(std::string_view name) {
  std::vector<std::shared_ptr<const File>> closed;  // after the lock is released
  const MutexLock lock(mutex_);
  ++forgotten_;
  CHECK(forgotten_ != 0);
  // Linear, and rare: once for each file that is unlinked or replaced, of which there are at most a few hundred here.
  files_.erase_if([name, &closed](const Key& key, const std::shared_ptr<const File>& file) {
    if (key.name != name) return false;
    closed.push_back(file);
    return true;
  });
}

size_t FileCache::open_files() const {
  const MutexLock lock(mutex_);
  return files_.size();
}

}  // namespace cairn::io
