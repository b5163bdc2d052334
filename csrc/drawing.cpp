#include "drawing.h"

#include <algorithm>
#include <exception>
#include <optional>
#include <utility>

namespace fairlead {
namespace {

// A turn while its draws are made.
class Progress {
 public:
  Progress(const Turn& turn, int64_t vocabulary, int64_t stride)
      : turn_(turn), vocabulary_(vocabulary), stride_(stride) {}

  bool open() const { return open_; }
  Sampler& sampler() { return *turn_.sampler; }

  void begin() {
    guarded([&] {
      turn_.sampler->begin(turn_.logits + static_cast<int64_t>(draws_.size()) * stride_, vocabulary_);
      open_ = true;
    });
  }

  // After a survey: draws, and begins anew where the guess was right.
  void conclude() {
    guarded([&] {
      std::optional<Draw> draw = turn_.sampler->conclude();
      if (!draw) return;
      draws_.push_back(std::move(*draw));
      open_ = false;
      if (draws_.size() <= turn_.guesses.size() && draws_.back().token == turn_.guesses[draws_.size() - 1]) begin();
    });
  }

  std::vector<Draw> take() {
    if (error_) std::rethrow_exception(error_);
    return std::move(draws_);
  }

 private:
  template <typename Work>
  void guarded(Work work) {
    try {
      work();
    } catch (...) {
      error_ = std::current_exception();
      open_ = false;
    }
  }

  const Turn& turn_;
  int64_t vocabulary_, stride_;
  bool open_ = false;
  std::vector<Draw> draws_;
  std::exception_ptr error_;
};

// One thread's share of the surveys.
void survey(const std::vector<Progress*>& open, const Worker& worker) {
  const int64_t blocks = open.front()->sampler().blocks();
  const Range mine = worker.share(static_cast<int64_t>(open.size()) * blocks);
  for (int64_t at = mine.begin; at < mine.end;) {
    const int64_t begin = at % blocks, end = std::min(blocks, begin + mine.end - at);
    open[static_cast<size_t>(at / blocks)]->sampler().survey({begin, end});
    at += end - begin;
  }
}

}  // namespace

std::vector<std::vector<Draw>> draw(ThreadPool& pool, std::span<const Turn> turns, int64_t vocabulary, int64_t stride) {
  std::vector<Progress> all;
  all.reserve(turns.size());
  for (const Turn& turn : turns) all.emplace_back(turn, vocabulary, stride);
  pool.run([&](Worker& worker) {
    const Range first = worker.share(static_cast<int64_t>(all.size()));
    for (int64_t i = first.begin; i < first.end; ++i) all[static_cast<size_t>(i)].begin();
    std::vector<Progress*> open;  // the same in every thread: it is found while no turn changes
    while (true) {
      worker.barrier();
      open.clear();
      for (Progress& progress : all) {
        if (progress.open()) open.push_back(&progress);
      }
      if (open.empty()) return;
      survey(open, worker);
      worker.barrier();
      const Range mine = worker.share(static_cast<int64_t>(open.size()));
      for (int64_t i = mine.begin; i < mine.end; ++i) open[static_cast<size_t>(i)]->conclude();
    }
  });
  std::vector<std::vector<Draw>> draws;
  draws.reserve(all.size());
  for (Progress& progress : all) draws.push_back(progress.take());
  return draws;
}

}  // namespace fairlead
