// engine DIRECTORY: puts, gets, misses and scans of blobs, and the mix of a blob cache, beside what else keeps blobs.
//
// For each size of value and number of threads, every round makes a new store of each peer in DIRECTORY, in turn (A B A B): puts
// all values and makes them durable, reads them once, gets some at random, asks for some that are not there, and scans. Values
// are random bytes; every byte that is got is looked at. The mix: a tenth of the operations puts 1 MiB, of the others half asks for one of
// the newest, half for what was never there, in a cache of --limit bytes. The table shows medians of operations a second and,
// within each round, our rate relative to the best of the others.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "tools/bench/engine/peer.h"

namespace cairn::bench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

struct Settings {
  std::string directory, json;
  std::vector<uint64_t> sizes = {4 << 10, 64 << 10, 1 << 20, 16 << 20};
  std::vector<unsigned> threads = {1, 4};
  uint64_t bytes = 256 << 20;   // of all values of a store, at most
  uint64_t values = 20000;      // at most
  uint64_t limit = 1ull << 30;  // of the caches of the mix, bytes
  uint64_t mix = 6000;          // operations of it
  unsigned rounds = 3;
};

// operation -> peer -> rates, one for each round
using Rates = std::map<std::string, std::map<std::string, std::vector<double>>>;

std::atomic<uint64_t> looked_at = 0;

// Reads every word, so that nobody is praised for not having fetched the bytes.
void look(std::string_view value) {
  uint64_t sum = 0;
  for (size_t i = 0; i + 8 <= value.size(); i += 8) {
    uint64_t word = 0;
    value.copy(reinterpret_cast<char*>(&word), sizeof word, i);
    sum ^= word;
  }
  looked_at += sum & 1;
}

std::string key_of(uint64_t number) { return fmt::format("blob-{:012}", number); }

// Random bytes of which every value is a part, with its number in front.
class Values {
 public:
  explicit Values(uint64_t size) : size_(size), bytes_(size + (1 << 20), '\0') {
    std::mt19937_64 random(1);
    for (char& byte : bytes_) byte = static_cast<char>(random());
  }
  [[nodiscard]] std::string make(uint64_t number) const {
    std::string value = bytes_.substr(number * 4099 % (1 << 20), size_);
    value.replace(0, sizeof number, reinterpret_cast<const char*>(&number), sizeof number);
    return value;
  }

 private:
  uint64_t size_;
  std::string bytes_;
};

// Operations a second: `operation(i)` for i below `count`, by several threads.
template <class Operation>
double rate_of(uint64_t count, unsigned threads, const Operation& operation, const std::function<void()>& end = {}) {
  std::atomic<uint64_t> next = 0;
  std::atomic<bool> failed = false;
  std::string why;
  const auto start = Clock::now();
  std::vector<std::thread> workers;
  for (unsigned t = 0; t < threads; ++t) {
    workers.emplace_back([&] {
      try {
        for (uint64_t i = next++; i < count && !failed; i = next++) operation(i);
      } catch (const std::exception& error) {
        if (!failed.exchange(true)) why = error.what();
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  if (failed) throw std::runtime_error(why);
  if (end) end();
  return static_cast<double>(count) / std::chrono::duration<double>(Clock::now() - start).count();
}

uint64_t scrambled(uint64_t i) { return (i + 1) * 0x9E3779B97F4A7C15ull; }

void run_blobs(const Settings& s, uint64_t size, unsigned threads, const PeerKind& kind, Rates& rates) {
  const fs::path directory = fs::path(s.directory) / fmt::format("engine.{}", ::getpid());
  fs::create_directories(directory);
  {
    const uint64_t count = std::clamp<uint64_t>(s.bytes / size, 1, s.values);
    const Values values(size);
    const auto peer = kind.make(directory);
    const auto note = [&](const char* what, double rate) {
      rates[fmt::format("{} {} KiB, {} threads", what, size >> 10, threads)][kind.name].push_back(rate);
    };
    note("put", rate_of(
                    count, threads, [&](uint64_t i) { peer->put(key_of(i), values.make(i)); }, [&] { peer->sync(); }));
    const auto get = [&](uint64_t i) {
      if (!peer->get(key_of(scrambled(i) % count), look)) throw std::runtime_error("a value is missing");
    };
    const uint64_t gets = std::clamp<uint64_t>(4 * s.bytes / size, 64, s.values);
    for (uint64_t i = 0; i < count; ++i) peer->get(key_of(i), look);  // what can be in memory is, for everybody
    note("get", rate_of(gets, threads, get));
    note("miss", rate_of(s.values, threads, [&](uint64_t i) {
           if (peer->get(key_of(count + scrambled(i) % s.values), look))
             throw std::runtime_error("a value from nowhere");
         }));
    uint64_t seen = 0;
    const double scans =
        rate_of(1, 1, [&](uint64_t) { peer->scan([&seen](std::string_view value) { look(value), ++seen; }); });
    if (seen != count) throw std::runtime_error(fmt::format("{}: a scan saw {} of {}", kind.name, seen, count));
    note("scan", scans * static_cast<double>(count));
  }
  fs::remove_all(directory);
}

void run_mix(const Settings& s, const std::string& name,
             const std::function<std::unique_ptr<Peer>(const std::string&)>& make, Rates& rates) {
  const fs::path directory = fs::path(s.directory) / fmt::format("engine.{}", ::getpid());
  fs::create_directories(directory);
  {
    const auto peer = make(directory);
    if (!peer) return;
    const Values values(1 << 20);
    const uint64_t fill = s.limit >> 20;  // more than fits: what is measured is a full cache
    for (uint64_t i = 0; i < fill; ++i) peer->put(key_of(i), values.make(i));
    std::atomic<uint64_t> newest = fill;
    const uint64_t near = fill / 2;
    rates["blob-cache mix"][name].push_back(rate_of(s.mix, 4, [&](uint64_t i) {
      const uint64_t dice = scrambled(i) >> 32;
      if (dice % 100 < 10) {
        const uint64_t number = newest++;
        peer->put(key_of(number), values.make(number));
      } else if (dice % 100 < 55) {
        peer->get(key_of(newest - 8 - dice / 100 % near), look);
      } else {
        peer->get(key_of((1ull << 39) + dice), look);
      }
    }));
  }
  fs::remove_all(directory);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void print_table(const Rates& rates, const std::vector<std::string>& order) {
  for (const std::string& what : order) {
    const auto& by_peer = rates.at(what);
    const auto ours = by_peer.find("cairn");
    std::vector<double> ratios;
    std::string line = fmt::format("| {:28}", what);
    for (const auto& [peer, samples] : by_peer) line += fmt::format(" | {} {:.0f}", peer, median(samples));
    for (size_t round = 0; ours != by_peer.end() && by_peer.size() > 1 && round < ours->second.size(); ++round) {
      double best = 0;
      for (const auto& [peer, samples] : by_peer)
        if (peer != "cairn" && peer != "lmdb") best = std::max(best, samples[round]);
      ratios.push_back(ours->second[round] / best);
    }
    fmt::print("{} | {} |\n", line, ratios.empty() ? "-" : fmt::format("{:.2f}", median(ratios)));
  }
}

void run(const Settings& s) {
  Rates rates;
  std::vector<std::string> order;
  for (unsigned round = 0; round < s.rounds; ++round) {
    for (const uint64_t size : s.sizes)
      for (const unsigned threads : s.threads)
        for (const PeerKind& kind : peers()) run_blobs(s, size, threads, kind, rates);
    run_mix(
        s, "cairn", [&s](const std::string& d) { return make_cairn_cache(d, s.limit); }, rates);
    run_mix(
        s, "rocksdb-fifo", [&s](const std::string& d) { return make_rocksdb_fifo(d, s.limit); }, rates);
    fmt::print(stderr, "round {} of {}\n", round + 1, s.rounds);
  }
  for (const auto& [what, by_peer] : rates) order.push_back(what);
  print_table(rates, order);
  if (!s.json.empty()) std::ofstream(s.json) << nlohmann::json(rates).dump(1) << "\n";
}

}  // namespace
}  // namespace cairn::bench

int main(int argc, char** argv) {
  cairn::bench::Settings s;
  CLI::App app("Blobs in CairnFS's engine, in files, in RocksDB and in LMDB, side by side.", "engine");
  app.add_option("DIRECTORY", s.directory, "where the stores are made, one at a time")->required();
  app.add_option("--sizes", s.sizes, "of values, bytes")->delimiter(',');
  app.add_option("--threads", s.threads, "numbers of threads")->delimiter(',');
  app.add_option("--bytes", s.bytes, "of all values of a store, at most");
  app.add_option("--values", s.values, "of a store, at most");
  app.add_option("--limit", s.limit, "bytes, of the caches of the mix");
  app.add_option("--mix", s.mix, "operations of the mix");
  app.add_option("--rounds", s.rounds, "how often everything is done");
  app.add_option("--json", s.json, "a file for every sample");
  CLI11_PARSE(app, argc, argv);
  try {
    cairn::bench::run(s);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "engine: {}\n", error.what());
    return 1;
  }
}
