// The tree: inodes, names and contents on top of a Store. Everything that the FUSE frontend does, without FUSE.
//
// What each operation means is fusefs/README.md; where nothing is said it is what ext4 does. How inodes lie in the
// store is FORMAT.md, "Tree".
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cairn/bytes.h"
#include "cairn/result.h"
#include "cairn/store.h"

namespace cairn {

// From the store's counter; never used for another inode, so it is also the generation. 0 is none.
using Ino = uint64_t;
inline constexpr Ino kRootIno = 1;
inline constexpr uint64_t kMaxNameSize = 255;         // bytes
inline constexpr uint64_t kMaxSymlinkSize = 4095;     // bytes
inline constexpr uint64_t kMaxXattrSize = 65536;      // bytes of one value
inline constexpr uint64_t kMaxLinks = 65000;          // names of a file; a directory has any number of subdirectories
inline constexpr uint64_t kMaxFileSize = 8ull << 40;  // bytes (8 TiB)

// Since 1970, UTC; before that negative. 0 <= nanoseconds < 1e9.
struct Time {
  int64_t seconds = 0;
  uint32_t nanoseconds = 0;
};

// As stat(2) shows an inode.
struct Attr {
  Ino ino = 0;
  uint32_t mode = 0;  // type and permission bits, as in stat(2)
  uint32_t uid = 0, gid = 0;
  uint32_t links = 0;
  uint64_t size = 0;    // bytes; directories: a multiple of 4096
  uint64_t blocks = 0;  // of 512 bytes, logical: never 0 for a file with data
  uint64_t rdev = 0;
  Time atime, mtime, ctime, btime;
};

// Who does it: new files belong to them; chown and setgid clearing look at them. Permissions are the kernel's to check.
struct Caller {
  uint32_t uid = 0, gid = 0;
  uint32_t umask = 0;
};

// Which fields of an Attr to set. An absent time is not touched; `now` means the store's clock.
struct AttrChange {
  enum class TimeKind : uint8_t { kKeep, kSet, kNow };
  bool set_mode = false, set_uid = false, set_gid = false, set_size = false;
  bool kill_suidgid =
      false;  // clear setuid, and setgid if group-executable (truncation and chown by somebody unprivileged)
  uint32_t mode = 0, uid = 0, gid = 0;
  uint64_t size = 0;
  TimeKind atime_kind = TimeKind::kKeep, mtime_kind = TimeKind::kKeep;
  Time atime, mtime;
};

// One row of a listing.
struct DirEntry {
  std::string name;
  Ino ino = 0;
  uint32_t type = 0;    // S_IFMT bits
  uint64_t cookie = 0;  // pass it to read_dir() to go on behind this entry; stable for the life of the entry
};

// As statvfs(3), in bytes. cache: the limit and what is left of it. cas: the file system around the store.
struct FsStats {
  uint64_t block_size = 4096;
  uint64_t total_bytes = 0, free_bytes = 0, available_bytes = 0;
  uint64_t files = 0, free_files = 0;
};

// Why a file was evicted.
enum class EvictReason : uint8_t {
  kCold,     // it was not used for longest
  kYoung,    // the same, though it was younger than min_age: nothing older could go
  kGroup,    // its group was not used for longest
  kDamaged,  // it could not be read
};
inline constexpr size_t kEvictReasons = 4;

// What a cache did since it was mounted. Reads that the kernel answers from its page cache are not seen here.
struct CacheStats {
  uint64_t hits = 0;                                    // opens of a file that was there
  uint64_t misses = 0;                                  // lookups of a name that was not there
  uint64_t bytes_in = 0, bytes_out = 0;                 // written and read, logical
  std::array<uint64_t, kEvictReasons> evicted_files{};  // by EvictReason
  uint64_t evicted_bytes = 0;                           // logical
  uint64_t evicted_directories = 0;                     // that were empty
  int64_t retention_s = -1;  // of the last 256 files evicted, the shortest time since its last use; -1: none was
  uint64_t pinned_bytes = 0, pinned_files = 0;  // logical
};

// A name that eviction took away, of an inode that was handed out.
struct LostName {
  Ino parent = 0;
  std::string name;
  Ino ino = 0;
};

enum class SeekWhat : uint8_t { kData, kHole };
enum RenameFlags : uint32_t { kRenameNoReplace = 1, kRenameExchange = 2, kRenameWhiteout = 4 };  // as in renameat2(2)
enum class XattrMode : uint8_t { kAny, kCreate, kReplace };
enum FallocateFlags : uint32_t { kFallocKeepSize = 1, kFallocPunch = 2, kFallocZero = 16 };  // as in fallocate(2)

// Choices at mount; none changes what is on disk.
struct FsOptions {
  bool relatime = true;  // false: noatime
  bool acl = false;      // POSIX access control lists: new inodes inherit them, chmod changes them
  // False: there may be files in use that open() was not called for (-o no_open). A file without names then lives until its
  // lookup count is zero, and opens are not counted; release() is not needed, but lets partial chunks go to the log.
  bool opens_counted = true;
  // The caller keeps what it reads, as the kernel does: chunks that are read whole are not kept here as well.
  bool caller_caches = false;
  uint64_t min_age_s = 60;                 // cache mode: what is younger, or was changed since, is evicted last
  std::shared_ptr<spdlog::logger> logger;  // none: silent
};

// A mounted tree. Thread-safe: operations on different inodes run side by side, those on one inode one after the other
// (reads together). Inode numbers are those of stat(2); 1 is the root. Permissions are not checked here (the
// kernel does with default_permissions); everything else answers as ext4 would: the error codes map one to one to errno.
//
// Lookup counts: lookup() and everything that makes or finds a name for the caller (mknod, mkdir, symlink, link, create) adds
// one, forget() takes n away. A file without names lives until it is not open; all else, which the kernel opens without
// telling, until it is not counted.
// Durability: an operation is visible when it returns; durable after fsync() (cas), or with the next commit. A crash
// keeps an exact prefix of what was done to the tree, whichever files it was done to. Operations that change something
// may wait for a commit point, and for room. Errors of every operation: kStale (the inode is gone, or was evicted),
// kCorrupt and kIo (what is needed cannot be read: exactly that file or directory), kNoSpace, kReadOnly, kOutOfMemory;
// kNotDirectory where a parent is none; kInvalid and kNameTooLong for names (1 to 255 bytes, no '/', no NUL). After an
// error nothing has changed, unless something else is said.
class FileSystem {
 public:
  // Takes the store over. Makes the root directory if the store is empty. What a crash left half done (orphans,
  // truncations) goes on in the background. kCorrupt if the root cannot be read.
  static Result<std::unique_ptr<FileSystem>> open(std::unique_ptr<Store> store, const FsOptions& options);
  ~FileSystem();
  Result<void> close();  // writes what is buffered, frees orphans, closes the store

  Result<Attr> lookup(Ino parent, ByteView name);  // kNotFound; "." and ".." are names of the kernel's, not ours
  // Takes `count` lookups back. More than were counted take all. An inode of which none is left may go from memory.
  void forget(Ino ino, uint64_t count);
  Result<Attr> getattr(Ino ino);  // kStale if the inode is gone
  // All fields at once. kTooLarge for a size beyond kMaxFileSize, kInvalid to truncate what has no content.
  Result<Attr> setattr(Ino ino, const AttrChange& change);
  Result<Bytes> readlink(Ino ino);

  // --- Names. Each is one batch: the name, the inode and the directory change together. What makes a name answers with
  // the inode's attributes, and counts a lookup. kExists, kNotFound, kNotEmpty, kIsDirectory, kTooManyLinks as the
  // system calls.
  Result<Attr> mknod(Ino parent, ByteView name, uint32_t mode, uint64_t rdev, const Caller& caller);
  Result<Attr> mkdir(Ino parent, ByteView name, uint32_t mode, const Caller& caller);
  Result<Attr> symlink(Ino parent, ByteView name, ByteView target, const Caller& caller);
  Result<Attr> link(Ino ino, Ino new_parent, ByteView new_name);
  Result<void> unlink(Ino parent, ByteView name);
  Result<void> rmdir(Ino parent, ByteView name);
  Result<void> rename(Ino parent, ByteView name, Ino new_parent, ByteView new_name, uint32_t flags,
                      const Caller& caller);

  // --- Content
  // create: mknod of a regular file and open of it. A file without a name: name empty (O_TMPFILE).
  Result<Attr> create(Ino parent, ByteView name, uint32_t mode, const Caller& caller);
  Result<Attr> open(Ino ino, bool truncate, bool kill_suidgid);  // counts an open; release() takes it back
  // The same, for reading only. A small file that nobody else has open is handed over: all of it goes to set_content_taker()'s
  // function before this returns, unless it was handed over or read before (since its lookup count was zero), or reading it would
  // move its time of access.
  Result<Attr> open_to_read(Ino ino);
  // `take` gets the content of small files: with their open, and ahead of it. Who opens files one after the other in the order of
  // their inode numbers gets the next ones, as far as they have a lookup count, from a background thread. What `take` got is true until it
  // returns: the file is locked meanwhile and nobody else has it open, so it must not call this object; nor may it throw. It says whether
  // it took it. An empty function ends it, and returns when no call is under way. Not while open_to_read() is.
  using TakeContent = std::function<bool(Ino, const Value&)>;
  void set_content_taker(TakeContent take);
  void release(Ino ino);  // the last one lets partial chunks go to the log, a moment later
  // At most `size` bytes at `offset`: fewer at the end of the file. Pieces, in order, to be sent as they are.
  Result<std::vector<Value>> read(Ino ino, uint64_t offset, uint64_t size);
  // The same, copied to the front of `out`: how many bytes that is. After an error `out` holds anything. For who has to have them in one
  // place anyway: large files that are read from front to back go through the processor's cache once.
  Result<uint64_t> read_into(Ino ino, uint64_t offset, std::span<char> out);
  // Writes all of `data`, or returns an error and has written nothing of the first chunk that failed or behind it (the count
  // written before that comes back). `append`: at the end of the file, whatever `offset`.
  Result<uint64_t> write(Ino ino, uint64_t offset, ByteView data, bool append, bool kill_suidgid);
  // In cache mode both succeed and do nothing.
  Result<void> fsync(Ino ino);  // in cas mode: everything done before is durable
  Result<void> sync();          // the same for the whole tree
  Result<void> fallocate(Ino ino, uint32_t flags, uint64_t offset, uint64_t length);
  // Rounded to chunks: what is called data may read as zeros, what is called a hole does.
  Result<uint64_t> seek(Ino ino, uint64_t offset, SeekWhat what);  // kNoDevice past the end

  // --- Listings. Entries that come and go meanwhile may be seen or not; others are seen exactly once.
  // Up to `max` entries behind `cookie` (0 = from the start), in order of creation, without "." and "..". With `attrs`, also
  // each entry's attributes (not counted as lookups: call count_lookup for those that were handed out); ino 0 where they
  // cannot be read.
  Result<std::vector<DirEntry>> read_dir(Ino dir, uint64_t cookie, size_t max, std::vector<Attr>* attrs);
  void count_lookup(Ino ino);   // one more lookup of an inode whose attributes read_dir handed out
  Result<Ino> parent(Ino dir);  // for ".."

  // --- Extended attributes, any name of 1 to 255 bytes: which prefixes there are is for the frontend to say. Stored as
  // given, but for POSIX ACLs (FsOptions::acl) and the two of eviction, user.cairn.pin and user.cairn.group.
  Result<Bytes> get_xattr(Ino ino, ByteView name);  // kNoAttribute
  Result<void> set_xattr(Ino ino, ByteView name, ByteView value, XattrMode mode);
  Result<void> remove_xattr(Ino ino, ByteView name);
  Result<std::vector<std::string>> list_xattrs(Ino ino);

  // Cache mode: `listener` is told of each name that eviction takes away and that was handed out by a lookup, after the
  // fact, by a background thread that holds no lock. It must not wait for anything that waits for this object. An empty
  // function ends it, and returns when no call is under way. An inode that was evicted answers kStale, never kNotFound.
  void set_eviction_listener(std::function<void(const LostName&)> listener);
  [[nodiscard]] CacheStats cache_stats() const;

  Result<FsStats> statfs();
  Result<void> set_limit(uint64_t limit);  // see Store::set_limit()
  [[nodiscard]] StoreStats store_stats() const;
  [[nodiscard]] uint64_t known_inodes() const;  // inodes with a lookup count or open

  class Impl;

 private:
  explicit FileSystem(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cairn
