// Calls that open files, close them and change what they are open for.
#include <cerrno>
#include <cstdint>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mount/differential/calls.h"

namespace cairn::differential {
namespace {

// O_NONBLOCK always: nobody waits for the other end of a FIFO.
void make_open(Random& random, Step& step) {
  step.path = random.path();
  step.a = random.pick({O_RDONLY, O_RDWR, O_RDWR, O_RDWR, O_WRONLY, O_RDWR, O_RDWR}) | O_NONBLOCK;
  if (random.chance(60)) step.a |= O_CREAT;
  if (random.chance(8)) step.a |= O_EXCL;
  if (random.chance(12)) step.a |= O_TRUNC;
  if (random.chance(12)) step.a |= random.chance(70) ? O_APPEND : O_DIRECT;
  if (random.chance(8)) step.a |= random.pick({O_SYNC, O_DSYNC, O_NOFOLLOW, O_DIRECTORY, O_PATH, O_NOATIME});
  step.b = random.mode();
}
int64_t keep(Actor& actor, const Step& step, int fd) {
  if (fd < 0) return -1;
  actor.put(step.slot, fd);
  return 0;
}
int64_t do_open(Actor& actor, const Step& step, Outcome&) {
  return keep(actor, step, ::open(step.path.c_str(), static_cast<int>(step.a), static_cast<mode_t>(step.b)));
}

void make_tmpfile(Random& random, Step& step) {
  step.path = random.path();
  step.a = O_TMPFILE | random.pick({O_RDWR, O_WRONLY, O_RDONLY}) | random.pick({0, 0, O_EXCL});
  step.b = random.mode();
}

// Gives an open file a name: one made by O_TMPFILE may have it, one that was unlinked may not.
void make_link_slot(Random& random, Step& step) { step.path = random.path(); }
int64_t do_link_slot(Actor& actor, const Step& step, Outcome&) {
  return ::linkat(actor.fd(step.slot), "", AT_FDCWD, step.path.c_str(), AT_EMPTY_PATH);
}

void make_nothing(Random&, Step&) {}
int64_t do_close(Actor& actor, const Step& step, Outcome&) {
  if (actor.fd(step.slot) < 0) {
    errno = EBADF;
    return -1;
  }
  actor.put(step.slot, -1);
  return 0;
}

int64_t do_dup(Actor& actor, const Step& step, Outcome&) { return keep(actor, step, ::dup(actor.fd(step.other))); }

void make_set_flags(Random& random, Step& step) { step.a = random.pick({0, O_APPEND}) | O_NONBLOCK; }
int64_t do_set_flags(Actor& actor, const Step& step, Outcome&) {
  // What O_DIRECT needs in alignment differs: it comes and goes with open alone.
  const int now = ::fcntl(actor.fd(step.slot), F_GETFL);
  if (now == -1) return -1;
  if ((now & O_DIRECT) != 0) return 0;
  return ::fcntl(actor.fd(step.slot), F_SETFL, static_cast<int>(step.a));
}
int64_t do_get_flags(Actor& actor, const Step& step, Outcome&) { return ::fcntl(actor.fd(step.slot), F_GETFL); }

int64_t do_fsync(Actor& actor, const Step& step, Outcome&) { return ::fsync(actor.fd(step.slot)); }
int64_t do_fdatasync(Actor& actor, const Step& step, Outcome&) { return ::fdatasync(actor.fd(step.slot)); }

// Pages leave the kernel's cache, so that the next read asks the file system.
int64_t do_drop_pages(Actor& actor, const Step& step, Outcome&) {
  const int error = ::posix_fadvise(actor.fd(step.slot), 0, 0, POSIX_FADV_DONTNEED);
  if (error == 0) return 0;
  errno = error;
  return -1;
}

constexpr Call kCalls[] = {
    {"open", 70, make_open, do_open},
    {"tmpfile", 6, make_tmpfile, do_open},
    {"link_slot", 5, make_link_slot, do_link_slot},
    {"close", 12, make_nothing, do_close},
    {"dup", 3, make_nothing, do_dup},
    {"set_flags", 3, make_set_flags, do_set_flags},
    {"get_flags", 2, make_nothing, do_get_flags},
    {"fsync", 2, make_nothing, do_fsync},
    {"fdatasync", 2, make_nothing, do_fdatasync},
    {"drop_pages", 10, make_nothing, do_drop_pages},
};

}  // namespace

std::span<const Call> file_calls() { return kCalls; }

}  // namespace cairn::differential
