// What the commands share. Each is a file, with a main of its own that returns the exit code.
#pragma once

#include <optional>
#include <string_view>

#include <CLI/CLI.hpp>

namespace cairn::tools {

// argv[0] is the command's name.
int run_mkfs(int argc, char** argv);          // mkfs.cairnfs
int run_fsck(int argc, char** argv);          // fsck.cairnfs: exit codes of fsck(8)
int run_mount(int argc, char** argv);         // cairnfs mount
int run_mount_helper(int argc, char** argv);  // mount.cairnfs, as mount(8) calls it
int run_import(int argc, char** argv);        // cairnfs import
int run_export(int argc, char** argv);        // cairnfs export
int run_resize(int argc, char** argv);        // cairnfs resize
int run_stat(int argc, char** argv);          // cairnfs stat
int run_umount(int argc, char** argv);        // cairnfs umount

inline constexpr int kOk = 0;
inline constexpr int kFailed = 1;

// Prints "cairnfs: MESSAGE" as one line to stderr and returns `code`.
int complain(std::string_view message, int code = kFailed);

// Parses the command line into `app`. Returns the exit code if that is all there is to do: --help, or a mistake, which gets one
// line and `usage_code`.
std::optional<int> parse(CLI::App& app, int argc, char** argv, int usage_code = kFailed);

}  // namespace cairn::tools
