"""What a model file says of itself, as far as the server needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from fairlead.config import Settings
from fairlead.gguf.model_file import ModelFile
from fairlead.gguf.opening import open_model
from fairlead.gguf.tokenizer import Tokenizer
from fairlead.model_entry import ModelDefaults
from fairlead.models import ENCODERS, describe
from fairlead.service.memory import Footprint
from fairlead.service.prompt import ChatTemplate

Capability = Literal["chat", "completion", "embedding"]


def capabilities_of(architecture: str | None) -> tuple[Capability, ...]:
    """What a model of this architecture can be asked for; one that is not known yet is taken for a decoder."""
    return ("embedding",) if architecture in ENCODERS else ("chat", "completion")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the header of a model file tells."""

    architecture: str
    parameters: int
    quantization: str
    size_bytes: int
    footprint: Footprint

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """What the model can be asked for."""
        return capabilities_of(self.architecture)

    @classmethod
    def read(cls, path: Path, settings: Settings) -> Self:
        """The facts of a file, from its header alone.

        Raises:
            ModelFileError, UnsupportedModel
        """
        with open_model(path) as file:
            return cls.of(file, settings)

    @classmethod
    def of(cls, file: ModelFile, settings: Settings) -> Self:
        """The facts of an open file."""
        footprint = Footprint.of(describe(file), file.tensors.values(), settings)
        return cls(file.architecture, file.parameter_count, file.quantization, file.size, footprint)


@dataclass(frozen=True, slots=True)
class Reading:
    """All that the server itself needs of a model file: the facts and the text side."""

    facts: Facts
    tokenizer: Tokenizer
    template: ChatTemplate
    opening: Sequence[int]
    """How the template opens a conversation with the configuration's system prompt."""

    @classmethod
    def of(cls, path: Path, settings: Settings, defaults: ModelDefaults) -> Self:
        """Read a file; takes up to seconds for a large vocabulary. Errors as in `Facts.read`."""
        with open_model(path) as file:
            facts = Facts.of(file, settings)
            tokenizer = Tokenizer.from_metadata(file.metadata)
            template = ChatTemplate.from_metadata(file.metadata, tokenizer)
            return cls(facts, tokenizer, template, template.opening(defaults.system))
