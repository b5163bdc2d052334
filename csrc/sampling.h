// Drawing tokens from logits, request by request.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "thread_pool.h"

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
//
// A draw is begun, its logits are surveyed block by block, and it is concluded from what the survey found. Only the
// survey reads all logits, so a team of threads shares it; its blocks are the same for every team, and so are draws.
class Sampler {
 public:
  // Ids outside the vocabulary in stop tokens, bias or prompt are without effect.
  Sampler(const SamplingParameters& parameters, const std::vector<int32_t>& prompt, std::vector<int32_t> stop_tokens,
          std::vector<std::pair<int32_t, float>> bias);

  // Begins the draw of the answer's next token from these logits, and works in them until it is concluded.
  void begin(float* logits, int64_t vocabulary);

  // Blocks that make up the survey.
  int64_t blocks() const { return static_cast<int64_t>(tops_.size()); }

  // Surveys some of the blocks; threads may do this side by side.
  void survey(Range blocks);

  // After all blocks were surveyed: draws the token and counts it, or returns nothing where all are to be surveyed once
  // more. Throws std::domain_error where the logits are not numbers.
  std::optional<Draw> conclude();

 private:
  // A token's logit and its id.
  using Candidate = std::pair<float, int32_t>;

  void report(float top);
  void bend();
  int32_t choose(float top);
  Range ids(size_t block) const;
  void gather_top(size_t count);
  double weigh_all(float top, float scale);
  double weigh_likelier(Candidate bound, float top, float scale);
  Candidate pick_likelier(Candidate bound, double at, float top, float scale) const;

  SamplingParameters parameters_;
  std::unordered_set<int32_t> prompt_;
  std::vector<int32_t> stop_tokens_;
  std::vector<std::pair<int32_t, float>> bias_;
  std::unordered_map<int32_t, int> counts_;  // of the answer's tokens
  uint64_t drawn_ = 0;

  // Of the draw that was begun; the room is kept from draw to draw.
  float* logits_ = nullptr;
  int64_t vocabulary_ = 0;
  bool bent_ = false;                  // the logits are those to choose by, no longer the model's own
  std::vector<float> tops_;            // [blocks] the largest logit
  std::vector<float> sums_;            // [blocks] of the weights relative to it; once weighed, to the likeliest of all
  float log_total_ = 0;                // of the model's own distribution
  Draw report_{};                      // the likeliest of that
  std::vector<Candidate> own_;         // the model's logits that bending changed; the first of an id counts
  std::vector<Candidate> candidates_;  // the likeliest
  std::vector<float> ranked_;          // tops_ in another order
};

}  // namespace fairlead
