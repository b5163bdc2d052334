// A fixed team of threads that run one function side by side, and what they share out and wait for within it.
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

// A number that threads wait on: spinning at first, then asleep.
class Awaited {
 public:
  uint32_t load() const { return value_.load(std::memory_order_acquire); }
  void set(uint32_t value) { value_.store(value, std::memory_order_relaxed); }  // while nobody waits
  uint32_t add(uint32_t change) { return value_.fetch_add(change); }            // returns what it was
  // Wakes those who sleep; to be called after the change that they wait for.
  void wake();
  // Returns once `done` holds of the number.
  template <typename Done>
  void wait_until(const Done& done) {
    for (int i = 0; i < kSpins; ++i) {
      if (done(load())) return;
      relax();
    }
    for (uint32_t seen = load(); !done(seen); seen = load()) sleep_while(seen);
  }

 private:
  // Some tens of microseconds: longer than most stages of a step differ between threads, shorter than a busy
  // neighbour's time slice.
  static constexpr int kSpins = 2000;

  static void relax();
  void sleep_while(uint32_t value);  // at most

  std::atomic<uint32_t> value_{0};
  std::atomic<uint32_t> asleep_{0};
};

// Items of work that a team takes in portions, each thread the next as soon as it is free. All is done when the items
// are, not when every thread has come by: one that the system has put aside holds up the others only by the portion
// in its hands.
class Portions {
 public:
  // Called by one thread, while none works. Portions are multiples of `grain`, but for the last.
  void set(int64_t items, int64_t grain, int threads);

  // Calls work(Range) for portions until none is left, and returns when all are done, by whomever.
  template <typename Work>
  void work_off(const Work& work) {
    for (Range portion = take(); portion.begin < portion.end; portion = take()) {
      work(portion);
      finish(portion);
    }
    left_.wait_until([](uint32_t left) { return left == 0; });
  }

 private:
  Range take();
  void finish(Range portion);

  int64_t items_ = 0, grain_ = 1;
  int threads_ = 1;
  // Each on a cache line of its own: while one thread takes, another may be spinning.
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) Awaited left_;
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
  alignas(64) Awaited epoch_;                // counts calls of run
  alignas(64) std::atomic<int> arrived_{0};  // threads at the barrier
  alignas(64) Awaited generation_;           // counts barriers passed
};

}  // namespace fairlead
