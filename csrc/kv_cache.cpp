#include "kv_cache.h"

#include <stdexcept>

#include "half.h"

namespace fairlead {
namespace {

uint16_t convert(float value, uint16_t*) { return half_from_float(value); }
float convert(float value, float*) { return value; }

template <typename Element>
void store_as(Element* keys, Element* values, int head_dim, int value_stride, int slot, const float* key,
              const float* value) {
  for (int d = 0; d < head_dim; ++d) keys[d * kPageTokens + slot] = convert(key[d], keys);
  for (int d = 0; d < head_dim; ++d) values[slot * value_stride + d] = convert(value[d], values);
}

}  // namespace

KvCache::KvCache(const KvShape& shape) : shape_(shape) {
  if (shape.layers < 1 || shape.heads < 1 || shape.head_dim < 1 || shape.pages < 1) {
    throw std::invalid_argument("a KV cache needs layers, heads, a head dimension and pages");
  }
  const size_t element = shape.type == KvType::f16 ? sizeof(uint16_t) : sizeof(float);
  key_bytes_ = static_cast<size_t>(round_up(static_cast<int64_t>(element) * shape.head_dim * kPageTokens, kCacheLine));
  value_bytes_ =
      static_cast<size_t>(round_up(static_cast<int64_t>(element) * value_stride() * kPageTokens, kCacheLine));
  page_bytes_ = static_cast<size_t>(shape.layers) * shape.heads * (key_bytes_ + value_bytes_);
  memory_.reserve(page_bytes_ * shape.pages);
}

void KvCache::store(int layer, int head, int page, int slot, const float* key, const float* value) {
  std::byte* at = keys(layer, head) + page_bytes_ * page;
  if (shape_.type == KvType::f16) {
    store_as(reinterpret_cast<uint16_t*>(at), reinterpret_cast<uint16_t*>(at + key_bytes_), shape_.head_dim,
             value_stride(), slot, key, value);
  } else {
    store_as(reinterpret_cast<float*>(at), reinterpret_cast<float*>(at + key_bytes_), shape_.head_dim, value_stride(),
             slot, key, value);
  }
}

}  // namespace fairlead
