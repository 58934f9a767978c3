// The directories of SimDisk, and the life of nodes.
//
// A node has a name in `current`, or handles, or is gone; gone ones stay in the map as long as a durable name or a
// pending operation still leads to them, because a crash may bring them back.

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "base/check.h"
#include "io/sim_disk.h"

namespace cairn::io {

void land(const NameOp& op, DirMap& dirs) {
  // `dirs` may lack a directory that no durable name reaches yet; it is made, and assemble() leaves it out unless
  // something leads there.
  auto& names = dirs[op.dir].durable;
  switch (op.kind) {
    case NameOp::Kind::kAdd: names[op.name] = op.node; return;
    case NameOp::Kind::kRemove: names.erase(op.name); return;
    case NameOp::Kind::kRename:
      names.erase(op.name);
      dirs[op.target_dir].durable[op.target_name] = op.node;
      return;
  }
}

// The running system sees `current`; `durable` changes only by landing operations, here or in a crash.

NodeId SimDisk::lookup(NodeId dir, std::string_view name) const {
  const auto& names = dirs_.at(dir).current;
  const auto found = names.find(name);
  return found == names.end() ? 0 : found->second;
}

int SimDisk::create(NodeId dir, std::string_view name, NodeId* node) {
  if (lookup(dir, name) != 0) return EEXIST;
  DCHECK(next_node_ != 0 && !files_.contains(next_node_));
  *node = next_node_++;
  files_[*node];
  dirs_.at(dir).current[std::string(name)] = *node;
  add_name_op({.kind = NameOp::Kind::kAdd, .dir = dir, .name = std::string(name), .node = *node});
  return 0;
}

int SimDisk::make_dir(NodeId dir, std::string_view name) {
  if (lookup(dir, name) != 0) return EEXIST;
  const NodeId node = next_node_++;
  dirs_[node];
  dirs_.at(dir).current[std::string(name)] = node;
  add_name_op({.kind = NameOp::Kind::kAdd, .dir = dir, .name = std::string(name), .node = node});
  return 0;
}

void SimDisk::add_name_op(NameOp op) {
  // One counter for data and names: a crash may cut between any two operations, whatever they are about.
  op.order = next_order_++;
  pending_names_.push_back(std::move(op));
}

bool SimDisk::inside(NodeId dir, NodeId ancestor) const {
  std::vector<NodeId> todo{ancestor};
  while (!todo.empty()) {
    const NodeId node = todo.back();
    todo.pop_back();
    if (node == dir) return true;
    for (const auto& [name, child] : dirs_.at(node).current) {
      if (is_dir(child)) todo.push_back(child);
    }
  }
  return false;
}

int SimDisk::rename(NodeId dir, std::string_view from, NodeId target_dir, std::string_view to) {
  const NodeId node = lookup(dir, from);
  if (node == 0) return ENOENT;
  const NodeId replaced = lookup(target_dir, to);
  // rename(2): nothing happens, where both names are of one file. There are no hard links here, so they are one name.
  if (replaced == node) return 0;
  if (is_dir(node) && inside(target_dir, node)) return EINVAL;
  if (replaced != 0) {
    if (is_dir(replaced) && !is_dir(node)) return EISDIR;
    if (!is_dir(replaced) && is_dir(node)) return ENOTDIR;
    if (is_dir(replaced) && !dirs_.at(replaced).current.empty()) return ENOTEMPTY;
  }
  dirs_.at(dir).current.erase(std::string(from));
  dirs_.at(target_dir).current[std::string(to)] = node;
  // One operation: a crash leaves the old name or the new one, never both and never none.
  add_name_op({.kind = NameOp::Kind::kRename,
               .dir = dir,
               .name = std::string(from),
               .node = node,
               .target_dir = target_dir,
               .target_name = std::string(to)});
  CHECK(dirs_.at(target_dir).current.contains(to));
  if (replaced != 0) drop_name(replaced);
  return 0;
}

int SimDisk::unlink(NodeId dir, std::string_view name) {
  const NodeId node = lookup(dir, name);
  if (node == 0) return ENOENT;
  if (is_dir(node)) return EISDIR;
  dirs_.at(dir).current.erase(std::string(name));
  add_name_op({.kind = NameOp::Kind::kRemove, .dir = dir, .name = std::string(name)});
  drop_name(node);
  return 0;
}

void SimDisk::sync_dir(NodeId dir) {
  // Names that a chosen operation touches. An earlier operation on one of them is chosen too: without this, the late
  // creation of a name that was renamed away durably would bring it back.
  std::set<std::pair<NodeId, std::string>> touched;
  std::vector<bool> chosen(pending_names_.size());
  // Backwards, so that what an operation builds on is chosen with it.
  for (size_t i = pending_names_.size(); i-- > 0;) {
    const NameOp& op = pending_names_[i];
    chosen[i] = op.dir == dir || op.target_dir == dir || touched.contains({op.dir, op.name}) ||
                (op.target_dir != 0 && touched.contains({op.target_dir, op.target_name}));
    if (!chosen[i]) continue;
    touched.insert({op.dir, op.name});
    if (op.target_dir != 0) touched.insert({op.target_dir, op.target_name});
  }
  std::vector<NameOp> rest;
  for (size_t i = 0; i < pending_names_.size(); ++i) {
    if (chosen[i]) {
      land(pending_names_[i], dirs_);
    } else {
      rest.push_back(std::move(pending_names_[i]));
    }
  }
  pending_names_ = std::move(rest);
  collect();
}

void SimDisk::sync_all() {
  for (const NameOp& op : pending_names_) land(op, dirs_);
  pending_names_.clear();
  // Damaged or diverged files too: this is the disk's word for "as it is now".
  for (const auto& [node, file] : files_) sync(node);
  collect();
}

void SimDisk::open(NodeId node) { ++files_.at(node).handles; }

void SimDisk::close(NodeId node) {
  FileNode& file = files_.at(node);
  CHECK(file.handles > 0);
  --file.handles;
  release_if_gone(node);
}

void SimDisk::drop_name(NodeId node) {
  const auto found = files_.find(node);
  if (found == files_.end()) return;  // a directory
  found->second.linked = false;
  release_if_gone(node);
}

// Gives the space back. The node itself stays until nothing durable or pending names it: a crash may bring it back.
void SimDisk::release_if_gone(NodeId node) {
  const auto found = files_.find(node);
  if (found == files_.end()) return;
  FileNode& file = found->second;
  CHECK(!file.gone || !file.linked);
  if (file.linked || file.handles > 0 || file.gone) return;
  CHECK(used_pages_ >= file.current->allocated_pages());
  file.gone = true;
  used_pages_ -= file.current->allocated_pages();
  keep_freed(*file.current, 0);
  collect();
}

// Forgets gone files that no crash can bring back.
void SimDisk::collect() {
  std::set<NodeId> named;
  for (const auto& [id, dir] : dirs_) {
    for (const auto& [name, node] : dir.durable) named.insert(node);
  }
  for (const NameOp& op : pending_names_) named.insert(op.node);
  std::erase_if(files_, [&](const auto& item) { return item.second.gone && !named.contains(item.first); });
}

void SimDisk::keep_freed(const SimContent& content, uint64_t first_page) {
  for (uint64_t index = first_page; index < content.page_limit(); ++index) {
    if (PagePtr page = content.page(index); page != nullptr) freed_.push_back({index, std::move(page)});
    if (freed_.size() > kFreedMax) freed_.pop_front();
  }
}

}  // namespace cairn::io
