// cairnfs import and cairnfs export: a directory into a store, and out of it.

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "fusefs/mount_table.h"
#include "tools/command.h"
#include "tools/common.h"
#include "tools/printable.h"
#include "tools/transfer/progress.h"
#include "tools/transfer/transfer.h"
#include "tools/transfer/tree.h"

namespace cairn::tools {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kMaxJobs = 128;  // each has a MiB to read into

struct Arguments {
  std::string directory, store;  // the latter with a path, perhaps
  std::optional<unsigned> jobs;
  bool quiet = false;
};

// STORE:PATH.
struct StorePath {
  fs::path store;                    // canonical
  std::string path;                  // in the tree
  std::optional<std::string> mount;  // where the store is mounted, if it is
};

// False, too, for what cannot be looked at.
bool is_directory(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

// Stores may have a colon in their names: the first that leaves a directory in front ends the name.
Result<StorePath> parse_store_path(const std::string& text) {
  size_t end = text.size();
  for (size_t colon = text.find(':'); !is_directory(text.substr(0, end)); colon = text.find(':', colon + 1)) {
    if (colon == std::string::npos) {
      const std::string name = text.substr(0, text.find(':'));
      return fail(ErrorCode::kNotFound, fmt::format("{}: no such store; `mkfs.cairnfs {}` makes one", name, name));
    }
    end = colon;
  }
  // Either name of a mounted store is good: its own, or that of the mount point. The last mount in the table is the
  // visible one.
  auto store = fusefs::canonical_mount_point(text.substr(0, end));
  if (!store) return fail(std::move(store).error());
  StorePath where{std::move(*store), text.substr(std::min(end + 1, text.size())), {}};
  if (const auto mount = mount_of(where.store)) {
    where.store = mount->source;
    where.mount = mount->point;
  }
  return where;
}

// Copying a directory into itself would not end.
Result<void> check_apart(const std::string& directory, const StorePath& where) {
  std::error_code error;
  const fs::path outer = fs::weakly_canonical(directory, error);
  if (error) return fail(ErrorCode::kIo, fmt::format("{}: {}", directory, error.message()));
  for (const fs::path& other : {where.store, fs::path(where.mount.value_or(where.store.string()))}) {
    if (is_within(other, outer) || is_within(outer, other))
      return fail(ErrorCode::kInvalid,
                  fmt::format("{}: it and {} may not lie in one another", directory, other.string()));
  }
  return {};
}

// A mounted store is locked by its daemon, so the copy goes through the mount then. Without one the store is opened
// here, which is faster by a change of process for each call.
Result<std::unique_ptr<Tree>> open_store(const StorePath& where, bool to_write) {
  if (!where.mount) return open_store_tree(where.store.string(), where.path, to_write);
  return open_posix_tree(*where.mount, where.path, to_write);
}

// `make`: also what is missing above it.
Result<std::unique_ptr<Tree>> open_directory(const std::string& path, bool make) {
  std::error_code error;
  if (make && !fs::create_directories(path, error) && error)
    return fail(ErrorCode::kIo, fmt::format("{}: {}", path, error.message()));
  return open_posix_tree(path, {}, false);
}

// For people; scripts ask for --quiet and look at the exit code.
std::string summary(std::string_view verb, const TransferCount& count, double seconds) {
  std::string text =
      fmt::format("{} {} files, {} in {:.1f} s ({}/s)", verb, count.files.load(), human_size(count.bytes), seconds,
                  human_size(static_cast<uint64_t>(static_cast<double>(count.bytes) / std::max(seconds, 0.001))));
  if (count.unchanged > 0) text += fmt::format("; {} were there already", count.unchanged.load());
  if (count.refused > 0) text += fmt::format("; {} extended attributes are not taken there", count.refused.load());
  return text;
}

// Files that cannot be copied are counted and named, and the rest goes on. What ends the copy early is only what would
// meet every file, such as a full disk. Either way the same command goes on later where this one stopped.
int copy(Tree& from, Tree& to, const Arguments& arguments, std::string_view verb) {
  const auto started = std::chrono::steady_clock::now();
  TransferCount count;
  std::optional<Progress> progress;
  if (!arguments.quiet && ::isatty(STDERR_FILENO) != 0) progress.emplace(from, count);
  const auto say = [&progress](const std::string& message) {
    if (progress) {
      progress->say("cairnfs: " + printable(message));
    } else {
      complain(message);
    }
  };
  // Copying many small files is mostly waiting, so there are more jobs than CPUs.
  const unsigned jobs = arguments.jobs.value_or(std::clamp(2 * std::thread::hardware_concurrency(), 2u, kMaxJobs));
  auto copied = transfer(from, to, jobs, count, say);
  const uint64_t missing = copied && to.may_have_evicted() ? count_missing(from, to) : 0;
  // Also after an error, so that what is said to be there is there.
  auto synced = to.sync();
  progress.reset();
  if (!copied)
    return complain(fmt::format("{}; what was copied is there, and the same command goes on", copied.error().message));
  if (!synced) return complain(synced.error().message);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - started;
  if (!arguments.quiet) fmt::print("{}\n", summary(verb, count, seconds.count()));
  if (missing > count.errors) {
    return complain(
        fmt::format("{} of these are not there any more: the cache is too small for them and has evicted them; "
                    "`cairnfs resize` gives it more room",
                    missing - count.errors));
  }
  if (count.errors == 0) return kOk;
  return complain(fmt::format("{} files could not be copied; the same command tries them again", count.errors.load()));
}

// The source is opened first: a mistyped directory must not leave an empty one in the store.
int import_into(const Arguments& arguments) {
  const auto where = parse_store_path(arguments.store);
  if (!where) return complain(where.error().message);
  auto from = open_directory(arguments.directory, false);
  if (!from) return complain(from.error().message);
  if (auto apart = check_apart(arguments.directory, *where); !apart) return complain(apart.error().message);
  auto to = open_store(*where, true);
  if (!to) return complain(to.error().message);
  return copy(**from, **to, arguments, "imported");
}

int export_from(const Arguments& arguments) {
  const auto where = parse_store_path(arguments.store);
  if (!where) return complain(where.error().message);
  if (auto apart = check_apart(arguments.directory, *where); !apart) return complain(apart.error().message);
  auto from = open_store(*where, false);
  if (!from) return complain(from.error().message);
  auto to = open_directory(arguments.directory, true);
  if (!to) return complain(to.error().message);
  return copy(**from, **to, arguments, "exported");
}

void describe(CLI::App& app, Arguments* arguments) {
  app.add_option("-j,--jobs", arguments->jobs, "files that are copied at a time (default: twice the number of CPUs)")
      ->check(CLI::Range(1u, kMaxJobs));
  app.add_flag("-q,--quiet", arguments->quiet, "say nothing but errors");
}

}  // namespace

int run_import(int argc, char** argv) {
  CLI::App app(
      "Copies what is in a directory into a store, with owners, modes, times, links, holes and extended attributes.\n"
      "Called again it goes on where it stopped: files of the same size and time are not copied again.",
      "cairnfs import");
  Arguments arguments;
  describe(app, &arguments);
  app.add_option("DIR", arguments.directory, "what to copy")->required();
  app.add_option("STORE[:PATH]", arguments.store, "the store, or where it is mounted, and the directory in it")
      ->required();
  if (auto done = parse(app, argc, argv)) return *done;
  return import_into(arguments);
}

int run_export(int argc, char** argv) {
  CLI::App app("Copies what is in a store, or in a directory of it, into a directory: the reverse of `cairnfs import`.",
               "cairnfs export");
  Arguments arguments;
  describe(app, &arguments);
  app.add_option("STORE[:PATH]", arguments.store, "the store, or where it is mounted, and the directory in it")
      ->required();
  app.add_option("DIR", arguments.directory, "where to; is made if it is missing")->required();
  if (auto done = parse(app, argc, argv)) return *done;
  return export_from(arguments);
}

}  // namespace cairn::tools
