#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "aligned.h"
#include "bindings.h"
#include "matmul.h"
#include "weight.h"

namespace nb = nanobind;

namespace fairlead {
namespace {

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Vector = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Matrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// A new array that NumPy owns.
template <typename Shape>
nb::ndarray<nb::numpy, float> owned(std::unique_ptr<float[]> values, Shape shape) {
  float* data = values.release();
  nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<float*>(p); });
  return nb::ndarray<nb::numpy, float>(data, shape, owner);
}

void check(bool holds, const char* message) {
  if (!holds) throw std::invalid_argument(message);
}

nb::ndarray<nb::numpy, float> unpack(const Weight& weight, int64_t output) {
  if (output < 0 || output >= weight.outputs()) throw nb::index_error("the weight has no such output");
  std::unique_ptr<float[]> values(new float[weight.inputs()]);
  weight.unpack(output, values.get());
  return owned(std::move(values), std::initializer_list<size_t>{static_cast<size_t>(weight.inputs())});
}

void multiply(const Weight& weight, const float* x, int rows, Activations activations, ThreadPool& pool,
              const Output& out) {
  const RowForm form = row_form(weight, rows, activations);
  AlignedArray<std::byte> packed(row_bytes(form, rows, weight.inputs()));
  const size_t scratch = round_up(scratch_bytes(weight, form, rows), kCacheLine);
  AlignedArray<std::byte> scratches(scratch * pool.size());
  pool.run([&](Worker& worker) {
    const Range of_rows = worker.share(rows);
    pack_rows(form, x, weight.inputs(), rows, weight.inputs(), static_cast<int>(of_rows.begin),
              static_cast<int>(of_rows.end), packed.data());
    worker.barrier();
    const Range panels = worker.share(weight.panels());
    matmul(weight, form, packed.data(), rows, out, panels.begin, panels.end,
           scratches.data() + scratch * worker.index());
  });
}

nb::ndarray<nb::numpy, float> matmul_of_arrays(const Weight& weight, const Matrix& x, ThreadPool& pool,
                                               const std::optional<Vector>& bias, const std::optional<Matrix>& y,
                                               const std::string& activations) {
  const size_t rows = x.shape(0), outputs = weight.outputs();
  check(x.shape(1) == static_cast<size_t>(weight.inputs()), "x needs as many columns as the weight has inputs");
  check(rows < size_t{1} << 31, "x has too many rows");
  check(!bias || bias->shape(0) == outputs, "bias needs one value for each output");
  check(!y || (y->shape(0) == rows && y->shape(1) == outputs), "y needs the shape of the product");
  const Activations as = activations_named(activations);
  std::unique_ptr<float[]> values(new float[rows * outputs]);
  if (y) std::copy_n(y->data(), rows * outputs, values.get());
  const Output out{.y = values.get(),
                   .stride = weight.outputs(),
                   .bias = bias ? bias->data() : nullptr,
                   .accumulate = y.has_value()};
  {
    const nb::gil_scoped_release release;
    multiply(weight, x.data(), static_cast<int>(rows), as, pool, out);
  }
  return owned(std::move(values), std::initializer_list<size_t>{rows, outputs});
}

}  // namespace

Activations activations_named(std::string_view name) {
  if (name == "q16") return Activations::q16;
  if (name == "q8") return Activations::q8;
  throw std::invalid_argument("activations are q16 or q8, not '" + std::string(name) + "'");
}

void bind_products(nb::module_& m) {
  m.def(
      "packed_bytes",
      [](uint32_t format, int64_t outputs, int64_t inputs) {
        return packed_bytes(static_cast<Format>(format), outputs, inputs);
      },
      nb::arg("format"), nb::arg("outputs"), nb::arg("inputs"));
  nb::class_<Weight>(m, "Weight")
      .def(
          "__init__",
          [](Weight* self, uint32_t format, const Bytes& data, int64_t outputs, int64_t inputs, ThreadPool& pool) {
            const auto* blocks = reinterpret_cast<const std::byte*>(data.data());
            const size_t bytes = data.size();
            const nb::gil_scoped_release release;
            new (self) Weight(static_cast<Format>(format), blocks, bytes, outputs, inputs, pool);
          },
          nb::arg("format"), nb::arg("data"), nb::arg("outputs"), nb::arg("inputs"), nb::arg("pool"))
      .def_prop_ro("outputs", &Weight::outputs)
      .def_prop_ro("inputs", &Weight::inputs)
      .def_prop_ro("nbytes", &Weight::bytes)
      .def_prop_ro("layout", [](const Weight& weight) { return std::string(weight.layout()); })
      .def("unpack", &unpack, nb::arg("output"));
  m.def("matmul", &matmul_of_arrays, nb::arg("weight"), nb::arg("x"), nb::arg("pool"), nb::arg("bias") = nb::none(),
        nb::arg("y") = nb::none(), nb::arg("activations") = "q16");
}

}  // namespace fairlead
