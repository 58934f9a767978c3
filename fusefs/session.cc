#include "fusefs/session.h"

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <mutex>
#include <vector>

#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <unistd.h>

#include <fmt/format.h>
#include <spdlog/logger.h>

#include "fusefs/frontend.h"
#include "fusefs/watcher.h"

namespace cairn::fusefs {
namespace {

// libfuse's complaints, which it would print to stderr. It has one place for them in the whole process.
class LibraryLog {
 public:
  void set_logger(std::shared_ptr<spdlog::logger> logger) {
    const std::lock_guard lock(mutex_);
    logger_ = std::move(logger);
  }
  void add(std::string line) {
    const std::lock_guard lock(mutex_);
    while (!line.empty() && line.back() == '\n') line.pop_back();
    if (logger_) logger_->warn("libfuse message=\"{}\"", line);
    last_ = std::move(line);
  }
  std::string last() const {
    const std::lock_guard lock(mutex_);
    return last_.empty() ? "libfuse gives no reason" : last_;
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<spdlog::logger> logger_;  // none until mounted: errors before are returned, not logged
  std::string last_;
};

// A singleton because libfuse's log function takes no pointer of ours.
LibraryLog& library_log() {
  static LibraryLog log;
  return log;
}

// Called by libfuse from any thread. Nothing may be thrown into C, so a line for which there is no memory goes to
// stderr.
extern "C" void cairn_fuse_log(fuse_log_level, const char* format, va_list arguments) {
  char line[512];
  std::vsnprintf(line, sizeof line, format, arguments);
  try {
    library_log().add(line);
  } catch (...) {
    std::fputs(line, stderr);
  }
}

// Requests in flight over io_uring, for each CPU. More cost memory (1 MiB each) and gain nothing.
constexpr int kQueueDepth = 8;

struct SessionDeleter {
  void operator()(fuse_session* session) const { fuse_session_destroy(session); }
};
using SessionPtr = std::unique_ptr<fuse_session, SessionDeleter>;

struct LoopConfigDeleter {
  void operator()(fuse_loop_config* config) const { fuse_loop_cfg_destroy(config); }
};
using LoopConfigPtr = std::unique_ptr<fuse_loop_config, LoopConfigDeleter>;

std::vector<std::string> arguments_of(const ServeOptions& options) {
  std::vector<std::string> arguments = libfuse_arguments(options.mount, options.store);
  // The library falls back to /dev/fuse, and says so, if the rings cannot be set up.
  if (options.io_uring) arguments.back() += fmt::format(",io_uring,io_uring_q_depth={}", kQueueDepth);
  return arguments;
}

// libfuse parses the arguments as those of a command line, and copies what it keeps. Null: it has logged why.
SessionPtr make_session(Frontend* frontend, const ServeOptions& options) {
  std::vector<std::string> arguments = arguments_of(options);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  fuse_args args = FUSE_ARGS_INIT(static_cast<int>(argv.size()), argv.data());
  const fuse_lowlevel_ops ops = operations();
  SessionPtr session(fuse_session_new(&args, &ops, sizeof ops, frontend));
  fuse_opt_free_args(&args);
  return session;
}

// Answers requests until the session ends: 0, or a negative errno. clone_fd gives each thread a queue of its own in the
// kernel, so that they do not fight for one lock.
int run_loop(fuse_session* session, unsigned max_threads) {
  const LoopConfigPtr config(fuse_loop_cfg_create());
  if (!config) return -ENOMEM;
  fuse_loop_cfg_set_clone_fd(config.get(), 1);
  fuse_loop_cfg_set_max_threads(config.get(), max_threads);
  return fuse_session_loop_mt(session, config.get());
}

// Gives the kernel all of a file that is about to be opened: no read will follow, and no question for attributes, which the kernel
// forgets at each read. Under the file's lock; see FileSystem::set_content_taker() for why nobody can be waiting for us meanwhile.
// Best effort: what the kernel does not take it asks for.
bool store_in_kernel(fuse_session* session, Ino ino, const Value& content) noexcept {
  fuse_bufvec buffer = {};
  buffer.count = 1;
  buffer.buf[0].size = content.size();
  buffer.buf[0].fd = -1;
  buffer.buf[0].mem = const_cast<char*>(content.view().data());  // read only: the library knows no const
  return fuse_lowlevel_notify_store(session, ino, 0, &buffer, FUSE_BUF_NO_SPLICE) == 0;
}

// /dev/null, open from the start: at the end there may be no descriptor to be had.
class NullDevice {
 public:
  NullDevice() : fd_(::open("/dev/null", O_RDWR | O_CLOEXEC)) {}
  ~NullDevice() {
    if (fd_ >= 0) ::close(fd_);
  }
  NullDevice(const NullDevice&) = delete;
  NullDevice& operator=(const NullDevice&) = delete;
  [[nodiscard]] int fd() const { return fd_; }  // negative: it could not be opened

 private:
  const int fd_;
};

// Nobody answers any more. Who waits for an answer is told so, as the notifier may be waiting for him; and the number of the descriptor
// stays taken until nothing writes to it, so that what is told late does not end up in a file of the store.
void sever(fuse_session* session, const NullDevice& null) {
  pollfd device = {.fd = fuse_session_fd(session), .events = 0, .revents = 0};
  // Severed already. The library wants to see that for itself, or it unmounts what somebody has mounted there since.
  if (::poll(&device, 1, 0) == 1 && (device.revents & POLLERR) != 0) return;
  while (::dup3(null.fd(), device.fd, O_CLOEXEC) < 0 && (errno == EINTR || errno == EBUSY)) {
  }
}

}  // namespace

Result<void> serve(FileSystem& fs, Mode mode, const ServeOptions& options) {
  const auto cannot_mount = [&] {
    return fail(ErrorCode::kIo, fmt::format("cannot mount on {}: {}", options.mount_point, library_log().last()));
  };
  // Order: the frontend must be there before the first request, and requests may come as soon as it is mounted. The
  // notifier and the resizer need the mounted session, and the loop has not begun yet.
  fuse_set_log_func(cairn_fuse_log);
  const NullDevice null;
  if (null.fd() < 0) return fail(Error(ErrorCode::kIo, errno, "/dev/null cannot be opened"));
  Frontend frontend(fs, mode, options.mount.acl, options.logger);
  frontend.no_open = options.mount.no_open;
  const SessionPtr session = make_session(&frontend, options);
  if (!session) return cannot_mount();
  frontend.session = session.get();
  if (fuse_session_mount(session.get(), options.mount_point.c_str()) != 0) return cannot_mount();
  library_log().set_logger(options.logger);
  frontend.notifier = std::make_unique<Notifier>(session.get(), frontend.errors);
  frontend.resizer = std::make_unique<Resizer>(fs);
  fs.set_eviction_listener([&frontend](const LostName& name) { frontend.notifier->add(name); });
  fs.set_content_taker(
      [session = session.get()](Ino ino, const Value& content) { return store_in_kernel(session, ino, content); });

  int ended = 0;
  {
    const Watcher watcher(session.get(), frontend, options);
    ended = run_loop(session.get(), options.mount.max_threads);
    // They may be waiting, and answer.
    frontend.resizer.reset();
    frontend.syncs.reset();
    sever(session.get(), null);
    // From here on nothing calls into the session or the notifier: each returns when its last call has ended.
    fs.set_content_taker({});
    fs.set_eviction_listener({});
    frontend.notifier.reset();
    if (watcher.unanswered() != 0) ended = -watcher.unanswered();
    fuse_session_unmount(session.get());  // nothing to do if the kernel has ended the session
  }
  library_log().set_logger(nullptr);
  if (ended >= 0) return {};
  return fail(Error(ErrorCode::kIo, -ended,
                    fmt::format("the mount on {} failed: {}", options.mount_point,
                                std::error_code(-ended, std::generic_category()).message())));
}

}  // namespace cairn::fusefs
