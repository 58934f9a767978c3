// CairnFS's engine, as a store and as a cache; one file for each blob; and the list of all peers.
#include "tools/bench/engine/peer.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <stdexcept>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cairn/filesystem.h"
#include "cairn/store.h"

namespace cairn::bench {
namespace {

namespace fs = std::filesystem;

void check(bool truth, const std::string& what) {
  if (!truth) throw std::system_error(errno, std::generic_category(), what);
}

template <class T>
T value_of(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message.empty() ? "cairn" : result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// ---- CairnFS ----

Options options_of(const Place& place) {
  Options options;
  options.chunk_cache_bytes = place.cache;
  options.direct_reads = place.direct;
  return options;
}

class Cairn final : public Peer {
 public:
  explicit Cairn(const Place& place) {
    StoreGeometry geometry;
    geometry.compression = "none";  // the values are random
    value_of(make_store(place.directory + "/store", geometry, false));
    Options options = options_of(place);
    options.commit_interval_ms = 0;
    store_ = value_of(Store::open(place.directory + "/store", options));
  }
  void put(std::string_view key, std::string_view value) override {
    WriteBatch batch;
    batch.put_ref(key, value);
    value_of(store_->write(batch, Durability::kNone));
  }
  bool get(std::string_view key, const std::function<void(std::string_view)>& look) override {
    const auto value = store_->get(key);
    if (!value && value.error().code == ErrorCode::kNotFound) return false;
    look(value_of(value).view());
    return true;
  }
  void scan(const std::function<void(std::string_view)>& look) override {
    Cursor cursor = store_->scan({});
    for (; cursor.valid(); cursor.next()) look(value_of(cursor.value()).view());
    value_of(cursor.status());
  }
  void sync() override { value_of(store_->sync()); }

 private:
  std::unique_ptr<Store> store_;
};

// A blob is a file of the tree, as in a mount, but without the kernel.
class CairnCache final : public Peer {
 public:
  explicit CairnCache(const Place& place) {
    StoreGeometry geometry;
    geometry.mode = Mode::kCache;
    geometry.limit = place.limit;
    geometry.compression = "none";
    value_of(make_store(place.directory + "/store", geometry, false));
    FsOptions options;
    options.min_age_s = 0;
    tree_ = value_of(FileSystem::open(value_of(Store::open(place.directory + "/store", options_of(place))), options));
  }
  ~CairnCache() override { (void)tree_->close(); }  // it is thrown away
  void put(std::string_view key, std::string_view value) override {
    const Attr made = value_of(tree_->create(kRootIno, key, 0600, Caller()));
    value_of(tree_->write(made.ino, 0, value, false, false));
    tree_->release(made.ino);
    tree_->forget(made.ino, 1);
  }
  bool get(std::string_view key, const std::function<void(std::string_view)>& look) override {
    const auto found = tree_->lookup(kRootIno, key);
    if (!found && found.error().code == ErrorCode::kNotFound) return false;
    const Attr attr = value_of(found);
    const auto opened = tree_->open(attr.ino, false, false);
    if (opened) {
      for (const Value& piece : value_of(tree_->read(attr.ino, 0, attr.size))) look(piece.view());
      tree_->release(attr.ino);
    }
    tree_->forget(attr.ino, 1);
    return opened.has_value();  // else it was evicted in between
  }
  void scan(const std::function<void(std::string_view)>&) override { throw std::logic_error("a cache is not scanned"); }
  void sync() override { value_of(tree_->sync()); }

 private:
  std::unique_ptr<FileSystem> tree_;
};

// ---- One file for each blob ----

class Files final : public Peer {
 public:
  explicit Files(std::string directory) : directory_(std::move(directory)) {
    for (int i = 0; i < 256; ++i) fs::create_directory(directory_ + "/" + std::to_string(i));
  }
  void put(std::string_view key, std::string_view value) override {
    const std::string path = path_of(key);
    const int fd = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    check(fd >= 0, path);
    while (!value.empty()) {
      const ssize_t n = ::write(fd, value.data(), value.size());
      check(n > 0, path);
      value.remove_prefix(static_cast<size_t>(n));
    }
    check(::close(fd) == 0, path);
  }
  bool get(std::string_view key, const std::function<void(std::string_view)>& look) override {
    const std::string path = path_of(key);
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return false;
    check(fd >= 0, path);
    look(read_all(fd, path));
    return true;
  }
  void scan(const std::function<void(std::string_view)>& look) override {
    for (const auto& entry : fs::recursive_directory_iterator(directory_)) {
      if (!entry.is_regular_file()) continue;
      const int fd = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
      check(fd >= 0, entry.path());
      look(read_all(fd, entry.path()));
    }
  }
  void sync() override { sync_directory(directory_); }

 private:
  [[nodiscard]] std::string path_of(std::string_view key) const {
    return directory_ + "/" + std::to_string(std::hash<std::string_view>{}(key) % 256) + "/" + std::string(key);
  }
  static std::string_view read_all(int fd, const std::string& path) {
    thread_local std::string buffer;
    struct stat st = {};
    check(::fstat(fd, &st) == 0, path);
    buffer.resize(std::max(buffer.size(), static_cast<size_t>(st.st_size)));
    size_t done = 0;
    while (done < static_cast<size_t>(st.st_size)) {
      const ssize_t n = ::read(fd, buffer.data() + done, static_cast<size_t>(st.st_size) - done);
      check(n > 0, path);
      done += static_cast<size_t>(n);
    }
    check(::close(fd) == 0, path);
    return {buffer.data(), done};
  }

  std::string directory_;
};

}  // namespace

void sync_directory(const std::string& directory) {
  const int fd = ::open(directory.c_str(), O_RDONLY | O_CLOEXEC);
  check(fd >= 0 && ::syncfs(fd) == 0 && ::close(fd) == 0, directory);
}

std::vector<PeerKind> stores() {
  return {
      {"cairn", [](const Place& place) { return std::make_unique<Cairn>(place); }},
      {"files", [](const Place& place) { return std::make_unique<Files>(place.directory); }},
      {"rocksdb-blob", make_rocksdb_blob},
      {"rocksdb-plain", make_rocksdb_plain, false},
      {"lmdb", make_lmdb, false},
      {"sqlite", make_sqlite, false},
  };
}

std::vector<PeerKind> caches() {
  return {
      {"cairn", [](const Place& place) { return std::make_unique<CairnCache>(place); }},
      {"rocksdb-fifo", make_rocksdb_fifo},
      {"bare", make_bare, false},
  };
}

}  // namespace cairn::bench
