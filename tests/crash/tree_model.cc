#include "crash/tree_model.h"

#include <algorithm>
#include <array>
#include <functional>
#include <sstream>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "format/checksum.h"
#include "io/sim_random.h"

namespace cairn::crash {
namespace {

using Kind = Op::Kind;

constexpr std::array kKindNames = {"create",    "mkdir",      "symlink", "write", "append", "truncate",
                                   "punch",     "rename",     "swap",    "link",  "unlink", "rmdir",
                                   "set_xattr", "drop_xattr", "chmod",   "open",  "close",  "fsync",
                                   "timer",     "step",       "idle",    "seal",  "settle", "reopen"};

constexpr char kAttribute[] = "user.x";

void put(std::string& content, uint64_t offset, const std::string& bytes) {
  if (content.size() < offset + bytes.size()) content.resize(offset + bytes.size());
  content.replace(offset, bytes.size(), bytes);
}

std::string line(const std::string& path, const Model::Node& node) {
  std::string out = fmt::format("{} ino={} mode={:o} links={} size={} hash={:x}", path, node.ino, node.mode, node.links,
                                node.content.size(), format::checksum(node.content));
  for (const auto& [name, value] : node.xattrs) out += fmt::format(" {}={:x}", name, format::checksum(value));
  return out;
}

}  // namespace

std::string to_string(const Op& op) {
  return fmt::format("{} {} {} {}+{} {}", kKindNames.at(static_cast<size_t>(op.kind)), op.path, op.target, op.offset,
                     op.size, op.fill);
}

std::string pattern(uint64_t offset, uint64_t size, char fill) {
  std::string out(size, '\0');
  for (uint64_t i = 0; i < size; i += 8) {
    const uint64_t word = io::SimRandom(offset + i, static_cast<unsigned char>(fill)).next();
    for (uint64_t b = 0; b < 8 && i + b < size; ++b) out[i + b] = static_cast<char>(word >> (8 * b));
  }
  return out;
}

Model::Model() : root_(std::make_shared<Node>(Node{.ino = kRootIno, .mode = S_IFDIR | 0755, .links = 2})) {}

Model Model::clone() const {
  std::map<const Node*, NodeRef> copies;  // a node with two names is one node in the copy too
  const std::function<NodeRef(const NodeRef&)> copy = [&](const NodeRef& node) {
    NodeRef& made = copies[node.get()];
    if (made == nullptr) {
      made = std::make_shared<Node>(*node);
      for (auto& [name, child] : made->children) child = copy(child);
    }
    return made;
  };
  Model out;
  out.root_ = copy(root_);
  return out;
}

Model::NodeRef Model::find(const std::string& path) const {
  NodeRef node = root_;
  for (size_t begin = 0; begin < path.size() && node != nullptr;) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const auto child = node->children.find(path.substr(begin, end - begin));
    node = child == node->children.end() ? nullptr : child->second;
    begin = end + 1;
  }
  return node;
}

Model::NodeRef Model::parent_of(const std::string& path, std::string* name) const {
  const size_t slash = path.rfind('/');
  *name = slash == std::string::npos ? path : path.substr(slash + 1);
  NodeRef parent = slash == std::string::npos ? root_ : find(path.substr(0, slash));
  return parent != nullptr && S_ISDIR(parent->mode) ? parent : nullptr;
}

bool Model::allows(const Op& op) const {
  std::string name;
  const NodeRef node = find(op.path);
  const NodeRef target = find(op.target);
  const bool is_dir = node != nullptr && S_ISDIR(node->mode);
  const bool is_file = node != nullptr && S_ISREG(node->mode);
  const bool free_target = target == nullptr && parent_of(op.target, &name) != nullptr;
  const bool into_itself = is_dir && op.target.starts_with(op.path + "/");
  switch (op.kind) {
    case Kind::kCreate:
    case Kind::kMkdir:
    case Kind::kSymlink: return node == nullptr && parent_of(op.path, &name) != nullptr;
    case Kind::kWrite:
    case Kind::kAppend:
    case Kind::kTruncate:
    case Kind::kPunch: return is_file;
    case Kind::kOpen:
    case Kind::kFsync:
    case Kind::kSetXattr:
    case Kind::kChmod: return node != nullptr;
    case Kind::kDropXattr: return node != nullptr && node->xattrs.contains(kAttribute);
    case Kind::kRename:
      if (node == nullptr || into_itself) return false;
      if (node == target) return true;
      return free_target || (target != nullptr && S_ISDIR(target->mode) == is_dir && target->children.empty());
    case Kind::kExchange:
      return node != nullptr && target != nullptr && !into_itself && !op.path.starts_with(op.target + "/");
    case Kind::kLink: return node != nullptr && !is_dir && free_target;
    case Kind::kUnlink: return node != nullptr && !is_dir;
    case Kind::kRmdir: return is_dir && node->children.empty();
    case Kind::kClose:
    case Kind::kTimer:
    case Kind::kStep:
    case Kind::kIdle:
    case Kind::kSeal:
    case Kind::kSettle:
    case Kind::kReopen: return true;
  }
  return false;
}

void Model::add(const std::string& path, Node node) {
  std::string name;
  const NodeRef parent = parent_of(path, &name);
  if (S_ISDIR(node.mode)) ++parent->links;
  parent->children[name] = std::make_shared<Node>(std::move(node));
}

void Model::move(const Op& op) {
  std::string from_name, to_name;
  const NodeRef from_dir = parent_of(op.path, &from_name);
  const NodeRef to_dir = parent_of(op.target, &to_name);
  const NodeRef node = find(op.path);
  const NodeRef target = find(op.target);
  if (node == target) return;
  const auto count = [](const NodeRef& dir, const NodeRef& child, int by) {
    if (child != nullptr && S_ISDIR(child->mode)) dir->links += static_cast<uint32_t>(by);
  };
  count(from_dir, node, -1);
  count(to_dir, target, -1);
  from_dir->children.erase(from_name);
  to_dir->children[to_name] = node;
  count(to_dir, node, 1);
  if (op.kind == Kind::kExchange) {
    from_dir->children[from_name] = target;
    count(from_dir, target, 1);
  } else if (target != nullptr) {
    --target->links;
  }
}

void Model::apply(const Op& op, Ino made) {
  std::string name;
  const NodeRef node = find(op.path);
  switch (op.kind) {
    case Kind::kCreate: return add(op.path, {.ino = made, .mode = S_IFREG | 0644, .links = 1});
    case Kind::kMkdir: return add(op.path, {.ino = made, .mode = S_IFDIR | 0755, .links = 2});
    case Kind::kSymlink: return add(op.path, {.ino = made, .mode = S_IFLNK | 0777, .links = 1, .content = op.target});
    case Kind::kWrite: return put(node->content, op.offset, pattern(op.offset, op.size, op.fill));
    case Kind::kAppend: node->content += pattern(node->content.size(), op.size, op.fill); return;
    case Kind::kTruncate: node->content.resize(op.size); return;
    case Kind::kPunch:
      for (uint64_t i = op.offset; i < std::min<uint64_t>(op.offset + op.size, node->content.size()); ++i)
        node->content[i] = '\0';
      return;
    case Kind::kRename:
    case Kind::kExchange: return move(op);
    case Kind::kLink:
      parent_of(op.target, &name)->children[name] = node;
      ++node->links;
      return;
    case Kind::kUnlink:
      parent_of(op.path, &name)->children.erase(name);
      --node->links;
      return;
    case Kind::kRmdir: {
      const NodeRef parent = parent_of(op.path, &name);
      parent->children.erase(name);
      --parent->links;
      return;
    }
    case Kind::kSetXattr: node->xattrs[kAttribute] = pattern(0, op.size, op.fill); return;
    case Kind::kDropXattr: node->xattrs.erase(kAttribute); return;
    case Kind::kChmod: node->mode = (node->mode & S_IFMT) | static_cast<uint32_t>(op.size); return;
    case Kind::kOpen:
    case Kind::kClose:
    case Kind::kFsync:
    case Kind::kTimer:
    case Kind::kStep:
    case Kind::kIdle:
    case Kind::kSeal:
    case Kind::kSettle:
    case Kind::kReopen: return;
  }
}

std::vector<Ino> Model::evict(const std::set<Ino>& there) {
  std::set<Ino> gone;
  std::vector<NodeRef> queue{root_};
  while (!queue.empty()) {
    const NodeRef dir = queue.back();
    queue.pop_back();
    std::erase_if(dir->children, [&](const auto& child) {
      const Node& node = *child.second;
      if (there.contains(node.ino)) return false;
      gone.insert(node.ino);
      if (S_ISDIR(node.mode)) --dir->links;
      return true;
    });
    for (const auto& [name, child] : dir->children) queue.push_back(child);
  }
  return {gone.begin(), gone.end()};
}

std::string Model::describe() const {
  std::map<std::string, std::string> lines;
  std::vector<std::pair<std::string, const Node*>> queue{{"", root_.get()}};
  while (!queue.empty()) {
    const auto [path, node] = queue.back();
    queue.pop_back();
    lines[path] = line(path, *node);
    for (const auto& [name, child] : node->children) queue.emplace_back(path + "/" + name, child.get());
  }
  std::string out;
  for (const auto& [path, text] : lines) out += text + "\n";
  return out;
}

// ---- What eviction took ----

namespace {

// A line of a description without times; the links of a directory without those of the directories in it.
struct Described {
  Ino ino = 0;
  std::string rest;
};
using Descriptions = std::map<std::string, Described>;

Descriptions parse(const std::string& text) {
  struct Line {
    std::string path, rest;
    Ino ino = 0;
    int64_t links = 0;
    bool is_dir = false;
  };
  std::vector<Line> lines;
  std::map<std::string, int64_t> directories_in;
  std::istringstream in(text);
  for (std::string one; std::getline(in, one);) {
    const size_t ino = one.find(" ino=");
    const size_t mode = one.find(" mode=", ino);
    const size_t links = one.find(" links=", mode);
    const size_t rest = one.find(' ', links + 1);
    CHECK(rest != std::string::npos);
    Line line;
    line.path = one.substr(0, ino);
    line.ino = std::stoull(one.substr(ino + 5));
    line.is_dir = S_ISDIR(static_cast<uint32_t>(std::stoul(one.substr(mode + 6), nullptr, 8)));
    line.links = std::stoll(one.substr(links + 7));
    line.rest = one.substr(mode, links - mode) + one.substr(rest, one.find(" mtime=") - rest);
    if (line.is_dir && !line.path.empty()) ++directories_in[line.path.substr(0, line.path.rfind('/'))];
    lines.push_back(std::move(line));
  }
  Descriptions out;
  for (const Line& line : lines) {
    const int64_t links = line.links - (line.is_dir ? directories_in[line.path] : 0);
    out[line.path] = {line.ino, fmt::format("{} links={}", line.rest, links)};
  }
  return out;
}

}  // namespace

std::set<Ino> inodes_in(const std::string& text) {
  std::set<Ino> out;
  for (const auto& [path, it] : parse(text)) out.insert(it.ino);
  return out;
}

namespace {

// Those of `all` that are not in `others`; false if one of them is still there by another name.
bool collect_whole(const Descriptions& all, const Descriptions& others, std::set<Ino>& out) {
  std::set<Ino> there;
  for (const auto& [path, it] : others) there.insert(it.ino);
  for (const auto& [path, it] : all) {
    if (others.contains(path) && others.at(path).ino == it.ino) continue;
    if (there.contains(it.ino)) return false;
    out.insert(it.ino);
  }
  return true;
}

}  // namespace

std::optional<Difference> whole_inodes_between(const std::string& first, const std::string& second) {
  const Descriptions a = parse(first);
  const Descriptions b = parse(second);
  Difference out;
  if (!collect_whole(a, b, out.gone) || !collect_whole(b, a, out.more)) return std::nullopt;
  for (const auto& [path, it] : a) {
    const auto other = b.find(path);
    if (other != b.end() && other->second.ino == it.ino && other->second.rest != it.rest) return std::nullopt;
  }
  return out;
}

// ---- The real tree ----

namespace {

Result<Model::Node> read_node(FileSystem& fs, const Attr& attr) {
  Model::Node node{.ino = attr.ino, .mode = attr.mode, .links = attr.links};
  if (S_ISREG(attr.mode)) {
    TRY_ASSIGN(const auto pieces, fs.read(attr.ino, 0, UINT64_MAX));
    for (const Value& piece : pieces) node.content += piece.view();
    const bool has_data = node.content.find_first_not_of('\0') != std::string::npos;
    if (has_data && attr.blocks == 0) return fail(ErrorCode::kCorrupt, "a file with data and no blocks");
  }
  if (S_ISLNK(attr.mode)) {
    TRY_ASSIGN(node.content, fs.readlink(attr.ino));
  }
  if (!S_ISDIR(attr.mode) && node.content.size() != attr.size)
    return fail(ErrorCode::kCorrupt, fmt::format("size {} but {} bytes", attr.size, node.content.size()));
  TRY_ASSIGN(const auto names, fs.list_xattrs(attr.ino));
  for (const std::string& name : names) {
    TRY_ASSIGN(node.xattrs[name], fs.get_xattr(attr.ino, name));
  }
  return node;
}

Result<void> check_entry(FileSystem& fs, Ino dir, const DirEntry& entry) {
  TRY_ASSIGN(const Attr found, fs.lookup(dir, entry.name));
  fs.forget(found.ino, 1);
  if (found.ino == entry.ino && (found.mode & S_IFMT) == entry.type) return {};
  return fail(ErrorCode::kCorrupt, "a name and its listing disagree: " + entry.name);
}

}  // namespace

Result<Picture> picture_of(FileSystem& fs) {
  std::map<std::string, std::pair<std::string, std::string>> lines;
  std::vector<std::pair<std::string, Ino>> queue{{"", kRootIno}};
  while (!queue.empty()) {
    const auto [path, ino] = queue.back();
    queue.pop_back();
    TRY_ASSIGN(const Attr attr, fs.getattr(ino));
    const auto node = read_node(fs, attr);
    if (!node) return fail(node.error().code, path + ": " + node.error().message);
    lines[path] = {line(path, *node), fmt::format(" mtime={}.{} ctime={}.{}", attr.mtime.seconds,
                                                  attr.mtime.nanoseconds, attr.ctime.seconds, attr.ctime.nanoseconds)};
    if (!S_ISDIR(attr.mode)) continue;
    TRY_ASSIGN(const auto entries, fs.read_dir(ino, 0, SIZE_MAX, nullptr));
    for (const DirEntry& entry : entries) {
      TRY(check_entry(fs, ino, entry));
      queue.emplace_back(path + "/" + entry.name, entry.ino);
    }
  }
  Picture out;
  for (const auto& [path, text] : lines) {
    out.plain += text.first + "\n";
    out.timed += text.first + text.second + "\n";
  }
  return out;
}

}  // namespace cairn::crash
