// One change of the tree: the records to log, and what memory looks like once they are.
#pragma once

#include <cstdint>
#include <vector>

#include "cairn/store.h"
#include "tree/tree.h"

namespace cairn::tree {

// Made before any inode is locked (it waits for commits); then the inodes are locked, the change is checked and described,
// and commit() makes it: in the log and in memory, or, with an error, in neither. Not thread-safe. The inodes drafted stay
// locked until commit() has returned.
class Edit {
 public:
  // `room`: what the records cost at most, bytes; clipped to what the store can promise at once.
  static Result<Edit> begin(Tree& tree, uint64_t room, Store::OperationKind kind = Store::OperationKind::kGrow);
  // Waits for commits, and for room. Errors as Store::begin().
  Edit(Edit&&) noexcept = default;
  Edit& operator=(Edit&&) = delete;

  // What is put here is committed together with the drafts. Views that are put by reference must live until commit()
  // has returned.
  [[nodiscard]] WriteBatch& batch() { return batch_; }
  [[nodiscard]] Store::Operation& operation() { return operation_; }
  [[nodiscard]] const Time& now() const { return now_; }
  // Room that is left beside what the batch holds, bytes.
  [[nodiscard]] uint64_t room_left() const;

  // The attributes that the inode is to have. They are buffered, unless log() puts them into the batch.
  format::Attributes& draft(Inode& inode) REQUIRES(inode.mutex);
  format::Attributes& log(Inode& inode) REQUIRES(inode.mutex);
  // The inode's attributes are erased, and with them the inode. Nothing of it is written back any more.
  void erase(Inode& inode) REQUIRES(inode.mutex);

  // Once. Visible, in the log and in memory, when it returns; nothing has changed after an error. kNoSpace if the
  // change does not fit the room, and the store's errors.
  Result<void> commit();

 private:
  struct Draft {
    Inode* inode = nullptr;
    format::Attributes next;
    uint64_t kept = 0;  // bytes
    bool logged = false;
    bool erased = false;
  };

  Edit(Tree& tree, Store::Operation operation);
  // The inode's draft, made of its attributes as they are if there is none.
  Draft& find(Inode& inode) REQUIRES(inode.mutex);
  // Decides for each draft whether it waits in memory, with room kept for it, or goes into the batch.
  void keep_room();
  void apply();

  Tree& tree_;
  Store::Operation operation_;
  Time now_;
  WriteBatch batch_;
  std::vector<Draft> drafts_;
};

}  // namespace cairn::tree
