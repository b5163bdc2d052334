#include "peaks.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace fairlead {

void bind_peaks(nb::module_& m) {
  using Released = nb::call_guard<nb::gil_scoped_release>;
  m.def("arithmetic_units", &arithmetic_units);
  m.def("measure_peak", &measure_peak, "unit"_a, "pool"_a, "seconds"_a, Released());
  m.def("measure_read_bandwidth", &measure_read_bandwidth, "pool"_a, "nbytes"_a, "seconds"_a, Released());
  m.def(
      "product_unit",
      [](const Weight& weight, int rows, std::string_view activations) {
        return product_unit(weight, rows, activations_named(activations));
      },
      "weight"_a, "rows"_a, "activations"_a = "q16");
  m.def("vector_unit", &vector_unit);
}

}  // namespace fairlead
