"""OpenVINO GenAI's part, which reads GGUF files of some architectures and formats itself."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.peers.job import Answer, Job, Prompts, run


@contextmanager
def engine(job: Job) -> Iterator[Answer]:
    """Its pipeline with continuous batching, as it comes."""
    numpy = importlib.import_module("numpy")
    openvino = importlib.import_module("openvino")
    genai = importlib.import_module("openvino_genai")
    pipeline = genai.LLMPipeline(job.model, "CPU", INFERENCE_NUM_THREADS=job.threads)

    def answer(prompts: Prompts, tokens: int) -> None:
        settings = genai.GenerationConfig()
        settings.max_new_tokens, settings.ignore_eos, settings.do_sample = tokens, True, False
        ids = numpy.array(prompts, numpy.int64)
        inputs = genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(numpy.ones_like(ids)))
        found = pipeline.generate(inputs, settings)
        assert {len(each) for each in found.tokens} == {tokens}

    yield answer


if __name__ == "__main__":
    run(engine)
