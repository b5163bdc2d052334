// y = x Wᵀ: activations in rows, times a packed weight.
//
// The rows of x are brought once into the form that the product reads, then shared by all weights of the same form
// (queries, keys and values; gate and up). All functions may be called by many threads at once on disjoint parts.
#pragma once

#include <cstddef>
#include <cstdint>

#include "weight.h"

namespace fairlead {

enum class RowForm {
  f32,   // as they are
  q16,   // int16 with a scale and sums for every 32 inputs
  q8,    // int8, and a second byte where values are large
  bf16,  // tiles of bf16
};
inline constexpr int kRowForms = 4;

// What activations may become before they meet quantised weights: `q16`, or `q8` too where many rows are quicker so.
// Bytes are less exact (docs/accuracy.md). Neither keeps many rows from tiles of bf16 where there are any.
enum class Activations { q16, q8 };

// The form in which a product of this many rows reads x, under the active instruction set.
RowForm row_form(const Weight& weight, int rows, Activations activations);

// Room that `rows` rows take in a form.
size_t row_bytes(RowForm form, int rows, int64_t inputs);

// Packs rows [begin, end) of x[rows][stride] (in floats) into `packed`.
void pack_rows(RowForm form, const float* x, int64_t stride, int rows, int64_t inputs, int begin, int end,
               std::byte* packed);

// Where a product goes: y[rows][stride], y = x Wᵀ + bias, or y += x Wᵀ + bias.
struct Output {
  float* y;
  int64_t stride;               // floats from row to row
  const float* bias = nullptr;  // [outputs], or none
  bool accumulate = false;
};

struct GatedOutput {
  float* y;
  int64_t stride;
  const float* gate_bias = nullptr;  // [outputs], or none
  const float* up_bias = nullptr;
};

// Whether products that read this form can gate as they go.
bool gates(const Weight& gate, const Weight& up, RowForm form);

// Scratch that one thread needs for a product of this many rows, 64-byte aligned.
size_t scratch_bytes(const Weight& weight, RowForm form, int rows);

// Computes the outputs of panels [begin, end) for all rows.
void matmul(const Weight& weight, RowForm form, const std::byte* packed, int rows, const Output& out, int64_t begin,
            int64_t end, std::byte* scratch);

// SwiGLU: y = silu(x Gateᵀ + bias) · (x Upᵀ + bias) for panels [begin, end) of both, where `gates` holds. Rows of y are
// padded to whole panels.
void gated_matmul(const Weight& gate, const Weight& up, const std::byte* packed, int rows, const GatedOutput& out,
                  int64_t begin, int64_t end, std::byte* scratch);

}  // namespace fairlead
