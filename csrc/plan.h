// A model's step, recorded once and then run whole: every thread of the team goes through all stages, side by side,
// with a barrier after each. Nothing above is called until the last stage is done.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "aligned.h"
#include "kv_cache.h"
#include "matmul.h"
#include "thread_pool.h"
#include "weight.h"

namespace fairlead {

// One step's work: rows of tokens, those of a sequence side by side.
struct Step {
  std::span<const int32_t> tokens;      // [rows]
  std::span<const int32_t> positions;   // [rows] of each token in its sequence; all before it are in the cache or here
  std::span<const int32_t> first_row;   // [sequences + 1] rows of sequence s: first_row[s] to first_row[s + 1]
  std::span<const int32_t> first_page;  // [sequences + 1] its pages: pages[first_page[s]] to pages[first_page[s + 1]]
  std::span<const int32_t> pages;       // page numbers
  std::span<const int32_t> selected;    // rows whose logits are wanted, ascending

  int rows() const { return static_cast<int>(tokens.size()); }
  int sequences() const { return static_cast<int>(first_row.size()) - 1; }
};

// Rows of activations, [rows][stride].
struct Buffer {
  int width;
  int stride;     // width padded to kRowPad
  bool selected;  // holds the selected rows only
  AlignedArray<float> data;

  float* row(int64_t r) { return data.data() + r * stride; }
};

// A buffer's number in its plan.
using BufferId = int;

class Plan;

// Part of a step. `run` is called by every thread of the team; what it writes is seen by the next stage.
class Stage {
 public:
  virtual ~Stage() = default;
  // Called by one thread before the step.
  virtual void prepare(const Step& step) { static_cast<void>(step); }
  virtual void run(const Step& step, Worker& worker) = 0;
};

// One matrix product of a group that reads the same rows. The weight belongs to the caller and outlives the plan.
struct Product {
  const Weight* weight;
  std::vector<float> bias;  // empty, or one for each output
  BufferId out;
  bool accumulate;  // add to what `out` holds
};

enum class RopeStyle {
  halves,       // dimension i turns with i + dims/2 (GPT-NeoX)
  interleaved,  // dimension 2i turns with 2i + 1 (GPT-J, Llama's own files)
};

struct AttentionShape {
  int layer;
  int heads;    // of the queries; a multiple of the cache's
  float scale;  // of the scores
  RopeStyle rope;
};

// Room that product stages use one after the other.
struct Workspace {
  static constexpr int kForms = 3;  // of RowForm
  using Packed = std::array<AlignedArray<std::byte>, kForms>;
  struct Own {
    Packed packed;
    AlignedArray<std::byte> scratch;
  };

  Packed packed;         // the rows of a group, packed by all threads together
  std::vector<Own> own;  // for each thread
};

class Plan {
 public:
  Plan(ThreadPool& pool, KvCache& cache);

  // All throw std::invalid_argument where buffers and weights do not fit together.
  BufferId buffer(int width, bool selected);
  void embed(BufferId out, const Weight& weight);
  void rms_norm(BufferId out, BufferId x, std::vector<float> weight, float eps);
  void layer_norm(BufferId out, BufferId x, std::vector<float> weight, std::vector<float> bias, float eps);
  void products(BufferId x, std::vector<Product> products);
  // The turns of rotary position embedding (Su et al., 2021), shared by all layers: out[rows][2 · frequencies] holds
  // the cosines and then the sines of position · frequency. The dimensions of a head past these stay as they are.
  void rotations(BufferId out, std::vector<double> frequencies);
  // Turns q and k, puts k and v into the cache, and attends causally; k is left turned, q turned and scaled.
  void attention(BufferId out, BufferId q, BufferId k, BufferId v, BufferId rotations, const AttentionShape& shape);
  void add(BufferId out, BufferId a, BufferId b);
  void swiglu(BufferId out, BufferId gate, BufferId up);
  void gelu(BufferId out, BufferId x);
  void select(BufferId out, BufferId x);

  // Takes the memory that a step of this many rows and selected rows needs, so that no later one has to.
  void reserve(int rows, int selected);

  // Runs the step; throws std::invalid_argument for one that does not hold together.
  void run(const Step& step);

  Buffer& at(BufferId id) { return *buffers_.at(id); }
  size_t bytes() const;  // of all buffers as they are now
  ThreadPool& pool() { return pool_; }
  KvCache& cache() { return cache_; }
  Workspace& workspace() { return workspace_; }

 private:
  void check(const Step& step) const;
  void prepare(const Step& step);

  ThreadPool& pool_;
  KvCache& cache_;
  Workspace workspace_;
  int64_t vocabulary_ = 0;  // tokens are below this
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<std::unique_ptr<Stage>> stages_;
};

}  // namespace fairlead
