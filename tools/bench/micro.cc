// micro DIRECTORY [FILES]: what single operations on small files cost, in microseconds each, as one JSON object.
// One thread, one directory that is made in DIRECTORY and removed: creates FILES (5,000) files of 4 KiB, looks at all of them,
// reads them, appends to them, renames them, removes them.
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace {

using Clock = std::chrono::steady_clock;

void check(bool truth, const std::string& what) {
  if (!truth) throw std::system_error(errno, std::generic_category(), what);
}

class Micro {
 public:
  Micro(std::string directory, int files) : directory_(std::move(directory)), files_(files) {
    check(::mkdir(directory_.c_str(), 0700) == 0, directory_);
    block_.resize(4096);
    for (char& c : block_) c = static_cast<char>(std::rand());  // incompressible
  }

  nlohmann::ordered_json run() {
    measure("create + write 4 KiB + close", [this](const std::string& file) {
      const int fd = ::open(file.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
      check(fd >= 0 && ::write(fd, block_.data(), block_.size()) == 4096 && ::close(fd) == 0, file);
    });
    measure("stat", [](const std::string& file) {
      struct stat st = {};
      check(::stat(file.c_str(), &st) == 0 && st.st_size == 4096, file);
    });
    measure("open + read + close", [this](const std::string& file) {
      const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
      check(fd >= 0 && ::read(fd, block_.data(), block_.size()) == 4096 && ::close(fd) == 0, file);
    });
    measure("open + append + close", [](const std::string& file) {
      const int fd = ::open(file.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
      check(fd >= 0 && ::write(fd, "appended", 8) == 8 && ::close(fd) == 0, file);
    });
    measure("stat of what is not there", [](const std::string& file) {
      struct stat st = {};
      check(::stat((file + ".none").c_str(), &st) != 0 && errno == ENOENT, file);
    });
    std::string suffix = "x";
    try {
      measure("rename",
              [](const std::string& file) { check(::rename(file.c_str(), (file + "x").c_str()) == 0, file); });
    } catch (const std::system_error& error) {  // fuse_floor cannot
      if (error.code() != std::errc::function_not_supported) throw;
      suffix.clear();
    }
    measure("unlink", [&](const std::string& file) { check(::unlink((file + suffix).c_str()) == 0, file); });
    check(::rmdir(directory_.c_str()) == 0, directory_);
    return results_;
  }

 private:
  void measure(const char* name, const std::function<void(const std::string&)>& operation) {
    std::vector<std::string> paths;
    for (int i = 0; i < files_; ++i) paths.push_back(fmt::format("{}/{:07}", directory_, i));
    const auto start = Clock::now();
    for (const std::string& path : paths) operation(path);
    const std::chrono::duration<double, std::micro> took = Clock::now() - start;
    results_[name] = took.count() / files_;
  }

  std::string directory_;
  int files_;
  std::string block_;
  nlohmann::ordered_json results_;
};

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc < 2 || argc > 3) throw std::runtime_error("usage: micro DIRECTORY [FILES]");
    const int files = argc == 3 ? std::stoi(argv[2]) : 5000;
    fmt::print("{}\n", Micro(fmt::format("{}/micro.{}", argv[1], ::getpid()), files).run().dump());
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "micro: {}\n", error.what());
    return 1;
  }
}
