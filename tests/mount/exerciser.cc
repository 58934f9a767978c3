// Does random things to one file, knows what must be in it, and looks: exerciser [options] FILE.
//
// In the manner of fsx: reads, writes, truncations, mapped reads and writes, holes, zeroed ranges, copies within the
// file, appends, O_DIRECT, closing and opening again, syncing, dropping the kernel's pages. At the first byte that is
// wrong it prints what was last done to that byte.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

namespace {

constexpr int64_t kPage = 4096;
constexpr size_t kHistory = 2000;  // operations that are remembered
constexpr int kWholeEvery = 500;   // operations after which all of the file is compared

struct Options {
  std::string file;
  uint64_t seed = 1, operations = 10'000;
  int64_t size_max = 1 << 20;  // bytes
};

struct Done {
  uint64_t number = 0;
  std::string what;
  int64_t begin = 0, end = 0;
};

class Exerciser {
 public:
  explicit Exerciser(const Options& options) : options_(options), random_(options.seed) { reopen(O_CREAT | O_TRUNC); }
  ~Exerciser() {
    ::close(fd_);
    ::close(direct_);
  }
  Exerciser(const Exerciser&) = delete;
  Exerciser& operator=(const Exerciser&) = delete;

  void run() {
    for (number_ = 1; number_ <= options_.operations; ++number_) {
      step();
      if (number_ % kWholeEvery == 0) read_at(fd_, 0, size());
    }
    reopen(0);
    drop_pages();
    read_at(fd_, 0, size());
  }

 private:
  [[nodiscard]] int64_t size() const { return static_cast<int64_t>(model_.size()); }
  int64_t below(int64_t end) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(end)); }

  [[noreturn]] void fail(const std::string& why) {
    std::cout << fmt::format("exerciser: seed {}, operation {}: {}\n", options_.seed, number_, why);
    std::exit(1);
  }
  void require(bool good, const std::string& what) {
    if (!good) fail(fmt::format("{}: {}", what, std::strerror(errno)));
  }
  void note(std::string what, int64_t begin, int64_t end) {
    history_.push_back({number_, std::move(what), begin, end});
    if (history_.size() > kHistory) history_.pop_front();
  }

  void reopen(int flags) {
    if (fd_ >= 0) require(::close(fd_) == 0, "close");
    if (direct_ >= 0) require(::close(direct_) == 0, "close of the one with O_DIRECT");
    fd_ = ::open(options_.file.c_str(), O_RDWR | flags, 0600);
    require(fd_ >= 0, "open " + options_.file);
    direct_ = ::open(options_.file.c_str(), O_RDWR | O_DIRECT);
    require(direct_ >= 0, "open with O_DIRECT");
  }
  void drop_pages() {
    require(::fsync(fd_) == 0, "fsync");
    errno = ::posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED);
    require(errno == 0, "posix_fadvise");
  }

  // A place in the file or a little behind it: around pages and chunks as often as anywhere.
  int64_t place() {
    const int64_t any = below(options_.size_max);
    switch (below(4)) {
      case 0: return any / kPage * kPage;
      case 1: return std::clamp<int64_t>(any / (128 << 10) * (128 << 10) + below(5) - 2, 0, options_.size_max - 1);
      case 2: return size() == 0 ? 0 : below(size());
      default: return any;
    }
  }
  int64_t length(int64_t begin) {
    const int64_t wanted = below(3) == 0 ? below(300 << 10) + 1 : below(3 * kPage) + 1;
    return std::min(wanted, options_.size_max - begin);
  }

  std::string fresh(int64_t bytes) {
    std::string data(static_cast<size_t>(bytes), '\0');
    const bool dull = below(4) == 0;  // compresses well
    for (size_t i = 0; i < data.size(); i += 8) {
      const uint64_t word = dull ? number_ : random_();
      std::memcpy(data.data() + i, &word, std::min<size_t>(8, data.size() - i));
    }
    return data;
  }
  void put(int64_t begin, std::string_view data) {
    const auto end = static_cast<size_t>(begin) + data.size();
    if (end > model_.size()) model_.resize(end, '\0');
    std::copy(data.begin(), data.end(), model_.begin() + static_cast<std::ptrdiff_t>(begin));
  }
  void zero(int64_t begin, int64_t end) {
    end = std::min(end, size());
    if (begin < end) std::fill(model_.begin() + begin, model_.begin() + end, '\0');
  }

  void compare(std::string_view got, int64_t begin) {
    const auto wrong = std::mismatch(got.begin(), got.end(), model_.begin() + begin);
    if (wrong.first == got.end()) return;
    const int64_t at = begin + (wrong.first - got.begin());
    for (const Done& done : history_) {
      if (done.begin <= at && at < done.end) {
        std::cout << fmt::format("  {} {} {}..{}\n", done.number, done.what, done.begin, done.end);
      }
    }
    const auto shown = [](char c) { return static_cast<int>(static_cast<unsigned char>(c)); };
    fail(fmt::format("byte {} of {} is {:#x} and not {:#x}; above, what was done to it", at, size(),
                     shown(*wrong.first), shown(*wrong.second)));
  }
  void read_at(int fd, int64_t begin, int64_t bytes) {
    buffer_.resize(static_cast<size_t>(bytes + 2 * kPage));
    const auto address = reinterpret_cast<uintptr_t>(buffer_.data());
    char* aligned = buffer_.data() + (kPage - static_cast<int64_t>(address % kPage));
    const ssize_t got = ::pread(fd, aligned, static_cast<size_t>(bytes), begin);
    require(got >= 0, "pread");
    const int64_t expected = std::clamp<int64_t>(size() - begin, 0, bytes);
    if (got != expected) fail(fmt::format("pread of {} at {} gave {} of {}", bytes, begin, got, size()));
    if (got > 0) compare({aligned, static_cast<size_t>(got)}, begin);
  }
  void check_size() {
    struct stat st = {};
    require(::fstat(fd_, &st) == 0, "fstat");
    if (st.st_size != size()) fail(fmt::format("size {} and not {}", st.st_size, size()));
  }

  void write(int64_t begin, int64_t bytes) {
    const std::string data = fresh(bytes);
    require(::pwrite(fd_, data.data(), data.size(), begin) == bytes, "pwrite");
    put(begin, data);
    note("write", begin, begin + bytes);
  }
  void write_direct(int64_t begin, int64_t bytes) {
    begin = begin / kPage * kPage;
    bytes = std::max(kPage, bytes / kPage * kPage);
    const std::string data = fresh(bytes);
    void* aligned = std::aligned_alloc(kPage, static_cast<size_t>(bytes));
    std::memcpy(aligned, data.data(), data.size());
    const ssize_t written = ::pwrite(direct_, aligned, data.size(), begin);
    std::free(aligned);
    require(written == bytes, "pwrite with O_DIRECT");
    put(begin, data);
    note("direct write", begin, begin + bytes);
  }
  void append(int64_t bytes) {
    const int fd = ::open(options_.file.c_str(), O_WRONLY | O_APPEND);
    require(fd >= 0, "open with O_APPEND");
    const std::string data = fresh(bytes);
    require(::write(fd, data.data(), data.size()) == bytes, "append");
    require(::close(fd) == 0, "close");
    note("append", size(), size() + bytes);
    put(size(), data);
  }
  void truncate(int64_t to) {
    require(::ftruncate(fd_, to) == 0, "ftruncate");
    note("truncate", std::min(to, size()), std::max(to, size()));
    model_.resize(static_cast<size_t>(to), '\0');
  }
  void map(int64_t begin, int64_t bytes, bool change) {
    bytes = std::min(bytes, size() - begin);
    if (bytes <= 0) return;
    const int64_t first = begin / kPage * kPage;
    const auto whole = static_cast<size_t>(begin + bytes - first);
    void* place = ::mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, first);
    require(place != MAP_FAILED, "mmap");
    char* bytes_there = static_cast<char*>(place) + (begin - first);
    compare({bytes_there, static_cast<size_t>(bytes)}, begin);
    if (change) {
      const std::string data = fresh(bytes);
      std::copy(data.begin(), data.end(), bytes_there);
      put(begin, data);
      note("mapped write", begin, begin + bytes);
      if (below(2) == 0) require(::msync(place, whole, MS_SYNC) == 0, "msync");
    }
    require(::munmap(place, whole) == 0, "munmap");
  }
  void allocate(int mode, int64_t begin, int64_t bytes) {
    require(::fallocate(fd_, mode, begin, bytes) == 0, "fallocate");
    const bool keep = (mode & FALLOC_FL_KEEP_SIZE) != 0;
    if ((mode & ~FALLOC_FL_KEEP_SIZE) != 0) zero(begin, begin + bytes);
    if (!keep && begin + bytes > size()) model_.resize(static_cast<size_t>(begin + bytes), '\0');
    note(fmt::format("fallocate {:#x}", mode), begin, begin + bytes);
  }
  void copy(int64_t from, int64_t bytes, int64_t to) {
    bytes = std::min({bytes, size() - from, options_.size_max - to});
    if (bytes <= 0 || std::abs(from - to) < bytes) return;
    const std::string data(model_.begin() + from, model_.begin() + from + bytes);
    off_t in = from, out = to;
    while (out < to + bytes) {
      require(::copy_file_range(fd_, &in, fd_, &out, static_cast<size_t>(to + bytes - out), 0) > 0, "copy_file_range");
    }
    put(to, data);
    note(fmt::format("copy from {}", from), to, to + bytes);
  }
  // What is called a hole must read as zeros.
  void seek(int64_t begin) {
    if (begin >= size()) return;
    const off_t data = ::lseek(fd_, begin, SEEK_DATA);
    require(data >= begin || (data < 0 && errno == ENXIO), "SEEK_DATA");
    const int64_t end = data < 0 ? size() : data;
    const bool zeros = std::all_of(model_.begin() + begin, model_.begin() + end, [](char c) { return c == 0; });
    if (!zeros) fail(fmt::format("SEEK_DATA from {} skips data before {}", begin, end));
    const off_t hole = ::lseek(fd_, begin, SEEK_HOLE);
    require(hole >= begin && hole <= size(), "SEEK_HOLE");
  }

  void step() {
    constexpr int kKeep = FALLOC_FL_KEEP_SIZE;
    const int64_t begin = place(), bytes = length(begin);
    switch (below(24)) {
      case 0:
      case 1:
      case 2:
      case 3: write(begin, bytes); break;
      case 4: write_direct(begin, bytes); break;
      case 5: append(std::min<int64_t>(bytes, options_.size_max - size())); break;
      case 6:
        truncate(below(3) == 0 ? begin : std::min(options_.size_max, size() / 2 + below(options_.size_max / 2)));
        break;
      case 7:
      case 8: map(begin, bytes, true); break;
      case 9:
      case 10: map(begin, bytes, false); break;
      case 11:
      case 12: allocate(kKeep | FALLOC_FL_PUNCH_HOLE, begin, bytes); break;
      case 13: allocate((below(2) == 0 ? kKeep : 0) | FALLOC_FL_ZERO_RANGE, begin, bytes); break;
      case 14: allocate(below(2) == 0 ? kKeep : 0, begin, bytes); break;
      case 15:
      case 16: copy(begin, bytes, place()); break;
      case 17: reopen(0); break;
      case 18: drop_pages(); break;
      case 19: seek(begin); break;
      case 20: read_at(direct_, begin / kPage * kPage, (bytes + kPage - 1) / kPage * kPage); break;
      default: read_at(fd_, begin, bytes); break;
    }
    check_size();
  }

  const Options options_;
  std::mt19937_64 random_;
  uint64_t number_ = 0;
  int fd_ = -1, direct_ = -1;
  std::vector<char> model_;  // what must be in the file
  std::vector<char> buffer_;
  std::deque<Done> history_;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Random operations on one file, which must hold what was written to it.");
  Options options;
  app.add_option("--seed", options.seed);
  app.add_option("--operations", options.operations);
  app.add_option("--size", options.size_max, "the most that the file holds, bytes");
  app.add_option("FILE", options.file)->required();
  CLI11_PARSE(app, argc, argv);
  Exerciser(options).run();
  std::cout << fmt::format("exerciser: {} operations, seed {}: as it must be\n", options.operations, options.seed);
  return 0;
}
