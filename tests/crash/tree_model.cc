#include "crash/tree_model.h"

#include <algorithm>
#include <array>
#include <functional>
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
