// The floor under a blob cache: the I/O that the mix forces, and nothing else.
//
// Values of one size, numbered by their keys, in a ring of slots in files that are allocated before. An array finds them, nothing is
// verified, nothing survives. A put copies its value into the table in memory and leaves writing it to a thread of its own, one direct
// write for each, in order; a get of what is in the table costs no I/O, of anything else that is there one direct read; what is not
// there costs nothing. The table holds the values that were used last. What a cache that keeps to the same memory does beyond
// that it does for a price.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <list>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <unordered_map>

#include <fcntl.h>
#include <unistd.h>

#include "tools/bench/engine/peer.h"

namespace cairn::bench {
namespace {

constexpr uint64_t kValue = 1 << 20;    // bytes, of every value
constexpr uint64_t kFile = 64 << 20;    // bytes
constexpr size_t kWaiting = 16;         // values that wait to be written
constexpr uint64_t kNone = UINT64_MAX;  // what an empty slot holds
using Block = std::shared_ptr<char>;    // kValue bytes, aligned

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

class Bare final : public Peer {
 public:
  explicit Bare(const Place& place) : room_(place.cache / kValue), numbers_(place.limit / kFile * (kFile / kValue)) {
    for (auto& number : numbers_) number = kNone;
    for (uint64_t i = 0; i < place.limit / kFile; ++i) {
      const int fd = ::open((place.directory + "/" + std::to_string(i)).c_str(),
                            O_CREAT | O_EXCL | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);
      if (fd < 0 || ::fallocate(fd, 0, 0, kFile) != 0) fail("a file of the floor");
      files_.push_back(fd);
    }
    writer_ = std::thread([this] { write_all(); });
  }
  ~Bare() override {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
    writer_.join();
    for (const int fd : files_) ::close(fd);
  }

  void put(std::string_view key, std::string_view value) override {
    if (value.size() != kValue) throw std::runtime_error("the floor takes values of 1 MiB");
    Block block = take();
    std::memcpy(block.get(), value.data(), kValue);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return waiting_.size() < kWaiting; });
    const uint64_t number = number_of(key);
    numbers_[number % numbers_.size()] = kNone;
    waiting_.emplace_back(number, block);
    keep(number, std::move(block));
    lock.unlock();
    changed_.notify_all();
  }
  bool get(std::string_view key, const std::function<void(std::string_view)>& look) override {
    const uint64_t number = number_of(key);
    Block block = find(number);
    if (!block) {
      if (numbers_[number % numbers_.size()] != number) return false;
      block = take();
      const auto [fd, offset] = place_of(number);
      if (::pread(fd, block.get(), kValue, offset) != static_cast<ssize_t>(kValue)) fail("a read of the floor");
      const std::lock_guard lock(mutex_);
      keep(number, block);
    }
    look({block.get(), kValue});
    return true;
  }
  void scan(const std::function<void(std::string_view)>&) override { throw std::logic_error("a cache is not scanned"); }
  void sync() override {}

 private:
  using Used = std::list<std::pair<uint64_t, Block>>;

  static uint64_t number_of(std::string_view key) {
    uint64_t number = 0;
    std::from_chars(key.data() + key.find('-') + 1, key.data() + key.size(), number);
    return number;
  }
  [[nodiscard]] std::pair<int, off_t> place_of(uint64_t number) const {
    const uint64_t at = number % numbers_.size() * kValue;
    return {files_[at / kFile], static_cast<off_t>(at % kFile)};
  }
  // Of what is in memory or waits to be written.
  Block find(uint64_t number) {
    const std::lock_guard lock(mutex_);
    if (const auto it = table_.find(number); it != table_.end()) {
      used_.splice(used_.begin(), used_, it->second);
      return it->second->second;
    }
    for (const auto& [waits, block] : waiting_)
      if (waits == number) return block;
    return nullptr;
  }
  // The one that was used longest ago makes room: its memory is what take() gives next.
  void keep(uint64_t number, Block block) {
    if (table_.contains(number)) return;
    used_.emplace_front(number, std::move(block));
    table_[number] = used_.begin();
    while (used_.size() > room_) {
      table_.erase(used_.back().first);
      idle_.push_back(std::move(used_.back().second));
      used_.pop_back();
    }
  }
  Block take() {
    {
      const std::lock_guard lock(mutex_);
      // Nobody looks at it or writes it any more.
      const auto it = std::find_if(idle_.begin(), idle_.end(), [](const Block& b) { return b.use_count() == 1; });
      if (it != idle_.end()) {
        Block block = std::move(*it);
        idle_.erase(it);
        return block;
      }
    }
    void* const memory = std::aligned_alloc(4096, kValue);
    if (memory == nullptr) throw std::bad_alloc();
    return {static_cast<char*>(memory), std::free};
  }
  void write_all() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return ended_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      const auto [number, block] = waiting_.front();
      lock.unlock();
      const auto [fd, offset] = place_of(number);
      if (::pwrite(fd, block.get(), kValue, offset) != static_cast<ssize_t>(kValue)) std::abort();
      numbers_[number % numbers_.size()] = number;
      lock.lock();
      waiting_.pop_front();
      changed_.notify_all();
    }
  }

  const size_t room_;  // values in the table
  std::vector<int> files_;
  std::vector<std::atomic<uint64_t>> numbers_;  // which value a slot holds
  std::mutex mutex_;                            // all below
  std::condition_variable changed_;
  std::deque<std::pair<uint64_t, Block>> waiting_;
  Used used_;  // newest first
  std::unordered_map<uint64_t, Used::iterator> table_;
  std::vector<Block> idle_;
  bool ended_ = false;
  std::thread writer_;
};

}  // namespace

std::unique_ptr<Peer> make_bare(const Place& place) { return std::make_unique<Bare>(place); }

}  // namespace cairn::bench
