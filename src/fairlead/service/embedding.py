"""Texts as vectors: what the rest of the service asks of an embedding model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Embedder(Protocol):
    """A model that turns texts into vectors whose scalar product tells how near their meanings are."""

    @property
    def name(self) -> str:
        """The model's: vectors of different models are not compared."""

    async def check(self, model: str) -> None:
        """ModelNotFound for a name that no model has, InvalidRequest for one that makes no vectors."""

    async def embed(
        self, texts: Sequence[str], *, model: str | None = None, user: str | None = None, patient: bool = False
    ) -> NDArray[np.float32]:
        """[texts, width], each of length 1. A text past the model's context is embedded by what fits.

        Args:
            texts: any number.
            model: None is the one of `name`.
            user: whose work it is, and whose tokens it takes; None is the server's own.
            patient: whether it gives way to those who wait for an answer.

        Raises:
            ModelNotReady, DownloadError, DoesNotFit, EngineFailed: the model is not to be had now.
            TokensUsedUp: the user had all tokens of this day.
        """
