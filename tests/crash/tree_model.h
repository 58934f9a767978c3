// A tree in memory, as trivial as it can be, and what is done to it and to the real one.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cairn/filesystem.h"
#include "cairn/result.h"

namespace cairn::crash {

// One step of a script. Paths are "a" or "d/a"; what a kind does not need is ignored.
struct Op {
  enum class Kind : uint8_t {
    kCreate,  // and close
    kMkdir,
    kSymlink,
    kWrite,  // `size` bytes of `fill` at `offset`
    kAppend,
    kTruncate,  // to `size`
    kPunch,     // `size` bytes at `offset`
    kRename,    // to `target`
    kExchange,
    kLink,  // `target` is the new name
    kUnlink,
    kRmdir,
    kSetXattr,  // user.x, `size` bytes of `fill`
    kDropXattr,
    kChmod,  // `size` is the mode
    kOpen,   // and keep open until the next kClose
    kClose,  // whatever is open
    kFsync,  // of the file; of the root directory without a path
    kTimer,  // a second passes: whatever is due is done
    kStep,   // one thing happens in the background
    kIdle,   // all of them
    kSeal,
    kSettle,  // merges and compacts whatever is worth it
    kReopen,  // closes the store cleanly and opens it again
  };
  Kind kind = Kind::kCreate;
  std::string path = {};
  std::string target = {};
  uint64_t offset = 0;
  uint64_t size = 0;
  char fill = 'x';
};
std::string to_string(const Op& op);

// `size` bytes of which no two stretches are alike, so that bytes in the wrong place are seen; different for each `fill`.
std::string pattern(uint64_t offset, uint64_t size, char fill);

class Model {
 public:
  struct Node {
    Ino ino = 0;
    uint32_t mode = 0;
    uint32_t links = 0;
    std::string content = {};  // or the target of a symlink
    std::map<std::string, std::string> xattrs = {};
    std::map<std::string, std::shared_ptr<Node>> children = {};
  };
  using NodeRef = std::shared_ptr<Node>;

  Model();
  Model(Model&&) = default;
  Model& operator=(Model&&) = default;
  [[nodiscard]] Model clone() const;

  // Null if there is nothing.
  [[nodiscard]] NodeRef find(const std::string& path) const;
  // The directory that holds `path`, null if there is none; `name` is its last part.
  [[nodiscard]] NodeRef parent_of(const std::string& path, std::string* name) const;
  // Whether `op` on names and contents works.
  [[nodiscard]] bool allows(const Op& op) const;
  // Does it; `made` is the number that the real tree gave a new inode. Needs allows().
  void apply(const Op& op, Ino made);
  // Takes away what eviction took: inodes that are not `there`, with all their names. Returns them.
  std::vector<Ino> evict(const std::set<Ino>& there);
  // What is there, without times: equal for equal trees.
  [[nodiscard]] std::string describe() const;

 private:
  void add(const std::string& path, Node node);
  void move(const Op& op);

  NodeRef root_;
};

// The real tree in the words of Model::describe(), and once more with times. Says what contradicts itself.
struct Picture {
  std::string plain;
  std::string timed;
};
Result<Picture> picture_of(FileSystem& fs);

// The inodes in a description.
std::set<Ino> inodes_in(const std::string& text);
// What two descriptions (plain or timed) do not have in common, if that is whole inodes, with all names, and everything else
// is equal but for times. Nothing otherwise.
struct Difference {
  std::set<Ino> gone;  // the first has them, the second does not
  std::set<Ino> more;
};
std::optional<Difference> whole_inodes_between(const std::string& first, const std::string& second);

}  // namespace cairn::crash
