// A tree in a store that is not mounted, through the library.
#include <algorithm>
#include <utility>

#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "cairn/store.h"
#include "tools/transfer/tree.h"

namespace cairn::tools {
namespace {

tl::unexpected<Error> failed(Error error, const std::string& path) {
  error.message = fmt::format("{}: {}", path, error.message.empty() ? to_string(error.code) : error.message);
  return fail(std::move(error));
}

class StoreContent final : public Content {
 public:
  StoreContent(FileSystem& fs, Ino ino, std::string path) : fs_(fs), ino_(ino), path_(std::move(path)) {}
  StoreContent(const StoreContent&) = delete;
  StoreContent& operator=(const StoreContent&) = delete;
  ~StoreContent() override { fs_.release(ino_); }

  Result<std::optional<Range>> next_data(uint64_t offset) override {
    auto start = fs_.seek(ino_, offset, SeekWhat::kData);
    if (!start && start.error().code == ErrorCode::kNoDevice) return std::nullopt;
    if (!start) return failed(std::move(start).error(), path_);
    auto end = fs_.seek(ino_, *start, SeekWhat::kHole);
    if (!end) return failed(std::move(end).error(), path_);
    return Range{*start, *end};
  }

  Result<ByteView> read(uint64_t offset, uint64_t size) override {
    auto pieces = fs_.read(ino_, offset, size);
    if (!pieces) return failed(std::move(pieces).error(), path_);
    if (pieces->size() == 1) {
      piece_ = std::move(pieces->front());
      return piece_.view();
    }
    joined_.clear();
    for (const Value& piece : *pieces) joined_ += piece.view();
    return ByteView(joined_);
  }

  Result<void> write(uint64_t offset, ByteView data) override {
    auto written = fs_.write(ino_, offset, data, /*append=*/false, /*kill_suidgid=*/false);
    if (!written) return failed(std::move(written).error(), path_);
    if (*written != data.size()) return failed(Error(ErrorCode::kNoSpace), path_);
    return {};
  }

  Result<void> truncate(uint64_t size) override {
    AttrChange change;
    change.set_size = true;
    change.size = size;
    if (auto set = fs_.setattr(ino_, change); !set) return failed(std::move(set).error(), path_);
    return {};
  }

 private:
  FileSystem& fs_;
  Ino ino_;
  std::string path_;
  Value piece_;
  Bytes joined_;
};

class StoreTree final : public Tree {
 public:
  StoreTree(std::unique_ptr<FileSystem> fs, std::string store) : fs_(std::move(fs)), store_(std::move(store)) {}
  StoreTree(const StoreTree&) = delete;
  StoreTree& operator=(const StoreTree&) = delete;
  ~StoreTree() override { (void)fs_->close(); }  // see open_store_tree()

  // Makes `path` the root, component by component.
  Result<void> descend(const std::string& path, bool make_missing) {
    size_t begin = 0;
    while (begin < path.size()) {
      const size_t end = std::min(path.find('/', begin), path.size());
      const std::string name = path.substr(begin, end - begin);
      begin = end + 1;
      if (name.empty() || name == ".") continue;
      if (name == "..") return fail(ErrorCode::kInvalid, fmt::format("{}:{}: '..' is not a name", store_, path));
      auto found = fs_->lookup(root_, name);
      if (!found && found.error().code == ErrorCode::kNotFound && make_missing)
        found = fs_->mkdir(root_, name, 0755, {::geteuid(), ::getegid(), 0});
      top_ += "/" + name;
      if (!found) return failed(std::move(found).error(), full({}));
      root_ = found->ino;
      if (!S_ISDIR(found->mode)) return failed(Error(ErrorCode::kNotDirectory), full({}));
    }
    return {};
  }

  Result<Entry> root() override {
    auto attr = fs_->getattr(root_);
    if (!attr) return failed(std::move(attr).error(), full({}));
    fs_->count_lookup(root_);
    return Entry{{}, {{}, root_}, *attr, 0};
  }

  Result<std::vector<Entry>> list(const Place& directory) override {
    constexpr size_t kAtOnce = 1024;
    std::vector<Entry> entries;
    uint64_t cookie = 0;
    while (true) {
      std::vector<Attr> attrs;
      auto some = fs_->read_dir(directory.ino, cookie, kAtOnce, &attrs);
      if (!some) return failed(std::move(some).error(), full(directory.path));
      if (some->empty()) return entries;
      cookie = some->back().cookie;
      for (size_t i = 0; i < some->size(); ++i) {
        DirEntry& d = (*some)[i];
        Place place = below(directory, d.name, d.ino);
        if (attrs[i].ino == 0) return failed(Error(ErrorCode::kCorrupt), full(place.path));
        entries.push_back({std::move(d.name), std::move(place), attrs[i], 0});
      }
    }
  }

  Result<std::optional<Entry>> find(const Place& directory, const std::string& name) override {
    auto attr = fs_->lookup(directory.ino, name);
    if (!attr && attr.error().code == ErrorCode::kNotFound) return std::nullopt;
    if (!attr) return failed(std::move(attr).error(), full(below(directory, name, 0).path));
    return Entry{name, below(directory, name, attr->ino), *attr, 0};
  }

  Result<Bytes> read_link(const Place& place) override {
    auto target = fs_->readlink(place.ino);
    if (!target) return failed(std::move(target).error(), full(place.path));
    return target;
  }

  Result<std::vector<Xattr>> xattrs(const Place& place) override {
    auto names = fs_->list_xattrs(place.ino);
    if (!names) return failed(std::move(names).error(), full(place.path));
    std::vector<Xattr> found;
    for (std::string& name : *names) {
      auto value = fs_->get_xattr(place.ino, name);
      if (!value) return failed(std::move(value).error(), full(place.path));
      found.push_back({std::move(name), std::move(*value)});
    }
    return found;
  }

  Result<std::unique_ptr<Content>> open(const Place& place, bool to_write) override {
    if (auto opened = fs_->open(place.ino, /*truncate=*/to_write, /*kill_suidgid=*/false); !opened)
      return failed(std::move(opened).error(), full(place.path));
    return std::make_unique<StoreContent>(*fs_, place.ino, full(place.path));
  }

  Result<Entry> make(const Place& directory, const std::string& name, const Attr& like, ByteView target) override {
    const Caller owner{like.uid, like.gid, 0};
    Result<Attr> made = S_ISDIR(like.mode)   ? fs_->mkdir(directory.ino, name, like.mode & 07777, owner)
                        : S_ISLNK(like.mode) ? fs_->symlink(directory.ino, name, target, owner)
                                             : fs_->mknod(directory.ino, name, like.mode, like.rdev, owner);
    if (!made) return failed(std::move(made).error(), full(below(directory, name, 0).path));
    return Entry{name, below(directory, name, made->ino), *made, 0};
  }

  Result<void> link(const Place& existing, const Place& directory, const std::string& name) override {
    auto linked = fs_->link(existing.ino, directory.ino, name);
    if (!linked) return failed(std::move(linked).error(), full(below(directory, name, 0).path));
    fs_->forget(existing.ino, 1);
    return {};
  }

  Result<void> remove(const Place& directory, const std::string& name) override {
    auto removed = fs_->unlink(directory.ino, name);
    if (!removed) return failed(std::move(removed).error(), full(below(directory, name, 0).path));
    return {};
  }

  Result<std::vector<std::string>> set(const Place& place, const Attr& attr,
                                       const std::vector<Xattr>& xattrs) override {
    auto refused = set_xattrs(place, xattrs);
    if (!refused) return failed(std::move(refused).error(), full(place.path));
    AttrChange change;
    change.set_uid = change.set_gid = true;
    change.uid = attr.uid;
    change.gid = attr.gid;
    change.set_mode = !S_ISLNK(attr.mode);
    change.mode = attr.mode;
    change.atime_kind = change.mtime_kind = AttrChange::TimeKind::kSet;
    change.atime = attr.atime;
    change.mtime = attr.mtime;
    if (auto set = fs_->setattr(place.ino, change); !set) return failed(std::move(set).error(), full(place.path));
    return refused;
  }

  void leave(const Place& place) override { fs_->forget(place.ino, 1); }

  bool may_have_evicted() override {
    const auto files = fs_->cache_stats().evicted_files;
    return std::any_of(files.begin(), files.end(), [](uint64_t count) { return count > 0; });
  }

  Result<void> sync() override {
    if (auto synced = fs_->sync(); !synced) return failed(std::move(synced).error(), store_);
    if (auto closed = fs_->close(); !closed) return failed(std::move(closed).error(), store_);
    return {};
  }

 private:
  [[nodiscard]] std::string full(const std::string& path) const {
    return path.empty() ? fmt::format("{}:{}", store_, top_.empty() ? "/" : top_)
                        : fmt::format("{}:{}/{}", store_, top_, path);
  }
  static Place below(const Place& directory, const std::string& name, Ino ino) {
    return {directory.path.empty() ? name : directory.path + "/" + name, ino};
  }

  Result<std::vector<std::string>> set_xattrs(const Place& place, const std::vector<Xattr>& xattrs) {
    std::vector<std::string> refused;
    for (const Xattr& x : xattrs) {
      auto set = fs_->set_xattr(place.ino, x.name, x.value, XattrMode::kAny);
      if (set) continue;
      if (set.error().code != ErrorCode::kUnsupported) return fail(std::move(set).error());
      refused.push_back(x.name);
    }
    auto there = fs_->list_xattrs(place.ino);
    if (!there) return there;
    for (const std::string& name : *there) {
      if (std::any_of(xattrs.begin(), xattrs.end(), [&name](const Xattr& x) { return x.name == name; })) continue;
      if (auto removed = fs_->remove_xattr(place.ino, name); !removed) return fail(std::move(removed).error());
    }
    return refused;
  }

  std::unique_ptr<FileSystem> fs_;
  std::string store_, top_;
  Ino root_ = kRootIno;
};

}  // namespace

Result<std::unique_ptr<Tree>> open_store_tree(const std::string& store, const std::string& path, bool to_write) {
  Options options;
  options.read_only = !to_write;
  options.owner = fmt::format("pid {}, cairnfs {}", ::getpid(), to_write ? "import" : "export");
  auto opened = Store::open(store, options);
  if (!opened) return fail(std::move(opened).error());
  FsOptions fs_options;
  fs_options.acl = true;  // access control lists are attributes like others here
  auto fs = FileSystem::open(std::move(*opened), fs_options);
  if (!fs) return fail(std::move(fs).error());
  auto tree = std::make_unique<StoreTree>(std::move(*fs), store);
  if (auto there = tree->descend(path, to_write); !there) return fail(std::move(there).error());
  return tree;
}

}  // namespace cairn::tools
