#include "plan.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "stages.h"

namespace fairlead {
namespace {

void require(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

// Every row by itself, a share of the rows for each thread.
class RowStage final : public Stage {
 public:
  RowStage(bool selected, RowFunction function) : selected_(selected), function_(std::move(function)) {}

  void run(const Step& step, Worker& worker) override {
    const Range rows = worker.share(selected_ ? static_cast<int64_t>(step.selected.size()) : step.rows());
    for (int64_t row = rows.begin; row < rows.end; ++row) function_(step, row);
  }

 private:
  bool selected_;
  RowFunction function_;
};

std::vector<float> padded(std::vector<float> values) {
  values.resize(round_up(static_cast<int64_t>(values.size()), kRowPad));
  return values;
}

}  // namespace

std::unique_ptr<Stage> make_row_stage(bool selected, RowFunction function) {
  return std::make_unique<RowStage>(selected, std::move(function));
}

Plan::Plan(ThreadPool& pool, KvCache& cache) : pool_(pool), cache_(cache) { workspace_.own.resize(pool.size()); }

BufferId Plan::buffer(int width, bool selected) {
  require(width > 0, "a buffer needs a width");
  buffers_.push_back(std::make_unique<Buffer>(Buffer{width, static_cast<int>(round_up(width, kRowPad)), selected, {}}));
  return static_cast<BufferId>(buffers_.size()) - 1;
}

void Plan::embed(BufferId out_id, const Weight& weight) {
  Buffer& out = at(out_id);
  require(out.width == weight.inputs(), "embed: the buffer is not as wide as the embedding");
  require(vocabulary_ == 0, "embed: the plan has an embedding already");
  vocabulary_ = weight.outputs();
  stages_.push_back(make_row_stage(
      out.selected, [&out, &weight](const Step& step, int64_t row) { weight.unpack(step.tokens[row], out.row(row)); }));
}

void Plan::rms_norm(BufferId out_id, BufferId x_id, std::vector<float> weight, float eps) {
  Buffer &out = at(out_id), &x = at(x_id);
  require(out.width == x.width && out.selected == x.selected, "rms_norm: the buffers differ");
  require(static_cast<int>(weight.size()) == x.width, "rms_norm: the weight is not as wide as the rows");
  stages_.push_back(
      make_row_stage(x.selected, [&out, &x, weight = padded(std::move(weight)), eps](const Step&, int64_t row) {
        vector_kernels().rms_norm(out.row(row), x.row(row), weight.data(), x.width, eps);
      }));
}

void Plan::layer_norm(BufferId out_id, BufferId x_id, std::vector<float> weight, std::vector<float> bias, float eps) {
  Buffer &out = at(out_id), &x = at(x_id);
  require(out.width == x.width && out.selected == x.selected, "layer_norm: the buffers differ");
  require(static_cast<int>(weight.size()) == x.width && weight.size() == bias.size(),
          "layer_norm: weight or bias is not as wide as the rows");
  stages_.push_back(make_row_stage(x.selected, [&out, &x, weight = padded(std::move(weight)),
                                                bias = padded(std::move(bias)), eps](const Step&, int64_t row) {
    vector_kernels().layer_norm(out.row(row), x.row(row), weight.data(), bias.data(), x.width, eps);
  }));
}

void Plan::products(BufferId x_id, std::vector<Product> products) {
  Buffer& x = at(x_id);
  require(!products.empty(), "products: none given");
  for (const Product& product : products) {
    const Buffer& out = at(product.out);
    require(product.weight->inputs() == x.width, "products: a weight does not fit the rows");
    require(product.weight->outputs() == out.width, "products: a weight does not fit its output");
    require(out.selected == x.selected && product.out != x_id, "products: an output is the input or has other rows");
    require(product.bias.empty() || static_cast<int>(product.bias.size()) == out.width,
            "products: a bias does not fit its output");
  }
  stages_.push_back(make_product_stage(*this, x, std::move(products)));
}

void Plan::rotations(BufferId out_id, std::vector<double> frequencies) {
  Buffer& out = at(out_id);
  require(!out.selected && out.width == static_cast<int>(2 * frequencies.size()),
          "rotations: the buffer does not fit the frequencies");
  stages_.push_back(make_row_stage(false, [&out, frequencies = std::move(frequencies)](const Step& step, int64_t row) {
    const double position = step.positions[row];
    float* cosines = out.row(row);
    for (size_t i = 0; i < frequencies.size(); ++i) {
      cosines[i] = static_cast<float>(std::cos(position * frequencies[i]));
      cosines[frequencies.size() + i] = static_cast<float>(std::sin(position * frequencies[i]));
    }
  }));
}

void Plan::attention(BufferId out, BufferId q, BufferId k, BufferId v, BufferId rotations,
                     const AttentionShape& shape) {
  const KvShape& cache = cache_.shape();
  const AttentionBuffers buffers{at(out), at(q), at(k), at(v), at(rotations)};
  require(shape.layer >= 0 && shape.layer < cache.layers, "attention: the cache has no such layer");
  require(shape.heads > 0 && shape.heads % cache.heads == 0, "attention: heads are no multiple of the cache's");
  require(buffers.q.width == shape.heads * cache.head_dim && buffers.out.width == buffers.q.width,
          "attention: queries or output do not fit the heads");
  require(buffers.k.width == cache.heads * cache.head_dim && buffers.v.width == buffers.k.width,
          "attention: keys or values do not fit the cache");
  require(buffers.rotations.width <= cache.head_dim, "attention: more turned dimensions than a head has");
  require(!buffers.q.selected && !buffers.k.selected && !buffers.v.selected && !buffers.out.selected,
          "attention: needs all rows");
  stages_.push_back(make_attention_stage(cache_, pool_.size(), buffers, shape));
}

void Plan::add(BufferId out_id, BufferId a_id, BufferId b_id) {
  Buffer &out = at(out_id), &a = at(a_id), &b = at(b_id);
  require(out.width == a.width && a.width == b.width && out.selected == a.selected && a.selected == b.selected,
          "add: the buffers differ");
  stages_.push_back(make_row_stage(a.selected, [&out, &a, &b](const Step&, int64_t row) {
    vector_kernels().add(out.row(row), a.row(row), b.row(row), a.width);
  }));
}

void Plan::swiglu(BufferId out_id, BufferId gate_id, BufferId up_id) {
  Buffer &out = at(out_id), &gate = at(gate_id), &up = at(up_id);
  require(out.width == gate.width && gate.width == up.width && out.selected == gate.selected &&
              gate.selected == up.selected,
          "swiglu: the buffers differ");
  stages_.push_back(make_row_stage(gate.selected, [&out, &gate, &up](const Step&, int64_t row) {
    vector_kernels().swiglu(out.row(row), gate.row(row), up.row(row), gate.width);
  }));
}

void Plan::gelu(BufferId out_id, BufferId x_id) {
  Buffer &out = at(out_id), &x = at(x_id);
  require(out.width == x.width && out.selected == x.selected, "gelu: the buffers differ");
  stages_.push_back(make_row_stage(
      x.selected, [&out, &x](const Step&, int64_t row) { vector_kernels().gelu(out.row(row), x.row(row), x.width); }));
}

void Plan::select(BufferId out_id, BufferId x_id) {
  Buffer &out = at(out_id), &x = at(x_id);
  require(out.width == x.width && out.selected && !x.selected, "select: the buffers do not fit");
  stages_.push_back(make_row_stage(true, [&out, &x](const Step& step, int64_t row) {
    std::copy_n(x.row(step.selected[row]), x.width, out.row(row));
  }));
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
    const int64_t room = static_cast<int64_t>(step.first_page[s + 1] - step.first_page[s]) * kPageTokens;
    require(step.first_row[s] < step.first_row[s + 1], "a sequence of a step is empty");
    for (int row = step.first_row[s]; row < step.first_row[s + 1]; ++row) {
      require(step.positions[row] >= 0 && step.positions[row] < room, "a sequence of a step lacks pages");
    }
  }
  for (const int32_t page : step.pages) require(page >= 0 && page < cache_.shape().pages, "a page is out of range");
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
    for (auto& stage : stages_) {
      stage->run(step, worker);
      worker.barrier();
    }
  });
}

void Plan::prepare(const Step& step) {
  for (auto& buffer : buffers_) {
    const size_t rows = buffer->selected ? step.selected.size() : static_cast<size_t>(step.rows());
    buffer->data.reserve(rows * buffer->stride);
  }
  for (auto& stage : stages_) stage->prepare(step);
}

size_t Plan::bytes() const {
  size_t total = 0;
  for (const auto& buffer : buffers_) total += buffer->data.size() * sizeof(float);
  for (const auto& packed : workspace_.packed) total += packed.size();
  for (const auto& own : workspace_.own) {
    total += own.scratch.size();
    for (const auto& packed : own.packed) total += packed.size();
  }
  return total;
}

}  // namespace fairlead
