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
namespace {

std::vector<std::string> offered_names(Isa first, Isa last) {
  std::vector<std::string> names;
  for (int i = static_cast<int>(first); i <= static_cast<int>(last); ++i) {
    if (has_isa(static_cast<Isa>(i))) names.emplace_back(isa_name(static_cast<Isa>(i)));
  }
  return names;
}

}  // namespace

void bind_cpu(nb::module_& m) {
  m.def("instruction_sets", [] { return offered_names(Isa::portable, Isa::amx); });
  m.def("emulated_instruction_sets", [] { return offered_names(Isa::amx_emulated, Isa::amx_emulated); });
  m.def("instruction_set", [] { return std::string(isa_name(active_isa())); });
  m.def("set_instruction_set", [](const std::string& name) { set_active_isa(name); }, nb::arg("name"));
  nb::class_<ThreadPool>(m, "ThreadPool")
      .def(nb::init<int>(), nb::arg("threads"))
      .def_prop_ro("size", &ThreadPool::size);
}

}  // namespace fairlead
