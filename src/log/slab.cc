#include "log/slab.h"

#include <sys/mman.h>

#include <cerrno>
#include <utility>

#include "base/check.h"
#include "io/env.h"
namespace cairn::log {

// Fails for wrong arguments only.
Slab::~Slab() { munmap(data_, size_); }

void Slab::touch(size_t until) {
  CHECK(until <= size_ && until % io::kBlockSize == 0);
  const size_t from = touched();
  if (until <= from) return;
  // An error changes nothing but the speed (kernels before 5.14 have no such call).
  (void)madvise(data_ + from, until - from, MADV_POPULATE_WRITE);
  touched_.store(until, std::memory_order_relaxed);
}

Result<std::shared_ptr<Slab>> SlabPool::take() {
  std::unique_ptr<Slab> slab;
  {
    MutexLock lock(mu_);
    if (!idle_.empty()) {
      slab = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  // mmap and not new: pages come zeroed and only when touched, are page-aligned for direct I/O, and go back to the
  // kernel at once.
  if (!slab) {
    void* memory = mmap(nullptr, slab_size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return fail(Error(ErrorCode::kOutOfMemory, errno, "no memory for a slab"));
    CHECK(reinterpret_cast<uintptr_t>(memory) % io::kBlockSize == 0);
    // Small pages: huge ones come from memory that was not used lately. On a virtual machine clearing them, even in the
    // background, took more time from those who write than all the faults (measured: creates at 73 instead of 65 µs).
    slab = std::make_unique<Slab>(static_cast<char*>(memory), slab_size_);
  }
  // Weak: a reader's pin may keep a slab beyond the store, and then frees it itself. The deleter gets a raw pointer, so
  // it owns it first.
  std::weak_ptr<SlabPool> pool = weak_from_this();
  return std::shared_ptr<Slab>(slab.release(), [pool](Slab* gone) {
    std::unique_ptr<Slab> owned(gone);
    if (auto home = pool.lock()) home->give_back(std::move(owned));
  });
}

void SlabPool::give_back(std::unique_ptr<Slab> slab) {
  MutexLock lock(mu_);

  CHECK(slab->size() == slab_size_);
  if (idle_.size() < keep_) idle_.push_back(std::move(slab));
}

}  // namespace cairn::log
