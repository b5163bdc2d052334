// A fixed team of threads that run one function side by side, and a barrier for the stages within it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace fairlead {

// A half-open share of some work.
struct Range {
  int64_t begin, end;
};

class ThreadPool;

// One thread's place in the team, handed to the function that the team runs.
class Worker {
 public:
  int index() const { return index_; }
  int count() const;

  // This thread's share of `items`, in multiples of `grain` but for the last.
  Range share(int64_t items, int64_t grain = 1) const;

  // Returns once every thread of the team has come here.
  void barrier();

 private:
  friend class ThreadPool;
  Worker(ThreadPool& pool, int index) : pool_(pool), index_(index) {}

  ThreadPool& pool_;
  int index_;
};

class ThreadPool {
 public:
  // The caller of `run` is one of the `threads`, and so makes the pool; throws std::invalid_argument below 1.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(threads_.size()) + 1; }

  // Runs `work` on every thread of the team and returns when all have returned. `work` must not throw.
  // One call at a time.
  void run(const std::function<void(Worker&)>& work);

 private:
  friend class Worker;
  void serve(int index);

  std::vector<std::thread> threads_;
  const std::function<void(Worker&)>* work_ = nullptr;
  bool closing_ = false;
  // Each on a cache line of its own: one is written by all threads, the others are spun on.
  alignas(64) std::atomic<uint32_t> epoch_{0};       // counts calls of run
  alignas(64) std::atomic<int> arrived_{0};          // threads at the barrier
  alignas(64) std::atomic<uint32_t> generation_{0};  // counts barriers passed
};

}  // namespace fairlead
