"""What a worker calls to load a model file on the CPU."""

from __future__ import annotations

import time
from pathlib import Path

from fairlead.engine.messages import Load, Loaded
from fairlead.errors import UnsupportedModel
from fairlead.gguf.model_file import ModelFile
from fairlead.gguf.opening import open_model
from fairlead.kernels import _native
from fairlead.kernels.native_encoder import NativeEncoder
from fairlead.kernels.native_runner import NativeRunner
from fairlead.kernels.packing import ReportProgress
from fairlead.kernels.processors import given_processors
from fairlead.models import ENCODERS


def load(load: Load, progress: ReportProgress) -> tuple[NativeRunner | NativeEncoder, Loaded]:
    """Load a model file.

    Raises:
        ModelFileError: the file is damaged, or of a kind that is not built in.
    """
    began = time.monotonic()
    threads = load.threads or given_processors()
    with open_model(Path(load.path)) as file:
        build = _encoder if file.architecture in ENCODERS else _runner
        model = build(file, load, threads, progress)
    return model, Loaded(
        instruction_set=_native.instruction_set(),
        threads=threads,
        weight_bytes=model.weight_bytes,
        kv_bytes=model.kv_bytes if isinstance(model, NativeRunner) else 0,
        work_bytes=model.work_bytes,
        load_s=time.monotonic() - began,
    )


def load_decoder(load_command: Load, progress: ReportProgress) -> tuple[NativeRunner, Loaded]:
    """Load the file of a model that draws tokens; errors as of `load`."""
    model, loaded = load(load_command, progress)
    if not isinstance(model, NativeRunner):
        raise UnsupportedModel(f"{Path(load_command.path).name} is an encoder, and draws no tokens")
    return model, loaded


def _encoder(file: ModelFile, load: Load, threads: int, progress: ReportProgress) -> NativeEncoder:
    return NativeEncoder(file, threads=threads, max_batch_tokens=load.max_batch_tokens, progress=progress)


def _runner(file: ModelFile, load: Load, threads: int, progress: ReportProgress) -> NativeRunner:
    return NativeRunner(
        file,
        threads=threads,
        kv_tokens=load.kv_tokens,
        kv_type=load.kv_type,
        activations=load.activations,
        max_batch_tokens=load.max_batch_tokens,
        progress=progress,
    )
