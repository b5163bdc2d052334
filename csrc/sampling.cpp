#include "sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "isa/vector.h"

namespace fairlead {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// SplitMix64's finaliser (Steele, Lea and Flood, 2014).
uint64_t mix(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

// The n-th number of a stream, uniform in [0, 1): a counter, not a state, so that no draw depends on another.
double uniform(uint64_t seed, uint64_t n) {
  constexpr uint64_t kGolden = 0x9e3779b97f4a7c15;
  return static_cast<double>(mix(mix(seed + kGolden) + (n + 1) * kGolden) >> 11) * 0x1p-53;
}

int64_t argmax(const float* logits, int64_t count) {
  int64_t best = 0;
  for (int64_t i = 1; i < count; ++i) {
    if (logits[i] > logits[best]) best = i;
  }
  return best;
}

// Likeliest first; of equals, the lower id.
bool likelier(const std::pair<float, int32_t>& a, const std::pair<float, int32_t>& b) {
  return a.first != b.first ? a.first > b.first : a.second < b.second;
}

}  // namespace

Sampler::Sampler(const SamplingParameters& parameters, const std::vector<int32_t>& prompt,
                 std::vector<int32_t> stop_tokens, std::vector<std::pair<int32_t, float>> bias)
    : parameters_(parameters), stop_tokens_(std::move(stop_tokens)), bias_(std::move(bias)) {
  if (parameters.repetition_penalty != 1) prompt_.insert(prompt.begin(), prompt.end());
}

Draw Sampler::draw(float* logits, int64_t vocabulary) {
  const float top = logits[argmax(logits, vocabulary)];
  if (!std::isfinite(top)) throw std::domain_error("the model computed no finite logits");
  Draw draw{0, 0, {}};
  if (parameters_.logprobs < 0) {
    bend(logits, vocabulary);
    draw.token = choose(logits, vocabulary);
  } else {
    const std::vector<float> own(logits, logits + vocabulary);
    const auto total = static_cast<float>(top + std::log(vector_kernels().exp_sum(logits, vocabulary, top, 1)));
    gather_top(logits, vocabulary, static_cast<size_t>(parameters_.logprobs));
    for (const auto& [logit, id] : candidates_) draw.top.emplace_back(id, logit - total);
    bend(logits, vocabulary);
    draw.token = choose(logits, vocabulary);
    draw.logprob = own[draw.token] - total;
  }
  ++counts_[draw.token];
  ++drawn_;
  return draw;
}

void Sampler::bend(float* logits, int64_t vocabulary) const {
  const auto known = [&](int32_t id) { return id >= 0 && id < vocabulary; };
  for (const auto& [id, bias] : bias_) {
    if (known(id)) logits[id] += bias;
  }
  if (parameters_.repetition_penalty != 1) {
    const auto repel = [&](int32_t id) {
      if (known(id)) logits[id] *= logits[id] > 0 ? 1 / parameters_.repetition_penalty : parameters_.repetition_penalty;
    };
    for (const int32_t id : prompt_) repel(id);
    for (const auto& [id, times] : counts_) {
      if (!prompt_.contains(id)) repel(id);
    }
  }
  for (const auto& [id, times] : counts_) {
    logits[id] -= parameters_.presence_penalty + parameters_.frequency_penalty * static_cast<float>(times);
  }
  if (drawn_ < static_cast<uint64_t>(parameters_.min_tokens)) {
    for (const int32_t id : stop_tokens_) {
      if (known(id)) logits[id] = kNever;
    }
  }
}

int32_t Sampler::choose(const float* logits, int64_t vocabulary) {
  const int64_t best = argmax(logits, vocabulary);
  if (parameters_.temperature <= 0) return static_cast<int32_t>(best);
  const float top = logits[best];
  double mass = 0;  // of the tokens that top_p is a share of
  if (parameters_.top_k > 0 && parameters_.top_k < vocabulary) {
    gather_top(logits, vocabulary, static_cast<size_t>(parameters_.top_k));
    mass = weigh(top);
  } else if (parameters_.top_p < 1 || parameters_.min_p > 0) {
    mass = gather_nucleus(logits, vocabulary, top);
  } else {
    gather(logits, vocabulary, kNever);
    mass = weigh(top);
  }

  double kept = 0;
  size_t end = 0;
  while (end < candidates_.size()) {
    const bool enough = parameters_.top_p < 1 && kept >= parameters_.top_p * mass;
    if (end > 0 && (enough || candidates_[end].first < parameters_.min_p)) break;
    kept += candidates_[end++].first;
  }
  double left = uniform(parameters_.seed, drawn_) * kept;
  for (size_t i = 0; i + 1 < end; ++i) {
    left -= candidates_[i].first;
    if (left < 0) return candidates_[i].second;
  }
  return candidates_[end - 1].second;
}

// Makes candidates of the tokens whose logits are at least `least`, by id.
void Sampler::gather(const float* logits, int64_t vocabulary, float least) {
  candidates_.clear();
  for (int64_t i = 0; i < vocabulary; ++i) {
    if (logits[i] >= least && logits[i] > kNever) candidates_.emplace_back(logits[i], static_cast<int32_t>(i));
  }
}

// Makes candidates of the `count` likeliest, likeliest first.
void Sampler::gather_top(const float* logits, int64_t vocabulary, size_t count) {
  gather(logits, vocabulary, kNever);
  count = std::min(count, candidates_.size());
  const auto end = candidates_.begin() + static_cast<std::ptrdiff_t>(count);
  std::partial_sort(candidates_.begin(), end, candidates_.end(), likelier);
  candidates_.resize(count);
}

// Makes candidates of the likeliest tokens, likeliest first and weighed: at least as many as top_p asks for. Returns
// the weight of all tokens. Most draws need a handful, so a narrow band below the top is tried before wider ones.
double Sampler::gather_nucleus(const float* logits, int64_t vocabulary, float top) {
  const double mass = vector_kernels().exp_sum(logits, vocabulary, top, 1 / parameters_.temperature);
  for (const float band : {6.0f, 12.0f, -kNever}) {
    gather(logits, vocabulary, top - band * parameters_.temperature);
    std::sort(candidates_.begin(), candidates_.end(), likelier);
    if (weigh(top) >= parameters_.top_p * mass) break;
  }
  return mass;
}

// Turns the candidates' logits into weights relative to the likeliest; returns their sum.
double Sampler::weigh(float top) {
  double sum = 0;
  for (auto& [value, id] : candidates_) {
    value = std::exp((value - top) / parameters_.temperature);
    sum += value;
  }
  return sum;
}

}  // namespace fairlead
