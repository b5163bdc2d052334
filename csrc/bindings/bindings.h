#pragma once

#include <nanobind/nanobind.h>

namespace fairlead {

void bind_cpu(nanobind::module_& m);       // instruction sets, the thread pool
void bind_products(nanobind::module_& m);  // weights and matrix products
void bind_peaks(nanobind::module_& m);     // what the processor can give
void bind_plan(nanobind::module_& m);      // KV cache, plans
void bind_sampling(nanobind::module_& m);  // samplers

}  // namespace fairlead
