// One end of an import or export: a tree of files, in a file system or in a store.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cairn/bytes.h"
#include "cairn/filesystem.h"
#include "cairn/result.h"

namespace cairn::tools {

// Where a file or directory of a Tree is. Plain data: only the tree that gave it can say more.
struct Place {
  std::string path;  // below the tree's root, without a slash in front; empty: the root. For messages, too
  Ino ino = 0;       // trees in stores
};

struct Entry {
  std::string name;
  Place place;
  Attr attr;
  uint64_t device = 0;  // with attr.ino: names with both the same are one file
};

struct Xattr {
  std::string name;
  Bytes value;
};

struct Range {
  uint64_t start = 0, end = 0;  // bytes of a file
};

// The bytes of one open file. Not thread-safe. The destructor closes it.
class Content {
 public:
  virtual ~Content() = default;
  // The next bytes at or behind `offset` that are not a hole; none if there are no more.
  virtual Result<std::optional<Range>> next_data(uint64_t offset) = 0;
  // Up to `size` bytes at `offset`; fewer only at the end of the file. Valid until the next call.
  virtual Result<ByteView> read(uint64_t offset, uint64_t size) = 0;
  virtual Result<void> write(uint64_t offset, ByteView data) = 0;
  virtual Result<void> truncate(uint64_t size) = 0;
};

// Thread-safe, but for calls about one and the same place. Errors name the file. Symbolic links are never followed.
class Tree {
 public:
  virtual ~Tree() = default;

  virtual Result<Entry> root() = 0;
  virtual Result<std::vector<Entry>> list(const Place& directory) = 0;
  virtual Result<std::optional<Entry>> find(const Place& directory, const std::string& name) = 0;
  virtual Result<Bytes> read_link(const Place& place) = 0;
  virtual Result<std::vector<Xattr>> xattrs(const Place& place) = 0;
  // A regular file. To write is to begin with an empty one.
  virtual Result<std::unique_ptr<Content>> open(const Place& place, bool to_write) = 0;

  // A new file of the type of `like`, and of its owner if that can be; regular files are empty. `target`: of a symbolic link.
  virtual Result<Entry> make(const Place& directory, const std::string& name, const Attr& like, ByteView target) = 0;
  virtual Result<void> link(const Place& existing, const Place& directory, const std::string& name) = 0;
  virtual Result<void> remove(const Place& directory, const std::string& name) = 0;  // no directory
  // Owner, mode, times and extended attributes; what is there and not in `xattrs` goes. Gives the names of those that this
  // end does not take (as "trusted." from an ordinary user).
  virtual Result<std::vector<std::string>> set(const Place& place, const Attr& attr,
                                               const std::vector<Xattr>& xattrs) = 0;
  // What find(), root() and make() gave is not used any more.
  virtual void leave(const Place& place) = 0;
  // Whether files may have gone by themselves since it was opened: from a cache that is full.
  virtual bool may_have_evicted() = 0;
  // Everything done is durable, or as durable as this end makes things.
  virtual Result<void> sync() = 0;
};

// The tree below `path` in the directory `top` of the system. On the way to `top` links are followed, below it they are not.
// With `make_missing`, directories that `path` lacks are made. kNotFound, kNotDirectory.
Result<std::unique_ptr<Tree>> open_posix_tree(const std::string& top, const std::string& path, bool make_missing);
// The tree below `path` in a store that is not mounted. To write, directories that `path` lacks are made. Its destructor
// closes the store, without a word about errors: call sync() before.
Result<std::unique_ptr<Tree>> open_store_tree(const std::string& store, const std::string& path, bool to_write);

}  // namespace cairn::tools
