"""Who waits, who runs and how the engines do: put together from the engines' `Stats` and the answers under way."""

from __future__ import annotations

from collections.abc import Iterable

from fairlead.engine.messages import ClientLoad, Stats
from fairlead.queue import ModelQueue, Pages, Queue, QueuedRequest, Rates, Steps, Tokens, UserLoad
from fairlead.service.answer import Answer
from fairlead.service.engine_metrics import decode_rate, held_pages
from fairlead.service.model import LoadedModel
from fairlead.service.users import Users


def queue_of(user: str, models: Iterable[LoadedModel], answers: Iterable[Answer], users: Users) -> Queue:
    """What `user` is told: of their own requests each one, of others' how many."""
    own = [answer for answer in answers if answer.user.name == user]

    def told(model: LoadedModel) -> ModelQueue:
        return _model_queue(model.name, model.engine.stats, [one for one in own if one.model == model.name], users)

    return Queue(user, [told(model) for model in models])


def _model_queue(name: str, stats: Stats | None, own: Iterable[Answer], users: Users) -> ModelQueue:
    requests = sorted(map(_request, own), key=lambda request: (request.position is not None, request.position or 0))
    if stats is None:
        return ModelQueue(name=name, requests=requests)
    return ModelQueue(
        name=name,
        running=stats.running,
        waiting=stats.waiting,
        requests=requests,
        users=_loads(stats.clients, users),
        tokens_per_second=Rates(_rounded(stats.prefill_rate), _rounded(decode_rate(stats))),
        tokens=Tokens(
            stats.prefill_tokens, stats.cached_tokens, stats.decode_tokens, stats.drafted_tokens, stats.accepted_tokens
        ),
        pages=Pages(held_pages(stats), stats.cached_pages, stats.free_pages, stats.total_pages),
        steps=Steps(
            stats.steps,
            _ms(stats.step_seconds / stats.steps) if stats.steps else None,
            _ms(stats.step_s) if stats.steps else None,
            _ms(stats.budget_s) if stats.steps else None,
            stats.over_budget,
        ),
        preemptions=stats.preemptions,
    )


def _request(answer: Answer) -> QueuedRequest:
    place = answer.place
    if place is None:
        return QueuedRequest(answer.id, "running", None, None, answer.tokens)
    return QueuedRequest(answer.id, "waiting", place.position, _ms(place.wait_s), answer.tokens)


def _loads(clients: Iterable[ClientLoad], users: Users) -> list[UserLoad]:
    return [
        UserLoad(user.name, client.running, client.waiting, client.prefill_tokens, client.decode_tokens)
        for client in sorted(clients, key=lambda client: client.counter)
        if (user := users.numbered(client.client)) is not None
    ]


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 1)
