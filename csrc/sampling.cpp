#include "sampling.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <stdexcept>

#include "isa/vector.h"

namespace fairlead {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr float kLowest = std::numeric_limits<float>::lowest();

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

// Likeliest first; of equals, the lower id.
bool likelier(const std::pair<float, int32_t>& a, const std::pair<float, int32_t>& b) {
  return a.first != b.first ? a.first > b.first : a.second < b.second;
}

// Which of `count` things `left` falls to when they are laid end to end by their weights; of `left` remains what lies
// within it. Where rounding leaves some past the end, it is the last that weighs anything.
template <typename WeightOf>
size_t pick(size_t count, double& left, WeightOf weight_of) {
  size_t picked = 0;
  for (size_t i = 0; i < count; ++i) {
    const double weight = weight_of(i);
    if (weight <= 0) continue;
    picked = i;
    if (left < weight) break;
    left -= weight;
  }
  return picked;
}

}  // namespace

Sampler::Sampler(const SamplingParameters& parameters, const std::vector<int32_t>& prompt,
                 std::vector<int32_t> stop_tokens, std::vector<std::pair<int32_t, float>> bias)
    : parameters_(parameters), stop_tokens_(std::move(stop_tokens)), bias_(std::move(bias)) {
  if (parameters.repetition_penalty != 1) prompt_.insert(prompt.begin(), prompt.end());
}

void Sampler::begin(float* logits, int64_t vocabulary) {
  logits_ = logits;
  vocabulary_ = vocabulary;
  const auto blocks = static_cast<size_t>((vocabulary + kSurveyBlock - 1) / kSurveyBlock);
  tops_.resize(blocks);
  sums_.resize(blocks);
  bent_ = false;
  if (parameters_.logprobs < 0) bend();
}

void Sampler::survey(Range blocks) {
  const float scale = bent_ ? 1 / parameters_.temperature : 1;
  float* sums = bent_ && parameters_.temperature <= 0 ? nullptr : sums_.data() + blocks.begin;
  const int64_t begin = blocks.begin * kSurveyBlock, end = std::min(blocks.end * kSurveyBlock, vocabulary_);
  vector_kernels().survey(logits_ + begin, end - begin, scale, tops_.data() + blocks.begin, sums);
}

std::optional<Draw> Sampler::conclude() {
  const float top = *std::max_element(tops_.begin(), tops_.end());
  if (!std::isfinite(top)) throw std::domain_error("the model computed no finite logits");
  if (!bent_) {
    report(top);
    bend();
    return std::nullopt;
  }
  Draw draw = std::move(report_);
  draw.token = choose(top);
  if (parameters_.logprobs >= 0) {
    const auto own =
        std::find_if(own_.begin(), own_.end(), [&](const auto& kept) { return kept.second == draw.token; });
    draw.logprob = (own == own_.end() ? logits_[draw.token] : own->first) - log_total_;
  }
  ++counts_[draw.token];
  ++drawn_;
  return draw;
}

// Notes what is to be told of the model's own distribution.
void Sampler::report(float top) {
  log_total_ = static_cast<float>(top + std::log(weigh_all(top, 1)));
  gather_top(static_cast<size_t>(parameters_.logprobs));
  report_.top.clear();
  for (const auto& [logit, id] : candidates_) report_.top.emplace_back(id, logit - log_total_);
}

// Turns the model's own logits into those to choose by: bias, penalties, and stop tokens that come too early.
void Sampler::bend() {
  own_.clear();
  const auto change = [&](int32_t id, auto changed) {
    if (id < 0 || id >= vocabulary_) return;
    if (parameters_.logprobs >= 0) own_.emplace_back(logits_[id], id);
    logits_[id] = changed(logits_[id]);
  };
  for (const auto& [id, bias] : bias_) change(id, [bias = bias](float x) { return x + bias; });
  if (parameters_.repetition_penalty != 1) {
    const auto repelled = [penalty = parameters_.repetition_penalty](float x) {
      return x > 0 ? x * (1 / penalty) : x * penalty;
    };
    for (const int32_t id : prompt_) change(id, repelled);
    for (const auto& [id, times] : counts_) {
      if (!prompt_.contains(id)) change(id, repelled);
    }
  }
  if (parameters_.presence_penalty != 0 || parameters_.frequency_penalty != 0) {
    for (const auto& [id, times] : counts_) {
      const float penalty = parameters_.presence_penalty + parameters_.frequency_penalty * static_cast<float>(times);
      change(id, [penalty](float x) { return x - penalty; });
    }
  }
  if (drawn_ < static_cast<uint64_t>(parameters_.min_tokens)) {
    for (const int32_t id : stop_tokens_) change(id, [](float) { return kNever; });
  }
  bent_ = true;
}

int32_t Sampler::choose(float top) {
  if (parameters_.temperature <= 0) {
    const auto block = static_cast<size_t>(std::find(tops_.begin(), tops_.end(), top) - tops_.begin());
    return static_cast<int32_t>(std::find(logits_ + ids(block).begin, logits_ + ids(block).end, top) - logits_);
  }
  const float scale = 1 / parameters_.temperature;
  Candidate bound{kNever, 0};  // what is likelier than this may be drawn
  double mass = 0;             // of the tokens that top_p is a share of
  if (parameters_.top_k > 0 && parameters_.top_k < vocabulary_) {
    gather_top(static_cast<size_t>(parameters_.top_k));
    bound = {candidates_.back().first, candidates_.back().second + 1};
    mass = weigh_likelier(bound, top, scale);
  } else {
    mass = weigh_all(top, scale);
  }
  double kept = mass;
  if (parameters_.min_p > 0) {
    bound = std::min(bound, {top + std::log(parameters_.min_p) / scale, std::numeric_limits<int32_t>::max()}, likelier);
    kept = weigh_likelier(bound, top, scale);
  }
  // Top_p leaves a token out if those likelier than it have the share by themselves. Then it leaves out all that are
  // less likely too, and another is drawn from what remains.
  for (uint64_t attempt = 0;; ++attempt) {
    const double at = uniform(parameters_.seed ^ mix(attempt), drawn_) * kept;
    const Candidate token = pick_likelier(bound, at, top, scale);
    if (parameters_.top_p >= 1) return token.second;
    bound = token;
    kept = weigh_likelier(bound, top, scale);
    if (kept <= 0 || kept < parameters_.top_p * mass) return token.second;
  }
}

// The token that `at` falls to where those likelier than `bound` are laid end to end by their weights, as the blocks
// were weighed.
Sampler::Candidate Sampler::pick_likelier(Candidate bound, double at, float top, float scale) const {
  const size_t block = pick(sums_.size(), at, [&](size_t i) { return sums_[i]; });
  const auto [begin, end] = ids(block);
  const auto token = [&, begin = begin](size_t i) {
    const int64_t id = begin + static_cast<int64_t>(i);
    return Candidate{logits_[id], static_cast<int32_t>(id)};
  };
  return token(pick(static_cast<size_t>(end - begin), at, [&](size_t i) {
    return likelier(token(i), bound) ? std::exp((token(i).first - top) * scale) : 0.0f;
  }));
}

// A block's tokens.
Range Sampler::ids(size_t block) const {
  const auto begin = static_cast<int64_t>(block) * kSurveyBlock;
  return {begin, std::min(begin + kSurveyBlock, vocabulary_)};
}

// Makes candidates of the `count` likeliest tokens, likeliest first. They are at least as likely as the tops of the
// `count` blocks with the largest.
void Sampler::gather_top(size_t count) {
  float least = kLowest;
  if (count > 0 && count <= tops_.size()) {
    ranked_ = tops_;
    const auto last = ranked_.begin() + static_cast<std::ptrdiff_t>(count) - 1;
    std::nth_element(ranked_.begin(), last, ranked_.end(), std::greater<>());
    least = std::max(*last, kLowest);
  }
  candidates_.clear();
  for (size_t block = 0; block < tops_.size(); ++block) {
    if (tops_[block] < least) continue;
    for (auto [id, end] = ids(block); id < end; ++id) {
      if (logits_[id] >= least) candidates_.emplace_back(logits_[id], static_cast<int32_t>(id));
    }
  }
  count = std::min(count, candidates_.size());
  const auto end = candidates_.begin() + static_cast<std::ptrdiff_t>(count);
  std::partial_sort(candidates_.begin(), end, candidates_.end(), likelier);
  candidates_.resize(count);
}

// Makes the blocks' sums of weights relative to the likeliest token; returns the sum of all.
double Sampler::weigh_all(float top, float scale) {
  double sum = 0;
  for (size_t block = 0; block < tops_.size(); ++block) {
    sums_[block] *= std::exp((tops_[block] - top) * scale);
    sum += sums_[block];
  }
  return sum;
}

// The same for the tokens likelier than `bound`.
double Sampler::weigh_likelier(Candidate bound, float top, float scale) {
  const auto [logit, id] = bound;
  const float weightless = top - 87 / scale;  // below this a float holds no weight
  const float least = std::max(logit, weightless);
  const float above = std::max(std::nextafter(logit, std::numeric_limits<float>::infinity()), weightless);
  const auto exp_sum = vector_kernels().exp_sum;
  double sum = 0;
  for (size_t block = 0; block < tops_.size(); ++block) {
    sums_[block] = 0;
    if (tops_[block] < least) continue;
    const auto [begin, end] = ids(block);
    const int64_t middle = std::clamp<int64_t>(id, begin, end);  // of equals those before it are likelier
    sums_[block] = exp_sum(logits_ + begin, middle - begin, least, top, scale) +
                   exp_sum(logits_ + middle, end - middle, above, top, scale);
    sum += sums_[block];
  }
  return sum;
}

}  // namespace fairlead
