#include "plan.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <stdexcept>
#include <string>

#include "stages.h"

namespace fairlead {
namespace {

void require(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

// Computes rows and holds them, each by itself.
class HoldStage final : public Stage {
 public:
  HoldStage(Plan& plan, Rows& out, Rows& x) : plan_(plan), out_(out), x_(x) {}

  void prepare(const Step& step) override {
    portions_.set(out_.selected ? static_cast<int64_t>(step.selected.size()) : step.rows(), 1, plan_.pool().size());
  }

  void run(const Step& step, Worker&) override {
    portions_.work_off([&](Range rows) {
      for (int64_t row = rows.begin; row < rows.end; ++row) {
        float* to = out_.row(row);
        const float* found = x_.read(step, row, to);
        if (found != to) std::copy_n(found, out_.width, to);
      }
    });
  }

 private:
  Plan& plan_;
  Rows &out_, &x_;
  Portions portions_;
};

std::vector<float> padded(std::vector<float> values) {
  values.resize(round_up(static_cast<int64_t>(values.size()), kRowPad));
  return values;
}

}  // namespace

std::unique_ptr<Stage> make_hold_stage(Plan& plan, Rows& out, Rows& x) {
  return std::make_unique<HoldStage>(plan, out, x);
}

Plan::Plan(ThreadPool& pool, KvCache* cache, Activations activations)
    : pool_(pool), cache_(cache), activations_(activations) {
  workspace_.own.resize(pool.size());
}

Rows& Plan::held(RowsId id) {
  Rows& rows = at(id);
  require(rows.held, "these rows are computed where they are read, and not held");
  return rows;
}

RowsId Plan::buffer(int width, bool selected) {
  require(width > 0, "a buffer needs a width");
  const RowsId id = computed(width, selected, {});
  Rows& rows = at(id);
  rows.held = true;
  rows.read = [&rows](const Step&, int64_t row, float*) { return rows.row(row); };
  return id;
}

RowsId Plan::computed(int width, bool selected, Rows::Compute read) {
  const int stride = static_cast<int>(round_up(width, kRowPad));
  rows_.push_back(std::make_unique<Rows>(Rows{width, stride, selected, false, std::move(read), {}}));
  for (Workspace::Own& own : workspace_.own) own.row.reserve(stride);
  return static_cast<RowsId>(rows_.size()) - 1;
}

RowsId Plan::embedding(const Weight& weight) {
  require(vocabulary_ == 0, "embedding: the plan has one already");
  vocabulary_ = weight.outputs();
  const auto width = static_cast<int>(weight.inputs());
  return computed(width, false, [&weight, width](const Step& step, int64_t row, float* room) {
    weight.unpack(step.tokens[row], room);
    std::fill(room + width, room + round_up(width, kRowPad), 0.0f);
    return room;
  });
}

RowsId Plan::embedding(const Table& table, TableIndex index) {
  if (index == TableIndex::token) {
    require(vocabulary_ == 0, "embedding: the plan has one already");
    vocabulary_ = table.rows();
  }
  if (index == TableIndex::position) positions_ = std::min(positions_, table.rows());
  const int width = table.width();
  return computed(width, false, [&table, index, width](const Step& step, int64_t row, float* room) {
    const int64_t found = index == TableIndex::token      ? step.tokens[row]
                          : index == TableIndex::position ? step.positions[row]
                                                          : 0;
    table.read(found, room);
    std::fill(room + width, room + round_up(width, kRowPad), 0.0f);
    return room;
  });
}

RowsId Plan::rms_norm(RowsId x_id, std::vector<float> weight, float eps) {
  Rows& x = at(x_id);
  require(static_cast<int>(weight.size()) == x.width, "rms_norm: the weight is not as wide as the rows");
  return computed(x.width, x.selected,
                  [&x, weight = padded(std::move(weight)), eps](const Step& step, int64_t row, float* room) {
                    vector_kernels().rms_norm(room, x.read(step, row, room), weight.data(), x.width, eps);
                    return room;
                  });
}

RowsId Plan::layer_norm(RowsId x_id, std::vector<float> weight, std::vector<float> bias, float eps) {
  Rows& x = at(x_id);
  require(static_cast<int>(weight.size()) == x.width && weight.size() == bias.size(),
          "layer_norm: weight or bias is not as wide as the rows");
  return computed(x.width, x.selected,
                  [&x, weight = padded(std::move(weight)), bias = padded(std::move(bias)), eps](
                      const Step& step, int64_t row, float* room) {
                    const float* from = x.read(step, row, room);
                    vector_kernels().layer_norm(room, from, weight.data(), bias.data(), x.width, eps);
                    return room;
                  });
}

RowsId Plan::add(RowsId a_id, RowsId b_id) {
  Rows &a = held(a_id), &b = held(b_id);
  require(a.width == b.width && a.selected == b.selected, "add: the rows differ");
  return computed(a.width, a.selected, [&a, &b](const Step&, int64_t row, float* room) {
    vector_kernels().add(room, a.row(row), b.row(row), a.width);
    return room;
  });
}

RowsId Plan::swiglu(RowsId gate_id, RowsId up_id) {
  Rows &gate = held(gate_id), &up = held(up_id);
  require(gate.width == up.width && gate.selected == up.selected, "swiglu: the rows differ");
  return computed(gate.width, gate.selected, [&gate, &up](const Step&, int64_t row, float* room) {
    vector_kernels().swiglu(room, gate.row(row), up.row(row), gate.width);
    return room;
  });
}

RowsId Plan::gelu(RowsId x_id) {
  Rows& x = at(x_id);
  return computed(x.width, x.selected, [&x](const Step& step, int64_t row, float* room) {
    vector_kernels().gelu(room, x.read(step, row, room), x.width);
    return room;
  });
}

RowsId Plan::exact_gelu(RowsId x_id) {
  Rows& x = at(x_id);
  return computed(x.width, x.selected, [&x](const Step& step, int64_t row, float* room) {
    vector_kernels().exact_gelu(room, x.read(step, row, room), x.width);
    return room;
  });
}

RowsId Plan::mean(RowsId x_id) {
  Rows& x = held(x_id);
  require(!x.selected, "mean: needs all rows");
  return computed(x.width, true, [&x](const Step& step, int64_t row, float* room) {
    const auto* after =
        std::upper_bound(step.first_row.begin().base(), step.first_row.end().base(), step.selected[row]);
    const int begin = after[-1], end = *after;
    std::copy_n(x.row(begin), x.stride, room);
    for (int other = begin + 1; other < end; ++other) vector_kernels().add(room, room, x.row(other), x.width);
    const float share = 1.0f / static_cast<float>(end - begin);
    for (int i = 0; i < x.width; ++i) room[i] *= share;
    return room;
  });
}

RowsId Plan::l2_norm(RowsId x_id) {
  Rows& x = at(x_id);
  return computed(x.width, x.selected, [&x](const Step& step, int64_t row, float* room) {
    const float* from = x.read(step, row, room);
    double squares = 0;
    for (int i = 0; i < x.width; ++i) squares += static_cast<double>(from[i]) * from[i];
    const auto inverse = static_cast<float>(1 / std::max(std::sqrt(squares), 1e-12));  // as PyTorch's normalize
    for (int i = 0; i < x.width; ++i) room[i] = from[i] * inverse;
    std::fill(room + x.width, room + x.stride, 0.0f);
    return room;
  });
}

RowsId Plan::select(RowsId x_id) {
  Rows& x = at(x_id);
  require(!x.selected, "select: the rows are selected already");
  return computed(x.width, true,
                  [&x](const Step& step, int64_t row, float* room) { return x.read(step, step.selected[row], room); });
}

RowsId Plan::rotations(std::vector<double> frequencies) {
  require(!frequencies.empty(), "rotations: no frequencies");
  const auto width = static_cast<int>(2 * frequencies.size());
  return computed(width, false, [frequencies = std::move(frequencies)](const Step& step, int64_t row, float* room) {
    const double position = step.positions[row];
    for (size_t i = 0; i < frequencies.size(); ++i) {
      room[i] = static_cast<float>(std::cos(position * frequencies[i]));
      room[frequencies.size() + i] = static_cast<float>(std::sin(position * frequencies[i]));
    }
    return room;
  });
}

void Plan::hold(RowsId out_id, RowsId x_id) {
  Rows &out = held(out_id), &x = at(x_id);
  require(out.width == x.width && out.selected == x.selected && out_id != x_id, "hold: the rows differ");
  append("hold " + std::to_string(x.width), 0, make_hold_stage(*this, out, x));
}

void Plan::check(const Rows& x, RowsId x_id, const Product& product) {
  const Rows& out = held(product.out);
  require(product.weight->inputs() == x.width, "products: a weight does not fit the rows");
  require(product.weight->outputs() == out.width, "products: a weight does not fit its output");
  require(out.selected == x.selected && product.out != x_id, "products: an output is the input or has other rows");
  require(product.bias.empty() || static_cast<int>(product.bias.size()) == out.width,
          "products: a bias does not fit its output");
}

void Plan::products(RowsId x_id, std::vector<Product> products) {
  Rows& x = at(x_id);
  require(!products.empty(), "products: none given");
  for (const Product& product : products) check(x, x_id, product);
  size_t weight_bytes = 0;
  int64_t outputs = 0;
  for (const Product& product : products) {
    weight_bytes += product.weight->bytes();
    outputs += product.weight->outputs();
  }
  append("products " + std::to_string(x.width) + " to " + std::to_string(outputs), weight_bytes,
         make_product_stage(*this, x, std::move(products)));
}

RowsId Plan::gated_products(RowsId x_id, Product gate, Product up) {
  Rows& x = at(x_id);
  check(x, x_id, gate);
  check(x, x_id, up);
  Rows &gate_out = held(gate.out), &up_out = held(up.out);
  require(gate_out.width == up_out.width && gate.out != up.out, "gated_products: the outputs do not fit together");
  require(!gate.accumulate && !up.accumulate, "gated_products: a gate does not add to what was there");
  const auto gated = std::make_shared<bool>(false);
  append("gated products " + std::to_string(x.width) + " to " + std::to_string(gate_out.width),
         gate.weight->bytes() + up.weight->bytes(), make_gated_stage(*this, x, std::move(gate), std::move(up), gated));
  return computed(gate_out.width, gate_out.selected,
                  [&gate_out, &up_out, gated](const Step&, int64_t row, float* room) -> const float* {
                    if (*gated) return gate_out.row(row);
                    vector_kernels().swiglu(room, gate_out.row(row), up_out.row(row), gate_out.width);
                    return room;
                  });
}

void Plan::attention(RowsId out, RowsId q, RowsId k, RowsId v, RowsId rotations, const AttentionShape& shape) {
  require(cache_ != nullptr, "attention: the plan has no cache");
  const KvShape& cache = cache_->shape();
  const AttentionRows rows{held(out), held(q), held(k), held(v), held(rotations)};
  require(shape.layer >= 0 && shape.layer < cache.layers, "attention: the cache has no such layer");
  require(shape.heads > 0 && shape.heads % cache.heads == 0, "attention: heads are no multiple of the cache's");
  require(rows.q.width == shape.heads * cache.head_dim && rows.out.width == rows.q.width,
          "attention: queries or output do not fit the heads");
  require(rows.k.width == cache.heads * cache.head_dim && rows.v.width == rows.k.width,
          "attention: keys or values do not fit the cache");
  require(rows.rotations.width <= cache.head_dim, "attention: more turned dimensions than a head has");
  require(!rows.q.selected && !rows.k.selected && !rows.v.selected && !rows.out.selected, "attention: needs all rows");
  append("attention", 0, make_attention_stage(*this, rows, shape));
}

void Plan::append(std::string name, size_t weight_bytes, std::unique_ptr<Stage> stage) {
  stages_.push_back(std::move(stage));
  times_.push_back({std::move(name), weight_bytes, 0});
}

void Plan::bidirectional_attention(RowsId out, RowsId q, RowsId k, RowsId v, int heads, float scale) {
  const BidirectionalRows rows{held(out), held(q), held(k), held(v)};
  require(cache_ == nullptr, "bidirectional_attention: a cache keeps parts of texts, and this needs them whole");
  require(heads > 0 && rows.q.width % heads == 0, "bidirectional_attention: the heads do not divide the width");
  for (const Rows* other : {&rows.out, &rows.k, &rows.v}) {
    require(other->width == rows.q.width, "bidirectional_attention: queries, keys, values and output differ");
  }
  require(!rows.q.selected && !rows.k.selected && !rows.v.selected && !rows.out.selected,
          "bidirectional_attention: needs all rows");
  append("attention", 0, make_bidirectional_stage(*this, rows, heads, scale));
}

// Every row of a sequence lies in one of its pages; without a cache the sequence is whole.
void Plan::check_places(const Step& step, int sequence) const {
  const int first = step.first_row[sequence], end = step.first_row[sequence + 1];
  const int64_t room = static_cast<int64_t>(step.first_page[sequence + 1] - step.first_page[sequence]) * kPageTokens;
  for (int row = first; row < end; ++row) {
    const int32_t position = step.positions[row];
    if (cache_ == nullptr) {
      require(position == row - first && room == 0, "a step without a cache needs whole texts, and no pages");
    } else {
      require(position >= 0 && position < room, "a sequence of a step lacks pages");
    }
    require(position < positions_, "a sequence of a step is longer than there are positions");
  }
}

void Plan::check(const Step& step) const {
  const int rows = step.rows(), sequences = step.sequences();
  require(rows > 0 && sequences > 0, "a step needs rows and sequences");
  require(step.positions.size() == step.tokens.size() && step.first_page.size() == step.first_row.size(),
          "a step's rows or sequences disagree in number");
  require(step.first_row[0] == 0 && step.first_row[sequences] == rows, "a step's sequences do not cover its rows");
  require(step.first_page[0] == 0 && step.first_page[sequences] == static_cast<int>(step.pages.size()),
          "a step's sequences do not cover its pages");
  for (int s = 0; s < sequences; ++s) {
    require(step.first_row[s] < step.first_row[s + 1], "a sequence of a step is empty");
    check_places(step, s);
  }
  for (const int32_t page : step.pages) require(page >= 0 && page < cache_->shape().pages, "a page is out of range");
  for (const int32_t token : step.tokens) require(token >= 0 && token < vocabulary_, "a token is out of range");
  for (const int32_t row : step.selected) require(row >= 0 && row < rows, "a selected row is out of range");
}

void Plan::reserve(int rows, int selected) {
  require(rows > 0 && selected >= 0, "reserve: needs rows");
  const std::vector<int32_t> zeros(std::max(rows, selected)), ends = {0, rows};
  const std::span<const int32_t> all(zeros);
  prepare({.tokens = all.first(rows),
           .positions = all.first(rows),
           .first_row = ends,
           .first_page = ends,
           .pages = all.first(rows),
           .selected = all.first(selected)});
}

void Plan::run(const Step& step) {
  check(step);
  prepare(step);
  pool_.run([&](Worker& worker) {
    for (auto& stage : stages_) stage->run(step, worker);
  });
}

std::vector<StageTime> Plan::time(const Step& step) {
  check(step);
  prepare(step);
  using Clock = std::chrono::steady_clock;
  pool_.run([&](Worker& worker) {
    auto before = Clock::now();
    for (size_t i = 0; i < stages_.size(); ++i) {
      stages_[i]->run(step, worker);
      const auto now = Clock::now();
      if (worker.index() == 0) times_[i].seconds = std::chrono::duration<double>(now - before).count();
      before = now;
    }
  });
  return times_;
}

void Plan::prepare(const Step& step) {
  for (auto& rows : rows_) {
    if (!rows->held) continue;
    const size_t count = rows->selected ? step.selected.size() : static_cast<size_t>(step.rows());
    rows->data.reserve(count * rows->stride);
  }
  for (auto& stage : stages_) stage->prepare(step);
}

size_t Plan::bytes() const {
  size_t total = workspace_.bytes();
  for (const auto& rows : rows_) total += rows->data.bytes();
  return total;
}

size_t Workspace::bytes() const {
  size_t total = attended.bytes();
  for (const auto& form : packed) total += form.bytes();
  for (const Own& thread : own) total += thread.bytes();
  return total;
}

size_t Workspace::Own::bytes() const {
  size_t total = row.bytes() + scratch.bytes() + queries.bytes() + attended.bytes() + visible.bytes() + text.bytes();
  for (const auto& form : packed) total += form.bytes();
  return total;
}

}  // namespace fairlead
