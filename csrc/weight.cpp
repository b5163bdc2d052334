#include "weight.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>
#include <string>

#include "blocks.h"
#include "half.h"
#include "packed.h"
#include "weight_memory.h"

namespace fairlead {
namespace {

struct Entry {
  Format format;
  FormatInfo info;
};

constexpr std::array<Entry, 11> kFormats = {{
    {Format::f32, {"f32", 1, 4}},
    {Format::f16, {"f16", 1, 2}},
    {Format::bf16, {"bf16", 1, 2}},
    {Format::q4_0, {"q4_0", 32, 18}},
    {Format::q4_1, {"q4_1", 32, 20}},
    {Format::q5_0, {"q5_0", 32, 22}},
    {Format::q5_1, {"q5_1", 32, 24}},
    {Format::q8_0, {"q8_0", 32, 34}},
    {Format::q4_k, {"q4_K", 256, 144}},
    {Format::q5_k, {"q5_K", 256, 176}},
    {Format::q6_k, {"q6_K", 256, 210}},
}};

constexpr int64_t kMostChannels = int64_t{1} << 30;  // so that no product of two sizes overflows

void check_shape(Format format, int64_t outputs, int64_t inputs) {
  const FormatInfo& info = format_info(format);
  const std::string shape = std::to_string(outputs) + " x " + std::to_string(inputs);
  if (outputs < 1 || inputs < 1 || outputs > kMostChannels || inputs > kMostChannels) {
    throw std::invalid_argument("a weight cannot have the shape " + shape);
  }
  if (inputs % info.block != 0) {
    throw std::invalid_argument("a weight of shape " + shape + " cannot be " + std::string(info.name) +
                                ": its inputs are no multiple of " + std::to_string(info.block));
  }
}

size_t panel_bytes(Format format, int64_t inputs) {
  const Encoding e = encoding(format);
  if (e.records == Records::none) return inputs * kPanel * format_info(format).block_bytes;
  const int64_t groups = inputs / kGroup;
  const int rest = static_cast<int>(groups % kBlockGroups);
  return groups / kBlockGroups * block_bytes(e, kBlockGroups) + (rest == 0 ? 0 : block_bytes(e, rest));
}

// One panel of `outputs` (1 to 16) rows of blocks, `row_bytes` apart.
template <Format F>
void pack_panel(const uint8_t* rows, size_t row_bytes, int outputs, int64_t groups, uint8_t* panel) {
  constexpr Encoding e = encoding(F);
  using Source = Block<F>;
  for (int64_t first = 0; first < groups; first += kBlockGroups) {
    const int count = static_cast<int>(std::min<int64_t>(kBlockGroups, groups - first));
    const int header = header_bytes(e, count);
    std::memset(panel, 0, outputs == kPanel ? header : block_bytes(e, count));
    for (int output = 0; output < outputs; ++output) {
      for (int group = 0; group < count; ++group) {
        const uint8_t* block = rows + output * row_bytes + (first + group) / Source::kGroups * Source::kBytes;
        const int in_block = group % Source::kGroups;
        Source::scales(block, in_block, output, panel, panel + prefix_bytes(e) + group * record_bytes(e));
        uint8_t* codes = panel + header + group * code_bytes(e) + output * 4;
        for (int row = 0; row < code_bytes(e) / kRowBytes; ++row) {
          uint32_t word = Source::quad(block, in_block, row);
          if (e.nibbles) word |= Source::quad(block, in_block, row + kQuads / 2) << 4;
          std::memcpy(codes + row * kRowBytes, &word, sizeof word);
        }
      }
    }
    panel += block_bytes(e, count);
  }
}

// The same of a float format: [outputs][inputs] becomes [inputs][16].
template <typename Float>
void pack_float_panel(const uint8_t* rows, size_t row_bytes, int outputs, int64_t inputs, uint8_t* panel) {
  constexpr int64_t kSpan = 64 / sizeof(Float);  // a cache line of each row at a time
  for (int64_t first = 0; first < inputs; first += kSpan) {
    const int64_t last = std::min(inputs, first + kSpan);
    for (int output = 0; output < kPanel; ++output) {
      for (int64_t input = first; input < last; ++input) {
        Float value = 0;
        if (output < outputs) std::memcpy(&value, rows + output * row_bytes + input * sizeof value, sizeof value);
        std::memcpy(panel + (input * kPanel + output) * sizeof value, &value, sizeof value);
      }
    }
  }
}

void pack_panel(Format format, const uint8_t* rows, size_t row_bytes, int outputs, int64_t inputs, uint8_t* panel) {
  const int64_t groups = inputs / kGroup;
  switch (format) {
    case Format::f32:
      return pack_float_panel<uint32_t>(rows, row_bytes, outputs, inputs, panel);
    case Format::f16:
    case Format::bf16:
      return pack_float_panel<uint16_t>(rows, row_bytes, outputs, inputs, panel);
    case Format::q4_0:
      return pack_panel<Format::q4_0>(rows, row_bytes, outputs, groups, panel);
    case Format::q4_1:
      return pack_panel<Format::q4_1>(rows, row_bytes, outputs, groups, panel);
    case Format::q5_0:
      return pack_panel<Format::q5_0>(rows, row_bytes, outputs, groups, panel);
    case Format::q5_1:
      return pack_panel<Format::q5_1>(rows, row_bytes, outputs, groups, panel);
    case Format::q8_0:
      return pack_panel<Format::q8_0>(rows, row_bytes, outputs, groups, panel);
    case Format::q4_k:
      return pack_panel<Format::q4_k>(rows, row_bytes, outputs, groups, panel);
    case Format::q5_k:
      return pack_panel<Format::q5_k>(rows, row_bytes, outputs, groups, panel);
    case Format::q6_k:
      return pack_panel<Format::q6_k>(rows, row_bytes, outputs, groups, panel);
  }
}

float lane_half(const uint8_t* lanes, int lane) { return float_from_half(load_half(lanes + 2 * lane)); }

// Scales for the two halves of a group of one output, and its minimum.
struct Scale {
  float first, second, minimum;
};

Scale read_scale(const Encoding& e, const uint8_t* block, int group, int lane) {
  const uint8_t* record = block + prefix_bytes(e) + group * record_bytes(e);
  switch (e.records) {
    case Records::half:
      return {lane_half(record, lane), lane_half(record, lane), 0};
    case Records::half_min:
      return {lane_half(record, lane), lane_half(record, lane), lane_half(record + 2 * kPanel, lane)};
    case Records::k: {
      const float scale = lane_half(block, lane) * record[lane];
      return {scale, scale, lane_half(block + 2 * kPanel, lane) * record[kPanel + lane]};
    }
    case Records::k16: {
      const float scale = lane_half(block, lane);
      return {scale * static_cast<int8_t>(record[lane]), scale * static_cast<int8_t>(record[kPanel + lane]), 0};
    }
    case Records::none:
      break;
  }
  return {};
}

int read_code(const Encoding& e, const uint8_t* codes, int input, int lane) {
  const int quad = input / 4;
  const int row = e.nibbles ? quad % (kQuads / 2) : quad;
  const uint8_t byte = codes[row * kRowBytes + lane * 4 + input % 4];
  if (!e.nibbles) return byte;
  return quad < kQuads / 2 ? byte & 15 : byte >> 4;
}

void unpack_lane(const Encoding& e, const uint8_t* panel, int64_t inputs, int lane, float* values) {
  for (int64_t groups = inputs / kGroup; groups > 0; groups -= kBlockGroups) {
    const int count = static_cast<int>(std::min<int64_t>(kBlockGroups, groups));
    for (int group = 0; group < count; ++group) {
      const Scale scale = read_scale(e, panel, group, lane);
      const uint8_t* codes = panel + header_bytes(e, count) + group * code_bytes(e);
      for (int input = 0; input < kGroup; ++input) {
        const float code = static_cast<float>(read_code(e, codes, input, lane) - e.zero());
        *values++ = (input < kGroup / 2 ? scale.first : scale.second) * code - scale.minimum;
      }
    }
    panel += block_bytes(e, count);
  }
}

}  // namespace

const FormatInfo& format_info(Format format) {
  for (const Entry& entry : kFormats) {
    if (entry.format == format) return entry.info;
  }
  throw std::invalid_argument("weights of GGML format " + std::to_string(static_cast<uint32_t>(format)) +
                              " are not supported");
}

size_t packed_bytes(Format format, int64_t outputs, int64_t inputs) {
  check_shape(format, outputs, inputs);
  return (outputs + kPanel - 1) / kPanel * panel_bytes(format, inputs);
}

Weight::Weight(Format format, const std::byte* blocks, size_t bytes, int64_t outputs, int64_t inputs, ThreadPool& pool)
    : format_(format), outputs_(outputs), inputs_(inputs) {
  check_shape(format, outputs, inputs);
  const FormatInfo& info = format_info(format);
  const size_t row_bytes = inputs / info.block * info.block_bytes;
  if (bytes != row_bytes * outputs) {
    throw std::invalid_argument("a " + std::string(info.name) + " weight of shape " + std::to_string(outputs) + " x " +
                                std::to_string(inputs) + " has " + std::to_string(row_bytes * outputs) +
                                " bytes, not " + std::to_string(bytes));
  }
  panel_bytes_ = panel_bytes(format, inputs);
  data_ = take_weight_memory(this->bytes());
  const auto* source = reinterpret_cast<const uint8_t*>(blocks);
  auto* target = reinterpret_cast<uint8_t*>(data_.get());
  pool.run([&](Worker& worker) {
    const Range share = worker.share(panels());
    for (int64_t panel = share.begin; panel < share.end; ++panel) {
      const int count = static_cast<int>(std::min<int64_t>(kPanel, outputs_ - panel * kPanel));
      pack_panel(format_, source + panel * kPanel * row_bytes, row_bytes, count, inputs_,
                 target + panel * panel_bytes_);
    }
  });
}

std::string_view Weight::layout() const {
  const Encoding e = encoding(format_);
  if (e.records == Records::none) return format_info(format_).name;
  return e.nibbles ? "q4" : "q8";
}

void Weight::unpack(int64_t output, float* values) const {
  const auto* of_panel = reinterpret_cast<const uint8_t*>(panel(output / kPanel));
  const int lane = static_cast<int>(output % kPanel);
  const Encoding e = encoding(format_);
  if (e.records != Records::none) return unpack_lane(e, of_panel, inputs_, lane, values);
  for (int64_t input = 0; input < inputs_; ++input) {
    const int64_t at = input * kPanel + lane;
    if (format_ == Format::f32) {
      std::memcpy(values + input, of_panel + 4 * at, sizeof(float));
    } else {
      const uint16_t bits = load_half(of_panel + 2 * at);
      values[input] = format_ == Format::f16 ? float_from_half(bits) : float_from_bfloat16(bits);
    }
  }
}

}  // namespace fairlead
