#include "thread_pool.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace fairlead {
namespace {

// How often a waiting thread looks before it sleeps: some tens of microseconds, longer than most stages
// of a step differ between threads, shorter than a busy neighbour's time slice.
constexpr int kSpins = 2000;

inline void relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// Asks for the shortest slice of processor time that Linux gives (since 6.12; older ones ignore it), for the thread
// that calls. Beside busy processes a team waits at every barrier for whichever thread is not running, and with the
// usual slice of some milliseconds that is most of the time. The thread's share of the processor stays what it is.
void ask_for_short_slices() {
#if defined(__linux__) && defined(SYS_sched_setattr)
  struct Attributes {  // struct sched_attr, which the C library does not declare everywhere
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
  } attributes;
  std::memset(&attributes, 0, sizeof attributes);
  if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0) return;
  attributes.runtime = 100'000;  // nanoseconds
  // Refused (a container may forbid it), we run as before.
  static_cast<void>(syscall(SYS_sched_setattr, 0, &attributes, 0));
#endif
}

void wait_while_equal(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    relax();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

int Worker::count() const { return pool_.size(); }

Range Worker::share(int64_t items, int64_t grain) const {
  const int64_t grains = (items + grain - 1) / grain;
  const int64_t begin = grains * index_ / count() * grain;
  const int64_t end = grains * (index_ + 1) / count() * grain;
  return {std::min(begin, items), std::min(end, items)};
}

void Worker::barrier() {
  ThreadPool& pool = pool_;
  const uint32_t generation = pool.generation_.load(std::memory_order_relaxed);
  if (pool.arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == pool.size()) {
    pool.arrived_.store(0, std::memory_order_relaxed);
    pool.generation_.store(generation + 1, std::memory_order_release);
    pool.generation_.notify_all();
  } else {
    wait_while_equal(pool.generation_, generation);
  }
}

ThreadPool::ThreadPool(int threads) {
  if (threads < 1) throw std::invalid_argument("a thread pool needs at least one thread");
  ask_for_short_slices();
  for (int index = 1; index < threads; ++index) threads_.emplace_back([this, index] { serve(index); });
}

ThreadPool::~ThreadPool() {
  closing_ = true;
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::run(const std::function<void(Worker&)>& work) {
  work_ = &work;
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  Worker self(*this, 0);
  work(self);
  self.barrier();
}

void ThreadPool::serve(int index) {
  ask_for_short_slices();
  Worker self(*this, index);
  for (uint32_t seen = 0;; ++seen) {
    wait_while_equal(epoch_, seen);
    if (closing_) return;
    (*work_)(self);
    self.barrier();
  }
}

}  // namespace fairlead
