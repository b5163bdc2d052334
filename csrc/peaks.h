// What this processor can give at most, measured: the rate of each arithmetic unit, and of reading memory. And which of
// the units the engine's kernels compute with, so that their speed can be told as a share of it.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "matmul.h"
#include "thread_pool.h"
#include "weight.h"

namespace fairlead {

// Names of the units that this processor has, whatever the active instruction set.
std::vector<std::string_view> arithmetic_units();

// Operations a second of all threads of the team together, a multiply-add counted as two; the best that was seen in
// about so many seconds. Throws std::invalid_argument for a unit that is not there.
double measure_peak(std::string_view unit, ThreadPool& pool, double seconds);

// Bytes a second that all threads of the team together read, each a part of its own of `bytes` of memory; the best
// pass that was seen in about so many seconds, with one pass at least of each kind. Throws std::bad_alloc.
double measure_read_bandwidth(ThreadPool& pool, int64_t bytes, double seconds);

// The unit that multiplies this weight by so many rows under the active instruction set (matmul.cpp).
std::string_view product_unit(const Weight& weight, int rows, Activations activations);

// The unit of everything else, attention in particular (isa/vector.cpp).
std::string_view vector_unit();

}  // namespace fairlead
