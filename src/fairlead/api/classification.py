"""`POST /classify`: texts put under labels, whole or as a stream with its progress."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Request
from pydantic import Field, StringConstraints

from fairlead.api import task_responses as responses
from fairlead.api.responses import Json
from fairlead.api.schemas import Body, Name, OwnId, UserName
from fairlead.api.security import JsonRoute
from fairlead.api.services import Asker, RequestId, Served
from fairlead.api.sse import Events, EventStream
from fairlead.api.steps import respond
from fairlead.errors import InvalidRequest
from fairlead.service.classification import INSTRUCTION, Classified, Example, Label, Labelled, Progress, Wish

router = APIRouter(route_class=JsonRoute, tags=["tasks"])

_MOST_TEXTS: Final = 1000
_MOST_LABELS: Final = 256
_MOST_EXAMPLES: Final = 256

LabelName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Instruction = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000)]

Step = Progress | Labelled | Classified


class LabelBody(Body):
    """A label whose name does not say all."""

    name: LabelName
    description: Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000)] = ""


class ExampleBody(Body):
    """A text whose label is known."""

    text: str
    label: LabelName


class ClassifyBody(Body):
    """`POST /classify`: exactly one of `text` and `texts`."""

    # Empty texts are refused by the service, which says which one it is.
    text: str | None = None
    texts: Annotated[list[str], Field(min_length=1, max_length=_MOST_TEXTS, fail_fast=True)] | None = None
    labels: Annotated[list[LabelName | LabelBody], Field(min_length=1, max_length=_MOST_LABELS, fail_fast=True)]
    examples: Annotated[list[ExampleBody], Field(max_length=_MOST_EXAMPLES, fail_fast=True)] = Field(default=[])
    instruction: Instruction = INSTRUCTION
    model: Name | None = None
    stream: bool = False
    request_id: OwnId | None = None
    user: UserName | None = None

    def wish(self, asker: str) -> Wish:
        """What the service is asked for. InvalidRequest where there is not one of `text` and `texts`."""
        if (self.text is None) == (self.texts is None):
            raise InvalidRequest("Give either text or texts.", param="text")
        labels = (Label(each) if isinstance(each, str) else Label(each.name, each.description) for each in self.labels)
        return Wish(
            texts=tuple([self.text] if self.text is not None else self.texts or ()),
            labels=tuple(labels),
            examples=tuple(Example(example.text, example.label) for example in self.examples),
            instruction=self.instruction,
            user=self.user or asker,
            model=self.model,
        )


@router.post("/classify")
async def classify(
    body: ClassifyBody, request: Request, services: Served, request_id: RequestId, asker: Asker
) -> Json[responses.Classification] | EventStream[responses.ClassifyEvents]:
    """For each text the likeliest label, and how likely each is."""
    steps = services.classifications.classify(body.wish(asker), body.request_id or request_id)
    return await respond(request, steps, Classified, classified_json, _event, stream=body.stream)


def _event(step: Step, events: Events) -> bytes:
    match step:
        case Progress():
            progress: responses.ClassifyProgress = {"phase": "classifying", "done": step.done, "total": step.total}
            return events.event("progress", progress)
        case Labelled():
            result: responses.ClassifiedText = {"index": step.index, **_labelled_json(step)}
            return events.event("result", result)
        case Classified():
            return events.event("done", classified_json(step))


def _labelled_json(labelled: Labelled) -> responses.Classified:
    return {"label": labelled.label, "probabilities": labelled.probabilities}


def classified_json(classified: Classified) -> responses.Classification:
    """Texts under their labels as clients see them."""
    return {
        "id": classified.id,
        "model": classified.model,
        "results": [None if found is None else _labelled_json(found) for found in classified.results],
        "finish_reason": classified.finish_reason,
        "usage": {
            "prompt_tokens": classified.prompt_tokens,
            "completion_tokens": 0,
            "cached_tokens": classified.cached_tokens,
        },
        "timing": {"total_ms": classified.total_ms},
    }
