// durable: how many small files a second can be made durable in several directories, side by side.
//
// One sample: N threads create files of 4 KiB in one directory, write, fsync and close them for a while. Every round takes one
// sample of each directory for each number of threads, in turn (A B A B), so that what else the machine does meets all of
// them. The first directory is what the others are compared with: the ratio is taken within each round.
// A file system call that fails ends the program: a benchmark of errors measures nothing.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace {

using Clock = std::chrono::steady_clock;

struct Place {
  std::string name;
  std::string directory;
};

struct Settings {
  std::vector<std::string> places;  // NAME=DIRECTORY
  std::vector<unsigned> threads = {1, 8, 32};
  unsigned rounds = 7;
  double seconds = 1.0;  // of one sample
  size_t file_size = 4096;
  bool own_directories = false;
  bool sync = true;
  std::string json;
};

// What one sample found.
struct Sample {
  double rate = 0;  // files a second
  double p50 = 0;   // microseconds a file
  double p99 = 0;
};

[[noreturn]] void die(std::string_view what, const std::string& path) {
  fmt::print(stderr, "durable: {} {}: {}\n", what, path, std::strerror(errno));
  std::exit(1);
}

void make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) != 0) die("mkdir", path);
}

void make_file(const std::string& path, const std::string& content, bool sync) {
  const int fd = ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
  if (fd < 0) die("create", path);
  if (::write(fd, content.data(), content.size()) != static_cast<ssize_t>(content.size())) die("write", path);
  if (sync && ::fsync(fd) != 0) die("fsync", path);
  if (::close(fd) != 0) die("close", path);
}

// Different in every file, and incompressible: nobody gains by storing it once or small.
void fill(std::string* content, uint64_t seed) {
  uint64_t x = seed * 0x9E3779B97F4A7C15u + 1;
  for (size_t i = 0; i < content->size(); ++i) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    (*content)[i] = static_cast<char>(x);
  }
}

// One thread of a sample.
struct Worker {
  std::string prefix;  // of the names of its files
  uint64_t seed = 0;
  std::vector<float> latencies;  // microseconds

  void run(const Settings& settings, const std::atomic<bool>& go, const std::atomic<bool>& stop) {
    std::string content(settings.file_size, '\0');
    go.wait(false);
    while (!stop.load(std::memory_order_relaxed)) {
      fill(&content, seed + latencies.size());
      const auto begin = Clock::now();
      make_file(prefix + std::to_string(latencies.size()), content, settings.sync);
      latencies.push_back(std::chrono::duration<float, std::micro>(Clock::now() - begin).count());
    }
  }
};

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  if (values.empty()) return 0;
  const double at = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (values[high] - values[low]) * (at - static_cast<double>(low));
}

void remove_files(const std::vector<Worker>& workers) {
  for (const Worker& worker : workers) {
    for (size_t i = 0; i < worker.latencies.size(); ++i) {
      const std::string path = worker.prefix + std::to_string(i);
      if (::unlink(path.c_str()) != 0) die("unlink", path);
    }
  }
}

// What a sample leaves to be written must not be paid for by the next one.
void settle(const std::string& directory) {
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) die("open", directory);
  if (::fsync(fd) != 0) die("fsync", directory);
  if (::syncfs(fd) != 0) die("syncfs", directory);
  ::close(fd);
}

Sample take_sample(const Settings& settings, const Place& place, unsigned thread_count, unsigned number) {
  const std::string directory = fmt::format("{}/sample-{}", place.directory, number);
  make_directory(directory);
  std::vector<Worker> workers(thread_count);
  for (unsigned i = 0; i < thread_count; ++i) {
    workers[i].seed = (uint64_t{number} << 40) + (uint64_t{i} << 24);
    workers[i].prefix = fmt::format("{}/{}-", directory, i);
    if (settings.own_directories) {
      make_directory(fmt::format("{}/{}", directory, i));
      workers[i].prefix = fmt::format("{}/{}/", directory, i);
    }
  }
  settle(directory);

  std::atomic<bool> go = false, stop = false;
  std::vector<std::thread> threads;
  for (Worker& worker : workers) threads.emplace_back([&] { worker.run(settings, go, stop); });
  const auto begin = Clock::now();
  go = true;
  go.notify_all();
  std::this_thread::sleep_for(std::chrono::duration<double>(settings.seconds));
  stop = true;
  for (std::thread& thread : threads) thread.join();
  const double elapsed = std::chrono::duration<double>(Clock::now() - begin).count();

  std::vector<double> latencies;
  for (const Worker& worker : workers) {
    latencies.insert(latencies.end(), worker.latencies.begin(), worker.latencies.end());
  }
  remove_files(workers);
  for (unsigned i = 0; settings.own_directories && i < thread_count; ++i) {
    ::rmdir(fmt::format("{}/{}", directory, i).c_str());
  }
  if (::rmdir(directory.c_str()) != 0) die("rmdir", directory);
  settle(place.directory);
  return {.rate = static_cast<double>(latencies.size()) / elapsed,
          .p50 = quantile(latencies, 0.5),
          .p99 = quantile(latencies, 0.99)};
}

// All samples of one place with one number of threads, in the order of the rounds.
struct Series {
  Place place;
  unsigned threads = 0;
  std::vector<Sample> samples;

  std::vector<double> all(double Sample::*field) const {
    std::vector<double> out;
    for (const Sample& sample : samples) out.push_back(sample.*field);
    return out;
  }
  double median(double Sample::*field) const { return quantile(all(field), 0.5); }
  // Round by round.
  std::vector<double> ratios(const Series& base) const {
    std::vector<double> out;
    for (size_t i = 0; i < samples.size(); ++i) out.push_back(samples[i].rate / base.samples[i].rate);
    return out;
  }
};

nlohmann::json to_json(const Series& series, const Series& base) {
  const std::vector<double> ratios = series.ratios(base);
  return {{"place", series.place.name},
          {"threads", series.threads},
          {"files_per_second", series.all(&Sample::rate)},
          {"p50_us", series.all(&Sample::p50)},
          {"p99_us", series.all(&Sample::p99)},
          {"ratio", ratios},
          {"ratio_median", quantile(ratios, 0.5)}};
}

void print_table(const std::vector<Series>& results, size_t places) {
  fmt::print("{:>7}  {:<20} {:>8}  {:>15}  {:>8} {:>8}  {:>5}  {:>11}\n", "threads", "place", "files/s", "quartiles",
             "p50 us", "p99 us", "ratio", "quartiles");
  for (size_t i = 0; i < results.size(); ++i) {
    const Series& series = results[i];
    const std::vector<double> rates = series.all(&Sample::rate);
    const std::vector<double> ratios = series.ratios(results[i - i % places]);
    fmt::print("{:>7}  {:<20} {:>8.0f}  {:>7.0f}-{:<7.0f}  {:>8.0f} {:>8.0f}  {:>5.2f}  {:>5.2f}-{:<5.2f}\n",
               series.threads, series.place.name, quantile(rates, 0.5), quantile(rates, 0.25), quantile(rates, 0.75),
               series.median(&Sample::p50), series.median(&Sample::p99), quantile(ratios, 0.5), quantile(ratios, 0.25),
               quantile(ratios, 0.75));
  }
}

void write_json(const Settings& settings, const std::vector<Series>& results, size_t places) {
  utsname system = {};
  ::uname(&system);
  nlohmann::json out = {{"benchmark", "durable"},
                        {"kernel", system.release},
                        {"cpus", std::thread::hardware_concurrency()},
                        {"file_size", settings.file_size},
                        {"seconds", settings.seconds},
                        {"rounds", settings.rounds},
                        {"fsync", settings.sync},
                        {"own_directories", settings.own_directories},
                        {"results", nlohmann::json::array()}};
  for (size_t i = 0; i < results.size(); ++i) out["results"].push_back(to_json(results[i], results[i - i % places]));
  std::ofstream file(settings.json);
  file << out.dump(1) << '\n';
  if (!file.flush()) die("write", settings.json);
}

std::vector<Place> parse_places(const std::vector<std::string>& arguments) {
  std::vector<Place> places;
  for (const std::string& argument : arguments) {
    const size_t equals = argument.find('=');
    if (equals == std::string::npos) {
      fmt::print(stderr, "durable: '{}' must be NAME=DIRECTORY\n", argument);
      std::exit(2);
    }
    places.push_back({argument.substr(0, equals), argument.substr(equals + 1)});
  }
  return places;
}

void describe(CLI::App& app, Settings* settings) {
  app.add_option("PLACE", settings->places, "NAME=DIRECTORY; the first is what the others are compared with")
      ->required();
  app.add_option("--threads", settings->threads, "numbers of threads (default 1,8,32)")->delimiter(',');
  app.add_option("--rounds", settings->rounds, "samples of each (default 7)")->check(CLI::Range(1u, 1000u));
  app.add_option("--seconds", settings->seconds, "of a sample (default 1)");
  app.add_option("--size", settings->file_size, "bytes in a file (default 4096)");
  app.add_flag("--own-directories", settings->own_directories, "each thread creates in a directory of its own");
  app.add_flag("!--no-fsync", settings->sync, "leave the fsync out");
  app.add_option("--json", settings->json, "also write every sample to this file");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Measures how many small files a second become durable, in several directories in turn.", "durable");
  Settings settings;
  describe(app, &settings);
  CLI11_PARSE(app, argc, argv);
  const std::vector<Place> places = parse_places(settings.places);

  std::vector<Series> results;
  for (const unsigned threads : settings.threads) {
    for (const Place& place : places) results.push_back({.place = place, .threads = threads, .samples = {}});
  }
  unsigned number = 0;
  for (unsigned round = 0; round < settings.rounds; ++round) {
    for (Series& series : results) {
      series.samples.push_back(take_sample(settings, series.place, series.threads, number++));
    }
  }
  print_table(results, places.size());
  if (!settings.json.empty()) write_json(settings, results, places.size());
}
