#include "tools/transfer/progress.h"

#include <algorithm>
#include <cstdio>
#include <utility>
#include <vector>

#include <sys/stat.h>

#include <fmt/format.h>

#include "tools/common.h"

namespace cairn::tools {
namespace {

constexpr std::chrono::milliseconds kRedraw{250};
constexpr double kFileWeight =
    4096;  // what a file counts, in bytes, when time left is told: small ones take time as well

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Progress::Progress(Tree& source, const TransferCount& count)
    : source_(source),
      count_(count),
      started_(std::chrono::steady_clock::now()),
      counter_([this] { count_source(); }),
      drawer_([this] { redraw_until_stopped(); }) {}

Progress::~Progress() {
  stopping_ = true;
  {
    const std::lock_guard lock(mutex_);
    stopped_.notify_all();
  }
  counter_.join();
  drawer_.join();
  fmt::print(stderr, "\r\033[K");
}

void Progress::say(const std::string& line) {
  const std::lock_guard lock(mutex_);
  fmt::print(stderr, "\r\033[K{}\n", line);
}

// What cannot be listed is not counted: whoever copies it says why.
void Progress::count_source() {
  std::vector<Place> directories(1);
  if (auto root = source_.root()) directories[0] = root->place;
  while (!directories.empty() && !stopping_) {
    const Place directory = std::move(directories.back());
    directories.pop_back();
    const auto entries = source_.list(directory);
    if (!entries) continue;
    for (const Entry& entry : *entries) {
      ++total_files_;
      if (S_ISDIR(entry.attr.mode)) directories.push_back(entry.place);
      if (S_ISREG(entry.attr.mode))
        total_bytes_ += std::min(entry.attr.size, entry.attr.blocks * 512) / std::max(1u, entry.attr.links);
    }
  }
  counted_ = !stopping_;
}

std::string Progress::line() const {
  const uint64_t files = count_.files;
  const uint64_t bytes = count_.bytes;
  const double elapsed = seconds_since(started_);
  std::string text =
      fmt::format("{} files, {}, {}/s", files, human_size(bytes),
                  human_size(static_cast<uint64_t>(static_cast<double>(bytes) / std::max(elapsed, 0.001))));
  if (!counted_) return text;
  const double done = static_cast<double>(files) * kFileWeight + static_cast<double>(bytes);
  const double all = static_cast<double>(total_files_) * kFileWeight + static_cast<double>(total_bytes_);
  const double part = std::clamp(all > 0 ? done / all : 1.0, 0.0, 1.0);
  constexpr size_t kWidth = 24;
  const auto filled = static_cast<size_t>(part * kWidth);
  text = fmt::format("[{}{}] {:3.0f} %  {}", std::string(filled, '#'), std::string(kWidth - filled, ' '), part * 100,
                     text);
  if (part > 0.005) text += fmt::format(", {} left", human_duration(elapsed * (1 - part) / part));
  return text;
}

void Progress::redraw_until_stopped() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    fmt::print(stderr, "\r\033[K{}", line());
    std::fflush(stderr);
    stopped_.wait_for(lock, kRedraw, [this] { return stopping_.load(); });
  }
}

}  // namespace cairn::tools
