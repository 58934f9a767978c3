// Mutexes with clang thread-safety annotations (libstdc++'s carry none), and the condition variable that goes with them.
// The lock order of the whole program is a table in src/README.md.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <mutex>

#include "base/check.h"

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

class CAPABILITY("mutex") Mutex {
 public:
  void lock() ACQUIRE() { mutex_.lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }
  bool try_lock() TRY_ACQUIRE(true) { return mutex_.try_lock(); }
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
  // These fail only for a thread that locks what it holds, or unlocks what it does not.
  void lock() ACQUIRE() NO_THREAD_SAFETY_ANALYSIS { CHECK(pthread_rwlock_wrlock(&lock_) == 0); }
  void unlock() RELEASE() NO_THREAD_SAFETY_ANALYSIS { CHECK(pthread_rwlock_unlock(&lock_) == 0); }
  void lock_shared() ACQUIRE_SHARED() NO_THREAD_SAFETY_ANALYSIS { CHECK(pthread_rwlock_rdlock(&lock_) == 0); }
  void unlock_shared() RELEASE_SHARED() NO_THREAD_SAFETY_ANALYSIS { CHECK(pthread_rwlock_unlock(&lock_) == 0); }
  bool try_lock() TRY_ACQUIRE(true) NO_THREAD_SAFETY_ANALYSIS { return pthread_rwlock_trywrlock(&lock_) == 0; }
  bool try_lock_shared() TRY_ACQUIRE_SHARED(true) NO_THREAD_SAFETY_ANALYSIS {
    return pthread_rwlock_tryrdlock(&lock_) == 0;
  }

 private:
#ifdef PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP
  pthread_rwlock_t lock_ = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
#else  // elsewhere (musl) writers are preferred anyway
  pthread_rwlock_t lock_ = PTHREAD_RWLOCK_INITIALIZER;
#endif
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() RELEASE() {
    if (held_) mutex_.unlock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;
  void unlock() RELEASE() {
    mutex_.unlock();
    held_ = false;
  }
  void lock() ACQUIRE() {
    mutex_.lock();
    held_ = true;
  }

 private:
  Mutex& mutex_;
  bool held_ = true;
};

class SCOPED_CAPABILITY ReadLock {
 public:
  explicit ReadLock(SharedMutex& mutex) ACQUIRE_SHARED(mutex) : mutex_(mutex) { mutex_.lock_shared(); }
  ~ReadLock() RELEASE_GENERIC() { mutex_.unlock_shared(); }
  ReadLock(const ReadLock&) = delete;
  ReadLock& operator=(const ReadLock&) = delete;

 private:
  SharedMutex& mutex_;
};

class SCOPED_CAPABILITY WriteLock {
 public:
  explicit WriteLock(SharedMutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~WriteLock() RELEASE() { mutex_.unlock(); }
  WriteLock(const WriteLock&) = delete;
  WriteLock& operator=(const WriteLock&) = delete;

 private:
  SharedMutex& mutex_;
};

// Waits only through io::Executor::wait(), so that the simulation can run background work while somebody waits.
class CondVar {
 public:
  void notify_one() { condition_.notify_one(); }
  void notify_all() { condition_.notify_all(); }
  // For Executor implementations. The caller holds `mutex`.
  void wait_native(Mutex& mutex) NO_THREAD_SAFETY_ANALYSIS {
    std::unique_lock<std::mutex> lock(mutex.native(), std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }

 private:
  std::condition_variable condition_;
};

}  // namespace cairn
