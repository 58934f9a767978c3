// Looking at what a step touched, with the eyes of root.
#pragma once

#include <cstdint>
#include <string>

#include <sys/stat.h>

#include "mount/differential/step.h"

namespace cairn::differential {

// What was seen before a step, to tell what moved.
struct Before {
  bool there = false;
  ino_t ino = 0;
  timespec mtime = {}, ctime = {};
};

// The mode without a setgid bit that the group cannot execute: FUSE does not say who is in the group, so it does not
// go when somebody else writes.
uint32_t comparable_mode(uint32_t mode);

Before look_before(const std::string& path);
Before look_before(int fd);
// `whole`: also the content of large files, all of it.
Seen look_after(const std::string& path, const Before& before, bool whole);
Seen look_after(int fd, const Before& before);

std::string directory_of(const std::string& path);
bool same_inode(const std::string& path, const std::string& path2);

// Everything below the present root, a line each: names, attributes, contents, which names are one inode.
std::string list_tree();

}  // namespace cairn::differential
