// Drawing tokens from logits, request by request.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace fairlead {

struct SamplingParameters {
  float temperature = 1;  // 0: greedy
  int top_k = 0;          // 0: all
  float top_p = 1;
  float min_p = 0;
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  uint64_t seed = 0;
  int logprobs = -1;   // how many alternatives to report; -1: none, not even the token's own
  int min_tokens = 0;  // stop tokens are not drawn before the answer has this many
};

struct Draw {
  int32_t token;
  float logprob;                               // of the model's own distribution, before any filter
  std::vector<std::pair<int32_t, float>> top;  // the likeliest and their log-probabilities
};

// One request's sampler. The n-th draw depends on the logits, the request's own tokens, the seed and n alone.
class Sampler {
 public:
  Sampler(const SamplingParameters& parameters, const std::vector<int32_t>& prompt, std::vector<int32_t> stop_tokens,
          std::vector<std::pair<int32_t, float>> bias);

  // Draws the next token of the answer and counts it. Works in `logits`. Ids outside the vocabulary in stop tokens,
  // bias or prompt are without effect. Throws std::domain_error where the logits are not numbers.
  Draw draw(float* logits, int64_t vocabulary);

 private:
  // A token that may be drawn: its logit, later its weight relative to the likeliest, and its id.
  using Candidate = std::pair<float, int32_t>;

  void bend(float* logits, int64_t vocabulary) const;
  int32_t choose(const float* logits, int64_t vocabulary);
  void gather(const float* logits, int64_t vocabulary, float least);
  void gather_top(const float* logits, int64_t vocabulary, size_t count);
  double gather_nucleus(const float* logits, int64_t vocabulary, float top);
  double weigh(float top);

  SamplingParameters parameters_;
  std::unordered_set<int32_t> prompt_;
  std::vector<int32_t> stop_tokens_;
  std::vector<std::pair<int32_t, float>> bias_;
  std::unordered_map<int32_t, int> counts_;  // of the answer's tokens
  uint64_t drawn_ = 0;
  std::vector<Candidate> candidates_;  // room, kept from draw to draw
};

}  // namespace fairlead
