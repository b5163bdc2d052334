#include "thread_pool.h"

#include <algorithm>
#include <stdexcept>

#if defined(__x86_64__)
#include <immintrin.h>
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
  Worker self(*this, index);
  for (uint32_t seen = 0;; ++seen) {
    wait_while_equal(epoch_, seen);
    if (closing_) return;
    (*work_)(self);
    self.barrier();
  }
}

}  // namespace fairlead
