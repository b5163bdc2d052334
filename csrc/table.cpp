#include "table.h"

#include <cstring>
#include <stdexcept>
#include <string>

#include "half.h"
#include "weight.h"

namespace fairlead {
namespace {

constexpr int64_t kMost = int64_t{1} << 30;  // so that no product of two sizes overflows

}  // namespace

Table::Table(Format format, const std::byte* data, size_t bytes, int64_t rows, int64_t width)
    : format_(format), rows_(rows), width_(static_cast<int>(width)) {
  const FormatInfo& info = format_info(format);
  if (info.block != 1) throw std::invalid_argument("a table cannot be " + std::string(info.name));
  if (rows < 1 || width < 1 || rows > kMost || width > kMost ||
      bytes != static_cast<size_t>(rows * width * info.block_bytes)) {
    throw std::invalid_argument("a table of " + std::to_string(rows) + " x " + std::to_string(width) + " cannot have " +
                                std::to_string(bytes) + " bytes");
  }
  data_.assign(data, data + bytes);
}

void Table::read(int64_t row, float* values) const {
  if (format_ == Format::f32) {
    std::memcpy(values, data_.data() + row * width_ * sizeof(float), width_ * sizeof(float));
    return;
  }
  const std::byte* from = data_.data() + row * width_ * sizeof(uint16_t);
  for (int i = 0; i < width_; ++i) {
    uint16_t bits;
    std::memcpy(&bits, from + i * sizeof bits, sizeof bits);
    values[i] = format_ == Format::f16 ? float_from_half(bits) : float_from_bfloat16(bits);
  }
}

}  // namespace fairlead
