"""OpenAI's route for vectors of texts."""

from __future__ import annotations

import asyncio
import base64
from typing import Annotated, Final, Literal, cast

import msgspec
import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from pydantic import Field

from fairlead.api.openai_responses import Embedding, Embeddings
from fairlead.api.responses import EncodedJson, Json, encode
from fairlead.api.schemas import Body, Name, TokenId, UserName
from fairlead.api.security import JsonRoute
from fairlead.api.services import Asker, Served
from fairlead.api.sse import while_connected
from fairlead.service.embeddings import Embedded, Input

router = APIRouter(prefix="/v1", route_class=JsonRoute, tags=["openai"])

_MOST_INPUTS: Final = 2048
_MOST_TOKENS: Final = 1 << 20

Encoding = Literal["float", "base64"]


class EmbeddingBody(Body):
    """`POST /v1/embeddings`."""

    # An empty input is refused by the service, which says which one it is.
    input: (
        str
        | Annotated[list[TokenId], Field(min_length=1, max_length=_MOST_TOKENS, fail_fast=True)]
        | Annotated[list[str], Field(min_length=1, max_length=_MOST_INPUTS, fail_fast=True)]
        | Annotated[list[list[TokenId]], Field(min_length=1, max_length=_MOST_INPUTS, fail_fast=True)]
    )
    model: Name | None = None
    encoding_format: Encoding | None = None
    user: UserName | None = None
    # Known, and not supported: vectors have the width of their model.
    dimensions: None = None

    def inputs(self) -> list[Input]:
        """Each text, or its token ids."""
        if isinstance(self.input, str):
            return [self.input]
        tokens = [item for item in self.input if isinstance(item, int)]
        return [tokens] if tokens else [item for item in self.input if not isinstance(item, int)]


@router.post("/embeddings")
async def embeddings(body: EmbeddingBody, request: Request, services: Served, asker: Asker) -> Json[Embeddings]:
    """A vector of length 1 for each text."""
    work = services.embeddings.answer(body.inputs(), body.model, body.user or asker)
    found = await while_connected(request, work)
    request.state.model = found.model
    return await asyncio.to_thread(_told, found, body.encoding_format or "float")


def _told(found: Embedded, encoding: Encoding) -> Json[Embeddings]:
    # One by one: a call holds the interpreter lock to its end, and there may be millions of numbers.
    data = [
        encode(Embedding(object="embedding", index=index, embedding=_encoded(vector, encoding)))
        for index, vector in enumerate(found.vectors)
    ]
    return EncodedJson(
        {
            "object": "list",
            "data": cast(list[Embedding], msgspec.Raw(b"[%b]" % b",".join(data))),  # which they are, written
            "model": found.model,
            "usage": {"prompt_tokens": found.tokens, "total_tokens": found.tokens},
        }
    )


def _encoded(vector: NDArray[np.float32], encoding: Encoding) -> str | list[float]:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if encoding == "base64" else vector.tolist()
