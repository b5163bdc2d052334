#include "plan.h"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <span>
#include <stdexcept>
#include <string>

#include "bindings.h"
#include "drawing.h"
#include "scoring.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace fairlead {
namespace {

using Ids = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

std::span<const int32_t> span(const Ids& ids) { return {ids.data(), ids.size()}; }
std::vector<float> vector(const Floats& values) { return {values.data(), values.data() + values.size()}; }

Step step_of(const Ids& tokens, const Ids& positions, const Ids& first_row, const Ids& first_page, const Ids& pages,
             const Ids& selected) {
  return {.tokens = span(tokens),
          .positions = span(positions),
          .first_row = span(first_row),
          .first_page = span(first_page),
          .pages = span(pages),
          .selected = span(selected)};
}

KvType kv_type(const std::string& name) {
  if (name == "f16") return KvType::f16;
  if (name == "f32") return KvType::f32;
  if (name == "q8") return KvType::q8;
  throw std::invalid_argument("a KV cache is of type f16, f32 or q8, not '" + name + "'");
}

// (weight, bias or None, out, accumulate)
Product product(nb::handle item) {
  const auto [weight, bias, out, accumulate] = nb::cast<std::tuple<nb::object, nb::object, RowsId, bool>>(item);
  return {nb::cast<const Weight*>(weight), bias.is_none() ? std::vector<float>{} : vector(nb::cast<Floats>(bias)), out,
          accumulate};
}

RopeStyle rope_style(const std::string& name) {
  if (name == "halves") return RopeStyle::halves;
  if (name == "interleaved") return RopeStyle::interleaved;
  throw std::invalid_argument("rope turns halves or interleaved, not '" + name + "'");
}

TableIndex table_index(const std::string& name) {
  if (name == "token") return TableIndex::token;
  if (name == "position") return TableIndex::position;
  if (name == "type") return TableIndex::type;
  throw std::invalid_argument("a table is indexed by token, position or type, not by '" + name + "'");
}

// The first of the rows that a plan holds, without their padding, copied.
nb::ndarray<nb::numpy, float> rows_of(Plan& plan, RowsId id, size_t count) {
  Rows& rows = plan.held(id);
  if (count * rows.stride > rows.data.size()) throw std::invalid_argument("the buffer has fewer rows");
  const auto width = static_cast<size_t>(rows.width);
  auto* copy = new float[count * width];
  nb::capsule owner(copy, [](void* p) noexcept { delete[] static_cast<float*>(p); });
  for (size_t r = 0; r < count; ++r) std::copy_n(rows.row(static_cast<int64_t>(r)), width, copy + r * width);
  return nb::ndarray<nb::numpy, float>(copy, {count, width}, owner);
}

// Draws from the first rows of a buffer of logits: for each sampler one row and one more for each of its guesses.
std::vector<std::vector<Draw>> draw_rows(Plan& plan, RowsId id, const std::vector<Sampler*>& samplers,
                                         const std::vector<std::vector<int32_t>>& guesses) {
  Rows& logits = plan.held(id);
  if (guesses.size() != samplers.size()) throw std::invalid_argument("samplers and guesses differ in number");
  std::vector<Turn> turns;
  int64_t row = 0;
  for (size_t i = 0; i < samplers.size(); ++i) {
    turns.push_back({samplers[i], logits.row(row), guesses[i]});
    row += 1 + static_cast<int64_t>(guesses[i].size());
  }
  if (static_cast<size_t>(row * logits.stride) > logits.data.size())
    throw std::invalid_argument("more draws than rows");
  const nb::gil_scoped_release released;
  return draw(plan.pool(), turns, logits.width, logits.stride);
}

// Of rows of a buffer of logits, from `first` on, how likely each row's tokens are.
std::vector<std::vector<float>> score_rows(Plan& plan, RowsId id, int64_t first,
                                           const std::vector<std::vector<int32_t>>& tokens) {
  Rows& logits = plan.held(id);
  if (first < 0 || (first + tokens.size()) * logits.stride > logits.data.size())
    throw std::invalid_argument("more questions than rows");
  std::vector<Question> questions;
  for (size_t i = 0; i < tokens.size(); ++i) {
    questions.push_back({logits.row(first + static_cast<int64_t>(i)), tokens[i]});
  }
  const nb::gil_scoped_release released;
  return log_probabilities(plan.pool(), questions, logits.width);
}

void bind_building(nb::class_<Plan>& plan) {
  plan.def("buffer", &Plan::buffer, "width"_a, "selected"_a = false)
      .def("embedding", nb::overload_cast<const Weight&>(&Plan::embedding), "weight"_a, nb::keep_alive<1, 2>())
      .def(
          "table",
          [](Plan& self, const Table& table, const std::string& index) {
            return self.embedding(table, table_index(index));
          },
          "table"_a, "index"_a, nb::keep_alive<1, 2>())
      .def(
          "rms_norm",
          [](Plan& self, RowsId x, const Floats& weight, float eps) { return self.rms_norm(x, vector(weight), eps); },
          "x"_a, "weight"_a, "eps"_a)
      .def(
          "layer_norm",
          [](Plan& self, RowsId x, const Floats& weight, const Floats& bias, float eps) {
            return self.layer_norm(x, vector(weight), vector(bias), eps);
          },
          "x"_a, "weight"_a, "bias"_a, "eps"_a)
      .def("add", &Plan::add, "a"_a, "b"_a)
      .def("swiglu", &Plan::swiglu, "gate"_a, "up"_a)
      .def("gelu", &Plan::gelu, "x"_a)
      .def("exact_gelu", &Plan::exact_gelu, "x"_a)
      .def("select", &Plan::select, "x"_a)
      .def("mean", &Plan::mean, "x"_a)
      .def("l2_norm", &Plan::l2_norm, "x"_a)
      .def("rotations", &Plan::rotations, "frequencies"_a)
      .def("hold", &Plan::hold, "out"_a, "x"_a)
      .def(
          "products",
          [](Plan& self, RowsId x, const nb::list& products) {
            std::vector<Product> group;
            for (nb::handle item : products) group.push_back(product(item));
            self.products(x, std::move(group));
          },
          "x"_a, "products"_a)
      .def(
          "gated_products",
          [](Plan& self, RowsId x, nb::handle gate, nb::handle up) {
            return self.gated_products(x, product(gate), product(up));
          },
          "x"_a, "gate"_a, "up"_a)
      .def(
          "attention",
          [](Plan& self, RowsId out, RowsId q, RowsId k, RowsId v, RowsId rotations, int layer, int heads, float scale,
             const std::string& rope) {
            self.attention(out, q, k, v, rotations, {layer, heads, scale, rope_style(rope)});
          },
          "out"_a, "q"_a, "k"_a, "v"_a, "rotations"_a, nb::kw_only(), "layer"_a, "heads"_a, "scale"_a, "rope"_a)
      .def("bidirectional_attention", &Plan::bidirectional_attention, "out"_a, "q"_a, "k"_a, "v"_a, nb::kw_only(),
           "heads"_a, "scale"_a);
}

void bind_running(nb::class_<Plan>& plan) {
  plan.def("reserve", &Plan::reserve, "rows"_a, "selected"_a)
      .def(
          "run",
          [](Plan& self, const Ids& tokens, const Ids& positions, const Ids& first_row, const Ids& first_page,
             const Ids& pages, const Ids& selected) {
            const Step step = step_of(tokens, positions, first_row, first_page, pages, selected);
            const nb::gil_scoped_release released;
            self.run(step);
          },
          nb::kw_only(), "tokens"_a, "positions"_a, "first_row"_a, "first_page"_a, "pages"_a, "selected"_a)
      .def(
          "time",
          [](Plan& self, const Ids& tokens, const Ids& positions, const Ids& first_row, const Ids& first_page,
             const Ids& pages, const Ids& selected) {
            const Step step = step_of(tokens, positions, first_row, first_page, pages, selected);
            const nb::gil_scoped_release released;
            return self.time(step);
          },
          nb::kw_only(), "tokens"_a, "positions"_a, "first_row"_a, "first_page"_a, "pages"_a, "selected"_a)
      .def("rows", &rows_of, "buffer"_a, "count"_a)
      .def("draw", &draw_rows, "buffer"_a, "samplers"_a, "guesses"_a)
      .def("score", &score_rows, "buffer"_a, "first"_a, "tokens"_a)
      .def_prop_ro("nbytes", &Plan::bytes);
}

}  // namespace

void bind_plan(nb::module_& m) {
  m.attr("PAGE_TOKENS") = kPageTokens;
  nb::class_<KvCache>(m, "KvCache")
      .def(
          "__init__",
          [](KvCache* self, int layers, int heads, int head_dim, int pages, const std::string& type, ThreadPool* pool) {
            ThreadPool alone(1);
            const nb::gil_scoped_release released;
            new (self) KvCache({layers, heads, head_dim, pages, kv_type(type)}, pool != nullptr ? *pool : alone);
          },
          nb::kw_only(), "layers"_a, "heads"_a, "head_dim"_a, "pages"_a, "type"_a = "f16", "pool"_a = nb::none())
      .def("copy_page", &KvCache::copy_page, "from_page"_a, "to_page"_a, nb::call_guard<nb::gil_scoped_release>())
      .def_prop_ro("page_bytes", &KvCache::page_bytes)
      .def_prop_ro("nbytes", &KvCache::bytes);
  nb::class_<StageTime>(m, "StageTime")
      .def_ro("name", &StageTime::name)
      .def_ro("weight_bytes", &StageTime::weight_bytes)
      .def_ro("seconds", &StageTime::seconds);
  nb::class_<Table>(m, "Table")
      .def(
          "__init__",
          [](Table* self, uint32_t format, const Bytes& data, int64_t rows, int64_t width) {
            const auto* bytes = reinterpret_cast<const std::byte*>(data.data());
            new (self) Table(static_cast<Format>(format), bytes, data.size(), rows, width);
          },
          "format"_a, "data"_a, "rows"_a, "width"_a)
      .def_prop_ro("nbytes", &Table::bytes);
  nb::class_<Plan> plan(m, "Plan");
  plan.def(
      "__init__",
      [](Plan* self, ThreadPool& pool, KvCache* cache, const std::string& activations) {
        new (self) Plan(pool, cache, activations_named(activations));
      },
      "pool"_a, "cache"_a.none(), "activations"_a = "q16", nb::keep_alive<1, 2>(), nb::keep_alive<1, 3>());
  bind_building(plan);
  bind_running(plan);
}

}  // namespace fairlead
