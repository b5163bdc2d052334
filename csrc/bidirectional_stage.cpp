// Attention of an encoder: every row of a text sees all of them (Devlin et al., 2019).
//
// A text is computed in one step, so nothing of it is kept. A task is one head of one text; its keys and values are
// laid out as in pages of the KV cache, in 32 bits and in room of the thread's own, and attended to by the kernel that
// attends to pages. What a text gives does not depend on what else the step holds.
#include <algorithm>
#include <numeric>
#include <vector>

#include "isa/attention.h"
#include "stages.h"

namespace fairlead {
namespace {

// Queries that attend at once: enough to read the keys and values once for many of them.
constexpr int kQueries = 32;

class BidirectionalStage final : public Stage {
 public:
  BidirectionalStage(Plan& plan, const BidirectionalRows& rows, int heads, float scale)
      : plan_(plan),
        rows_(rows),
        heads_(heads),
        head_dim_(rows.q.width / heads),
        stride_(static_cast<int>(round_up(head_dim_, kRowPad))),
        scale_(scale),
        key_bytes_(page_bytes_of(head_dim_)),
        page_bytes_(key_bytes_ + page_bytes_of(stride_)) {
    for (Workspace::Own& own : plan_.workspace().own) {
      own.queries.reserve(static_cast<size_t>(kQueries) * head_dim_);
      own.visible.reserve(kQueries);
      own.attended.reserve(static_cast<size_t>(kQueries) * (stride_ + 2));
    }
  }

  void prepare(const Step& step) override {
    int longest = 0;
    for (int s = 0; s < step.sequences(); ++s) longest = std::max(longest, step.first_row[s + 1] - step.first_row[s]);
    const int pages = (longest + kPageTokens - 1) / kPageTokens;
    for (Workspace::Own& own : plan_.workspace().own) {
      own.text.reserve(pages * page_bytes_);
      own.scratch.reserve(attention_kernels(false).room_bytes(kQueries, head_dim_));
    }
    pages_.resize(pages);
    std::iota(pages_.begin(), pages_.end(), 0);
    attending_.set(static_cast<int64_t>(step.sequences()) * heads_, 1, plan_.pool().size());
  }

  void run(const Step& step, Worker& worker) override {
    Workspace::Own& own = plan_.workspace().own[worker.index()];
    attending_.work_off([&](Range tasks) {
      for (int64_t task = tasks.begin; task < tasks.end; ++task) {
        const auto sequence = static_cast<int>(task / heads_), head = static_cast<int>(task % heads_);
        attend(step.first_row[sequence], step.first_row[sequence + 1], head, own);
      }
    });
  }

 private:
  static size_t page_bytes_of(int width) { return static_cast<size_t>(width) * kPageTokens * sizeof(float); }

  // One head of the text whose rows are [begin, end).
  void attend(int begin, int end, int head, Workspace::Own& own) {
    lay_out(begin, end, head, own);
    QueryBlock block{};
    block.queries = own.queries.data();
    block.visible = own.visible.data();
    block.begin = 0;
    block.end = end - begin;
    block.head_dim = head_dim_;
    block.value_stride = stride_;
    block.pages = pages_.data();
    block.keys = own.text.data();
    block.values = own.text.data() + key_bytes_;
    block.page_bytes = page_bytes_;
    block.room = own.scratch.data();
    float* maximum = own.attended.data() + kQueries * stride_;
    const Attended found{own.attended.data(), maximum, maximum + kQueries};
    std::fill_n(own.visible.data(), kQueries, end - begin);
    for (int row = begin; row < end; row += kQueries) {
      block.count = std::min(kQueries, end - row);
      gather(row, block.count, head, own.queries.data());
      attention_kernels(false).attend_float(block, found);
      write(row, block.count, head, found);
    }
  }

  void lay_out(int begin, int end, int head, Workspace::Own& own) {
    for (int row = begin; row < end; ++row) {
      const int token = row - begin;
      std::byte* page = own.text.data() + token / kPageTokens * page_bytes_;
      const KvSlot slot{.key = rows_.k.row(row) + head * head_dim_,
                        .value = rows_.v.row(row) + head * head_dim_,
                        .head_dim = head_dim_,
                        .value_stride = stride_,
                        .keys = page,
                        .values = page + key_bytes_,
                        .token = token % kPageTokens};
      vector_kernels().store_float(slot);
    }
  }

  void gather(int first, int count, int head, float* queries) const {
    for (int row = first; row < first + count; ++row) {
      const float* q = rows_.q.row(row) + head * head_dim_;
      for (int d = 0; d < head_dim_; ++d) *queries++ = q[d] * scale_;
    }
  }

  void write(int first, int count, int head, const Attended& found) {
    for (int i = 0; i < count; ++i) {
      const float share = 1 / found.total[i];
      const float* sums = found.sums + i * stride_;
      float* out = rows_.out.row(first + i) + head * head_dim_;
      for (int d = 0; d < head_dim_; ++d) out[d] = sums[d] * share;
    }
  }

  Plan& plan_;
  BidirectionalRows rows_;
  int heads_, head_dim_, stride_;
  float scale_;
  size_t key_bytes_, page_bytes_;

  // Of this step.
  std::vector<int32_t> pages_;  // numbered one after the other
  Portions attending_;
};

}  // namespace

std::unique_ptr<Stage> make_bidirectional_stage(Plan& plan, const BidirectionalRows& rows, int heads, float scale) {
  return std::make_unique<BidirectionalStage>(plan, rows, heads, scale);
}

}  // namespace fairlead
