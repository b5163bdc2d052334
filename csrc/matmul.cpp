#include "matmul.h"

#include <algorithm>

#include "cpu.h"
#include "isa/products.h"
#include "packed.h"

namespace fairlead {
namespace {

const Products& products() {
#if defined(__x86_64__)
  switch (active_isa()) {
    case Isa::amx:
    case Isa::vnni:
      return products_vnni();
    case Isa::avx512:
      return products_avx512();
    case Isa::avx2:
      return products_avx2();
    case Isa::portable:
      break;
  }
#endif
  return products_portable();
}

// Bytes of one row, which do not depend on the tile it lies in.
size_t row_bytes(RowForm form, int64_t inputs) {
  return form == RowForm::f32 ? inputs * sizeof(float) : inputs / kGroup * kRowGroupBytes;
}

// Writes what a product found for a tile of rows and one panel: found[rows][16].
void write(const float* found, int rows, int64_t first_row, int64_t panel, int64_t outputs, const Output& out) {
  const int64_t first = panel * kPanel;
  const int count = static_cast<int>(std::min<int64_t>(kPanel, outputs - first));
  float bias[kPanel] = {};
  if (out.bias != nullptr) std::copy_n(out.bias + first, count, bias);
  for (int row = 0; row < rows; ++row) {
    const float* from = found + row * kPanel;
    float* to = out.y + (first_row + row) * out.stride + first;
    if (out.accumulate) {
      for (int i = 0; i < count; ++i) to[i] += from[i] + bias[i];
    } else {
      for (int i = 0; i < count; ++i) to[i] = from[i] + bias[i];
    }
  }
}

}  // namespace

RowForm row_form(const Weight& weight, int) {
  return encoding(weight.format()).records == Records::none ? RowForm::f32 : RowForm::q8;
}

size_t row_bytes(RowForm form, int rows, int64_t inputs) { return rows * row_bytes(form, inputs); }

void pack_rows(RowForm form, const float* x, int64_t stride, int rows, int64_t inputs, int begin, int end,
               std::byte* packed) {
  const Products& p = products();
  const auto pack = form == RowForm::f32 ? p.pack_floats : p.pack_codes;
  for (int row = begin; row < end; ++row) {
    const int tile = row / p.tile_rows;
    pack(x + row * stride, inputs, packed + tile * p.tile_rows * row_bytes(form, inputs),
         rows_of_tile(rows, p.tile_rows, tile), row % p.tile_rows);
  }
}

size_t scratch_bytes(const Weight&, int) { return 0; }

void matmul(const Weight& weight, RowForm form, const std::byte* packed, int rows, const Output& out, int64_t begin,
            int64_t end, std::byte*) {
  const Products& p = products();
  const PanelProduct product = p.panel_product(weight.format());
  const size_t tile_bytes = p.tile_rows * row_bytes(form, weight.inputs());
  for (int64_t panel = begin; panel < end; ++panel) {
    for (int tile = 0; tile * p.tile_rows < rows; ++tile) {
      constexpr int kMostRows = 8;
      alignas(64) float found[kMostRows * kPanel];
      const int of_tile = rows_of_tile(rows, p.tile_rows, tile);
      product(weight.panel(panel), weight.inputs(), packed + tile * tile_bytes, of_tile, found);
      write(found, of_tile, tile * p.tile_rows, panel, weight.outputs(), out);
    }
  }
}

}  // namespace fairlead
