#include "tools/transfer/transfer.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <sys/stat.h>

#include <fmt/format.h>

namespace cairn::tools {
namespace {

constexpr size_t kSlice = 64;               // entries of a directory that are one piece of work
constexpr uint64_t kReadSize = 1ull << 20;  // bytes

// A directory under way. It gets its attributes when all that is in it is done, since that would change its times.
struct Folder {
  std::shared_ptr<Folder> parent;
  Entry from;
  Place to;
  bool fresh = false;                 // made by us: nothing is in it
  std::atomic<uint64_t> pending = 1;  // its listing, slices of it, and directories in it
};
using FolderRef = std::shared_ptr<Folder>;

struct Task {
  FolderRef folder;
  std::vector<Entry> entries;  // none: list it
};

bool is_same_time(const Time& a, const Time& b) { return a.seconds == b.seconds && a.nanoseconds == b.nanoseconds; }

bool is_same(const std::vector<Xattr>& a, const std::vector<Xattr>& b) {
  return a.size() == b.size() && std::all_of(a.begin(), a.end(), [&b](const Xattr& x) {
           return std::any_of(b.begin(), b.end(),
                              [&x](const Xattr& y) { return x.name == y.name && x.value == y.value; });
         });
}

class Transfer {
 public:
  Transfer(Tree& from, Tree& to, TransferCount& count, const std::function<void(const std::string&)>& complain)
      : from_(from), to_(to), count_(count), complain_(complain) {}

  Result<void> run(unsigned workers) {
    auto from = from_.root();
    if (!from) return fail(std::move(from).error());
    auto to = to_.root();
    if (!to) return fail(std::move(to).error());
    push({make_folder(nullptr, std::move(*from), to->place, false), {}});
    std::vector<std::thread> threads;
    try {
      for (unsigned i = 1; i < workers; ++i) threads.emplace_back([this] { work(); });
    } catch (const std::system_error&) {  // no more threads: those that there are do it
    }
    work();
    for (std::thread& thread : threads) thread.join();
    for (const auto& [id, file] : linked_) to_.leave(file.place);
    if (fatal_) return fail(*fatal_);
    return {};
  }

 private:
  // ---- Who does what ----

  void push(Task task) {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
    changed_.notify_one();
  }

  // The newest first: depth first, so that few directories are under way at a time.
  std::optional<Task> next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !tasks_.empty() || busy_ == 0 || fatal_; });
    if (tasks_.empty() || fatal_) return std::nullopt;
    Task task = std::move(tasks_.back());
    tasks_.pop_back();
    ++busy_;
    return task;
  }

  void work() {
    while (auto task = next()) {
      try {
        do_task(*task);
      } catch (const std::exception& error) {  // no memory, mostly
        note(Error(ErrorCode::kOutOfMemory, fmt::format("{}: {}", task->folder->from.place.path, error.what())));
      }
      const std::lock_guard lock(mutex_);
      --busy_;
      changed_.notify_all();
    }
  }

  void do_task(Task& task) {
    if (task.entries.empty()) {
      list(task.folder);
    } else {
      for (const Entry& entry : task.entries) {
        if (stopped_) return;
        note(copy(task.folder, entry));
        ++count_.files;
      }
    }
    finish(std::move(task.folder));
  }

  void list(const FolderRef& folder) {
    auto entries = from_.list(folder->from.place);
    if (!entries) return note(std::move(entries).error());
    for (size_t i = 0; i < entries->size(); i += kSlice) {
      const auto begin = entries->begin() + static_cast<std::ptrdiff_t>(i);
      const auto end = begin + static_cast<std::ptrdiff_t>(std::min(kSlice, entries->size() - i));
      ++folder->pending;
      push({folder, {std::make_move_iterator(begin), std::make_move_iterator(end)}});
    }
  }

  FolderRef make_folder(FolderRef parent, Entry from, Place to, bool fresh) {
    auto folder = std::make_shared<Folder>();
    if (parent) ++parent->pending;
    folder->parent = std::move(parent);
    folder->from = std::move(from);
    folder->to = std::move(to);
    folder->fresh = fresh;
    return folder;
  }

  // A part of the folder is done; with the last one the folder is, and so on upwards.
  void finish(FolderRef folder) {
    while (folder && --folder->pending == 0) {
      note(set_attributes(folder->from, folder->to));
      to_.leave(folder->to);
      folder = std::exchange(folder->parent, nullptr);
    }
  }

  // ---- Errors ----

  void note(const Result<void>& result) {
    if (!result) note(result.error());
  }

  void note(const Error& error) {
    ++count_.errors;
    const bool fatal = error.code == ErrorCode::kNoSpace || error.code == ErrorCode::kReadOnly ||
                       error.code == ErrorCode::kOutOfMemory;
    const std::lock_guard lock(mutex_);
    if (!fatal) return complain_(error.message);
    if (!fatal_) fatal_ = error;
    stopped_ = true;
    changed_.notify_all();
  }

  // ---- One entry ----

  Result<void> copy(const FolderRef& folder, const Entry& entry) {
    std::optional<Entry> there;
    if (!folder->fresh) {
      auto found = to_.find(folder->to, entry.name);
      if (!found) return fail(std::move(found).error());
      there = std::move(*found);
    }
    if (there && S_ISDIR(there->attr.mode) != S_ISDIR(entry.attr.mode)) {
      to_.leave(there->place);
      return fail(ErrorCode::kExists, fmt::format("{}: one end has a directory of that name, the other has not: "
                                                  "rename or remove one of them, and do it again",
                                                  entry.place.path));
    }
    if (S_ISDIR(entry.attr.mode)) return copy_folder(folder, entry, there);
    if (entry.attr.links > 1) return copy_linked(*folder, entry, std::move(there));
    return copy_file(*folder, entry, std::move(there));
  }

  Result<void> copy_folder(const FolderRef& folder, const Entry& entry, const std::optional<Entry>& there) {
    Place place;
    if (there) {
      place = there->place;
    } else {
      auto made = to_.make(folder->to, entry.name, entry.attr, {});
      if (!made) return fail(std::move(made).error());
      place = made->place;
    }
    push({make_folder(folder, entry, place, !there), {}});
    return {};
  }

  // The first name of a file with several makes it, the others are linked to it.
  Result<void> copy_linked(Folder& folder, const Entry& entry, std::optional<Entry> there) {
    std::unique_lock lock(linked_mutex_);
    const auto [it, first] = linked_.try_emplace({entry.device, entry.attr.ino});
    if (first) {
      const bool taken = there && !reused_.emplace(there->device, there->attr.ino).second;
      auto file = reuse_or_make(folder, entry, std::move(there), !taken);
      if (!file) {
        linked_.erase(it);
        return fail(std::move(file).error());
      }
      it->second = *file;
      lock.unlock();
      return fill(entry, *file);  // its place is left in the end
    }
    if (there) {
      to_.leave(there->place);
      if (there->device == it->second.device && there->attr.ino == it->second.attr.ino) return {};
      if (auto removed = to_.remove(folder.to, entry.name); !removed) return removed;
    }
    return to_.link(it->second.place, folder.to, entry.name);
  }

  Result<void> copy_file(Folder& folder, const Entry& entry, std::optional<Entry> there) {
    auto file = reuse_or_make(folder, entry, std::move(there));
    if (!file) return fail(std::move(file).error());
    auto filled = fill(entry, *file);
    to_.leave(file->place);
    return filled;
  }

  Result<Entry> reuse_or_make(Folder& folder, const Entry& entry, std::optional<Entry> there, bool may_reuse = true) {
    Bytes target;
    if (S_ISLNK(entry.attr.mode)) {
      auto read = from_.read_link(entry.place);
      if (!read) return fail(std::move(read).error());
      target = std::move(*read);
    }
    if (there) {
      auto usable = may_reuse ? is_usable(entry, *there, target) : Result<bool>(false);
      if (usable && *usable) return *there;
      to_.leave(there->place);
      if (!usable) return fail(std::move(usable).error());
      if (auto removed = to_.remove(folder.to, entry.name); !removed) return fail(std::move(removed).error());
    }
    return to_.make(folder.to, entry.name, entry.attr, target);
  }

  // A file that was just made has no time of change that somebody gave it: it is not taken for the same.
  static bool is_unchanged(const Entry& entry, const Entry& there) {
    return there.attr.size == entry.attr.size && is_same_time(there.attr.mtime, entry.attr.mtime);
  }

  // Whether what is there can become what is wanted without being made anew: nothing but content and attributes differ.
  Result<bool> is_usable(const Entry& entry, const Entry& there, const Bytes& target) {
    if ((entry.attr.mode & S_IFMT) != (there.attr.mode & S_IFMT)) return false;
    // Its other names may be others' files: it may stay what it is, but not become something else.
    if (there.attr.links > 1 && (entry.attr.links == 1 || !is_unchanged(entry, there))) return false;
    if (S_ISLNK(entry.attr.mode)) {
      auto read = to_.read_link(there.place);
      if (!read) return fail(std::move(read).error());
      return *read == target;
    }
    return S_ISREG(entry.attr.mode) || entry.attr.rdev == there.attr.rdev;
  }

  Result<void> fill(const Entry& entry, const Entry& target) {
    const bool unchanged = is_unchanged(entry, target);
    if (unchanged) {
      ++count_.unchanged;
    } else if (S_ISREG(entry.attr.mode)) {
      if (auto copied = copy_content(entry, target.place); !copied) return copied;
    }
    return set_attributes(entry, target.place, unchanged ? &target.attr : nullptr);
  }

  // Closed when it returns: only then may the time be set that says that all is there.
  Result<void> copy_content(const Entry& entry, const Place& place) {
    auto from = from_.open(entry.place, false);
    if (!from) return fail(std::move(from).error());
    auto to = to_.open(place, true);
    if (!to) return fail(std::move(to).error());
    const bool dense = entry.attr.blocks * 512 >= entry.attr.size;
    uint64_t offset = 0;
    while (offset < entry.attr.size) {
      std::optional<Range> range = Range{offset, entry.attr.size};
      if (!dense) {
        auto found = (*from)->next_data(offset);
        if (!found) return fail(std::move(found).error());
        range = *found;
      }
      if (!range) break;
      for (offset = range->start; offset < range->end && !stopped_;) {
        auto data = (*from)->read(offset, std::min(kReadSize, range->end - offset));
        if (!data) return fail(std::move(data).error());
        if (data->empty()) return fail(ErrorCode::kIo, fmt::format("{}: became shorter meanwhile", entry.place.path));
        if (auto written = (*to)->write(offset, *data); !written) return written;
        offset += data->size();
        count_.bytes += data->size();
      }
      if (stopped_) return {};
    }
    return offset < entry.attr.size ? (*to)->truncate(entry.attr.size) : Result<void>{};
  }

  // `before`: what they are at the target, if it may be that they are right already.
  Result<void> set_attributes(const Entry& entry, const Place& place, const Attr* before = nullptr) {
    if (stopped_) return {};
    auto wanted = from_.xattrs(entry.place);
    if (!wanted) return fail(std::move(wanted).error());
    if (before && before->mode == entry.attr.mode && before->uid == entry.attr.uid && before->gid == entry.attr.gid) {
      auto there = to_.xattrs(place);
      if (!there) return fail(std::move(there).error());
      if (is_same(*wanted, *there)) return {};
    }
    auto refused = to_.set(place, entry.attr, *wanted);
    if (!refused) return fail(std::move(refused).error());
    count_.refused += refused->size();
    return {};
  }

  Tree& from_;
  Tree& to_;
  TransferCount& count_;
  const std::function<void(const std::string&)>& complain_;

  std::mutex mutex_;  // and for complain_
  std::condition_variable changed_;
  std::vector<Task> tasks_;
  unsigned busy_ = 0;
  std::optional<Error> fatal_;
  std::atomic<bool> stopped_ = false;  // is set once fatal_ is

  std::mutex linked_mutex_;
  std::map<std::pair<uint64_t, Ino>, Entry> linked_;  // (device, inode) of files with several names: where they are now
  // Files of the target that were taken for the first name of such a file. For a second one they are not: they would become both.
  std::set<std::pair<uint64_t, Ino>> reused_;
};

}  // namespace

Result<void> transfer(Tree& from, Tree& to, unsigned workers, TransferCount& count,
                      const std::function<void(const std::string&)>& complain) {
  return Transfer(from, to, count, complain).run(workers);
}

uint64_t count_missing(Tree& from, Tree& to) {
  const auto from_root = from.root();
  const auto to_root = to.root();
  if (!from_root || !to_root) return 0;
  uint64_t missing = 0;
  std::vector<std::pair<Place, Place>> directories = {{from_root->place, to_root->place}};
  while (!directories.empty()) {
    const auto [source, target] = std::move(directories.back());
    directories.pop_back();
    if (const auto entries = from.list(source)) {
      for (const Entry& entry : *entries) {
        const auto there = to.find(target, entry.name);
        if (there && !*there) ++missing;
        if (!there || !*there) continue;
        if (S_ISDIR(entry.attr.mode) && S_ISDIR((*there)->attr.mode)) {
          directories.emplace_back(entry.place, (*there)->place);
        } else {
          to.leave((*there)->place);
        }
      }
    }
    to.leave(target);
  }
  return missing;
}

}  // namespace cairn::tools
