// populate STORE FILES [SIZE]: fills a store that is not mounted with FILES files of SIZE (100) bytes, a thousand in each
// directory, through the library from two threads: d0000000/f0000000, and so on. For tools/bench/scale.
#include <atomic>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "cairn/filesystem.h"
#include "cairn/store.h"

namespace cairn::bench {
namespace {

constexpr uint64_t kFilesPerDirectory = 1000;
constexpr Caller kOwner{};

template <typename T>
T expect(Result<T> result, const std::string& what) {
  if (!result) throw std::runtime_error(fmt::format("{}: {}", what, result.error().message));
  return std::move(*result);
}
void expect(const Result<void>& result, const std::string& what) {
  if (!result) throw std::runtime_error(fmt::format("{}: {}", what, result.error().message));
}

void make_directory(FileSystem& fs, uint64_t first, uint64_t count, uint64_t size) {
  const std::string name = fmt::format("d{:07}", first / kFilesPerDirectory);
  const Ino directory = expect(fs.mkdir(kRootIno, name, 0755, kOwner), name).ino;
  Bytes content(size, 'x');
  for (uint64_t i = first; i < first + count; ++i) {
    const std::string file = fmt::format("f{:07}", i);
    const Ino ino = expect(fs.create(directory, file, 0644, kOwner), file).ino;
    for (uint64_t at = 0; at < size && at < 8; ++at) content[at] = static_cast<char>(i >> (8 * at));
    if (size > 0) expect(fs.write(ino, 0, content, /*append=*/false, /*kill_suidgid=*/false), file);
    fs.release(ino);
    fs.forget(ino, 1);
  }
  fs.forget(directory, 1);
}

void populate(const std::string& path, uint64_t files, uint64_t size) {
  auto fs = expect(FileSystem::open(expect(Store::open(path, Options{}), path), FsOptions{}), path);
  std::atomic<uint64_t> next = 0;
  std::vector<std::exception_ptr> failures(2);
  const auto work = [&](std::exception_ptr& failure) {
    try {
      for (uint64_t first; (first = next.fetch_add(kFilesPerDirectory)) < files;)
        make_directory(*fs, first, std::min(kFilesPerDirectory, files - first), size);
    } catch (...) {
      failure = std::current_exception();
    }
  };
  {
    std::vector<std::thread> threads;
    for (std::exception_ptr& failure : failures) threads.emplace_back(work, std::ref(failure));
    for (std::thread& thread : threads) thread.join();
  }
  for (const std::exception_ptr& failure : failures)
    if (failure) std::rethrow_exception(failure);
  expect(fs->close(), path);
}

}  // namespace
}  // namespace cairn::bench

int main(int argc, char** argv) {
  try {
    if (argc < 3 || argc > 4) throw std::runtime_error("usage: populate STORE FILES [SIZE]");
    cairn::bench::populate(argv[1], std::stoull(argv[2]), argc == 4 ? std::stoull(argv[3]) : 100);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "populate: {}\n", error.what());
    return 1;
  }
}
