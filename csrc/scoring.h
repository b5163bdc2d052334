// How likely given tokens are by a model's logits, where none is drawn.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "thread_pool.h"

namespace fairlead {

// A row of logits, and the tokens that are asked about.
struct Question {
  const float* logits;  // [vocabulary]
  std::span<const int32_t> tokens;
};

// The natural log-probabilities of each question's tokens. Throws std::invalid_argument for a token outside the
// vocabulary, and std::domain_error where logits are not numbers.
std::vector<std::vector<float>> log_probabilities(ThreadPool& pool, std::span<const Question> questions,
                                                  int64_t vocabulary);

}  // namespace fairlead
