// Keys and values of all sequences, in pages of kPageTokens tokens. Who owns which page is decided above.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "aligned.h"
#include "isa/attention.h"
#include "mapping.h"

namespace fairlead {

enum class KvType {
  f16,
  f32,
  q8,  // 8 bits, with a scale for each token's key and each value of a head
};

struct KvShape {
  int layers;
  int heads;
  int head_dim;
  int pages;
  KvType type;
};

// A page holds, for each layer and then each head, the keys as [head_dim][kPageTokens] — so that the scores of a
// page's tokens come out side by side, without sums across a register — and the values as [kPageTokens][value_stride].
// isa/vector.h tells what 8 bits add.
class KvCache {
 public:
  // Takes all of its memory, with the threads of `pool`. Throws std::invalid_argument for impossible shapes, and
  // std::bad_alloc.
  KvCache(const KvShape& shape, ThreadPool& pool);

  const KvShape& shape() const { return shape_; }
  int value_stride() const { return static_cast<int>(round_up(shape_.head_dim, kRowPad)); }
  size_t page_bytes() const { return page_bytes_; }
  size_t bytes() const { return memory_->bytes(); }

  // Writes one token's key and value of one head, [head_dim] floats, into its place in a page.
  void store(int layer, int head, int page, int token, const float* key, const float* value);

  // Copies all that a page holds into another. Throws std::out_of_range for a page that is none.
  void copy_page(int from, int to);

  // What queries, of which all but the place of the keys and values is given, find in one head.
  void attend(const AttentionKernels& kernels, int layer, int head, QueryBlock block, const Attended& found);

 private:
  // A head's keys in page 0; those of page p lie p · page_bytes() further, its values key_bytes_ behind.
  std::byte* keys(int layer, int head) {
    return memory_->data() + (static_cast<size_t>(layer) * shape_.heads + head) * (key_bytes_ + value_bytes_);
  }

  KvShape shape_;
  size_t key_bytes_, value_bytes_, page_bytes_;
  std::unique_ptr<Mapping> memory_;
};

}  // namespace fairlead
