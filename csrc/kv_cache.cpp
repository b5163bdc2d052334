#include "kv_cache.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace fairlead {
namespace {

// Bytes of a page's keys or values of one head.
size_t half_bytes(KvType type, int width) {
  const size_t elements = static_cast<size_t>(width) * kPageTokens;
  switch (type) {
    case KvType::f16:
      return elements * sizeof(uint16_t);
    case KvType::f32:
      return elements * sizeof(float);
    case KvType::q8:
      return elements + kPageTokens * sizeof(float);
  }
  return 0;
}

size_t whole_lines(size_t bytes) { return static_cast<size_t>(round_up(static_cast<int64_t>(bytes), kCacheLine)); }

}  // namespace

KvCache::KvCache(const KvShape& shape, ThreadPool& pool) : shape_(shape) {
  if (shape.layers < 1 || shape.heads < 1 || shape.head_dim < 1 || shape.pages < 1) {
    throw std::invalid_argument("a KV cache needs layers, heads, a head dimension and pages");
  }
  key_bytes_ = whole_lines(half_bytes(shape.type, shape.head_dim));
  value_bytes_ = whole_lines(half_bytes(shape.type, value_stride()));
  page_bytes_ = static_cast<size_t>(shape.layers) * shape.heads * (key_bytes_ + value_bytes_);
  memory_ = std::make_unique<Mapping>(page_bytes_ * shape.pages, pool);
}

void KvCache::store(int layer, int head, int page, int token, const float* key, const float* value) {
  std::byte* of_page = keys(layer, head) + page_bytes_ * page;
  const KvSlot slot{.key = key,
                    .value = value,
                    .head_dim = shape_.head_dim,
                    .value_stride = value_stride(),
                    .keys = of_page,
                    .values = of_page + key_bytes_,
                    .token = token};
  const VectorKernels& kernels = vector_kernels();
  switch (shape_.type) {
    case KvType::f16:
      return kernels.store_half(slot);
    case KvType::f32:
      return kernels.store_float(slot);
    case KvType::q8:
      return kernels.store_codes(slot);
  }
}

void KvCache::copy_page(int from, int to) {
  if (std::min(from, to) < 0 || std::max(from, to) >= shape_.pages) {
    throw std::out_of_range("there is no such page in the KV cache");
  }
  if (from != to) std::memcpy(keys(0, 0) + page_bytes_ * to, keys(0, 0) + page_bytes_ * from, page_bytes_);
}

void KvCache::attend(const AttentionKernels& kernels, int layer, int head, QueryBlock block, const Attended& found) {
  block.head_dim = shape_.head_dim;
  block.value_stride = value_stride();
  block.keys = keys(layer, head);
  block.values = block.keys + key_bytes_;
  block.page_bytes = page_bytes_;
  switch (shape_.type) {
    case KvType::f16:
      return kernels.attend_half(block, found);
    case KvType::f32:
      return kernels.attend_float(block, found);
    case KvType::q8:
      return kernels.attend_codes(block, found);
  }
}

}  // namespace fairlead
