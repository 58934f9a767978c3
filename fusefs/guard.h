// A process beside the daemon that ends the mount's connection to the kernel when the daemon is killed.
#pragma once

#include <string>

namespace cairn::fusefs {

// Why: the notifier waits in the kernel for a directory's lock that a program holds, whose request waits for the daemon. If the
// daemon is killed just then, that thread cannot die, so its files stay open, among them /dev/fuse, so the kernel goes on
// waiting for answers: neither the programs nor what is left of the daemon could ever be killed, and the store would stay locked.
//
// Made by the thread that later serves, before any other is made and before the store is opened: the guard is a fork that holds
// neither lock nor files of the daemon. When that thread ends without the destructor, or the process gets a signal that kills it
// with a core dump, the guard aborts the connection of what is mounted on the mount point from the store: whoever waits gets
// ECONNABORTED, and later callers ENOTCONN. The mount itself stays, so that nobody writes into the directory below it.
// One in a process. If it cannot be made, the daemon does without.
//
// As root, or where the control file system of FUSE is mounted (/sys/fs/fuse/connections); else it can do nothing.
class Guard {
 public:
  Guard(std::string store, std::string mount_point);  // canonical paths
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;
  // Sends the guard home: the mount is gone, or nobody is told any more. Waits for it.
  ~Guard();

 private:
  int pid_ = -1;
};

}  // namespace cairn::fusefs
