#include "tools/bench/engine/child.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <stdexcept>

#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace cairn::bench {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void cannot(const std::string& what) {
  throw std::runtime_error(
      fmt::format("no memory limit: {}; run it as root where the memory controller is on, or with --memory 0", what));
}

void write_file(const fs::path& path, const std::string& text) {
  std::ofstream file(path);
  file << text << std::flush;
  if (!file) cannot(fmt::format("cannot write {}: {}", path.string(), std::strerror(errno)));
}

// A cgroup that limits memory; goes with the object, once its processes are gone.
class MemoryGroup {
 public:
  explicit MemoryGroup(uint64_t bytes) {
    const auto [root, v2] = hierarchy();
    path_ = root / fmt::format("cairnfs-bench.{}", ::getpid());
    std::error_code error;
    if (!fs::create_directory(path_, error)) cannot(fmt::format("cannot make {}: {}", path_.string(), error.message()));
    try {
      write_file(path_ / (v2 ? "memory.max" : "memory.limit_in_bytes"), std::to_string(bytes));
      // Where there is swap, none of it: what is over the limit is dropped from the page cache.
      if (v2 && fs::exists(path_ / "memory.swap.max")) write_file(path_ / "memory.swap.max", "0");
    } catch (...) {
      ::rmdir(path_.c_str());
      throw;
    }
  }
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;
  ~MemoryGroup() {
    // A process that has just ended may still be counted.
    for (int tries = 0; ::rmdir(path_.c_str()) != 0 && errno == EBUSY && tries < 100; ++tries) ::usleep(10000);
  }
  void join() const { write_file(path_ / "cgroup.procs", std::to_string(::getpid())); }

 private:
  struct Hierarchy {
    fs::path root;
    bool v2;
  };
  static bool lists_memory(const fs::path& file) {
    std::ifstream in(file);
    for (std::string word; in >> word;)
      if (word == "memory") return true;
    return false;
  }
  static Hierarchy hierarchy() {
    std::optional<Hierarchy> found;
    std::ifstream mounts("/proc/self/mounts");
    for (std::string line; std::getline(mounts, line);) {
      std::istringstream words(line);
      std::string device, where, type, options;
      words >> device >> where >> type >> options;
      if (type == "cgroup" && ("," + options + ",").find(",memory,") != std::string::npos) found = {where, false};
      if (type != "cgroup2" || !lists_memory(fs::path(where) / "cgroup.controllers")) continue;
      found = {where, true};
      const fs::path below = fs::path(where) / "cgroup.subtree_control";
      if (!lists_memory(below)) write_file(below, "+memory");
    }
    if (!found) cannot("no cgroup hierarchy with the memory controller is mounted");
    return *found;
  }

  fs::path path_;
};

// What the child has to say, as JSON: figures, or an error.
[[noreturn]] void run_child(int out, const MemoryGroup* group, const std::function<Figures()>& measure) {
  nlohmann::json answer;
  try {
    if (group != nullptr) group->join();
    answer["figures"] = measure();
  } catch (const std::exception& error) {
    answer = {{"error", error.what()}};
  }
  const std::string text = answer.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = ::write(out, text.data() + done, text.size() - done);
    if (n <= 0) ::_exit(1);
    done += static_cast<size_t>(n);
  }
  ::_exit(0);
}

std::string read_all(int fd) {
  std::string text;
  char buffer[4096];
  for (ssize_t n = 0; (n = ::read(fd, buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<size_t>(n));
  return text;
}

}  // namespace

Figures in_child(uint64_t memory, const std::function<Figures()>& measure) {
  std::optional<MemoryGroup> group;
  if (memory != 0) group.emplace(memory);
  int ends[2];
  if (::pipe(ends) != 0) throw std::runtime_error(std::strerror(errno));
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error(std::strerror(errno));
  if (child == 0) {
    ::close(ends[0]);
    run_child(ends[1], group ? &*group : nullptr, measure);
  }
  ::close(ends[1]);
  const std::string text = read_all(ends[0]);
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status))
    throw std::runtime_error(fmt::format("a measurement was killed by signal {}{}", WTERMSIG(status),
                                         WTERMSIG(status) == SIGKILL && memory != 0 ? ": it wants more memory" : ""));
  const auto answer = nlohmann::json::parse(text);
  if (answer.contains("error")) throw std::runtime_error(answer["error"].get<std::string>());
  return answer["figures"].get<Figures>();
}

}  // namespace cairn::bench
