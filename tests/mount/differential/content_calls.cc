// Calls that read and change the content of open files.
#include <algorithm>
#include <cerrno>
#include <cstdint>

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "mount/differential/calls.h"

namespace cairn::differential {
namespace {

constexpr int64_t kBlock = 4096;       // what O_DIRECT needs on ext4
constexpr int64_t kMapMax = 1 << 20;   // bytes of a file that are mapped
constexpr int64_t kScanMax = 4 << 20;  // bytes that are looked at to see whether they are a hole

bool is_direct(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  return flags != -1 && (flags & O_DIRECT) != 0;
}

int64_t read_digested(char* bytes, ssize_t size, Outcome& outcome) {
  if (size > 0) outcome.digest = digest_of({bytes, static_cast<size_t>(size)});
  return size;
}

void make_range(Random& random, Step& step) {
  step.a = random.offset();
  step.b = random.length();
  step.c = static_cast<int64_t>(random.below(1000));  // what is written follows from it
}

// O_DIRECT: only what ext4 can do, at any position.
struct Aligned {
  int64_t offset = 0, length = 0;
  Aligned(int fd, const Step& step) : offset(step.a), length(step.b) {
    if (!is_direct(fd)) return;
    offset = std::max<int64_t>(0, offset / kBlock * kBlock);
    length = (length + kBlock - 1) / kBlock * kBlock;
  }
};

int64_t do_pread(Actor& actor, const Step& step, Outcome& outcome) {
  const int fd = actor.fd(step.slot);
  const Aligned range(fd, step);
  char* bytes = actor.buffer(static_cast<size_t>(range.length));
  return read_digested(bytes, ::pread(fd, bytes, static_cast<size_t>(range.length), range.offset), outcome);
}
int64_t do_read(Actor& actor, const Step& step, Outcome& outcome) {
  const int fd = actor.fd(step.slot);
  if (is_direct(fd)) return do_pread(actor, step, outcome);
  char* bytes = actor.buffer(static_cast<size_t>(step.b));
  return read_digested(bytes, ::read(fd, bytes, static_cast<size_t>(step.b)), outcome);
}
int64_t do_pwrite(Actor& actor, const Step& step, Outcome&) {
  const int fd = actor.fd(step.slot);
  const Aligned range(fd, step);
  actor.fill(static_cast<size_t>(range.length), step.c);
  return ::pwrite(fd, actor.buffer(0), static_cast<size_t>(range.length), range.offset);
}
int64_t do_write(Actor& actor, const Step& step, Outcome& outcome) {
  const int fd = actor.fd(step.slot);
  if (is_direct(fd)) return do_pwrite(actor, step, outcome);
  actor.fill(static_cast<size_t>(step.b), step.c);
  return ::write(fd, actor.buffer(0), static_cast<size_t>(step.b));
}

// A write in two pieces with flags of its own.
void make_pwritev2(Random& random, Step& step) {
  make_range(random, step);
  step.other = static_cast<int>(random.below(4));
}
int64_t do_pwritev2(Actor& actor, const Step& step, Outcome&) {
  constexpr int kFlags[] = {RWF_APPEND, RWF_DSYNC, RWF_SYNC, 0x20 /* RWF_NOAPPEND */};
  const int fd = actor.fd(step.slot);
  if (is_direct(fd)) return 0;
  const auto size = static_cast<size_t>(step.b);
  actor.fill(size, step.c);
  char* bytes = actor.buffer(0);
  const iovec pieces[] = {{bytes, size / 3}, {bytes + size / 3, size - size / 3}};
  return ::pwritev2(fd, pieces, 2, step.a, kFlags[step.other & 3]);
}

void make_seek(Random& random, Step& step) {
  step.a = random.offset();
  step.b = random.pick({SEEK_SET, SEEK_SET, SEEK_CUR, SEEK_END, 7});
  // Here a place may lie where no file can be, for all that the kernel knows.
  if (step.a == INT64_MAX) step.a = 0;
  if (step.a >= 1ll << 40) step.b = SEEK_SET;
}
int64_t do_seek(Actor& actor, const Step& step, Outcome&) {
  struct stat st = {};
  if (::fstat(actor.fd(step.slot), &st) == 0 && S_ISDIR(st.st_mode)) return 0;  // places there are cookies
  return ::lseek(actor.fd(step.slot), step.a, static_cast<int>(step.b));
}

bool only_zeros(int fd, int64_t begin, int64_t end) {
  std::vector<char> bytes(1 << 16);
  for (end = std::min(end, begin + kScanMax); begin < end;) {
    const auto want = std::min<int64_t>(end - begin, static_cast<int64_t>(bytes.size()));
    const ssize_t got = ::pread(fd, bytes.data(), static_cast<size_t>(want), begin);
    if (got <= 0) return got == 0;
    if (std::any_of(bytes.begin(), bytes.begin() + got, [](char c) { return c != 0; })) return false;
    begin += got;
  }
  return true;
}

// Where holes lie is the file system's own affair; that what it calls one reads as zeros is not. 1: an honest answer.
void make_seek_hole(Random& random, Step& step) {
  step.a = random.offset();
  step.b = random.pick({SEEK_DATA, SEEK_HOLE});
}
int64_t do_seek_hole(Actor& actor, const Step& step, Outcome&) {
  const int fd = actor.fd(step.slot);
  struct stat st = {};
  if (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return 0;
  const off_t before = ::lseek(fd, 0, SEEK_CUR);
  const off_t found = ::lseek(fd, step.a, static_cast<int>(step.b));
  const int error = errno;
  if (before >= 0) ::lseek(fd, before, SEEK_SET);
  if (found < 0 && (step.a < 0 || step.a >= st.st_size || error != ENXIO)) {
    errno = error;
    return -1;
  }
  if (is_direct(fd) || (::fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY) return 1;
  if (step.b == SEEK_HOLE) return found >= step.a && found <= st.st_size ? 1 : 2;
  if (found >= 0 && (found < step.a || found >= st.st_size)) return 2;
  return only_zeros(fd, step.a, found < 0 ? st.st_size : found) ? 1 : 3;
}

void make_truncate(Random& random, Step& step) {
  step.path = random.path();
  step.a = random.offset();
}
int64_t do_truncate(Actor&, const Step& step, Outcome&) { return ::truncate(step.path.c_str(), step.a); }
int64_t do_ftruncate(Actor& actor, const Step& step, Outcome&) { return ::ftruncate(actor.fd(step.slot), step.a); }
void make_ftruncate(Random& random, Step& step) { step.a = random.offset(); }

void make_fallocate(Random& random, Step& step) {
  step.a = static_cast<int64_t>(random.below(600 << 10));
  if (random.chance(40)) step.a = step.a / kBlock * kBlock;
  step.b = random.length();
  constexpr int kKeep = FALLOC_FL_KEEP_SIZE;
  step.c = random.pick({0, kKeep, kKeep | FALLOC_FL_PUNCH_HOLE, kKeep | FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE,
                        kKeep | FALLOC_FL_ZERO_RANGE, FALLOC_FL_PUNCH_HOLE, 0x80});
  if (random.chance(2)) step.a = -1;
}
int64_t do_fallocate(Actor& actor, const Step& step, Outcome&) {
  return ::fallocate(actor.fd(step.slot), static_cast<int>(step.c), step.a, step.b);
}

void make_copy(Random& random, Step& step) {
  step.a = random.offset();
  step.b = random.length();
  step.c = random.offset();
}
int64_t do_copy_range(Actor& actor, const Step& step, Outcome&) {
  if (is_direct(actor.fd(step.slot)) || is_direct(actor.fd(step.other))) return 0;
  off_t from = step.a, to = step.c;
  return ::copy_file_range(actor.fd(step.slot), &from, actor.fd(step.other), &to, static_cast<size_t>(step.b), 0);
}
int64_t do_sendfile(Actor& actor, const Step& step, Outcome&) {
  if (is_direct(actor.fd(step.slot)) || is_direct(actor.fd(step.other))) return 0;
  // A pipe gets the pages themselves: what is in it changes with the file until it is read (sendfile(2)), or does not.
  struct stat st = {};
  if (::fstat(actor.fd(step.other), &st) == 0 && S_ISFIFO(st.st_mode)) return 0;
  off_t from = step.a;
  return ::sendfile(actor.fd(step.other), actor.fd(step.slot), &from, static_cast<size_t>(step.b));
}

// Maps what the file has of the range. Null with errno, or with errno 0 if that is nothing.
struct Map {
  char* bytes = nullptr;  // where the range begins
  size_t size = 0;
  void* place = nullptr;
  size_t whole = 0;

  Map(int fd, const Step& step, int protection, int flags) {
    errno = 0;
    struct stat st = {};
    if (::fstat(fd, &st) != 0) return;
    const int64_t end = std::min(st.st_size, kMapMax);
    if (!S_ISREG(st.st_mode) || step.a < 0 || step.a >= end || step.b == 0) return;
    size = static_cast<size_t>(std::min(step.b, end - step.a));
    whole = static_cast<size_t>(end);
    place = ::mmap(nullptr, whole, protection, flags, fd, 0);
    if (place != MAP_FAILED) bytes = static_cast<char*>(place) + step.a;
  }
  ~Map() {
    if (bytes != nullptr) ::munmap(place, whole);
  }
  Map(const Map&) = delete;
  Map& operator=(const Map&) = delete;
};

int64_t do_map_write(Actor& actor, const Step& step, Outcome&) {
  const Map map(actor.fd(step.slot), step, PROT_READ | PROT_WRITE, MAP_SHARED);
  if (map.bytes == nullptr) return errno == 0 ? 0 : -1;
  actor.fill(map.size, step.c);
  std::copy_n(actor.buffer(0), map.size, map.bytes);
  // Otherwise the kernel writes it when it likes, and times move then.
  return ::msync(map.place, map.whole, MS_SYNC);
}
int64_t do_map_private(Actor& actor, const Step& step, Outcome& outcome) {
  const Map map(actor.fd(step.slot), step, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  if (map.bytes == nullptr) return errno == 0 ? 0 : -1;
  outcome.digest = digest_of({map.bytes, map.size});
  std::fill_n(map.bytes, map.size, 'p');
  return static_cast<int64_t>(map.size);
}
int64_t do_map_read(Actor& actor, const Step& step, Outcome& outcome) {
  const Map map(actor.fd(step.slot), step, PROT_READ, MAP_SHARED);
  if (map.bytes == nullptr) return errno == 0 ? 0 : -1;
  outcome.digest = digest_of({map.bytes, map.size});
  return static_cast<int64_t>(map.size);
}

constexpr Call kCalls[] = {
    {"read", 15, make_range, do_read},
    {"pread", 25, make_range, do_pread},
    {"write", 25, make_range, do_write},
    {"pwrite", 35, make_range, do_pwrite},
    {"pwritev2", 10, make_pwritev2, do_pwritev2},
    {"seek", 10, make_seek, do_seek},
    {"seek_hole", 10, make_seek_hole, do_seek_hole},
    {"truncate", 10, make_truncate, do_truncate},
    {"ftruncate", 12, make_ftruncate, do_ftruncate},
    {"fallocate", 20, make_fallocate, do_fallocate},
    {"copy_range", 12, make_copy, do_copy_range},
    {"sendfile", 5, make_copy, do_sendfile},
    {"map_write", 10, make_range, do_map_write},
    {"map_private", 4, make_range, do_map_private},
    {"map_read", 8, make_range, do_map_read},
};

}  // namespace

std::span<const Call> content_calls() { return kCalls; }

}  // namespace cairn::differential
