#include "cpu.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <vector>

#include "bindings.h"
#include "thread_pool.h"

namespace nb = nanobind;

namespace fairlead {

void bind_cpu(nb::module_& m) {
  m.def("instruction_sets", [] {
    std::vector<std::string> names;
    for (int i = 0; i <= static_cast<int>(best_isa()); ++i) names.emplace_back(isa_name(static_cast<Isa>(i)));
    return names;
  });
  m.def("instruction_set", [] { return std::string(isa_name(active_isa())); });
  m.def("set_instruction_set", [](const std::string& name) { set_active_isa(name); }, nb::arg("name"));
  nb::class_<ThreadPool>(m, "ThreadPool")
      .def(nb::init<int>(), nb::arg("threads"))
      .def_prop_ro("size", &ThreadPool::size);
}

}  // namespace fairlead
