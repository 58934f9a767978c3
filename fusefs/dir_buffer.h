// The reply to one readdir or readdirplus: directory entries as the kernel wants them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <fuse_lowlevel.h>

#include "cairn/filesystem.h"
#include "cairn/result.h"

namespace cairn::fusefs {

// Offsets that a listing hands to the kernel: the entry's cookie, which never shifts, or one of these.
inline constexpr off_t kOffsetStart = 0;
inline constexpr off_t kOffsetAfterDot = 1;
inline constexpr off_t kOffsetAfterDotDot = 2;  // cookies are far greater

// Entries, packed behind one another until the next does not fit. One thread.
// Capacity is what the kernel has offered for this one reply. An entry is never split, so a listing goes on with the
// next request at the last cookie that was handed out; cookies stay valid while other names come and go.
class DirBuffer {
 public:
  // `plus`: with attributes, as for readdirplus. `req` may be null in tests.
  DirBuffer(fuse_req_t req, size_t size, bool plus);

  // Each is false, and adds nothing, when there is no room left.
  bool add_without_lookup(const char* name, Ino ino, uint32_t type, off_t next);  // "." and ".."
  // `attr` is needed if plus; its inode 0 says that there are no attributes to hand out.
  bool add(const DirEntry& entry, const Attr* attr);

  [[nodiscard]] const std::string& bytes() const { return bytes_; }
  // Inodes whose attributes were handed out: each is one lookup, once the reply is sent.
  [[nodiscard]] const std::vector<Ino>& looked_up() const { return looked_up_; }
  // How many more entries may fit, at least 1.
  [[nodiscard]] size_t estimate() const;

 private:
  bool add_plain(const char* name, Ino ino, uint32_t type, off_t next);
  bool add_plus(const char* name, const fuse_entry_param& entry, off_t next);

  fuse_req_t req_;
  size_t capacity_;  // bytes
  bool plus_;
  std::string bytes_;
  std::vector<Ino> looked_up_;
};

// Fills `buffer` with what follows `offset` in `dir`. An error only if there is nothing to hand out before it.
Result<void> fill(FileSystem& fs, Ino dir, off_t offset, bool plus, DirBuffer* buffer);

}  // namespace cairn::fusefs
