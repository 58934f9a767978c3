#include "tree/edit.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/try.h"

namespace cairn::tree {

Edit::Edit(Tree& tree, Store::Operation operation) : tree_(tree), operation_(std::move(operation)), now_(tree.now()) {}

Result<Edit> Edit::begin(Tree& tree, uint64_t room, Store::OperationKind kind) {
  // Clipped: the sum of worst cases may be more than a small segment allows although the real change fits. commit()
  // finds out.
  TRY_ASSIGN(auto operation, tree.store.begin(std::min(room, tree.store.max_operation_room()), kind));
  return Edit(tree, std::move(operation));
}

uint64_t Edit::room_left() const {
  const uint64_t used = batch_.log_cost();
  return operation_.room() > used ? operation_.room() - used : 0;
}

Edit::Draft& Edit::find(Inode& inode) {
  for (Draft& draft : drafts_) {
    if (draft.inode == &inode) return draft;
  }
  // Within the four that draft() reserved: references to others stay valid.
  CHECK(drafts_.size() < 4);
  return drafts_.emplace_back(Draft{.inode = &inode, .next = inode.attributes});
}

format::Attributes& Edit::draft(Inode& inode) {
  drafts_.reserve(4);  // references stay valid: no operation changes more inodes than it may lock
  return find(inode).next;
}

format::Attributes& Edit::log(Inode& inode) {
  format::Attributes& next = draft(inode);
  find(inode).logged = true;
  return next;
}

void Edit::erase(Inode& inode) {
  draft(inode);
  find(inode).erased = true;
  batch_.erase(format::attributes_key(inode.ino));
}

// Attributes that can wait are kept room for; where the store has none to keep they go into the log at once.
void Edit::keep_room() NO_THREAD_SAFETY_ANALYSIS {
  for (Draft& draft : drafts_) {
    if (draft.erased) continue;
    const uint64_t cost = attributes_cost(draft.next);
    const Inode& inode = *draft.inode;
    // It waits already, and its room is enough.
    if (!draft.logged && inode.dirty && inode.attributes_kept >= cost) continue;
    if (!draft.logged && !inode.dirty && room_left() >= cost && operation_.keep(cost)) {
      draft.kept = cost;
      continue;
    }
    draft.logged = true;
    batch_.put(format::attributes_key(inode.ino), format::encode_attributes(draft.next));
  }
}

Result<void> Edit::commit() {
  keep_room();
  Result<void> written;
  // Checked here, where it can still be refused: write() CHECKs it.
  if (batch_.log_cost() > operation_.room()) {
    written = fail(ErrorCode::kNoSpace, "a change is larger than the segments of this store allow");
  } else if (!batch_.empty()) {
    written = operation_.write(batch_);
  }
  if (!written) {
    for (const Draft& draft : drafts_) operation_.reclaim(draft.kept);
    return written;
  }
  apply();
  return {};
}

// The caller holds the mutexes of all drafted inodes; the analysis cannot follow a list of them.
void Edit::apply() NO_THREAD_SAFETY_ANALYSIS {
  for (Draft& draft : drafts_) {
    Inode& inode = *draft.inode;
    // Nothing from here on can fail: memory follows what the log has.
    CHECK(inode.loaded);
    inode.attributes = std::move(draft.next);
    if (draft.logged || draft.erased) {
      operation_.reclaim(std::exchange(inode.attributes_kept, 0));
      inode.dirty = false;
    } else if (draft.kept != 0) {
      inode.attributes_kept = draft.kept;
      inode.dirty = true;
    }
    if (draft.erased) {
      drop_chunks(operation_, inode, 0, UINT64_MAX);
      inode.life = Life::kDying;
      inode.erased = true;
    }
    tree_.dirty.update(inode);
    // Without a name it cannot be evicted.
    if (draft.erased || inode.attributes.links == 0) tree_.evictor.gone(inode.ino);
    if (draft.erased) tree_.inodes.drop_if_uncounted(inode);
  }
  drafts_.clear();
}

}  // namespace cairn::tree
