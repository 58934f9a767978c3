// Random system calls on two file systems side by side; they must not be told apart. FUSE's README lists what may
// differ.
//
//   differential [options] REFERENCE MOUNTED
//
// REFERENCE is a directory on ext4, MOUNTED one on a mount of CairnFS. Needs root: the calls come from processes of
// several users. Rounds of a few hundred steps each begin with an empty directory. The first difference is shrunk to
// a short script, which is printed and can be done again with --script.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "mount/differential/calls.h"
#include "mount/differential/side.h"

namespace cairn::differential {
namespace {

struct Options {
  std::string reference, mounted, script;
  uint64_t seed = 1, steps = 10'000, round = 1000;
  std::vector<std::string> without;  // calls that are not drawn
};

struct Difference {
  size_t step = 0;  // the script's size: only the trees at the end differ
  std::string text;
};

std::string first_different_line(const std::string& reference, const std::string& mounted) {
  std::istringstream left(reference), right(mounted);
  std::string a, b;
  for (;;) {
    const bool more_left = static_cast<bool>(std::getline(left, a));
    const bool more_right = static_cast<bool>(std::getline(right, b));
    if (!more_left && !more_right) return {};
    if (more_left != more_right || a != b) {
      return fmt::format("  tree: reference: {}\n        mounted:   {}\n", more_left ? a : "-", more_right ? b : "-");
    }
  }
}

class Runner {
 public:
  explicit Runner(const Options& options) : options_(options) {}

  std::optional<Difference> run(const Script& script) {
    const std::string name = fmt::format("/differential-{}-{}", ::getpid(), ++count_);
    Side reference(options_.reference + name, script);
    Side mounted(options_.mounted + name, script);
    reference.start();
    mounted.start();
    reference.wait();
    mounted.wait();
    for (size_t i = 0; i < script.size(); ++i) {
      if (reference.report(i) == mounted.report(i) && reference.report(i).done) continue;
      return Difference{i, explain(reference.report(i), mounted.report(i))};
    }
    const std::string trees = first_different_line(reference.listing(), mounted.listing());
    if (!trees.empty()) return Difference{script.size(), trees};
    return std::nullopt;
  }

  // Leaves out whatever is not needed for a difference.
  Script shrink(Script script, Difference& difference) {
    for (size_t piece = script.size(); piece > 0; piece = piece == 1 ? 0 : (piece + 1) / 2) {
      for (size_t begin = 0; begin < script.size();) {
        Script shorter = script;
        const auto first = shorter.begin() + static_cast<std::ptrdiff_t>(begin);
        shorter.erase(first, first + static_cast<std::ptrdiff_t>(std::min(piece, shorter.size() - begin)));
        const auto found = run(shorter);
        if (found) {
          if (found->step < shorter.size()) shorter.resize(found->step + 1);
          script = std::move(shorter);
          difference = *found;
        } else {
          begin += piece;
        }
      }
    }
    return script;
  }

 private:
  const Options& options_;
  uint64_t count_ = 0;
};

Script make_script(const Options& options, uint64_t seed) {
  Random random(seed);
  Script script;
  for (uint64_t i = 0; i < options.round; ++i) script.push_back(draw(random, options.without));
  return script;
}

Script read_script(const std::string& path) {
  Script script;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    auto step = parse_line(line);
    if (!step || find_call(step->call) == nullptr) throw CLI::ValidationError(path, "not a step: " + line);
    script.push_back(std::move(*step));
  }
  return script;
}

void print(const Script& script, const Difference& difference) {
  for (const Step& step : script) std::cout << to_line(step) << '\n';
  std::cout << "# step " << difference.step + 1 << " differs:\n" << difference.text;
}

// libfuse before 3.17 cannot make files without a name.
bool can_make_tmpfiles(const std::string& directory) {
  const int fd = ::open(directory.c_str(), O_TMPFILE | O_RDWR, 0600);
  if (fd >= 0) ::close(fd);
  return fd >= 0;
}

int run_rounds(const Options& options) {
  Runner runner(options);
  const auto started = std::chrono::steady_clock::now();
  for (uint64_t done = 0; done < options.steps; done += options.round) {
    const uint64_t seed = options.seed + done / options.round;
    Script script = make_script(options, seed);
    auto difference = runner.run(script);
    if (!difference) continue;
    std::cout << fmt::format("differential: round with seed {}: a difference at step {}\n{}", seed,
                             difference->step + 1, difference->text)
              << std::flush;
    if (difference->step < script.size()) script.resize(difference->step + 1);
    script = runner.shrink(std::move(script), *difference);
    print(script, *difference);
    return 1;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
  std::cout << fmt::format("differential: {} steps without a difference in {:.0f} s (seed {})\n", options.steps,
                           took.count(), options.seed);
  return 0;
}

int run_main(int argc, char** argv) {
  CLI::App app("Random system calls on two file systems side by side.");
  Options options;
  app.add_option("--seed", options.seed, "of the first round");
  app.add_option("--steps", options.steps);
  app.add_option("--round", options.round, "steps of a round");
  app.add_option("--without", options.without, "calls to leave out");
  app.add_option("--script", options.script, "do what this file says, one step a line, instead");
  app.add_option("REFERENCE", options.reference)->required();
  app.add_option("MOUNTED", options.mounted)->required();
  CLI11_PARSE(app, argc, argv);
  ::umask(0);
  if (!can_make_tmpfiles(options.mounted)) {
    std::cout << "differential: no O_TMPFILE with this libfuse: left out\n";
    options.without.emplace_back("tmpfile");
  }
  if (options.script.empty()) return run_rounds(options);
  const Script script = read_script(options.script);
  const auto difference = Runner(options).run(script);
  if (difference) print(script, *difference);
  return difference ? 1 : 0;
}

}  // namespace
}  // namespace cairn::differential

int main(int argc, char** argv) { return cairn::differential::run_main(argc, argv); }
