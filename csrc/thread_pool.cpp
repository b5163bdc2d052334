#include "thread_pool.h"

#include <algorithm>
#include <climits>
#include <cstring>
#include <stdexcept>

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace fairlead {
namespace {

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

}  // namespace

void Awaited::relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// Not std::atomic's own wait and notify: before it sleeps, the library's yields the processor a few times, and a thread
// that has yielded beside a busy process is neither running nor woken when what it waits for comes.
void Awaited::sleep_while(uint32_t value) {
  asleep_.fetch_add(1);
#if defined(__linux__)
  syscall(SYS_futex, &value_, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
#else
  value_.wait(value);
#endif
  asleep_.fetch_sub(1);
}

void Awaited::wake() {
  if (asleep_.load() == 0) return;
#if defined(__linux__)
  syscall(SYS_futex, &value_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
#else
  value_.notify_all();
#endif
}

void Portions::set(int64_t items, int64_t grain, int threads) {
  items_ = items;
  grain_ = grain;
  threads_ = threads;
  next_.store(0, std::memory_order_relaxed);
  left_.set(static_cast<uint32_t>(items));
}

// Three quarters of a thread's fair share of what is left: portions are few, since each begins with memory that nobody
// called yet, and still end together.
Range Portions::take() {
  int64_t begin = next_.load(std::memory_order_relaxed);
  while (begin < items_) {
    const int64_t size = std::max<int64_t>(1, (items_ - begin) * 3 / (4 * threads_ * grain_)) * grain_;
    const int64_t end = std::min(items_, begin + size);
    if (next_.compare_exchange_weak(begin, end, std::memory_order_relaxed)) return {begin, end};
  }
  return {items_, items_};
}

void Portions::finish(Range portion) {
  const auto size = static_cast<uint32_t>(portion.end - portion.begin);
  if (left_.add(-size) == size) left_.wake();
}

int Worker::count() const { return pool_.size(); }

Range Worker::share(int64_t items, int64_t grain) const {
  const int64_t grains = (items + grain - 1) / grain;
  const int64_t begin = grains * index_ / count() * grain;
  const int64_t end = grains * (index_ + 1) / count() * grain;
  return {std::min(begin, items), std::min(end, items)};
}

void Worker::barrier() {
  ThreadPool& pool = pool_;
  const uint32_t generation = pool.generation_.load();
  if (pool.arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == pool.size()) {
    pool.arrived_.store(0, std::memory_order_relaxed);
    pool.generation_.add(1);
    pool.generation_.wake();
  } else {
    pool.generation_.wait_until([generation](uint32_t now) { return now != generation; });
  }
}

ThreadPool::ThreadPool(int threads) {
  if (threads < 1) throw std::invalid_argument("a thread pool needs at least one thread");
  ask_for_short_slices();
  for (int index = 1; index < threads; ++index) threads_.emplace_back([this, index] { serve(index); });
}

ThreadPool::~ThreadPool() {
  closing_ = true;
  epoch_.add(1);
  epoch_.wake();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::run(const std::function<void(Worker&)>& work) {
  work_ = &work;
  epoch_.add(1);
  epoch_.wake();
  Worker self(*this, 0);
  work(self);
  self.barrier();
}

void ThreadPool::serve(int index) {
  ask_for_short_slices();
  Worker self(*this, index);
  for (uint32_t seen = 0;; ++seen) {
    epoch_.wait_until([seen](uint32_t now) { return now != seen; });
    if (closing_) return;
    (*work_)(self);
    self.barrier();
  }
}

}  // namespace fairlead
