// crash-soak: the random crash runs of random_test.cc, for as long as one likes.
#include <csignal>
#include <cstdint>
#include <cstdio>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "crash/random_run.h"

namespace {

volatile std::sig_atomic_t stopped = 0;

struct Wanted {
  uint64_t states = 1'000'000;
  uint64_t seed = 1;
  uint64_t runs = UINT64_MAX;
  bool until_stopped = false;
  bool trace = false;
  bool at_the_limit = false;
};

cairn::crash::RandomRuns runs_of(const Wanted& wanted) {
  using Which = cairn::crash::RandomRuns::Which;
  return cairn::crash::RandomRuns(wanted.at_the_limit ? Which::kAtTheLimit : Which::kAll);
}

// The same in every build: what differs between two builds is not decided by the seed.
int print_trace(const Wanted& wanted) {
  const auto trace = runs_of(wanted).trace(wanted.seed);
  if (!trace) {
    fmt::print("{}\n", trace.error().message);
    return 1;
  }
  fmt::print("{:016x}\n", *trace);
  return 0;
}

int soak(const Wanted& wanted) {
  constexpr uint64_t kReportEvery = 500;  // runs
  auto runs = runs_of(wanted);
  cairn::crash::Counts counts;
  uint64_t done = 0;
  while (stopped == 0 && done < wanted.runs && (wanted.until_stopped || counts.states < wanted.states)) {
    const uint64_t seed = wanted.seed + done;
    const auto run = runs.run(seed);
    if (!run) {
      fmt::print("{}\nFAILED after {}\nrepeat with: --runs 1 --seed {}\n", run.error().message, to_string(counts),
                 seed);
      return 1;
    }
    add(counts, *run);
    if (++done % kReportEvery != 0) continue;
    fmt::print("{} runs: {}\n", done, to_string(counts));
    std::fflush(stdout);
  }
  fmt::print("seeds {} to {}: {}\n{} seals, {} merges, {} compactions, {} evictions, {} KiB punched; no failure\n",
             wanted.seed, wanted.seed + done - 1, to_string(counts), runs.seals(), runs.merges(), runs.compactions(),
             runs.evictions(), runs.punched() >> 10);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Wanted wanted;
  CLI::App app{"Crashes a simulated CairnFS until it fails, or was crashed often enough."};
  app.add_option("--states", wanted.states, "different states after a crash to look at (default: a million)");
  app.add_option("--seed", wanted.seed, "of the first run; the next has the next (default: 1)");
  app.add_option("--runs", wanted.runs, "at most");
  app.add_flag("--until-stopped", wanted.until_stopped, "go on until SIGINT or SIGTERM");
  app.add_flag("--at-the-limit", wanted.at_the_limit, "only caches that are full, where files are evicted");
  app.add_flag("--trace", wanted.trace, "only print a checksum of what the run of --seed does to the disk");
  CLI11_PARSE(app, argc, argv);
  std::signal(SIGINT, [](int) { stopped = 1; });
  std::signal(SIGTERM, [](int) { stopped = 1; });
  return wanted.trace ? print_trace(wanted) : soak(wanted);
}
