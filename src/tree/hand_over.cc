#include "tree/hand_over.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/try.h"
#include "tree/content.h"
#include "tree/tree.h"

namespace cairn::tree {
namespace {

constexpr Ino kBlock = 512;  // numbers that make one stream
constexpr Ino kGap = 8;      // directories, links and what was removed lie in between, and threads overtake each other
constexpr int kInOrder = 3;  // opens, before what follows is asked for
constexpr Ino kLook = 4;     // numbers behind an open, to see whether there is anything to ask for
constexpr Ino kAhead = 16;   // numbers; more gained nothing where two processors were busy

}  // namespace

HandOver::HandOver(Tree& tree)
    : tree_(tree),
      ahead_(tree.store.env().executor(), std::chrono::milliseconds(0), [this](const std::vector<Range>& ranges) {
        for (const Range& range : ranges)
          for (Ino ino = range.first; ino < range.end; ++ino) give_ahead(ino);
      }) {}

void HandOver::set_taker(FileSystem::TakeContent take) {
  ahead_.discard();
  take_ = std::move(take);
}

bool HandOver::is_to_go(const Inode& inode) const {
  if (!take_ || inode.content_known || !require_regular(inode)) return false;
  const format::Attributes& a = inode.attributes;
  if (a.size == 0 || a.size > a.chunk_size()) return false;
  // A read that the kernel answers moves no time, so where one is to move it has to reach us.
  if (tree_.options.relatime && atime_is_old(a, tree_.now())) return false;
  return tree_.options.opens_counted && tree_.inodes.opens(inode) == 0;
}

Result<Attr> HandOver::open(Inode& inode) {
  const bool was_given = inode.handed_ahead && inode.handed_ahead.exchange(false);
  if (was_given) note_open(inode.ino, true);
  {
    const ReadLock lock(inode.mutex);
    if (was_given || !is_to_go(inode)) return tree::open(tree_, inode);
  }
  note_open(inode.ino, false);
  return open_and_give(inode);
}

// Alone with the file until it is given: a reader whose request is on its way may keep the very page locked that the kernel is
// given here, so there must be none, and none may come.
Result<Attr> HandOver::open_and_give(Inode& inode) {
  const WriteLock lock(inode.mutex);
  if (!is_to_go(inode)) return tree::open(tree_, inode);
  // Before the open is counted: without memory for it nobody has the file open. What cannot be read is for who reads it to see.
  const auto pieces = read_all(tree_, inode);
  TRY_ASSIGN(const Attr attr, tree::open(tree_, inode));
  inode.content_known = true;
  give(inode, pieces);
  DCHECK(tree_.inodes.opens(inode) == 1);
  return attr;
}

bool HandOver::give(const Inode& inode, const Result<std::vector<Value>>& pieces) {
  // Several, or none, beside a hole.
  if (!pieces || pieces->size() != 1) return true;
  // The kernel would take another length for the file's.
  CHECK(pieces->front().size() == inode.attributes.size);
  if (!take_(inode.ino, pieces->front())) return false;
  tree_.traffic.bytes_out += inode.attributes.size;
  return true;
}

void HandOver::note_open(Ino ino, bool was_given) {
  Stream& stream = streams_[ino / kBlock % streams_.size()];
  // The first of a directory that was listed only now; else it is looked up one by one, and there is nothing to be had ahead.
  if (!was_given && !is_any_to_come(ino)) return;
  Range next;
  {
    const MutexLock lock(stream.mutex);
    const bool in_order = ino <= stream.last + kGap && stream.last <= ino + kGap;
    stream.length = in_order ? std::min(stream.length + 1, kInOrder) : 1;
    // It was asked for before anybody had looked it up: in a directory that was listed only now.
    if (!in_order || !was_given) stream.asked_to = 0;
    stream.last = ino;
    if (stream.length < kInOrder || stream.asked_to > ino + kAhead / 2) return;
    next = {.first = ino + 1, .end = ino + 1 + kAhead};
    stream.asked_to = next.end;
  }
  try {
    ahead_.submit(next);
  } catch (const std::bad_alloc&) {
    // They come with their opens.
  }
}

bool HandOver::is_any_to_come(Ino ino) const {
  for (Ino next = ino + 1; next <= ino + kLook; ++next) {
    const InodeRef inode = tree_.inodes.known(next);
    if (inode && !inode->content_known) return true;
  }
  return false;
}

// As open_and_give(), for nobody yet.
void HandOver::give_ahead(Ino ino) {
  const InodeRef inode = tree_.inodes.known(ino);
  if (!inode || inode->content_known) return;
  try {
    const WriteLock lock(inode->mutex);
    if (!is_to_go(*inode)) return;
    // Not taken: its lookup may be on the way to the caller.
    if (!give(*inode, read_all(tree_, *inode))) return;
    DCHECK(tree_.inodes.opens(*inode) == 0);
    inode->content_known = inode->handed_ahead = true;  // what cannot be read is not read again and again
  } catch (const std::bad_alloc&) {
    // The open will try again, and report it.
  }
}

}  // namespace cairn::tree
