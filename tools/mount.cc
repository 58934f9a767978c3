// cairnfs mount, and mount.cairnfs as mount(8) calls it.

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <syslog.h>
#include <unistd.h>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>

#include "cairn/filesystem.h"
#include "cairn/lock.h"
#include "cairn/store.h"
#include "fusefs/guard.h"
#include "fusefs/mount_options.h"
#include "fusefs/mount_table.h"
#include "fusefs/session.h"
#include "tools/background.h"
#include "tools/command.h"
#include "tools/common.h"
#include "tools/remount.h"

namespace cairn::tools {
namespace {

namespace fs = std::filesystem;

// How long a mount waits for the daemon of an earlier mount, whose umount has returned but which is still writing.
constexpr std::chrono::seconds kWaitForEarlierMount{20};

// What to mount, checked as far as that goes without opening the store.
struct Request {
  fs::path store, mount_point;  // canonical
  fusefs::MountOptions options;
  fusefs::Transport transport;
  bool foreground = false;
};

// The path as it is shown by mount and df, and found again by umount. That it holds a store is seen when it is opened.
Result<fs::path> check_store(const std::string& path) {
  std::error_code error;
  fs::path store = fs::canonical(path, error);
  if (error == std::errc::no_such_file_or_directory) {
    return fail(ErrorCode::kNotFound, fmt::format("{}: no such store; `mkfs.cairnfs {}` makes one", path, path));
  }
  if (error) return fail(ErrorCode::kIo, fmt::format("{}: {}", path, error.message()));
  if (!fs::is_directory(store, error))
    return fail(ErrorCode::kNotDirectory, fmt::format("{}: a store is a directory", path));
  return store;
}

// A store below its own mount point would be hidden by it, and a mount inside the store would meet itself.
Result<fs::path> check_mount_point(const std::string& path, const fs::path& store) {
  auto point = fusefs::canonical_mount_point(path);
  if (!point) return point;
  if (const auto there = fusefs::mounted_at(fusefs::mount_table(), point->string());
      there && there->type == fusefs::kFsType) {
    return fail(ErrorCode::kBusy, fmt::format("{}: busy, {} is mounted there; `cairnfs umount {}` unmounts it",
                                              point->string(), there->source, point->string()));
  }
  std::error_code error;
  const fs::file_status status = fs::status(*point, error);
  if (status.type() == fs::file_type::not_found) {
    return fail(ErrorCode::kNotFound, fmt::format("{}: no such mount point; `mkdir {}` makes it", path, path));
  }
  if (error) return fail(ErrorCode::kIo, fmt::format("{}: {}", path, error.message()));
  if (status.type() != fs::file_type::directory) {
    return fail(ErrorCode::kNotDirectory, fmt::format("{}: a mount point has to be a directory", path));
  }
  if (is_within(*point, store) || is_within(store, *point)) {
    return fail(ErrorCode::kInvalid,
                fmt::format("{}: the mount point and the store {} may not lie in one another", path, store.string()));
  }
  return point;
}

// The most frequent trouble in containers, for which libfuse only says that it cannot be opened.
Result<void> check_fuse() {
  std::error_code error;
  if (fs::exists("/dev/fuse", error)) return {};
  return fail(ErrorCode::kNotFound,
              "/dev/fuse is missing; load the kernel's module (modprobe fuse), or give the container that device");
}

// Everything that can be refused while the terminal is still there. The order is that in which people make mistakes.
Result<Request> check(const std::string& store, const std::string& mount_point, const std::string& options) {
  const bool is_root = ::geteuid() == 0;
  Request request;
  auto parsed = fusefs::parse_mount_options(options, is_root);
  if (!parsed) return fail(std::move(parsed).error());
  request.options = *parsed;
  auto canonical_store = check_store(store);
  if (!canonical_store) return fail(std::move(canonical_store).error());
  request.store = std::move(*canonical_store);
  auto canonical_point = check_mount_point(mount_point, request.store);
  if (!canonical_point) return fail(std::move(canonical_point).error());
  request.mount_point = std::move(*canonical_point);
  if (auto fuse = check_fuse(); !fuse) return fail(std::move(fuse).error());
  if (auto allowed = fusefs::check_allow_other(request.options, is_root, "/etc/fuse.conf"); !allowed) {
    return fail(std::move(allowed).error());
  }
  auto transport =
      fusefs::choose_transport(request.options, fusefs::read_enable_uring(), fusefs::library_has_io_uring());
  if (!transport) return fail(std::move(transport).error());
  request.transport = std::move(*transport);
  return request;
}

// The one size that users give is for both caches. Index blocks are small and serve many lookups each; chunks are what
// reads need.
Options store_options(const Request& request, std::shared_ptr<spdlog::logger> logger) {
  Options options;
  options.read_only = request.options.read_only;
  options.commit_interval_ms = request.options.commit_interval_ms;
  options.block_cache_bytes = request.options.cache_bytes / 3;
  options.chunk_cache_bytes = request.options.cache_bytes - options.block_cache_bytes;
  options.owner = fmt::format("pid {}, mounted on {}", ::getpid(), request.mount_point.string());
  options.logger = std::move(logger);
  return options;
}

// Then the lock is held for good, and waiting for it would be no use.
bool is_mounted(const fs::path& store) {
  for (const fusefs::MountEntry& entry : fusefs::mount_table()) {
    if (entry.type == fusefs::kFsType && entry.source == store) return true;
  }
  return false;
}

// umount(8) returns before the daemon has closed the store; the next mount waits for it.
Result<std::unique_ptr<Store>> open_store(const Request& request, const Options& options) {
  auto store = Store::open(request.store, options);
  if (store || store.error().code != ErrorCode::kBusy || is_mounted(request.store)) return store;
  if (auto closed = wait_until_closed(request.store, kWaitForEarlierMount); !closed) return store;
  return Store::open(request.store, options);
}

// A daemon has no terminal, and its log file would be on somebody's disk: the system's log is what administrators read.
std::shared_ptr<spdlog::logger> make_logger(bool foreground) {
  if (foreground) return spdlog::stderr_logger_mt("cairnfs");
  return spdlog::syslog_logger_mt("cairnfs", "cairnfs", LOG_PID, LOG_DAEMON);
}

// Opens the store, serves it until it is unmounted, closes it. The lock goes last.
Result<void> run_daemon(const Request& request, const std::shared_ptr<spdlog::logger>& logger, Background* background) {
  // First, while there is one thread: a fork takes only its caller along, and the locks of the others would stay held in it.
  std::optional<fusefs::Guard> guard;
  guard.emplace(request.store.string(), request.mount_point.string());
  auto store = open_store(request, store_options(request, logger));
  if (!store) return fail(std::move(store).error());
  if (request.options.no_open && (*store)->stats().mode == Mode::kCache) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("option no_open: {} is a cache, which has to see what is opened; leave the option out",
                            request.store.string()));
  }
  auto file_system = FileSystem::open(std::move(*store), {.relatime = request.options.relatime,
                                                          .acl = request.options.acl,
                                                          .opens_counted = !request.options.no_open,
                                                          .caller_caches = true,
                                                          .min_age_s = request.options.min_age_s,
                                                          .logger = logger});
  if (!file_system) return fail(std::move(file_system).error());
  FileSystem& tree = **file_system;

  fusefs::ServeOptions options;
  options.store = request.store.string();
  options.mount_point = request.mount_point.string();
  options.mount = request.options;
  options.io_uring = request.transport.io_uring;
  options.logger = logger;
  options.on_ready = [&] {
    logger->info("mounted store=\"{}\" mount_point=\"{}\"", options.store, options.mount_point);
    background->ready();
  };
  // Returns when the mount is gone. What follows is what umount waits for: closing writes all there is in memory.
  auto served = fusefs::serve(tree, tree.store_stats().mode, options);
  guard.reset();
  if (auto closed = tree.close(); !closed) {
    return fail(ErrorCode::kIo, fmt::format("closing {}: {}", options.store, closed.error().message));
  }
  if (served) logger->info("closed store=\"{}\"", options.store);
  return served;
}

// In the background the parent returns from detach() with an exit code, and all that follows is the daemon's.
int mount_store(const Request& request) {
  Background background;
  const std::string& hint = request.transport.hint;
  if (request.foreground) {
    if (!hint.empty()) complain("hint: " + hint);
  } else {
    if (auto done = background.detach()) {
      if (*done == kOk && !hint.empty()) complain("hint: " + hint);
      return *done;
    }
  }
  fusefs::block_stop_signals();
  const auto logger = make_logger(request.foreground);
  auto result = run_daemon(request, logger, &background);
  if (result) return kOk;
  if (!request.foreground)
    logger->error("ended store=\"{}\" error=\"{}\"", request.store.string(), result.error().message);
  return background.failed(result.error().message);
}

struct Arguments {
  std::string store, mount_point;
  std::vector<std::string> options;
};

void describe(CLI::App& app, Arguments* arguments) {
  app.add_option("STORE", arguments->store, "the store")->required();
  app.add_option("MOUNTPOINT", arguments->mount_point, "an existing directory")->required();
  app.add_option("-o", arguments->options,
                 "comma-separated: ro, [no]allow_other, [no]suid, [no]dev, [no]exec, [no]acl, no_open, relatime, "
                 "noatime, commit_interval=MS, cache_size=SIZE, min_age=SECONDS, max_threads=N, io_uring=auto|on|off")
      ->allow_extra_args(false);
}

// Several -o are one list, as with mount(8).
std::string joined_options(const Arguments& arguments) { return fmt::format("{}", fmt::join(arguments.options, ",")); }

int check_and_mount(const Arguments& arguments, bool foreground, bool check_only) {
  auto request = check(arguments.store, arguments.mount_point, joined_options(arguments));
  if (!request) return complain(request.error().message);
  if (check_only) return kOk;
  request->foreground = foreground;
  return mount_store(*request);
}

// An exit code if the options ask for a remount.
std::optional<int> remount_if_asked(const Arguments& arguments) {
  const std::string options = joined_options(arguments);
  bool asked = false;
  bool read_only = false;
  for (size_t begin = 0; begin <= options.size();) {
    const size_t end = std::min(options.find(',', begin), options.size());
    const std::string option = options.substr(begin, end - begin);
    asked = asked || option == "remount";
    if (option == "ro" || option == "rw") read_only = option == "ro";
    begin = end + 1;
  }
  if (!asked) return std::nullopt;
  const auto result = remount(arguments.mount_point, options, read_only);
  return result ? kOk : complain(result.error().message);
}

}  // namespace

int run_mount(int argc, char** argv) {
  CLI::App app("Mounts a store.", "cairnfs mount");
  Arguments arguments;
  bool foreground = false;
  app.add_flag("-f", foreground, "stay in the foreground and log to stderr");
  describe(app, &arguments);
  if (auto done = parse(app, argc, argv)) return *done;
  return check_and_mount(arguments, foreground, /*check_only=*/false);
}

// The letters mean what mount(8) says, so -f is "fake" here. What the others ask for is not ours to do.
int run_mount_helper(int argc, char** argv) {
  CLI::App app("Mounts a store, as a helper of mount(8).", "mount.cairnfs");
  Arguments arguments;
  bool fake = false;
  bool ignored = false;
  std::string ignored_text;
  app.add_flag("-f", fake, "fake: check everything and mount nothing");
  app.add_flag("-n,-s,-v", ignored, "accepted, without effect");
  app.add_option("-t,-N", ignored_text, "accepted, without effect");
  describe(app, &arguments);
  if (auto done = parse(app, argc, argv)) return *done;
  if (auto remounted = remount_if_asked(arguments)) return *remounted;
  return check_and_mount(arguments, /*foreground=*/false, fake);
}

}  // namespace cairn::tools
