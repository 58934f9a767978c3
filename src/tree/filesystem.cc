// FileSystem: the public face of the tree.
#include "cairn/filesystem.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/try.h"
#include "tree/attributes.h"
#include "tree/content.h"
#include "tree/names.h"
#include "tree/tree.h"

namespace cairn {

class FileSystem::Impl {
 public:
  Impl(std::unique_ptr<Store> owned, const FsOptions& options) : store(std::move(owned)), tree(*store, options) {}

  // The tree goes before the store that it works on.
  std::unique_ptr<Store> store;
  tree::Tree tree;
  bool closed = false;
};

namespace {

// A store without a root is new, or has lost it.
Result<void> find_or_make_root(tree::Tree& tree) {
  const auto root = tree.store.value_size(format::attributes_key(kRootIno));
  if (root) return {};
  if (root.error().code != ErrorCode::kNotFound) return fail(root.error());
  // Something is there, but no root: making an empty one would hide all of it.
  Cursor cursor = tree.store.scan({});
  cursor.seek(format::inode_prefix(kRootIno));
  if (cursor.valid()) return fail(ErrorCode::kCorrupt, "the root directory is missing: run fsck.cairnfs on the store");
  TRY(cursor.status());
  return tree::make_root(tree);
}

// The reader is told; the next one finds that the file is gone, as a cache's miss.
void note_unreadable(tree::Tree& tree, Ino ino, const Error& error) {
  if (error.code == ErrorCode::kCorrupt) tree.evictor.damaged(ino, error);
}

Result<void> close_tree(tree::Tree& tree) {
  Result<void> first_error;
  const auto note = [&](Result<void> result) {
    if (!result && first_error) first_error = std::move(result);
  };
  if (!tree.store.stats().read_only) {
    // The kernel sends no forgets at unmount, so nothing would ever count as unused.
    tree.closing = true;  // what was still open, or counted, is closed now
    note(tree.evictor.stop());
    // Orphans are erased now, so that the next mount starts clean; what does not get done is done then.
    note(tree.sweeper.resume());
    tree.sweeper.drain();
  }
  tree.hand_over.stop();
  tree.sweeper.stop();
  tree.write_behind.stop();
  // Its last commit writes what is buffered, or there is none: a commit without it would be no state that the tree had.
  note(tree.store.close());
  return first_error;
}

}  // namespace

FileSystem::FileSystem(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

FileSystem::~FileSystem() {
  if (auto closed = close(); !closed) impl_->tree.logger->error("close_failed reason=\"{}\"", closed.error().message);
}

Result<std::unique_ptr<FileSystem>> FileSystem::open(std::unique_ptr<Store> store, const FsOptions& options) {
  CHECK(store != nullptr);
  std::unique_ptr<FileSystem> fs(new FileSystem(std::make_unique<Impl>(std::move(store), options)));
  tree::Tree& tree = fs->impl_->tree;
  // Before the first change: nothing may be buffered that a commit does not know of.
  tree.store.set_commit_hook([&tree](Store::Operation& operation) { return write_back_all(tree, operation); });
  auto ready = find_or_make_root(tree);
  // Read-only nothing is swept or evicted: it is for looking.
  if (ready && !tree.store.stats().read_only) ready = tree.sweeper.resume();
  if (ready && !tree.store.stats().read_only) tree.evictor.start();
  if (ready) return fs;
  fs->impl_->closed = true;  // a tree that could not be opened is not tidied up
  tree.hand_over.stop();
  tree.sweeper.stop();
  tree.write_behind.stop();
  tree.store.set_commit_hook({});
  return fail(std::move(ready).error());
}

Result<void> FileSystem::close() {
  if (std::exchange(impl_->closed, true)) return {};
  return close_tree(impl_->tree);
}

Result<Attr> FileSystem::lookup(Ino parent, ByteView name) {
  auto attr = tree::lookup(impl_->tree, parent, name);
  if (!attr && attr.error().code == ErrorCode::kNotFound) ++impl_->tree.traffic.misses;
  return attr;
}

void FileSystem::forget(Ino ino, uint64_t count) {
  tree::Tree& tree = impl_->tree;
  // Given only if that was the last: most calls end here, without the inode's mutex.
  const tree::InodeRef inode = tree.inodes.forget(ino, count);
  if (!inode) return;
  inode->content_known = inode->handed_ahead = false;
  const ReadLock lock(inode->mutex);
  if (inode->life == tree::Life::kUnlinked && !tree.in_use(*inode)) tree.sweeper.submit(ino);
}

Result<Attr> FileSystem::getattr(Ino ino) { return tree::getattr(impl_->tree, ino); }

Result<Attr> FileSystem::setattr(Ino ino, const AttrChange& change) {
  tree::Tree& tree = impl_->tree;
  if (!tree.inodes.get(ino)->new_open) tree.evictor.used_group(ino);
  return tree::setattr(tree, ino, change);
}

Result<Bytes> FileSystem::readlink(Ino ino) { return tree::readlink(impl_->tree, ino); }

Result<Attr> FileSystem::mknod(Ino parent, ByteView name, uint32_t mode, uint64_t rdev, const Caller& caller) {
  // As mknod(2): directories are EPERM, no type at all is a regular file.
  const uint32_t type = mode & S_IFMT;
  if (type == S_IFDIR) return fail(ErrorCode::kPermission);
  if (type == S_IFLNK || name.empty()) return fail(ErrorCode::kInvalid);
  const uint32_t full = type == 0 ? mode | S_IFREG : mode;
  if (type != 0 && type != S_IFREG && type != S_IFCHR && type != S_IFBLK && type != S_IFIFO && type != S_IFSOCK) {
    return fail(ErrorCode::kInvalid);
  }
  return tree::make_node(impl_->tree, parent, name, {.mode = full, .rdev = rdev, .target = {}}, caller);
}

Result<Attr> FileSystem::mkdir(Ino parent, ByteView name, uint32_t mode, const Caller& caller) {
  const uint32_t full = S_IFDIR | (mode & 07777);
  return tree::make_node(impl_->tree, parent, name, {.mode = full, .rdev = 0, .target = {}}, caller);
}

Result<Attr> FileSystem::symlink(Ino parent, ByteView name, ByteView target, const Caller& caller) {
  // The kernel sends none; it would end the string for whoever reads the link.
  if (target.find('\0') != ByteView::npos) return fail(ErrorCode::kInvalid);
  return tree::make_node(impl_->tree, parent, name, {.mode = S_IFLNK | 0777, .rdev = 0, .target = target}, caller);
}

Result<Attr> FileSystem::link(Ino ino, Ino new_parent, ByteView new_name) {
  return tree::link(impl_->tree, ino, new_parent, new_name);
}

Result<void> FileSystem::unlink(Ino parent, ByteView name) { return tree::unlink(impl_->tree, parent, name); }

Result<void> FileSystem::rmdir(Ino parent, ByteView name) { return tree::rmdir(impl_->tree, parent, name); }

Result<void> FileSystem::rename(Ino parent, ByteView name, Ino new_parent, ByteView new_name, uint32_t flags,
                                const Caller& caller) {
  return tree::rename(impl_->tree, parent, name, new_parent, new_name, flags, caller);
}

Result<Attr> FileSystem::create(Ino parent, ByteView name, uint32_t mode, const Caller& caller) {
  const uint32_t full = S_IFREG | (mode & 07777);
  return tree::make_node(impl_->tree, parent, name,
                         {.mode = full, .rdev = 0, .target = {}, .open = impl_->tree.options.opens_counted}, caller);
}

Result<Attr> FileSystem::open(Ino ino, bool truncate, bool kill_suidgid) {
  tree::Tree& tree = impl_->tree;
  tree.evictor.used_group(ino);
  const tree::InodeRef inode = tree.inodes.get(ino);
  Attr attr;
  {
    const ReadLock lock(inode->mutex);
    TRY_ASSIGN(attr, tree::open(tree, *inode));
  }
  if (!truncate && !kill_suidgid) return attr;
  AttrChange change;
  change.set_size = truncate;
  change.kill_suidgid = kill_suidgid;
  auto changed = tree::setattr(tree, ino, change);
  // The caller got no open, and will not give it back.
  if (!changed) release(ino);
  return changed;
}

Result<Attr> FileSystem::open_to_read(Ino ino) {
  tree::Tree& tree = impl_->tree;
  tree.evictor.used_group(ino);
  return tree.hand_over.open(*tree.inodes.get(ino));
}

void FileSystem::set_content_taker(TakeContent take) { impl_->tree.hand_over.set_taker(std::move(take)); }

void FileSystem::release(Ino ino) {
  tree::Tree& tree = impl_->tree;
  const tree::InodeRef inode = tree.options.opens_counted ? tree.inodes.release(ino) : tree.inodes.get(ino);
  if (!inode) return;
  // What could not go because it was open may go now.
  tree.evictor.released();
  const bool was_new = inode->new_open.exchange(false);
  // The close of whoever made the file is no use of it: a file that is written once and never read goes first.
  if (!was_new) tree.evictor.used_group(ino);
  {
    const ReadLock lock(inode->mutex);
    if (!was_new && inode->life == tree::Life::kAlive) tree.evictor.used(ino);
    if (inode->life == tree::Life::kUnlinked && !tree.in_use(*inode)) {
      tree.sweeper.submit(ino);
      return;
    }
    if (inode->chunks.empty() || inode->life != tree::Life::kAlive) return;
  }
  tree.write_behind.submit(inode);
}

Result<std::vector<Value>> FileSystem::read(Ino ino, uint64_t offset, uint64_t size) {
  tree::Tree& tree = impl_->tree;
  auto pieces = tree::read(tree, ino, offset, size);
  if (pieces) {
    for (const Value& piece : *pieces) tree.traffic.bytes_out += piece.size();
  } else {
    note_unreadable(tree, ino, pieces.error());
  }
  return pieces;
}

Result<uint64_t> FileSystem::read_into(Ino ino, uint64_t offset, std::span<char> out) {
  tree::Tree& tree = impl_->tree;
  auto got = tree::read_into(tree, ino, offset, out);
  if (got) {
    tree.traffic.bytes_out += *got;
  } else {
    note_unreadable(tree, ino, got.error());
  }
  return got;
}

Result<uint64_t> FileSystem::write(Ino ino, uint64_t offset, ByteView data, bool append, bool kill_suidgid) {
  auto written = tree::write(impl_->tree, ino, offset, data, append, kill_suidgid);
  if (written) {
    impl_->tree.traffic.bytes_in += *written;
  } else if (written.error().code == ErrorCode::kCorrupt) {  // a chunk that was to be changed
    impl_->tree.evictor.damaged(ino, written.error());
  }
  return written;
}

// The log is one: what makes one inode durable makes all of them so. The commit hook writes what is buffered.
Result<void> FileSystem::fsync(Ino ino) {
  (void)ino;
  return impl_->store->sync();
}

Result<void> FileSystem::sync() { return impl_->store->sync(); }

Result<void> FileSystem::fallocate(Ino ino, uint32_t flags, uint64_t offset, uint64_t length) {
  return tree::fallocate(impl_->tree, ino, flags, offset, length);
}

Result<uint64_t> FileSystem::seek(Ino ino, uint64_t offset, SeekWhat what) {
  return tree::seek(impl_->tree, ino, offset, what);
}

Result<std::vector<DirEntry>> FileSystem::read_dir(Ino dir, uint64_t cookie, size_t max, std::vector<Attr>* attrs) {
  return tree::read_dir(impl_->tree, dir, cookie, max, attrs);
}

void FileSystem::count_lookup(Ino ino) {
  // If it went meanwhile the count goes nowhere: the kernel's next request is answered kStale.
  const tree::InodeRef inode = impl_->tree.inodes.get(ino);
  impl_->tree.inodes.count_lookup(*inode);
}

Result<Ino> FileSystem::parent(Ino dir) { return tree::parent_of(impl_->tree, dir); }

Result<Bytes> FileSystem::get_xattr(Ino ino, ByteView name) { return tree::get_xattr(impl_->tree, ino, name); }

Result<void> FileSystem::set_xattr(Ino ino, ByteView name, ByteView value, XattrMode mode) {
  return tree::set_xattr(impl_->tree, ino, name, value, mode);
}

Result<void> FileSystem::remove_xattr(Ino ino, ByteView name) { return tree::remove_xattr(impl_->tree, ino, name); }

Result<std::vector<std::string>> FileSystem::list_xattrs(Ino ino) { return tree::list_xattrs(impl_->tree, ino); }

void FileSystem::set_eviction_listener(std::function<void(const LostName&)> listener) {
  impl_->tree.evictor.set_listener(std::move(listener));
}

CacheStats FileSystem::cache_stats() const {
  const tree::Tree& tree = impl_->tree;
  CacheStats out;
  out.hits = tree.traffic.hits;
  out.misses = tree.traffic.misses;
  out.bytes_in = tree.traffic.bytes_in;
  out.bytes_out = tree.traffic.bytes_out;
  tree.evictor.add_to(out);
  return out;
}

Result<FsStats> FileSystem::statfs() {
  constexpr uint64_t kBytesPerFile = 4096;  // there is no table of inodes to run out of; df -i wants numbers
  const StoreStats stats = impl_->store->stats();
  FsStats out;
  if (stats.limit != 0) {
    out.total_bytes = stats.limit;
    out.free_bytes = stats.limit - std::min(stats.limit, stats.allocated_bytes);
  } else {
    out.total_bytes = stats.disk_total;
    out.free_bytes = stats.disk_available;
  }
  // No share is kept for root.
  out.available_bytes = out.free_bytes;
  out.files = out.total_bytes / kBytesPerFile;
  out.free_files = out.free_bytes / kBytesPerFile;
  return out;
}

Result<void> FileSystem::set_limit(uint64_t limit) { return impl_->store->set_limit(limit); }

StoreStats FileSystem::store_stats() const { return impl_->store->stats(); }

uint64_t FileSystem::known_inodes() const { return impl_->tree.inodes.counted(); }

}  // namespace cairn
