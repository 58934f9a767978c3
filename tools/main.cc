// cairnfs: one binary. The name it is called by, or the first argument, says which command it is.

#include <algorithm>
#include <array>
#include <new>
#include <string_view>

#include <fmt/format.h>

#include "tools/command.h"

namespace cairn::tools {
namespace {

// A command without a name cannot be asked for as an argument: mount.cairnfs is for mount(8) only, which calls it by
// that link.
struct Command {
  std::string_view name;  // as the first argument, if not empty
  std::string_view link;  // as a name of the binary, if not empty
  std::string_view what;
  int (*run)(int argc, char** argv);
};
// In the order of the help.
constexpr std::array<Command, 10> kCommands = {{
    {"mkfs", "mkfs.cairnfs", "make a store", run_mkfs},
    {"mount", "", "mount a store", run_mount},
    {"umount", "", "unmount, and wait until the store is closed", run_umount},
    {"import", "", "copy a directory into a store", run_import},
    {"export", "", "copy a store into a directory", run_export},
    {"resize", "", "change the limit of a cache", run_resize},
    {"stat", "", "show what a mounted store holds and did", run_stat},
    {"fsck", "fsck.cairnfs", "check a store that is not mounted", run_fsck},
    {"", "mount.cairnfs", "", run_mount_helper},
    {"", "mount.fuse.cairnfs", "", run_mount_helper},
}};

static_assert(std::all_of(kCommands.begin(), kCommands.end(),
                          [](const Command& c) { return !(c.name.empty() && c.link.empty()); }));

int print_help() {
  fmt::print("Usage: cairnfs COMMAND [ARGUMENTS]\n\nCommands (each explains itself with --help):\n");
  for (const Command& command : kCommands) {
    if (!command.name.empty()) fmt::print("  {:8} {}\n", command.name, command.what);
  }
  fmt::print("\nOptions:\n  --help\n  --version\n");
  return kOk;
}

// The name of the binary wins over the first argument, as `mkfs.cairnfs mount` makes a store called "mount".
int run(int argc, char** argv) {
  const std::string_view path = argc > 0 ? argv[0] : "cairnfs";
  const std::string_view name = path.substr(path.rfind('/') + 1);  // npos + 1 is 0
  const std::string_view first = argc > 1 ? argv[1] : "";
  for (const Command& command : kCommands) {
    if (!command.link.empty() && command.link == name) return command.run(argc, argv);
  }
  for (const Command& command : kCommands) {
    if (!command.name.empty() && command.name == first) return command.run(argc - 1, argv + 1);
  }
  // mount.fuse(8), which mounts the type fuse.cairnfs where mount.fuse.cairnfs is not installed: `cairnfs STORE MOUNTPOINT -o ...`.
  if (argc > 2 && first.find('/') != std::string_view::npos) return run_mount_helper(argc, argv);
  if (first == "--version" || first == "-V") {
    fmt::print("cairnfs {}\n", CAIRNFS_VERSION);
    return kOk;
  }
  if (first == "--help" || first == "-h" || first == "help") return print_help();
  return complain(first.empty() ? "which command? see `cairnfs --help`"
                                : fmt::format("unknown command '{}'; see `cairnfs --help`", first));
}

}  // namespace
}  // namespace cairn::tools

int main(int argc, char** argv) {
  // The last resort: whatever the libraries throw ends as one line, not as a core dump.
  try {
    return cairn::tools::run(argc, argv);
  } catch (const std::bad_alloc&) {
    return cairn::tools::complain("out of memory");
  } catch (const std::exception& error) {
    return cairn::tools::complain(error.what());
  }
}
