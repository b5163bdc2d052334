#pragma once

#include <nanobind/nanobind.h>

#include <string_view>

#include "matmul.h"

namespace fairlead {

void bind_cpu(nanobind::module_& m);       // instruction sets, the thread pool
void bind_products(nanobind::module_& m);  // weights and matrix products
void bind_peaks(nanobind::module_& m);     // what the processor can give
void bind_plan(nanobind::module_& m);      // KV cache, plans
void bind_sampling(nanobind::module_& m);  // samplers

// By the names that Python has for them; throws std::invalid_argument for another.
Activations activations_named(std::string_view name);

}  // namespace fairlead
