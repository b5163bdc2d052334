// Causal attention over the pages of the KV cache.
#include <algorithm>
#include <atomic>
#include <vector>

#include "isa/vector.h"
#include "stages.h"

namespace fairlead {
namespace {

// Queries of one task: enough to read a page from memory once for many of them, few enough to balance threads.
constexpr int kTaskQueries = 32;

// Some consecutive rows of one sequence.
struct RowBlock {
  int sequence;
  int begin, end;  // rows of the step
};

// Turns the first dims of one head by the angles whose cosines and sines are given.
void rotate(float* head, const float* cosines, const float* sines, int pairs, RopeStyle style) {
  const int step = style == RopeStyle::interleaved ? 2 : 1;
  const int partner = style == RopeStyle::interleaved ? 1 : pairs;
  for (int i = 0; i < pairs; ++i) {
    float& a = head[i * step];
    float& b = head[i * step + partner];
    const float turned = a * cosines[i] - b * sines[i];
    b = a * sines[i] + b * cosines[i];
    a = turned;
  }
}

class AttentionStage final : public Stage {
 public:
  AttentionStage(KvCache& cache, int threads, const AttentionBuffers& buffers, const AttentionShape& shape)
      : cache_(cache),
        buffers_(buffers),
        shape_(shape),
        group_(shape.heads / cache.shape().heads),
        block_rows_(std::max(1, kTaskQueries / group_)) {
    const size_t queries = static_cast<size_t>(block_rows_) * group_;
    for (int i = 0; i < threads; ++i) {
      scratch_.push_back({AlignedArray<float>(queries * cache.shape().head_dim),
                          AlignedArray<float>(queries * cache.value_stride()), std::vector<int32_t>(queries)});
    }
  }

  void prepare(const Step& step) override {
    blocks_.clear();
    for (int s = 0; s < step.sequences(); ++s) {
      for (int row = step.first_row[s]; row < step.first_row[s + 1]; row += block_rows_) {
        blocks_.push_back({s, row, std::min(row + block_rows_, step.first_row[s + 1])});
      }
    }
    next_.store(static_cast<int64_t>(blocks_.size()) * cache_.shape().heads);
  }

  void run(const Step& step, Worker& worker) override {
    const Range rows = worker.share(step.rows());
    int sequence = 0;
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      while (row >= step.first_row[sequence + 1]) ++sequence;
      turn_and_store(step, sequence, static_cast<int>(row));
    }
    worker.barrier();
    // The last blocks have the longest contexts: taking them first evens out the threads.
    const int heads = cache_.shape().heads;
    for (;;) {
      const int64_t task = next_.fetch_sub(1, std::memory_order_relaxed) - 1;
      if (task < 0) break;
      attend(step, blocks_[task / heads], static_cast<int>(task % heads), scratch_[worker.index()]);
    }
  }

 private:
  struct Scratch {
    AlignedArray<float> queries, out;
    std::vector<int32_t> visible;
  };

  void turn_and_store(const Step& step, int sequence, int row) {
    const int head_dim = cache_.shape().head_dim;
    const int pairs = buffers_.rotations.width / 2;
    const float* cosines = buffers_.rotations.row(row);
    const float* sines = cosines + pairs;
    float* q = buffers_.q.row(row);
    for (int h = 0; h < shape_.heads; ++h) rotate(q + h * head_dim, cosines, sines, pairs, shape_.rope);
    for (int i = 0; i < shape_.heads * head_dim; ++i) q[i] *= shape_.scale;

    const int position = step.positions[row];
    const int page = step.pages[step.first_page[sequence] + position / kPageTokens];
    float* k = buffers_.k.row(row);
    const float* v = buffers_.v.row(row);
    for (int h = 0; h < cache_.shape().heads; ++h) {
      rotate(k + h * head_dim, cosines, sines, pairs, shape_.rope);
      cache_.store(shape_.layer, h, page, position % kPageTokens, k + h * head_dim, v + h * head_dim);
    }
  }

  // The queries of all heads that share key-value head `head`, for the rows of one block.
  void attend(const Step& step, const RowBlock& block, int head, Scratch& scratch) {
    const int head_dim = cache_.shape().head_dim;
    const int64_t offset = static_cast<int64_t>(head) * group_ * head_dim;
    int count = 0;
    for (int row = block.begin; row < block.end; ++row) {
      std::copy_n(buffers_.q.row(row) + offset, group_ * head_dim, scratch.queries.data() + count * head_dim);
      for (int g = 0; g < group_; ++g) scratch.visible[count++] = step.positions[row] + 1;
    }
    const QueryBlock queries{
        .queries = scratch.queries.data(),
        .count = count,
        .visible = scratch.visible.data(),
        .head_dim = head_dim,
        .value_stride = cache_.value_stride(),
        .pages = step.pages.data() + step.first_page[block.sequence],
        .keys = cache_.keys(shape_.layer, head),
        .values = cache_.values(shape_.layer, head),
        .page_bytes = cache_.page_bytes(),
        .out = scratch.out.data(),
    };
    const VectorKernels& kernels = vector_kernels();
    (cache_.shape().type == KvType::f16 ? kernels.attend_half : kernels.attend_float)(queries);
    count = 0;
    for (int row = block.begin; row < block.end; ++row) {
      for (int g = 0; g < group_; ++g) {
        std::copy_n(scratch.out.data() + count++ * cache_.value_stride(), head_dim,
                    buffers_.out.row(row) + offset + g * head_dim);
      }
    }
  }

  KvCache& cache_;
  AttentionBuffers buffers_;
  AttentionShape shape_;
  int group_;       // query heads for each key-value head
  int block_rows_;  // rows of one task
  std::vector<RowBlock> blocks_;
  std::vector<Scratch> scratch_;  // one for each thread
  std::atomic<int64_t> next_{0};  // tasks that nobody has taken yet
};

}  // namespace

std::unique_ptr<Stage> make_attention_stage(KvCache& cache, int threads, const AttentionBuffers& buffers,
                                            const AttentionShape& shape) {
  return std::make_unique<AttentionStage>(cache, threads, buffers, shape);
}

}  // namespace fairlead
