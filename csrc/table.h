// Rows that are looked up and never multiplied: an embedding as it lies in the file, so that a row is a few cache
// lines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "format.h"

namespace fairlead {

class Table {
 public:
  // `data` holds rows × width floats of a format, f32, f16 or bf16, and may be given back afterwards. `bytes` is
  // checked against the shape. Throws std::invalid_argument for other formats and impossible shapes.
  Table(Format format, const std::byte* data, size_t bytes, int64_t rows, int64_t width);

  int64_t rows() const { return rows_; }
  int width() const { return width_; }
  size_t bytes() const { return data_.size(); }

  // Row `row`, exactly as the file means it: values[width].
  void read(int64_t row, float* values) const;

 private:
  Format format_;
  int64_t rows_;
  int width_;
  std::vector<std::byte> data_;
};

}  // namespace fairlead
