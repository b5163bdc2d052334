#include "scoring.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "isa/vector.h"

namespace fairlead {
namespace {

// What a thread surveys logits into.
struct Survey {
  explicit Survey(int64_t vocabulary) : tops((vocabulary + kSurveyBlock - 1) / kSurveyBlock), sums(tops.size()) {}

  std::vector<float> tops, sums;  // of each block: the largest logit, and the sum of all weights relative to it
};

// The logarithm of the sum of all tokens' weights; not finite where the logits are not.
double log_total(const float* logits, int64_t vocabulary, Survey& survey) {
  vector_kernels().survey(logits, vocabulary, 1, survey.tops.data(), survey.sums.data());
  const float top = *std::max_element(survey.tops.begin(), survey.tops.end());
  double sum = 0;
  for (size_t block = 0; block < survey.tops.size(); ++block) {
    sum += survey.sums[block] * std::exp(survey.tops[block] - top);
  }
  return top + std::log(sum);
}

}  // namespace

std::vector<std::vector<float>> log_probabilities(ThreadPool& pool, std::span<const Question> questions,
                                                  int64_t vocabulary) {
  for (const Question& question : questions) {
    for (const int32_t token : question.tokens) {
      if (token < 0 || token >= vocabulary) throw std::invalid_argument("a token is outside the vocabulary");
    }
  }
  const auto count = static_cast<int64_t>(questions.size());
  if (count == 0) return {};
  std::vector<double> totals(questions.size());
  std::vector<Survey> surveys(pool.size(), Survey(vocabulary));
  Portions rows;
  rows.set(count, 1, pool.size());
  pool.run([&](Worker& worker) {
    rows.work_off([&](Range portion) {
      for (int64_t row = portion.begin; row < portion.end; ++row) {
        totals[row] = log_total(questions[row].logits, vocabulary, surveys[worker.index()]);
      }
    });
  });
  std::vector<std::vector<float>> found;
  for (size_t row = 0; row < questions.size(); ++row) {
    if (!std::isfinite(totals[row])) throw std::domain_error("the logits are not numbers");
    auto& of_row = found.emplace_back();
    for (const int32_t token : questions[row].tokens) {
      of_row.push_back(static_cast<float>(questions[row].logits[token] - totals[row]));
    }
  }
  return found;
}

}  // namespace fairlead
