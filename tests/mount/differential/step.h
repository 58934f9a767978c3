// One step of a differential run: a system call of one process, and what came of it on one side.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::differential {

inline constexpr int kActors = 4;  // processes: root, two users, and the second user with another group
inline constexpr int kSlots = 5;   // open files of a process

// What the numbers mean is the call's business (calls.h).
struct Step {
  int actor = 0;
  std::string call;
  int slot = 0, other = 0;
  int64_t a = 0, b = 0, c = 0;
  std::string path, path2;

  bool operator==(const Step&) const = default;
};

// "2 rename a=1 p=x/y q=z": fields that are 0 or empty are left out, odd bytes of paths are %xx.
std::string to_line(const Step& step);
std::optional<Step> parse_line(std::string_view line);

// What the call gave.
struct Outcome {
  int64_t result = 0;
  int32_t error = 0;    // errno if the result is -1
  uint64_t digest = 0;  // of what was read

  bool operator==(const Outcome&) const = default;
};

// What can be seen of an inode after the step. Times are compared as far as two clocks can agree: those that somebody
// set (they lie before 2001), and whether they changed. Not the time of access, which reads move on ext4 though the
// kernel answers them from its cache: the calls that set it look at it themselves.
struct Seen {
  int32_t error = 0;  // of lstat; the rest is 0 then
  uint32_t mode = 0, uid = 0, gid = 0;
  uint64_t links = 0, rdev = 0;
  int64_t size = 0;  // 0 for directories
  bool mtime_moved = false, ctime_moved = false;
  int64_t mtime_set = 0;             // ns, 0 if it is not of a call's making
  uint64_t content = 0, xattrs = 0;  // digests

  bool operator==(const Seen&) const = default;
};

// path, path2, their directories, the slot
inline constexpr int kLooks = 5;

struct Report {
  bool done = false;
  Outcome outcome;
  std::array<Seen, kLooks> seen;
  bool one_inode = false;  // path and path2 name the same inode

  bool operator==(const Report&) const = default;
};

// For people: what of the two reports differs.
std::string explain(const Report& reference, const Report& mounted);

}  // namespace cairn::differential
