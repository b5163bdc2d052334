// A model's step, recorded once and then run whole: the team goes through all stages side by side, and begins each
// when all of the one before is done. Nothing above is called until the last stage is.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "aligned.h"
#include "kv_cache.h"
#include "matmul.h"
#include "table.h"
#include "thread_pool.h"
#include "weight.h"

namespace fairlead {

// One step's work: rows of tokens, those of a sequence side by side.
//
// A plan without a cache computes whole texts: positions count from 0 in each sequence, and there are no pages.
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

// Rows of floats that a step works on: held in memory, or computed from others wherever they are read.
struct Rows {
  // Gives row `row`, which `room` (of `stride` floats) may be used for.
  using Compute = std::function<const float*(const Step& step, int64_t row, float* room)>;

  int width;
  int stride;     // width padded to kRowPad
  bool selected;  // the selected rows only
  bool held;      // in memory
  Compute read;
  AlignedArray<float> data;  // [rows][stride], if held

  float* row(int64_t r) { return data.data() + r * stride; }
};

// Their number in a plan.
using RowsId = int;

class Plan;

// Part of a step. `run` is called by every thread of the team, and returns when all of the stage is done; a thread that
// comes late finds it so, and must then read and write nothing.
class Stage {
 public:
  virtual ~Stage() = default;
  // Called by one thread before the step.
  virtual void prepare(const Step& step) = 0;
  virtual void run(const Step& step, Worker& worker) = 0;
};

// What a stage of one step took.
struct StageTime {
  std::string name;
  size_t weight_bytes;  // that it reads
  double seconds;       // from the end of the stage before to its own
};

// One matrix product of a group that reads the same rows. The weight belongs to the caller and outlives the plan.
struct Product {
  const Weight* weight;
  std::vector<float> bias;  // empty, or one for each output
  RowsId out;
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

// What a row finds its own row of a table by.
enum class TableIndex {
  token,
  position,
  type,  // of a text in a pair of texts: there are no pairs, so 0
};

// Room that stages use one after the other.
struct Workspace {
  using Packed = std::array<AlignedArray<std::byte>, kRowForms>;  // by form
  struct Own {
    AlignedArray<float> row;  // the widest that is computed
    Packed packed;
    AlignedArray<std::byte> scratch;  // of products
    AlignedArray<float> queries, attended;
    AlignedArray<int32_t> visible;
    AlignedArray<std::byte> text;  // keys and values of one head of a text

    size_t bytes() const;
  };

  Packed packed;                 // the rows of a group of products, packed by all threads together
  AlignedArray<float> attended;  // by segments of long contexts
  std::vector<Own> own;          // for each thread

  size_t bytes() const;
};

class Plan {
 public:
  // Without a cache there is no `attention`, but `bidirectional_attention`.
  Plan(ThreadPool& pool, KvCache* cache, Activations activations = Activations::q16);

  // All throw std::invalid_argument where rows and weights do not fit together.

  // Rows that are held in memory, for stages to write.
  RowsId buffer(int width, bool selected);

  // Rows that are computed wherever they are read. What they read themselves must be held, but for a norm's, an
  // activation's and a selection's, which may be computed too.
  RowsId embedding(const Weight& weight);
  RowsId embedding(const Table& table, TableIndex index);
  RowsId rms_norm(RowsId x, std::vector<float> weight, float eps);
  RowsId layer_norm(RowsId x, std::vector<float> weight, std::vector<float> bias, float eps);
  RowsId add(RowsId a, RowsId b);
  RowsId swiglu(RowsId gate, RowsId up);
  RowsId gelu(RowsId x);
  RowsId exact_gelu(RowsId x);
  RowsId select(RowsId x);
  // For each selected row the mean of all rows of its sequence, which are held.
  RowsId mean(RowsId x);
  // x / |x|
  RowsId l2_norm(RowsId x);
  // The turns of rotary position embedding (Su et al., 2021), shared by all layers: [rows][2 · frequencies] holds
  // the cosines and then the sines of position · frequency. The dimensions of a head past these stay as they are.
  RowsId rotations(std::vector<double> frequencies);

  // Stages. Computes rows and holds them in `out`.
  void hold(RowsId out, RowsId x);
  void products(RowsId x, std::vector<Product> products);
  // The same of a gate and what it gates, which nothing else may read; returns the computed rows of `swiglu`.
  RowsId gated_products(RowsId x, Product gate, Product up);
  // Turns q and k, puts k and v into the cache, and attends causally; k is left turned.
  void attention(RowsId out, RowsId q, RowsId k, RowsId v, RowsId rotations, const AttentionShape& shape);
  // Each row attends to all rows of its sequence, in `heads` heads.
  void bidirectional_attention(RowsId out, RowsId q, RowsId k, RowsId v, int heads, float scale);

  // Takes the memory that a step of this many rows and selected rows needs, so that no later one has to.
  void reserve(int rows, int selected);

  // Runs the step; throws std::invalid_argument for one that does not hold together.
  void run(const Step& step);
  // The same, and tells what each stage took.
  std::vector<StageTime> time(const Step& step);

  Rows& at(RowsId id) { return *rows_.at(id); }
  Rows& held(RowsId id);  // throws std::invalid_argument where they are not held
  size_t bytes() const;   // of all that is held, and of the workspace, as they are now
  Activations activations() const { return activations_; }
  ThreadPool& pool() { return pool_; }
  KvCache& cache() { return *cache_; }
  Workspace& workspace() { return workspace_; }

 private:
  void check(const Step& step) const;
  void check(const Rows& x, RowsId x_id, const Product& product);
  void check_places(const Step& step, int sequence) const;
  void prepare(const Step& step);
  RowsId computed(int width, bool selected, Rows::Compute read);
  void append(std::string name, size_t weight_bytes, std::unique_ptr<Stage> stage);

  ThreadPool& pool_;
  KvCache* cache_;
  Activations activations_;
  Workspace workspace_;
  int64_t vocabulary_ = 0;                                   // tokens are below this
  int64_t positions_ = std::numeric_limits<int64_t>::max();  // and positions below this
  std::vector<std::unique_ptr<Rows>> rows_;
  std::vector<std::unique_ptr<Stage>> stages_;
  std::vector<StageTime> times_;  // of the last step that was timed
};

}  // namespace fairlead
