#include "matmul.h"

#include <algorithm>

#include "cpu.h"
#include "isa/products.h"
#include "packed.h"

namespace fairlead {
namespace {

// Which kernel is quickest depends on the rows at hand; from how many on another one is was measured
// (docs/performance.md). Tiles would win from five or six rows on. But they round activations to bf16, which few rows
// need not bear: nine keeps up to eight streams as exact as one.
constexpr int kTilesFrom = 9;

// From this many rows on, bytes are multiplied where activations may be bytes: before, memory is what holds products
// up.
constexpr int kBytesFrom = 5;

const Products& products() {
#if defined(__x86_64__)
  switch (active_isa()) {
    case Isa::amx_emulated:
    case Isa::amx:
    case Isa::vnni:
      return products_vnni();
    case Isa::avx512:
      return products_avx512();
    case Isa::avx_vnni:
      return products_avx_vnni();
    case Isa::avx2:
      return products_avx2();
    case Isa::portable:
      break;
  }
#endif
  return products_portable();
}

// Null where the instruction set has none, or none that are quicker than those of words.
const ByteProducts* byte_products() {
#if defined(__x86_64__)
  switch (active_isa()) {
    case Isa::amx_emulated:
    case Isa::amx:
    case Isa::vnni:
      return &byte_products_vnni();
    case Isa::avx_vnni:
      return &byte_products_avx_vnni();
    case Isa::avx512:
    case Isa::avx2:
    case Isa::portable:
      break;
  }
#endif
  return nullptr;
}

bool has_tiles() { return active_isa() == Isa::amx || active_isa() == Isa::amx_emulated; }

// Rows in the form bf16 are split evenly into blocks, so that no block is mostly empty.
int row_blocks(int rows) { return (rows + kTileRowsMost - 1) / kTileRowsMost; }
int block_rows(int rows) { return (rows + row_blocks(rows) - 1) / row_blocks(rows); }

// Bytes of one row, which do not depend on the tile it lies in.
size_t row_bytes(RowForm form, int64_t inputs) {
  switch (form) {
    case RowForm::f32:
      return inputs * sizeof(float);
    case RowForm::q16:
      return inputs / kGroup * kRowGroupBytes;
    case RowForm::q8: {
      const int64_t groups = inputs / kGroup;
      return groups * kRowPlanesBytes + (groups + kBlockGroups - 1) / kBlockGroups * kLoudBytes;
    }
    case RowForm::bf16:
      return inputs * 2;
  }
  return 0;
}

// A panel's place in the output, from `row` on.
Destination destination(const Output& out, int64_t outputs, int64_t panel, int row) {
  const int64_t first = panel * kPanel;
  return {.y = out.y + row * out.stride + first,
          .stride = out.stride,
          .bias = out.bias == nullptr ? nullptr : out.bias + first,
          .accumulate = out.accumulate,
          .outputs = static_cast<int>(std::min<int64_t>(kPanel, outputs - first))};
}

#if defined(__x86_64__)

const TileProducts& tile_products() { return active_isa() == Isa::amx ? products_amx() : products_amx_emulated(); }

void pack_tile_rows(const float* x, int64_t stride, int rows, int64_t inputs, int begin, int end, std::byte* packed) {
  const TileProducts& p = tile_products();
  const int of_block = block_rows(rows);
  for (int row = begin; row < end; ++row) {
    p.pack_row(x + row * stride, inputs, packed + row / of_block * of_block * row_bytes(RowForm::bf16, inputs),
               of_block, row % of_block);
  }
}

// Rows and inputs are taken in batches and slabs whose activations stay in the second-level cache while all panels
// pass by. A batch more unpacks the weights once more, a slab more adds to y once more.
constexpr int kBatchBlocks = 16;
constexpr int64_t kSlabBytes = 1 << 20;

int64_t slab_groups(int rows, int64_t groups) {
  constexpr int64_t kMultiple = 2 * kBlockGroups;
  const int64_t most = std::max<int64_t>(1, kSlabBytes / (int64_t{rows} * kRowBytes));
  const int64_t slabs = (groups + most - 1) / most;
  return (groups / slabs + kMultiple - 1) / kMultiple * kMultiple;
}

// The rows of a step, batch by batch: calls work(task, its first row).
template <typename Work>
void for_batches(const Weight& weight, const std::byte* packed, int rows, int most_blocks, std::byte* scratch,
                 const Work& work) {
  const int of_block = block_rows(rows), blocks = row_blocks(rows);
  const int batches = (blocks + most_blocks - 1) / most_blocks;
  for (int batch = 0; batch < batches; ++batch) {
    // Whole pairs of blocks, but for the last.
    const int first = blocks * batch / batches / 2 * 2;
    const int last = batch + 1 == batches ? blocks : blocks * (batch + 1) / batches / 2 * 2;
    const int first_row = first * of_block;
    work(TileTask{.inputs = weight.inputs(),
                  .rows = std::min(rows, last * of_block) - first_row,
                  .packed = packed + first_row * row_bytes(RowForm::bf16, weight.inputs()),
                  .blocks = last - first,
                  .block_rows = of_block,
                  .found = reinterpret_cast<float*>(scratch + tile_products().scratch_bytes),
                  .scratch = scratch},
         first_row);
  }
}

// Adds one batch of rows.
void multiply_batch(const Weight& weight, TileTask task, const Output& out, int64_t begin, int64_t end) {
  const auto product = tile_products().product(weight.format());
  const int64_t groups = weight.inputs() / kGroup;
  const int64_t slab = slab_groups(task.rows, groups);
  Output to = out;
  for (task.begin = 0; task.begin < groups; task.begin = task.end) {
    task.end = std::min(groups, task.begin + slab);
    for (int64_t panel = begin; panel < end; panel += 2) {
      task.panel_count = static_cast<int>(std::min<int64_t>(2, end - panel));
      for (int i = 0; i < 2; ++i) {
        const int64_t of_task = panel + std::min(i, task.panel_count - 1);
        task.panels[i] = weight.panel(of_task);
        task.to[i] = destination(to, weight.outputs(), of_task, 0);
      }
      product(task);
    }
    to.bias = nullptr;
    to.accumulate = true;
  }
}

void multiply_tiles(const Weight& weight, const std::byte* packed, int rows, const Output& out, int64_t begin,
                    int64_t end, std::byte* scratch) {
  for_batches(weight, packed, rows, kBatchBlocks, scratch, [&](const TileTask& task, int first_row) {
    Output to = out;
    to.y += first_row * out.stride;
    multiply_batch(weight, task, to, begin, end);
  });
}

// Sums have to be whole where they are gated, so there is one slab, and as many rows as leave it in the cache.
int gated_blocks(const Weight& weight) {
  const int64_t fitting = kSlabBytes / (kTileRowsMost * row_bytes(RowForm::bf16, weight.inputs()));
  return static_cast<int>(std::clamp<int64_t>(fitting / 2 * 2, 2, kBatchBlocks));
}

void gate_tiles(const Weight& gate, const Weight& up, const std::byte* packed, int rows, const GatedOutput& out,
                int64_t begin, int64_t end, std::byte* scratch) {
  const auto product = tile_products().product(gate.format());
  for_batches(gate, packed, rows, gated_blocks(gate), scratch, [&](TileTask task, int first_row) {
    task.end = gate.inputs() / kGroup;
    task.panel_count = 2;
    task.gated = true;
    for (int64_t panel = begin; panel < end; ++panel) {
      task.panels[0] = gate.panel(panel);
      task.panels[1] = up.panel(panel);
      task.to[0] = destination({out.y, out.stride, out.gate_bias}, gate.outputs(), panel, first_row);
      task.to[1] = destination({out.y, out.stride, out.up_bias}, up.outputs(), panel, first_row);
      product(task);
    }
  });
}

#endif

// Rows whose weights are unpacked go by in batches that stay in the second-level cache while all panels pass. A batch
// more unpacks the weights once more, so each has many rows.
constexpr int64_t kUnpackedBytes = 1 << 20;
constexpr int kUnpackedLeast = 128;

// A multiple of `tile_rows`, and no batch much smaller than the others.
int unpacked_batch(const Weight& weight, int rows, int tile_rows) {
  const int64_t fitting = kUnpackedBytes / static_cast<int64_t>(row_bytes(RowForm::q16, weight.inputs()));
  const int most = static_cast<int>(std::clamp<int64_t>(fitting, kUnpackedLeast, std::max(kUnpackedLeast, rows)));
  const int batches = (rows + most - 1) / most;
  const int tiles = (rows + tile_rows * batches - 1) / (tile_rows * batches);
  return tiles * tile_rows;
}

bool unpacks(RowForm form, int rows) { return form == RowForm::q16 && rows >= products().unpacked_from; }

void multiply_unpacked(const Weight& weight, const std::byte* packed, int rows, const Output& out, int64_t begin,
                       int64_t end, std::byte* scratch) {
  const Products& p = products();
  const PanelProduct product = p.unpacked(weight.format());
  const int batch = unpacked_batch(weight, rows, p.tile_rows);
  for (int row = 0; row < rows; row += batch) {
    PanelTask task{.inputs = weight.inputs(),
                   .rows = std::min(batch, rows - row),
                   .packed = packed + row * row_bytes(RowForm::q16, weight.inputs()),
                   .found = reinterpret_cast<float*>(scratch + p.unpacked_bytes),
                   .scratch = scratch};
    for (int64_t panel = begin; panel < end; panel += p.panels) {
      task.panel_count = static_cast<int>(std::min<int64_t>(p.panels, end - panel));
      for (int i = 0; i < task.panel_count; ++i) {
        task.panels[i] = weight.panel(panel + i);
        task.to[i] = destination(out, weight.outputs(), panel + i, row);
      }
      product(task);
    }
  }
}

// The product of one tile of rows, the most that it has, and the most panels that it takes.
struct FewRows {
  PanelProduct product;
  int tile_rows, panels;
};

FewRows few_rows(Format format, RowForm form) {
  if (form == RowForm::q8) {
    const ByteProducts& p = *byte_products();
    return {p.product(format), p.tile_rows, p.panels};
  }
  const Products& p = products();
  return {p.few_rows(format), p.tile_rows, p.panels};
}

// All tiles of rows by some panels, then by the next: a few rows leave nothing else to keep in a cache. Panels that are
// taken together come from different parts of the range, each part a stream that runs on: memory gives several streams
// more than one.
void multiply_few(const Weight& weight, RowForm form, const std::byte* packed, int rows, const Output& out,
                  int64_t begin, int64_t end) {
  const auto [product, tile_rows, panels] = few_rows(weight.format(), form);
  const size_t tile_bytes = tile_rows * row_bytes(form, weight.inputs());
  const int64_t part = (end - begin + panels - 1) / panels;
  for (int64_t first = begin; first < begin + part; ++first) {
    for (int row = 0; row < rows; row += tile_rows) {
      PanelTask task{.inputs = weight.inputs(),
                     .rows = std::min(tile_rows, rows - row),
                     .packed = packed + row / tile_rows * tile_bytes};
      for (int64_t panel = first; panel < end && task.panel_count < panels; panel += part) {
        task.panels[task.panel_count] = weight.panel(panel);
        task.to[task.panel_count++] = destination(out, weight.outputs(), panel, row);
      }
      product(task);
    }
  }
}

}  // namespace

RowForm row_form(const Weight& weight, int rows, Activations activations) {
  const bool quantised = encoding(weight.format()).records != Records::none;
  const bool fits_tiles = quantised || (weight.format() == Format::bf16 && weight.inputs() % kGroup == 0);
  if (fits_tiles && rows >= kTilesFrom && has_tiles()) return RowForm::bf16;
  if (!quantised) return RowForm::f32;
  const bool bytes = activations == Activations::q8 && rows >= kBytesFrom && byte_products() != nullptr;
  return bytes ? RowForm::q8 : RowForm::q16;
}

size_t row_bytes(RowForm form, int rows, int64_t inputs) {
  const int padded = form == RowForm::bf16 ? row_blocks(rows) * block_rows(rows) : rows;
  return padded * row_bytes(form, inputs);
}

void pack_rows(RowForm form, const float* x, int64_t stride, int rows, int64_t inputs, int begin, int end,
               std::byte* packed) {
#if defined(__x86_64__)
  if (form == RowForm::bf16) return pack_tile_rows(x, stride, rows, inputs, begin, end, packed);
#endif
  const Products& p = products();
  const int tile_rows = form == RowForm::q8 ? byte_products()->tile_rows : p.tile_rows;
  const auto pack = form == RowForm::q8 ? byte_products()->pack : form == RowForm::q16 ? p.pack_codes : p.pack_floats;
  for (int row = begin; row < end; ++row) {
    const int tile = row / tile_rows;
    pack(x + row * stride, inputs, packed + tile * tile_rows * row_bytes(form, inputs),
         rows_of_tile(rows, tile_rows, tile), row % tile_rows);
  }
}

size_t scratch_bytes(const Weight& weight, RowForm form, int rows) {
#if defined(__x86_64__)
  if (form == RowForm::bf16) {
    const int blocks = std::min(row_blocks(rows), kBatchBlocks + 1);  // an odd one may join the last batch
    return tile_products().scratch_bytes + sizeof(float) * blocks * block_rows(rows) * 2 * kPanel;
  }
#endif
  if (unpacks(form, rows)) {
    const Products& p = products();
    const int batch = unpacked_batch(weight, rows, p.tile_rows);
    return p.unpacked_bytes + sizeof(float) * batch * p.panels * kPanel;
  }
  return 0;
}

bool gates(const Weight& gate, const Weight& up, RowForm form) {
  return form == RowForm::bf16 && gate.format() == up.format() && gate.outputs() == up.outputs();
}

void gated_matmul(const Weight& gate, const Weight& up, const std::byte* packed, int rows, const GatedOutput& out,
                  int64_t begin, int64_t end, std::byte* scratch) {
#if defined(__x86_64__)
  gate_tiles(gate, up, packed, rows, out, begin, end, scratch);
#endif
}

void matmul(const Weight& weight, RowForm form, const std::byte* packed, int rows, const Output& out, int64_t begin,
            int64_t end, std::byte* scratch) {
#if defined(__x86_64__)
  if (form == RowForm::bf16) return multiply_tiles(weight, packed, rows, out, begin, end, scratch);
#endif
  if (unpacks(form, rows)) return multiply_unpacked(weight, packed, rows, out, begin, end, scratch);
  multiply_few(weight, form, packed, rows, out, begin, end);
}

}  // namespace fairlead
