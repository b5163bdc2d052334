// A weight matrix, repacked from its GGUF blocks into the layout that the products stream through.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "format.h"
#include "thread_pool.h"

namespace fairlead {

struct FormatInfo {
  std::string_view name;
  int block;        // weights in a block
  int block_bytes;  // bytes of a block
};

// Throws std::invalid_argument for a number that is no format of ours.
const FormatInfo& format_info(Format format);

// Bytes that a weight of this shape takes when packed. Throws as Weight does.
size_t packed_bytes(Format format, int64_t outputs, int64_t inputs);

class Weight {
 public:
  // `blocks` holds outputs × inputs weights, input running fastest, and may be given back afterwards. `bytes` is
  // checked against the shape. Throws std::invalid_argument for impossible shapes.
  Weight(Format format, const std::byte* blocks, size_t bytes, int64_t outputs, int64_t inputs, ThreadPool& pool);

  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }
  int64_t panels() const { return (outputs_ + kPanel - 1) / kPanel; }
  size_t bytes() const { return panels() * panel_bytes_; }  // as packed
  Format format() const { return format_; }                 // of the file
  std::string_view layout() const;                          // of the packing: "f32", "f16", "bf16", "q4", "q8"

  // The weights of one output as fp32, exactly as the file means them: values[inputs].
  void unpack(int64_t output, float* values) const;

  // Where a panel begins; packed.h tells what follows.
  const std::byte* panel(int64_t index) const { return data_.get() + index * panel_bytes_; }

 private:
  Format format_;
  int64_t outputs_, inputs_;
  size_t panel_bytes_;
  std::shared_ptr<std::byte> data_;  // aligned to cache lines
};

}  // namespace fairlead
