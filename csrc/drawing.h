// Drawing the tokens of a step: a team of threads over the requests and, within their logits, over the vocabulary.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sampling.h"
#include "thread_pool.h"

namespace fairlead {

// One request's draws in a step: after its last token that is known, and after each guess that the draw before it was
// equal to (Leviathan et al., "Fast Inference from Transformers via Speculative Decoding", 2023). So they are the draws
// that it would have made step by step.
struct Turn {
  Sampler* sampler;
  float* logits;  // [guesses + 1][stride]
  std::span<const int32_t> guesses;
};

// The draws of each turn, at least one. Throws what a sampler throws.
std::vector<std::vector<Draw>> draw(ThreadPool& pool, std::span<const Turn> turns, int64_t vocabulary, int64_t stride);

}  // namespace fairlead
