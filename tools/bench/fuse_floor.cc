// fuse_floor [-f] [-o OPTIONS] MOUNTPOINT: the least that a FUSE file system can do, the floor that ours is compared with.
// Names and attributes live in memory, of content only the size: reads give zeros. The kernel asks for the same things as of a mount
// of ours: the capabilities are fusefs/frontend.cc's, xattrs are answered (there are none), absent names are remembered.
//   tools/bench/suite DIRECTORY --only micro --daemon 'floor=build/tools/bench/fuse_floor -f -o default_permissions %m'
// Over io_uring, with a libfuse that can: -o default_permissions,io_uring,io_uring_q_depth=8. No rename over what exists, no links.
#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>

#include <fuse_lowlevel.h>

namespace {

constexpr double kForever = 1e9;
constexpr unsigned kMaxWrite = 1 << 20;

struct Node {
  struct Entry {
    std::string name;  // empty: removed
    fuse_ino_t ino = 0;
  };
  mode_t mode = 0;
  off_t size = 0;
  std::vector<Entry> entries;  // of a directory; the offset of a listing is a place in it
  std::unordered_map<std::string, size_t> places;
};

std::mutex mu;
std::deque<Node> nodes(FUSE_ROOT_ID + 1);  // by inode number, under mu, as all that is in them

struct stat attributes(fuse_ino_t ino) {
  struct stat st = {};
  st.st_ino = ino;
  st.st_mode = nodes[ino].mode;
  st.st_size = nodes[ino].size;
  st.st_nlink = 1;
  st.st_blksize = 4096;
  return st;
}

fuse_entry_param entry_of(fuse_ino_t ino) {
  fuse_entry_param entry = {};
  entry.ino = ino;
  entry.entry_timeout = kForever;
  if (ino == 0) return entry;  // nothing there, and that may be remembered
  entry.attr = attributes(ino);
  entry.attr_timeout = kForever;
  return entry;
}

fuse_ino_t find(fuse_ino_t parent, const char* name) {
  const auto place = nodes[parent].places.find(name);
  return place == nodes[parent].places.end() ? 0 : nodes[parent].entries[place->second].ino;
}

void link(fuse_ino_t parent, const char* name, fuse_ino_t ino) {
  nodes[parent].places[name] = nodes[parent].entries.size();
  nodes[parent].entries.push_back({name, ino});
}

void unlink(fuse_ino_t parent, const char* name) {
  const auto place = nodes[parent].places.find(name);
  if (place == nodes[parent].places.end()) return;
  nodes[parent].entries[place->second] = {};
  nodes[parent].places.erase(place);
}

fuse_entry_param make(fuse_ino_t parent, const char* name, mode_t mode) {
  const std::lock_guard lock(mu);
  nodes.emplace_back().mode = mode;
  link(parent, name, nodes.size() - 1);
  return entry_of(nodes.size() - 1);
}

void set_open(fuse_file_info* fi) {
  fi->keep_cache = 1;
  fi->noflush = 1;
}

// ---- What the kernel asks for ----

void want(fuse_conn_info* conn, uint64_t capability) {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  fuse_set_feature_flag(conn, capability);
#else
  conn->want |= conn->capable & static_cast<unsigned>(capability);
#endif
}

void refuse(fuse_conn_info* conn, uint64_t capability) {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  fuse_unset_feature_flag(conn, capability);
#else
  conn->want &= ~static_cast<unsigned>(capability);
#endif
}

void on_init(void* /*userdata*/, fuse_conn_info* conn) {
  conn->max_write = kMaxWrite;
  conn->max_background = 64;
  conn->congestion_threshold = 48;
  conn->time_gran = 1;
  for (const uint64_t capability : {FUSE_CAP_EXPLICIT_INVAL_DATA, FUSE_CAP_CACHE_SYMLINKS, FUSE_CAP_READDIRPLUS,
                                    FUSE_CAP_READDIRPLUS_AUTO, FUSE_CAP_PARALLEL_DIROPS, FUSE_CAP_ATOMIC_O_TRUNC}) {
    want(conn, capability);
  }
  for (const uint64_t capability :
       {FUSE_CAP_AUTO_INVAL_DATA, FUSE_CAP_WRITEBACK_CACHE, FUSE_CAP_SPLICE_READ, FUSE_CAP_HANDLE_KILLPRIV}) {
    refuse(conn, capability);
  }
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18)
  want(conn, FUSE_CAP_HANDLE_KILLPRIV_V2);
#endif
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  conn->no_interrupt = 1;
#endif
}

void on_lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  fuse_entry_param entry = {};
  {
    const std::lock_guard lock(mu);
    entry = entry_of(find(parent, name));
  }
  fuse_reply_entry(req, &entry);
}

void on_getattr(fuse_req_t req, fuse_ino_t ino, fuse_file_info* /*fi*/) {
  struct stat st = {};
  {
    const std::lock_guard lock(mu);
    st = attributes(ino);
  }
  fuse_reply_attr(req, &st, kForever);
}

void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat* wanted, int which, fuse_file_info* fi) {
  if ((which & FUSE_SET_ATTR_SIZE) != 0) {
    const std::lock_guard lock(mu);
    nodes[ino].size = wanted->st_size;
  }
  on_getattr(req, ino, fi);
}

void on_getxattr(fuse_req_t req, fuse_ino_t /*ino*/, const char* /*name*/, size_t /*size*/) {
  fuse_reply_err(req, ENODATA);
}

void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  const fuse_entry_param entry = make(parent, name, S_IFDIR | mode);
  fuse_reply_entry(req, &entry);
}

void on_create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* fi) {
  const fuse_entry_param entry = make(parent, name, S_IFREG | mode);
  set_open(fi);
  fuse_reply_create(req, &entry, fi);
}

void on_open(fuse_req_t req, fuse_ino_t ino, fuse_file_info* fi) {
  if ((fi->flags & O_TRUNC) != 0) {
    const std::lock_guard lock(mu);
    nodes[ino].size = 0;
  }
  set_open(fi);
  fuse_reply_open(req, fi);
}

void on_write(fuse_req_t req, fuse_ino_t ino, const char* /*bytes*/, size_t size, off_t offset,
              fuse_file_info* /*fi*/) {
  {
    const std::lock_guard lock(mu);
    nodes[ino].size = std::max(nodes[ino].size, offset + static_cast<off_t>(size));
  }
  fuse_reply_write(req, size);
}

void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info* /*fi*/) {
  static const std::vector<char> zeros(2 * kMaxWrite);
  off_t end = 0;
  {
    const std::lock_guard lock(mu);
    end = nodes[ino].size;
  }
  fuse_reply_buf(req, zeros.data(),
                 offset >= end ? 0 : std::min<size_t>({size, static_cast<size_t>(end - offset), zeros.size()}));
}

void on_fsync(fuse_req_t req, fuse_ino_t /*ino*/, int /*datasync*/, fuse_file_info* /*fi*/) { fuse_reply_err(req, 0); }

void on_release(fuse_req_t req, fuse_ino_t /*ino*/, fuse_file_info* /*fi*/) { fuse_reply_err(req, 0); }

void on_unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  {
    const std::lock_guard lock(mu);
    unlink(parent, name);
  }
  fuse_reply_err(req, 0);
}

void on_rename(fuse_req_t req, fuse_ino_t from, const char* name, fuse_ino_t to, const char* new_name,
               unsigned /*flags*/) {
  int error = 0;
  {
    const std::lock_guard lock(mu);
    const fuse_ino_t ino = find(from, name);
    if (find(to, new_name) != 0) {
      error = ENOSYS;
    } else {
      unlink(from, name);
      link(to, new_name, ino);
    }
  }
  fuse_reply_err(req, error);
}

void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, bool plus) {
  std::vector<char> bytes(size);
  size_t used = 0;
  {
    const std::lock_guard lock(mu);
    const std::vector<Node::Entry>& entries = nodes[ino].entries;
    for (size_t i = static_cast<size_t>(offset); i < entries.size(); ++i) {
      if (entries[i].name.empty()) continue;
      const fuse_entry_param entry = entry_of(entries[i].ino);
      const off_t next = static_cast<off_t>(i) + 1;
      const char* name = entries[i].name.c_str();
      const size_t length = plus ? fuse_add_direntry_plus(req, &bytes[used], size - used, name, &entry, next)
                                 : fuse_add_direntry(req, &bytes[used], size - used, name, &entry.attr, next);
      if (length > size - used) break;
      used += length;
    }
  }
  fuse_reply_buf(req, bytes.data(), used);
}

void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info* /*fi*/) {
  list(req, ino, size, offset, /*plus=*/false);
}

void on_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info* /*fi*/) {
  list(req, ino, size, offset, /*plus=*/true);
}

int serve(fuse_session* session, const fuse_cmdline_opts& line) {
  if (fuse_set_signal_handlers(session) != 0 || fuse_session_mount(session, line.mountpoint) != 0) return 1;
  fuse_daemonize(line.foreground);
  fuse_loop_config* config = fuse_loop_cfg_create();
  fuse_loop_cfg_set_clone_fd(config, 1);
  fuse_loop_cfg_set_max_threads(config, 10);
  const int ended = fuse_session_loop_mt(session, config);
  fuse_loop_cfg_destroy(config);
  fuse_session_unmount(session);
  return ended == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  nodes[FUSE_ROOT_ID].mode = S_IFDIR | 0755;
  fuse_lowlevel_ops ops = {};
  ops.init = on_init;
  ops.lookup = on_lookup;
  ops.getattr = on_getattr;
  ops.setattr = on_setattr;
  ops.getxattr = on_getxattr;
  ops.mkdir = on_mkdir;
  ops.create = on_create;
  ops.open = on_open;
  ops.write = on_write;
  ops.read = on_read;
  ops.fsync = on_fsync;
  ops.release = on_release;
  ops.unlink = on_unlink;
  ops.rmdir = on_unlink;
  ops.rename = on_rename;
  ops.readdir = on_readdir;
  ops.readdirplus = on_readdirplus;
  fuse_args args = FUSE_ARGS_INIT(argc, argv);
  fuse_cmdline_opts line = {};
  if (fuse_parse_cmdline(&args, &line) != 0 || line.mountpoint == nullptr) {
    fuse_log(FUSE_LOG_ERR, "usage: fuse_floor [-f] [-o OPTIONS] MOUNTPOINT\n");
    return 2;
  }
  fuse_session* session = fuse_session_new(&args, &ops, sizeof ops, nullptr);
  if (session == nullptr) return 1;
  const int code = serve(session, line);
  fuse_session_destroy(session);
  std::free(line.mountpoint);
  fuse_opt_free_args(&args);
  return code;
}
