// Causal attention over the pages of the KV cache.
//
// A task is some rows of one sequence, with the query heads that share one key-value head, against a part of their
// context. Contexts are cut into segments by the position of the rows alone, each segment's softmax is summed by
// itself, and the sums are merged in order: so a result does not depend on who computed what, nor on what else the step
// held.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <vector>

#include "isa/attention.h"
#include "stages.h"

namespace fairlead {
namespace {

// Queries of one task: many, since keys and values are read and converted once for all of them, but where rows are few
// as many fewer as balance threads.
constexpr int kMostQueries = 256, kLeastQueries = 32;

// From this many rows of a sequence on, matrix tiles are quicker than vectors.
constexpr int kManyRows = 9;

// Tokens of a segment, of which a context has at most kMostSegments: long ones have longer segments.
constexpr int kSegmentTokens = 256;
constexpr int kMostSegments = 16;

// Where there are fewer than this many tasks for each thread, segments become tasks of their own.
constexpr int kTasksWanted = 4;

int segment_tokens_of(int tokens) {
  return std::max(kSegmentTokens, static_cast<int>(round_up((tokens - 1) / kMostSegments + 1, kPageTokens)));
}

// Some consecutive rows of one sequence, whose contexts have segments of one length, and which attend to its first
// `tokens` tokens.
struct RowBlock {
  int sequence;
  int begin, end;  // rows of the step
  int tokens;
  bool many;  // rows of the sequence in this step

  int segment_tokens() const { return segment_tokens_of(tokens); }
  int segments() const { return (tokens - 1) / segment_tokens() + 1; }
};

class AttentionStage final : public Stage {
 public:
  AttentionStage(Plan& plan, const AttentionRows& rows, const AttentionShape& shape)
      : plan_(plan),
        cache_(plan.cache()),
        rows_(rows),
        shape_(shape),
        group_(shape.heads / cache_.shape().heads),
        queries_(round_up(std::max(kMostQueries, group_), kStripQueries)),
        split_queries_(round_up(std::max(kLeastQueries, group_), kStripQueries)),
        few_(kTasksWanted * plan.pool().size()),
        done_(std::make_unique<std::atomic<int>[]>(few_)) {
    Workspace& workspace = plan_.workspace();
    workspace.attended.reserve(static_cast<size_t>(few_) * kMostSegments * found_floats(split_queries_));
    for (Workspace::Own& own : workspace.own) {
      own.queries.reserve(queries_ * cache_.shape().head_dim);
      own.visible.reserve(queries_);
      own.attended.reserve(2 * found_floats(queries_));
    }
  }

  void prepare(const Step& step) override {
    cut_into_blocks(step);
    const int heads = cache_.shape().heads, threads = plan_.pool().size();
    const auto whole = static_cast<int>(blocks_.size()) * heads;
    int segments = 1, queries = 0;
    for (const RowBlock& block : blocks_) {
      segments = std::max(segments, block.segments());
      queries = std::max(queries, count(block));
    }
    splits_ = whole < few_ && queries <= split_queries_ ? segments : 1;
    for (Workspace::Own& own : plan_.workspace().own) {
      for (const bool many : {false, true}) {
        own.scratch.reserve(attention_kernels(many).room_bytes(queries_, cache_.shape().head_dim));
      }
    }
    for (int i = 0; i < std::min(whole, few_); ++i) done_[i].store(0, std::memory_order_relaxed);
    turning_by_tasks_ = only_last_segments_are_new(step);
    turning_.set(turning_by_tasks_ ? 0 : step.rows(), 1, threads);
    attending_.set(static_cast<int64_t>(whole) * splits_, 1, threads);
  }

  void run(const Step& step, Worker& worker) override {
    turning_.work_off([&](Range rows) {
      int sequence = 0;
      for (int row = static_cast<int>(rows.begin); row < rows.end; ++row) {
        while (row >= step.first_row[sequence + 1]) ++sequence;
        for (int head = 0; head < cache_.shape().heads; ++head) turn_and_store(step, sequence, row, head);
      }
    });
    Workspace::Own& own = plan_.workspace().own[worker.index()];
    attending_.work_off([&](Range tasks) {
      for (auto task = static_cast<int>(tasks.begin); task < tasks.end; ++task) {
        splits_ > 1 ? attend_to_segment(step, task, own) : attend_to_all(step, task, own);
      }
    });
  }

 private:
  void cut_into_blocks(const Step& step) {
    const int shares = kTasksWanted * plan_.pool().size();
    const int queries = std::clamp(step.rows() * shape_.heads / shares, kLeastQueries, kMostQueries);
    const int most_rows = std::max(1, queries / group_);
    blocks_.clear();
    for (int s = 0; s < step.sequences(); ++s) {
      const int first = step.first_row[s], last = step.first_row[s + 1];
      for (int row = first; row < last;) {
        RowBlock block{s, row, row, 0, last - first >= kManyRows};
        for (; row < last && row - block.begin < most_rows; ++row) {
          const int tokens = std::max(block.tokens, step.positions[row] + 1);
          if (row > block.begin && segment_tokens_of(tokens) != block.segment_tokens()) break;
          block.tokens = tokens;
          block.end = row + 1;
        }
        blocks_.push_back(block);
      }
    }
  }

  // Whether no part of a step but the task of a sequence's last segment reads its new keys and values: then this turns
  // and stores them, and the team need not wait for all of them.
  bool only_last_segments_are_new(const Step& step) const {
    return std::all_of(blocks_.begin(), blocks_.end(), [&](const RowBlock& block) {
      const int s = block.sequence;
      const int first = *std::min_element(&step.positions[block.begin], &step.positions[block.end - 1] + 1);
      return block.begin == step.first_row[s] && block.end == step.first_row[s + 1] &&
             first >= (block.segments() - 1) * block.segment_tokens();
    });
  }

  // Those of an `Attended`.
  size_t found_floats(int queries) const { return static_cast<size_t>(queries) * (cache_.value_stride() + 2); }
  Attended found_at(float* room, int queries) const {
    float* maximum = room + static_cast<size_t>(queries) * cache_.value_stride();
    return {room, maximum, maximum + queries};
  }

  void turn_and_store(const Step& step, int sequence, int row, int head) {
    const int head_dim = cache_.shape().head_dim, position = step.positions[row];
    const int page = step.pages[step.first_page[sequence] + position / kPageTokens];
    float* key = rows_.k.row(row) + head * head_dim;
    turn(row, key, 1);
    cache_.store(shape_.layer, head, page, position % kPageTokens, key, rows_.v.row(row) + head * head_dim);
  }

  void turn(int row, float* head, float scale) const {
    const int pairs = rows_.rotations.width / 2;
    const float* cosines = rows_.rotations.row(row);
    const HeadTurn turn{cosines, cosines + pairs, pairs, cache_.shape().head_dim, scale};
    const VectorKernels& kernels = vector_kernels();
    shape_.rope == RopeStyle::interleaved ? kernels.turn_interleaved(turn, head) : kernels.turn_halves(turn, head);
  }

  // A whole context; the last blocks, whose contexts are the longest, first, which evens out the threads.
  void attend_to_all(const Step& step, int task, Workspace::Own& own) {
    const int heads = cache_.shape().heads;
    const RowBlock& block = blocks_[blocks_.size() - 1 - task / heads];
    const int head = task % heads;
    const Attended found = found_at(own.attended.data(), queries_);
    const Attended next = found_at(own.attended.data() + found_floats(queries_), queries_);
    gather(step, block, head, own);
    for (int segment = 0; segment < block.segments(); ++segment) {
      attend(step, block, head, segment, own, segment == 0 ? found : next);
      if (segment > 0) kernels(block).merge(found, next, count(block), cache_.value_stride());
    }
    write(block, head, found);
  }

  // One segment; who finishes the last one of its rows and head puts them together.
  void attend_to_segment(const Step& step, int task, Workspace::Own& own) {
    const int heads = cache_.shape().heads, whole = task / splits_, segment = task % splits_;
    const RowBlock& block = blocks_[whole / heads];
    const int head = whole % heads, segments = block.segments();
    if (segment >= segments) return;
    const size_t floats = found_floats(split_queries_);
    float* first = plan_.workspace().attended.data() + static_cast<size_t>(whole) * splits_ * floats;
    const auto found = [&](int of) { return found_at(first + of * floats, split_queries_); };
    gather(step, block, head, own);
    attend(step, block, head, segment, own, found(segment));
    if (done_[whole].fetch_add(1, std::memory_order_acq_rel) + 1 < segments) return;
    for (int other = 1; other < segments; ++other) {
      kernels(block).merge(found(0), found(other), count(block), cache_.value_stride());
    }
    write(block, head, found(0));
  }

  static const AttentionKernels& kernels(const RowBlock& block) { return attention_kernels(block.many); }

  int count(const RowBlock& block) const { return (block.end - block.begin) * group_; }

  // The queries of a block, [row][head of the group][head_dim], turned and scaled; and what each of them sees.
  void gather(const Step& step, const RowBlock& block, int head, Workspace::Own& own) {
    const int head_dim = cache_.shape().head_dim;
    float* query = own.queries.data();
    int32_t* visible = own.visible.data();
    for (int row = block.begin; row < block.end; ++row) {
      std::copy_n(rows_.q.row(row) + head * group_ * head_dim, group_ * head_dim, query);
      for (int g = 0; g < group_; ++g, query += head_dim) {
        turn(row, query, shape_.scale);
        *visible++ = step.positions[row] + 1;
      }
    }
  }

  // One segment, the gathered queries against it.
  void attend(const Step& step, const RowBlock& block, int head, int segment, Workspace::Own& own,
              const Attended& found) {
    if (turning_by_tasks_ && segment + 1 == block.segments()) {
      for (int row = block.begin; row < block.end; ++row) turn_and_store(step, block.sequence, row, head);
    }
    const int begin = segment * block.segment_tokens();
    QueryBlock queries{};
    queries.queries = own.queries.data();
    queries.count = count(block);
    queries.visible = own.visible.data();
    queries.begin = begin;
    queries.end = std::min(block.tokens, begin + block.segment_tokens());
    queries.pages = step.pages.data() + step.first_page[block.sequence];
    queries.room = own.scratch.data();
    cache_.attend(kernels(block), shape_.layer, head, queries, found);
  }

  void write(const RowBlock& block, int head, const Attended& found) {
    const int head_dim = cache_.shape().head_dim, stride = cache_.value_stride();
    for (int i = 0; i < count(block); ++i) {
      const float share = 1 / found.total[i];
      const float* sums = found.sums + i * stride;
      float* out = rows_.out.row(block.begin + i / group_) + (head * group_ + i % group_) * head_dim;
      for (int d = 0; d < head_dim; ++d) out[d] = sums[d] * share;
    }
  }

  Plan& plan_;
  KvCache& cache_;
  AttentionRows rows_;
  AttentionShape shape_;
  int group_;          // query heads for each key-value head
  int queries_;        // the most queries of one task, in whole strips
  int split_queries_;  // the same where segments are tasks of their own
  int few_;            // fewer pairs of a block and a head than this are split into segments

  // Of this step.
  std::vector<RowBlock> blocks_;
  int splits_ = 1;                 // tasks for each pair of a block and a head
  bool turning_by_tasks_ = false;  // rather than before them
  Portions turning_, attending_;
  std::unique_ptr<std::atomic<int>[]> done_;  // segments, for each pair that is split
};

}  // namespace

std::unique_ptr<Stage> make_attention_stage(Plan& plan, const AttentionRows& rows, const AttentionShape& shape) {
  return std::make_unique<AttentionStage>(plan, rows, shape);
}

}  // namespace fairlead
