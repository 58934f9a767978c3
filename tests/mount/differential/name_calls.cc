// Calls about names: making, finding, moving and removing them.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "mount/differential/calls.h"
#include "mount/differential/look.h"

namespace cairn::differential {
namespace {

void one_path(Random& random, Step& step) { step.path = random.path(); }
void two_paths(Random& random, Step& step) {
  step.path = random.path();
  step.path2 = random.path();
}
void path_and_mode(Random& random, Step& step) {
  step.path = random.path();
  step.a = random.mode();
}

int64_t do_mkdir(Actor&, const Step& step, Outcome&) { return ::mkdir(step.path.c_str(), static_cast<mode_t>(step.a)); }
int64_t do_rmdir(Actor&, const Step& step, Outcome&) { return ::rmdir(step.path.c_str()); }
int64_t do_unlink(Actor&, const Step& step, Outcome&) { return ::unlink(step.path.c_str()); }

void make_rename(Random& random, Step& step) {
  two_paths(random, step);
  if (random.chance(40)) step.a = random.pick({RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT, 3, 5, 6, 8});
}
int64_t do_rename(Actor&, const Step& step, Outcome&) {
  return ::renameat2(AT_FDCWD, step.path.c_str(), AT_FDCWD, step.path2.c_str(), static_cast<unsigned>(step.a));
}

void make_link(Random& random, Step& step) {
  two_paths(random, step);
  step.a = random.pick({0, 0, AT_SYMLINK_FOLLOW});
}
int64_t do_link(Actor&, const Step& step, Outcome&) {
  return ::linkat(AT_FDCWD, step.path.c_str(), AT_FDCWD, step.path2.c_str(), static_cast<int>(step.a));
}

void make_symlink(Random& random, Step& step) {
  two_paths(random, step);
  if (random.chance(3)) step.path2 = std::string(4094 + random.below(3), 't');
}
int64_t do_symlink(Actor&, const Step& step, Outcome&) { return ::symlink(step.path2.c_str(), step.path.c_str()); }

int64_t do_readlink(Actor& actor, const Step& step, Outcome& outcome) {
  char* target = actor.buffer(PATH_MAX + 1);
  const ssize_t size = ::readlink(step.path.c_str(), target, PATH_MAX + 1);
  if (size > 0) outcome.digest = digest_of({target, static_cast<size_t>(size)});
  return size;
}

void make_mknod(Random& random, Step& step) {
  path_and_mode(random, step);
  step.a |= random.pick({S_IFIFO, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFREG, 0, S_IFDIR});
  step.b = random.chance(50) ? static_cast<int64_t>(makedev(1, 3)) : 0;  // never a device that does something
}
int64_t do_mknod(Actor&, const Step& step, Outcome&) {
  return ::mknod(step.path.c_str(), static_cast<mode_t>(step.a), static_cast<dev_t>(step.b));
}

// The order of a listing is the file system's own affair, and so are its numbers.
int64_t do_list(Actor&, const Step& step, Outcome& outcome) {
  DIR* directory = ::opendir(step.path.c_str());
  if (directory == nullptr) return -1;
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(directory)) {
    names.push_back(std::string(entry->d_name) + '/' + std::to_string(entry->d_type));
  }
  ::closedir(directory);
  std::sort(names.begin(), names.end());
  std::string all;
  for (const std::string& name : names) all += name + '\n';
  outcome.digest = digest_of(all);
  return static_cast<int64_t>(names.size());
}

int64_t do_chdir(Actor&, const Step& step, Outcome&) { return ::chdir(step.path.c_str()); }

void make_access(Random& random, Step& step) {
  one_path(random, step);
  step.a = static_cast<int64_t>(random.below(8));
  step.b = random.pick({0, AT_EACCESS, AT_SYMLINK_NOFOLLOW | AT_EACCESS});
}
int64_t do_access(Actor&, const Step& step, Outcome&) {
  return ::faccessat(AT_FDCWD, step.path.c_str(), static_cast<int>(step.a), static_cast<int>(step.b));
}

int64_t do_stat(Actor&, const Step& step, Outcome& outcome) {
  struct stat st = {};
  if (::stat(step.path.c_str(), &st) != 0) return -1;
  outcome.digest = (uint64_t{st.st_uid} << 32) + (uint64_t{st.st_gid} << 16) + comparable_mode(st.st_mode);
  return S_ISDIR(st.st_mode) ? 0 : st.st_size;
}

constexpr Call kCalls[] = {
    {"mkdir", 30, path_and_mode, do_mkdir}, {"rmdir", 8, one_path, do_rmdir},
    {"unlink", 20, one_path, do_unlink},    {"rename", 40, make_rename, do_rename},
    {"link", 15, make_link, do_link},       {"symlink", 8, make_symlink, do_symlink},
    {"readlink", 5, one_path, do_readlink}, {"mknod", 12, make_mknod, do_mknod},
    {"list", 10, one_path, do_list},        {"chdir", 4, one_path, do_chdir},
    {"access", 10, make_access, do_access}, {"stat", 6, one_path, do_stat},
};

}  // namespace

std::span<const Call> name_calls() { return kCalls; }

}  // namespace cairn::differential
