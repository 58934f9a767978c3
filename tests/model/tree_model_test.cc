// The tree against a model in memory: random operations on names, contents and attributes, with remounts and crashes.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "format/checksum.h"
#include "support/tree_fixture.h"
#include "tree/fsck_tree.h"

namespace cairn {
namespace {

struct Node;
using NodeRef = std::shared_ptr<Node>;

struct Node {
  Ino ino = 0;
  uint32_t mode = 0;
  uint32_t links = 0;
  std::string content;  // or the target of a symlink
  std::map<std::string, NodeRef> children;
  std::map<std::string, std::string> xattrs;
  Node* parent = nullptr;  // of a directory
  int opens = 0;

  [[nodiscard]] bool is_directory() const { return S_ISDIR(mode); }
  [[nodiscard]] bool is_file() const { return S_ISREG(mode); }
};

struct Parameters {
  uint64_t seed = 0;
  Mode mode = Mode::kCas;
  uint64_t segment_size = 0, chunk_size = 0;  // bytes
  int steps = 0;
  bool crashes = false;  // then every step is one operation of the store
};

class TreeModel : public TreeFixture {
 public:
  static StoreGeometry geometry(const Parameters& p) {
    StoreGeometry out = small_geometry(p.mode);
    out.segment_size = p.segment_size;
    out.chunk_size = p.chunk_size;
    return out;
  }
  explicit TreeModel(const Parameters& p) : TreeFixture(geometry(p), p.seed), parameters_(p), rng_(p.seed) {
    root_ = std::make_shared<Node>();
    root_->ino = kRootIno;
    root_->mode = S_IFDIR | 0755;
    root_->links = 2;
    root_->parent = root_.get();
    ok(fs_->sync());
    remember(true);
  }
  void TestBody() override {}

  void run() {
    for (int i = 0; i < parameters_.steps && !HasFailure(); ++i) {
      SCOPED_TRACE(fmt::format("seed {} step {}", parameters_.seed, i));
      step();
      remember(false);
      if (pick(50) == 0) check();
      if (pick(30) == 0) settle();
    }
    if (HasFailure()) return;
    close_all();
    remount();
    check();
    unmount();
    check_with_fsck();
  }

 private:
  // ---- Choices ----

  uint64_t pick(uint64_t n) { return rng_() % n; }

  std::string some_name() { return fmt::format("n{}", pick(12)); }

  std::vector<NodeRef> all(const std::function<bool(const Node&)>& wanted) {
    std::vector<NodeRef> out, queue{root_};
    std::set<Node*> seen{root_.get()};
    for (size_t i = 0; i < queue.size(); ++i) {
      const NodeRef node = queue[i];
      if (wanted(*node)) out.push_back(node);
      for (const auto& [name, child] : node->children) {
        if (seen.insert(child.get()).second) queue.push_back(child);
      }
    }
    for (const NodeRef& node : open_) {
      if (seen.insert(node.get()).second && wanted(*node)) out.push_back(node);
    }
    return out;
  }
  NodeRef any(const std::function<bool(const Node&)>& wanted) {
    const auto nodes = all(wanted);
    return nodes.empty() ? nullptr : nodes[pick(nodes.size())];
  }
  NodeRef any_dir() {
    return any([](const Node& n) { return n.is_directory(); });
  }
  NodeRef any_file() {
    return any([](const Node& n) { return n.is_file(); });
  }

  std::string some_bytes(uint64_t n) {
    std::string out(n, static_cast<char>('a' + pick(26)));
    for (uint64_t i = 0; i < n; i += 1 + pick(64)) out[i] = static_cast<char>(rng_());
    return out;
  }
  uint64_t write_max() const { return parameters_.crashes ? parameters_.chunk_size : 12 * parameters_.chunk_size; }
  uint64_t file_max() const { return 30 * parameters_.chunk_size; }

  // ---- What the tree should say ----

  // The same error, or both work.
  template <class T>
  bool agree(const Result<T>& result, ErrorCode expected, bool works) {
    if (works) {
      ok(Result<void>(result ? Result<void>() : fail(result.error())));
    } else {
      fails(expected, result);
    }
    return works;
  }

  // ---- Operations ----

  void step() {
    using Operation = void (TreeModel::*)();
    static constexpr Operation kOperations[] = {
        &TreeModel::make_file,  &TreeModel::make_file,  &TreeModel::make_dir,    &TreeModel::make_other,
        &TreeModel::write_some, &TreeModel::write_some, &TreeModel::write_some,  &TreeModel::write_some,
        &TreeModel::append,     &TreeModel::append,     &TreeModel::truncate,    &TreeModel::truncate,
        &TreeModel::read_some,  &TreeModel::read_some,  &TreeModel::remove_file, &TreeModel::remove_dir,
        &TreeModel::move,       &TreeModel::move,       &TreeModel::make_link,   &TreeModel::set_attribute,
        &TreeModel::drop_xattr, &TreeModel::open_one,   &TreeModel::close_one,   &TreeModel::chmod,
        &TreeModel::make_hole,  &TreeModel::restart,    &TreeModel::find_data,
    };
    (this->*kOperations[pick(std::size(kOperations))])();
  }

  void add(Node& dir, const std::string& name, Ino ino, uint32_t mode, std::string content = {}) {
    auto node = std::make_shared<Node>();
    node->ino = ino;
    node->mode = mode;
    node->links = S_ISDIR(mode) ? 2 : 1;
    node->content = std::move(content);
    node->parent = &dir;
    if (S_ISDIR(mode)) ++dir.links;
    dir.children[name] = std::move(node);
  }

  void make_file() {
    const NodeRef dir = any_dir();
    const std::string name = some_name();
    const auto made = fs_->create(dir->ino, name, 0644, kUser);
    if (!agree(made, ErrorCode::kExists, !dir->children.contains(name))) return;
    add(*dir, name, made->ino, S_IFREG | 0644);
    if (pick(3) == 0) {
      hold(dir->children[name]);
    } else {
      fs_->release(made->ino);
    }
  }
  void make_dir() {
    const NodeRef dir = any_dir();
    const std::string name = some_name();
    const auto made = fs_->mkdir(dir->ino, name, 0750, kUser);
    if (!agree(made, ErrorCode::kExists, !dir->children.contains(name))) return;
    add(*dir, name, made->ino, S_IFDIR | 0750 | (dir->mode & S_ISGID));
  }
  void make_other() {
    const NodeRef dir = any_dir();
    const std::string name = some_name();
    const bool works = !dir->children.contains(name);
    const std::string target = some_name();
    if (pick(2) == 0) {
      const auto made = fs_->symlink(dir->ino, name, target, kUser);
      if (agree(made, ErrorCode::kExists, works)) add(*dir, name, made->ino, S_IFLNK | 0777, target);
    } else {
      const auto made = fs_->mknod(dir->ino, name, S_IFIFO | 0600, 0, kUser);
      if (agree(made, ErrorCode::kExists, works)) add(*dir, name, made->ino, S_IFIFO | 0600);
    }
  }

  void put(Node& node, uint64_t offset, const std::string& data) {
    if (node.content.size() < offset + data.size()) node.content.resize(offset + data.size());
    node.content.replace(offset, data.size(), data);
  }
  void write_some() {
    const NodeRef node = any_file();
    if (!node) return;
    const uint64_t chunk = parameters_.chunk_size;
    uint64_t offset = pick(file_max());
    if (pick(3) == 0) offset = offset / chunk * chunk;
    uint64_t size = 1 + pick(pick(2) == 0 ? 100 : write_max());
    if (pick(4) == 0) size = std::min(write_max(), (size + chunk - 1) / chunk * chunk);
    const std::string data = some_bytes(size);
    write(node->ino, offset, data);
    put(*node, offset, data);
  }
  void append() {
    const NodeRef node = any_file();
    if (!node || node->content.size() > file_max()) return;
    const std::string data = some_bytes(1 + pick(pick(3) == 0 ? write_max() : 300));
    EXPECT_EQ(ok(fs_->write(node->ino, pick(1000), data, true, false)), data.size());
    node->content += data;
  }
  void truncate() {
    const NodeRef node = any_file();
    if (!node) return;
    uint64_t size = pick(4) == 0 ? 0 : pick(file_max());
    if (pick(8) == 0)
      size = parameters_.chunk_size * 100;  // sparse, and cut again soon: more chunks than one operation erases
    if (pick(3) == 0) size = size / parameters_.chunk_size * parameters_.chunk_size;
    resize(node->ino, size);
    node->content.resize(size);
  }
  void make_hole() {
    const NodeRef node = any_file();
    if (!node || parameters_.crashes || node->content.empty()) return;
    const uint64_t offset = pick(node->content.size());
    const uint64_t length = 1 + pick(8 * parameters_.chunk_size);
    const bool punch = pick(2) == 0;
    ok(fs_->fallocate(node->ino, punch ? kFallocPunch | kFallocKeepSize : kFallocZero, offset, length));
    const uint64_t end = std::min<uint64_t>(offset + length, node->content.size());
    std::fill(node->content.begin() + static_cast<ptrdiff_t>(offset),
              node->content.begin() + static_cast<ptrdiff_t>(end), '\0');
    if (!punch && offset + length > node->content.size()) node->content.resize(offset + length);
  }
  void find_data() {
    const NodeRef node = any_file();
    if (!node || node->content.empty()) return;
    const uint64_t offset = pick(node->content.size());
    const auto data = fs_->seek(node->ino, offset, SeekWhat::kData);
    const size_t nonzero = node->content.find_first_not_of('\0', offset);
    if (data) {
      EXPECT_LE(*data, nonzero) << "data is called a hole";
      EXPECT_GE(*data, offset);
    } else {
      fails(ErrorCode::kNoDevice, data);
      EXPECT_EQ(nonzero, std::string::npos);
    }
    const uint64_t hole = ok(fs_->seek(node->ino, offset, SeekWhat::kHole));
    EXPECT_GE(hole, offset);
    EXPECT_LE(hole, node->content.size());
  }
  void read_some() {
    const NodeRef node = any_file();
    if (!node) return;
    const uint64_t offset = pick(file_max());
    const uint64_t size = pick(write_max());
    const std::string expected = offset < node->content.size() ? node->content.substr(offset, size) : "";
    EXPECT_TRUE(read(node->ino, offset, size) == expected) << "offset " << offset << " size " << size;
  }

  void remove_file() {
    const NodeRef dir = any_dir();
    const std::string name = some_name();
    const auto found = dir->children.find(name);
    const auto gone = fs_->unlink(dir->ino, name);
    if (found == dir->children.end()) return fails(ErrorCode::kNotFound, gone);
    if (!agree(gone, ErrorCode::kIsDirectory, !found->second->is_directory())) return;
    --found->second->links;
    dir->children.erase(found);
  }
  void remove_dir() {
    const NodeRef dir = any_dir();
    const std::string name = some_name();
    const auto found = dir->children.find(name);
    const auto gone = fs_->rmdir(dir->ino, name);
    if (found == dir->children.end()) return fails(ErrorCode::kNotFound, gone);
    if (!found->second->is_directory()) return fails(ErrorCode::kNotDirectory, gone);
    if (!agree(gone, ErrorCode::kNotEmpty, found->second->children.empty())) return;
    --dir->links;
    dir->children.erase(found);
  }

  static bool is_below(const Node* node, const Node* top) {
    for (;; node = node->parent) {
      if (node == top) return true;
      if (node->parent == node) return false;
    }
  }
  // The error of a rename, or nothing.
  static std::optional<ErrorCode> refusal(const NodeRef& from, const NodeRef& to, const Node& from_dir,
                                          const Node& to_dir, uint32_t flags) {
    const bool exchange = (flags & kRenameExchange) != 0;
    if (!from || (exchange && !to)) return ErrorCode::kNotFound;
    if ((flags & kRenameNoReplace) != 0 && to) return ErrorCode::kExists;
    if (from == to) return std::nullopt;
    if (from->is_directory() && is_below(&to_dir, from.get())) return ErrorCode::kInvalid;
    if (exchange && to->is_directory() && is_below(&from_dir, to.get())) return ErrorCode::kInvalid;
    if (exchange || !to) return std::nullopt;
    if (from->is_directory() && !to->is_directory()) return ErrorCode::kNotDirectory;
    if (!from->is_directory() && to->is_directory()) return ErrorCode::kIsDirectory;
    if (!to->children.empty()) return ErrorCode::kNotEmpty;
    return std::nullopt;
  }
  void move() {
    const NodeRef from_dir = any_dir();
    const NodeRef to_dir = pick(2) == 0 ? from_dir : any_dir();
    const std::string from_name = some_name();
    const std::string to_name = some_name();
    const uint32_t flags = pick(4) == 0 ? uint32_t{kRenameExchange} : pick(4) == 0 ? uint32_t{kRenameNoReplace} : 0;
    const NodeRef from = child(*from_dir, from_name);
    const NodeRef to = child(*to_dir, to_name);
    const auto refused = refusal(from, to, *from_dir, *to_dir, flags);
    const auto moved = fs_->rename(from_dir->ino, from_name, to_dir->ino, to_name, flags, kUser);
    if (!agree(moved, refused.value_or(ErrorCode::kIo), !refused) || from == to) return;
    detach(*from_dir, from_name);
    if (to) detach(*to_dir, to_name);
    attach(*to_dir, to_name, from);
    if (flags == kRenameExchange) {
      attach(*from_dir, from_name, to);
    } else if (to) {
      --to->links;
    }
  }
  static NodeRef child(const Node& dir, const std::string& name) {
    const auto found = dir.children.find(name);
    return found == dir.children.end() ? nullptr : found->second;
  }
  static void detach(Node& dir, const std::string& name) {
    if (dir.children.at(name)->is_directory()) --dir.links;
    dir.children.erase(name);
  }
  static void attach(Node& dir, const std::string& name, const NodeRef& node) {
    dir.children[name] = node;
    if (!node->is_directory()) return;
    ++dir.links;
    node->parent = &dir;
  }
  void make_link() {
    const NodeRef node = any([](const Node& n) { return !n.is_directory() && n.links > 0; });
    const NodeRef dir = any_dir();
    const std::string name = some_name();
    if (!node) return;
    if (!agree(fs_->link(node->ino, dir->ino, name), ErrorCode::kExists, !dir->children.contains(name))) return;
    dir->children[name] = node;
    ++node->links;
  }

  void chmod() {
    const NodeRef node = any([](const Node& n) { return !S_ISLNK(n.mode); });
    AttrChange change;
    change.set_mode = true;
    change.mode = static_cast<uint32_t>(pick(07777));
    ok(fs_->setattr(node->ino, change));
    node->mode = (node->mode & S_IFMT) | change.mode;
  }
  void set_attribute() {
    const NodeRef node = any([](const Node&) { return true; });
    const std::string name = "user." + some_name();
    const std::string value = some_bytes(pick(600));
    const auto mode = static_cast<XattrMode>(pick(3));
    const bool there = node->xattrs.contains(name);
    const bool works = mode == XattrMode::kAny || there == (mode == XattrMode::kReplace);
    const ErrorCode error = there ? ErrorCode::kExists : ErrorCode::kNoAttribute;
    if (agree(fs_->set_xattr(node->ino, name, value, mode), error, works)) node->xattrs[name] = value;
  }
  void drop_xattr() {
    const NodeRef node = any([](const Node& n) { return !n.xattrs.empty(); });
    if (!node) return;
    const std::string name = node->xattrs.begin()->first;
    ok(fs_->remove_xattr(node->ino, name));
    node->xattrs.erase(name);
  }

  void hold(const NodeRef& node) {
    if (node->opens++ == 0) open_.push_back(node);
  }
  void open_one() {
    const NodeRef node = any([](const Node& n) { return n.is_file(); });
    if (!node) return;
    const bool cut = pick(6) == 0;
    ok(fs_->open(node->ino, cut, false));
    if (cut) node->content.clear();
    hold(node);
  }
  void close_one() {
    if (open_.empty()) return;
    const size_t i = pick(open_.size());
    const NodeRef node = open_[i];
    fs_->release(node->ino);
    if (--node->opens == 0) open_.erase(open_.begin() + static_cast<ptrdiff_t>(i));
  }
  void close_all() {
    while (!open_.empty()) close_one();
  }
  void forget_opens() {
    for (const NodeRef& node : open_) node->opens = 0;
    open_.clear();
  }

  // ---- Restarts ----

  void restart() {
    const uint64_t kind = pick(4);
    if (kind == 0) {
      ok(fs_->sync());
      remember(true);
    } else if (kind == 1) {
      forget_opens();
      unmount();
      check_with_fsck();
      mount();
      remember(true);
      check();
    } else if (kind == 2 && parameters_.crashes) {
      crash_and_compare();
    }
  }

  // All that a crash may leave: the states since the last sync.
  void remember(bool durable) {
    if (!parameters_.crashes) return;
    if (durable) history_.clear();
    history_.insert(describe_model());
  }

  void crash_and_compare() {
    const uint64_t kind = pick(3);
    forget_opens();
    crash(kind == 0 ? io::kNothingLost : kind == 1 ? io::kAllLost : io::random_crash(rng_()));
    if (HasFatalFailure()) return;
    const std::string survived = describe_tree();
    ASSERT_TRUE(history_.contains(survived)) << "after the crash the tree is in a state that it never had";
    root_ = read_model();
    check();
    ok(fs_->sync());
    remember(true);
  }

  // The model of what is there, once it is known to be right.
  NodeRef read_model() {
    std::map<Ino, NodeRef> made;
    const auto node_of = [&](Ino ino) {
      const auto [place, is_new] = made.try_emplace(ino);
      if (!is_new) return place->second;
      const Attr attr = stat(ino);
      auto node = std::make_shared<Node>();
      node->ino = ino;
      node->mode = attr.mode;
      node->links = attr.links;
      if (S_ISREG(attr.mode)) node->content = read(ino);
      if (S_ISLNK(attr.mode)) node->content = ok(fs_->readlink(ino));
      for (const auto& name : ok(fs_->list_xattrs(ino))) node->xattrs[name] = ok(fs_->get_xattr(ino, name));
      return place->second = node;
    };
    std::vector<NodeRef> queue{node_of(kRootIno)};
    queue[0]->parent = queue[0].get();
    for (size_t i = 0; i < queue.size(); ++i) {
      Node* const dir = queue[i].get();
      for (const DirEntry& entry : ok(fs_->read_dir(dir->ino, 0, SIZE_MAX, nullptr))) {
        const NodeRef node = dir->children[entry.name] = node_of(entry.ino);
        if (!node->is_directory()) continue;
        node->parent = dir;
        queue.push_back(node);
      }
    }
    return queue[0];
  }

  static std::string line(const std::string& path, Ino ino, uint32_t mode, uint32_t links, const std::string& content,
                          const std::map<std::string, std::string>& xattrs) {
    std::string out = fmt::format("{} ino={} mode={:o} links={} size={} hash={:x}", path, ino, mode, links,
                                  content.size(), format::checksum(content));
    for (const auto& [name, value] : xattrs) out += fmt::format(" {}={:x}", name, format::checksum(value));
    return out + "\n";
  }
  std::string describe_model() {
    std::map<std::string, std::string> lines;
    std::vector<std::pair<std::string, Node*>> queue{{"", root_.get()}};
    while (!queue.empty()) {
      const auto [path, node] = queue.back();
      queue.pop_back();
      lines[path] = line(path, node->ino, node->mode, node->links, node->content, node->xattrs);
      for (const auto& [name, child] : node->children) queue.emplace_back(path + "/" + name, child.get());
    }
    std::string out;
    for (const auto& [path, text] : lines) out += text;
    return out;
  }
  std::string describe_tree() {
    std::map<std::string, std::string> lines;
    std::vector<std::pair<std::string, Ino>> queue{{"", kRootIno}};
    while (!queue.empty()) {
      const auto [path, ino] = queue.back();
      queue.pop_back();
      const Attr attr = stat(ino);
      std::string content;
      if (S_ISREG(attr.mode)) content = read(ino);
      if (S_ISLNK(attr.mode)) content = ok(fs_->readlink(ino));
      EXPECT_TRUE(S_ISDIR(attr.mode) || content.size() == attr.size) << path;
      if (S_ISREG(attr.mode)) {
        EXPECT_TRUE(attr.blocks > 0 || content.find_first_not_of('\0') == std::string::npos);
        EXPECT_LE(attr.blocks, (attr.size + 511) / 512);
      }
      std::map<std::string, std::string> xattrs;
      for (const auto& name : ok(fs_->list_xattrs(ino))) xattrs[name] = ok(fs_->get_xattr(ino, name));
      lines[path] = line(path, ino, attr.mode, attr.links, content, xattrs);
      if (!S_ISDIR(attr.mode)) continue;
      for (const DirEntry& entry : ok(fs_->read_dir(ino, 0, SIZE_MAX, nullptr))) {
        EXPECT_EQ(find(ino, entry.name), entry.ino);
        queue.emplace_back(path + "/" + entry.name, entry.ino);
      }
    }
    std::string out;
    for (const auto& [path, text] : lines) out += text;
    return out;
  }

  // Says only where they differ.
  static void expect_same(const std::string& tree, const std::string& model) {
    if (tree == model) return;
    const auto [t, m] = std::mismatch(tree.begin(), tree.end(), model.begin(), model.end());
    const size_t begin = tree.rfind('\n', static_cast<size_t>(t - tree.begin())) + 1;
    ADD_FAILURE() << "tree:  " << tree.substr(begin, tree.find('\n', begin) - begin)
                  << "\nmodel: " << model.substr(begin, model.find('\n', begin) - begin);
  }

  void check_with_fsck() {
    Options options;
    options.read_only = true;
    const auto store = Store::open(*env_, kPath, options);
    ASSERT_TRUE(store) << store.error().message;
    const auto report = tree::check_tree(**store, [](const FsckFinding& f) {
      ADD_FAILURE() << f.structure << ": " << f.message << " " << (f.affected.empty() ? "" : f.affected[0]);
    });
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_EQ(report->orphans, 0u);
  }

  void check() {
    expect_same(describe_tree(), describe_model());
    for (const NodeRef& node : open_) EXPECT_TRUE(read(node->ino) == node->content) << "open inode " << node->ino;
  }

  const Parameters parameters_;
  std::mt19937_64 rng_;
  NodeRef root_;
  std::vector<NodeRef> open_;
  std::set<std::string> history_;  // descriptions
};

void run_model(Parameters parameters, uint64_t seeds) {
  for (uint64_t seed = 1; seed <= seeds && !::testing::Test::HasFailure(); ++seed) {
    parameters.seed = seed;
    TreeModel model(parameters);
    model.run();
  }
}

TEST(TreeModelTest, RandomOperationsInATinyStoreDoWhatTheModelDoes) {
  run_model({.segment_size = 64 << 10, .chunk_size = 4096, .steps = 3000, .crashes = false}, 4);
}

TEST(TreeModelTest, RandomOperationsWithLargerChunksDoWhatTheModelDoes) {
  run_model({.segment_size = 1 << 20, .chunk_size = 64 << 10, .steps = 1000, .crashes = false}, 2);
}

TEST(TreeModelTest, RandomOperationsInACacheDoWhatTheModelDoes) {
  run_model({.mode = Mode::kCache, .segment_size = 1 << 20, .chunk_size = 4096, .steps = 2000, .crashes = false}, 2);
}

TEST(TreeModelTest, AfterACrashTheTreeIsAStateThatItHadSinceTheLastSync) {
  run_model({.segment_size = 64 << 10, .chunk_size = 4096, .steps = 1500, .crashes = true}, 6);
}

}  // namespace
}  // namespace cairn
