"""Opens a model file of either kind."""

from __future__ import annotations

from pathlib import Path

from fairlead.gguf.checkpoint import CHECKPOINT, Checkpoint
from fairlead.gguf.model_file import ModelFile
from fairlead.gguf.reader import GGUFFile


def open_model(path: Path) -> ModelFile:
    """The model file at a path, by the ending of its name: a checkpoint's safetensors, or else GGUF.

    Raises:
        ModelFileError, UnsupportedModel: as `GGUFFile.open` and `Checkpoint.open`.
    """
    return Checkpoint.open(path) if path.suffix == CHECKPOINT else GGUFFile.open(path)
