// Mutexes with clang thread-safety annotations (libstdc++'s carry none), and the condition variable that goes with them.
// With g++ the annotations are nothing; `tools/check --all` builds with clang, where breaking one is an error.
// The lock order of the whole program is a table in src/README.md.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <mutex>

#include "base/check.h"

// What the macros say (clang's "Thread Safety Analysis"):
//   GUARDED_BY(m)       a field: read with m held in any way, written with it held exclusively
//   PT_GUARDED_BY(m)    the same of what a pointer points to
//   REQUIRES(m)         a function: the caller holds m, before and after
//   EXCLUDES(m)         a function: the caller does not hold m, because the function takes it
//   ACQUIRE, RELEASE    a function that takes or gives back what it names; TRY_ACQUIRE if it returns the given value
//   ASSERT_CAPABILITY   a function after which m counts as held
//   NO_THREAD_SAFETY_ANALYSIS   the body is not looked at; each use says why it is right all the same
#if defined(__clang__)
#define CAIRN_TSA(x) __attribute__((x))
#else
#define CAIRN_TSA(x)
#endif
#define CAPABILITY(x) CAIRN_TSA(capability(x))
#define SCOPED_CAPABILITY CAIRN_TSA(scoped_lockable)
#define GUARDED_BY(x) CAIRN_TSA(guarded_by(x))
#define PT_GUARDED_BY(x) CAIRN_TSA(pt_guarded_by(x))
#define REQUIRES(...) CAIRN_TSA(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) CAIRN_TSA(requires_shared_capability(__VA_ARGS__))
#define ACQUIRE(...) CAIRN_TSA(acquire_capability(__VA_ARGS__))
#define ACQUIRE_SHARED(...) CAIRN_TSA(acquire_shared_capability(__VA_ARGS__))
#define RELEASE(...) CAIRN_TSA(release_capability(__VA_ARGS__))
#define RELEASE_SHARED(...) CAIRN_TSA(release_shared_capability(__VA_ARGS__))
#define RELEASE_GENERIC(...) CAIRN_TSA(release_generic_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) CAIRN_TSA(try_acquire_capability(__VA_ARGS__))
#define TRY_ACQUIRE_SHARED(...) CAIRN_TSA(try_acquire_shared_capability(__VA_ARGS__))
#define EXCLUDES(...) CAIRN_TSA(locks_excluded(__VA_ARGS__))
#define ASSERT_CAPABILITY(x) CAIRN_TSA(assert_capability(x))
#define RETURN_CAPABILITY(x) CAIRN_TSA(lock_returned(x))
#define NO_THREAD_SAFETY_ANALYSIS CAIRN_TSA(no_thread_safety_analysis)

namespace cairn {

// Exclusive, not recursive: a thread that locks what it holds waits for ever. Order among several: src/README.md,
// "Locks". Prefer MutexLock. lock() and unlock() are for lock order that no scope has (an inode's mutex is handed on).
class CAPABILITY("mutex") Mutex {
 public:
  void lock() ACQUIRE() { mutex_.lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }
  bool try_lock() TRY_ACQUIRE(true) { return mutex_.try_lock(); }
  // For a condition variable, which wants the standard type (CondVar, PosixExecutor::sleep()). Locked through it the
  // analysis sees nothing.
  std::mutex& native() { return mutex_; }
  // Tells the analysis what it cannot see: that the caller holds the mutex (inside a wait predicate).
  void assert_held() const ASSERT_CAPABILITY(this) {}

 private:
  std::mutex mutex_;
};

// Prefers writers: readers that overlap without end (eight threads on one large file) would keep a writer out of a
// std::shared_mutex of glibc for ever, and with it the commit that waits for that writer. Hence no thread may take it
// shared while it holds it shared.
class CAPABILITY("mutex") SharedMutex {
 public:
  SharedMutex() = default;
  SharedMutex(const SharedMutex&) = delete;
  SharedMutex& operator=(const SharedMutex&) = delete;
  // All return 0, or an errno that only misuse causes: EDEADLK for a thread that holds it exclusively already.
  // These fail only for a thread that locks what it holds, or unlocks what it does not.
  void lock() ACQUIRE() NO_THREAD_SAFETY_ANALYSIS { CHECK(pthread_rwlock_wrlock(&lock_) == 0); }
  void unlock() RELEASE() NO_THREAD_SAFETY_ANALYSIS { CHECK(pthread_rwlock_unlock(&lock_) == 0); }
  void lock_shared() ACQUIRE_SHARED() NO_THREAD_SAFETY_ANALYSIS { CHECK(pthread_rwlock_rdlock(&lock_) == 0); }
  void unlock_shared() RELEASE_SHARED() NO_THREAD_SAFETY_ANALYSIS { CHECK(pthread_rwlock_unlock(&lock_) == 0); }
  // Whether it was free. Never wait, so they may be called against the lock order; a reader's also fails while a writer
  // waits.
  bool try_lock() TRY_ACQUIRE(true) NO_THREAD_SAFETY_ANALYSIS { return pthread_rwlock_trywrlock(&lock_) == 0; }
  bool try_lock_shared() TRY_ACQUIRE_SHARED(true) NO_THREAD_SAFETY_ANALYSIS {
    return pthread_rwlock_tryrdlock(&lock_) == 0;
  }

 private:
// Initialised in place, without pthread_rwlock_init(): the kind is an attribute that glibc has a static initialiser
// for. On Linux there is nothing to destroy either.
#ifdef PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP
  pthread_rwlock_t lock_ = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
#else  // elsewhere (musl) writers are preferred anyway
  pthread_rwlock_t lock_ = PTHREAD_RWLOCK_INITIALIZER;
#endif
};

// Holds a Mutex for a scope, which may give it up in between: for waiting on the disk, or calling somebody who takes
// locks. For one thread. The mutex outlives it.
class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() RELEASE() {
    if (held_) mutex_.unlock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;
  // In turns: unlock() needs it held, lock() needs it given up. What the mutex guards may have changed when lock()
  // returns.
  void unlock() RELEASE() {
    DCHECK(held_);
    mutex_.unlock();
    held_ = false;
  }
  void lock() ACQUIRE() {
    DCHECK(!held_);
    mutex_.lock();
    held_ = true;
  }

 private:
  Mutex& mutex_;
  bool held_ = true;
};

// Holds a SharedMutex for reading, to the end of the scope. Not while the thread has it in any way already.
class SCOPED_CAPABILITY ReadLock {
 public:
  explicit ReadLock(SharedMutex& mutex) ACQUIRE_SHARED(mutex) : mutex_(mutex) { mutex_.lock_shared(); }
  ~ReadLock() RELEASE_GENERIC() { mutex_.unlock_shared(); }
  ReadLock(const ReadLock&) = delete;
  ReadLock& operator=(const ReadLock&) = delete;

 private:
  SharedMutex& mutex_;
};

// The same, alone.
class SCOPED_CAPABILITY WriteLock {
 public:
  explicit WriteLock(SharedMutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~WriteLock() RELEASE() { mutex_.unlock(); }
  WriteLock(const WriteLock&) = delete;
  WriteLock& operator=(const WriteLock&) = delete;

 private:
  SharedMutex& mutex_;
};

// A condition variable without a wait of its own: waiting is io::Executor::wait(), so that the simulation can run
// background work while somebody waits. Whoever changes what is waited for holds the mutex then, and notifies
// afterwards, with or without it. One mutex for all who wait on it at the same time.
class CondVar {
 public:
  // One is enough where any one of those who wait can use the change, and passes it on if it cannot; all wherever they
  // wait for different things.
  void notify_one() { condition_.notify_one(); }
  void notify_all() { condition_.notify_all(); }
  // For Executor implementations. The caller holds `mutex`, which is given up while waiting, and held again on return.
  // May return without cause: the caller looks and waits again. The analysis cannot see a lock that is adopted and
  // released.
  void wait_native(Mutex& mutex) NO_THREAD_SAFETY_ANALYSIS {
    std::unique_lock<std::mutex> lock(mutex.native(), std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }

 private:
  std::condition_variable condition_;
};

}  // namespace cairn
