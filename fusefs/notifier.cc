#include "fusefs/notifier.h"

#include <cerrno>
#include <utility>

namespace cairn::fusefs {

Notifier::Notifier(fuse_session* session, ErrorLog& errors)
    : session_(session), errors_(errors), thread_([this] { run(); }) {}

Notifier::~Notifier() { stop(); }

void Notifier::add(const LostName& name) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    names_.push_back(name);
  }
  changed_.notify_one();
}

void Notifier::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    names_.clear();
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

// One name at a time and in the order in which they were lost, so that a name that was taken again meanwhile is not
// mistaken: the kernel compares the inode number.
void Notifier::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !names_.empty(); });
    if (stopping_) return;
    const LostName name = std::move(names_.front());
    names_.pop_front();
    lock.unlock();
    const int result =
        fuse_lowlevel_notify_delete(session_, name.parent, name.ino, name.name.c_str(), name.name.size());
    // The kernel has forgotten the name, or has another file under it, or a directory that came to life again; or it is
    // being unmounted.
    const bool expected = result == 0 || result == -ENOENT || result == -ENOTEMPTY || result == -EBUSY ||
                          result == -ENOTCONN || result == -ENODEV || result == -EBADF;
    if (!expected) errors_.note(Error(ErrorCode::kIo, -result, "the kernel was not told of an eviction"));
    lock.lock();
  }
}

}  // namespace cairn::fusefs
