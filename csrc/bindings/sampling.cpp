#include "sampling.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace fairlead {

void bind_sampling(nb::module_& m) {
  nb::class_<Draw>(m, "Draw").def_ro("token", &Draw::token).def_ro("logprob", &Draw::logprob).def_ro("top", &Draw::top);
  nb::class_<Sampler>(m, "Sampler")
      .def(
          "__init__",
          [](Sampler* self, const std::vector<int32_t>& prompt, float temperature, int top_k, float top_p, float min_p,
             float repetition_penalty, float presence_penalty, float frequency_penalty, uint64_t seed, int logprobs,
             int min_tokens, std::vector<int32_t> stop_tokens, std::vector<std::pair<int32_t, float>> logit_bias) {
            const SamplingParameters parameters{.temperature = temperature,
                                                .top_k = top_k,
                                                .top_p = top_p,
                                                .min_p = min_p,
                                                .repetition_penalty = repetition_penalty,
                                                .presence_penalty = presence_penalty,
                                                .frequency_penalty = frequency_penalty,
                                                .seed = seed,
                                                .logprobs = logprobs,
                                                .min_tokens = min_tokens};
            new (self) Sampler(parameters, prompt, std::move(stop_tokens), std::move(logit_bias));
          },
          "prompt"_a, nb::kw_only(), "temperature"_a = 1.0f, "top_k"_a = 0, "top_p"_a = 1.0f, "min_p"_a = 0.0f,
          "repetition_penalty"_a = 1.0f, "presence_penalty"_a = 0.0f, "frequency_penalty"_a = 0.0f, "seed"_a = 0,
          "logprobs"_a = -1, "min_tokens"_a = 0, "stop_tokens"_a = std::vector<int32_t>{},
          "logit_bias"_a = std::vector<std::pair<int32_t, float>>{});
}

}  // namespace fairlead
