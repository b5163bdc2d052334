"""Continuations scored behind a prefix that is computed once: one request of the scheduler, which branches.

The prefix is read like any prompt, and what follows its last token tells of the first token of every continuation.
The others become rows: a branch reads the prefix's full pages where they lie, and has pages of its own for the rest,
the first of which begins as a copy of the prefix's last, unless that is full. Many branches are rows of one step.

Owns how far each branch is and which of the request's further pages are whose; pages are dealt by the KV cache, rows by
the scheduler.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from fairlead.engine.kv_cache import KVCache
from fairlead.engine.messages import Failed, Generate, Sampling, Score
from fairlead.engine.runner import Chunk
from fairlead.errors import InvalidRequest, PromptTooLong

MOST_ROWS: Final = 64
"""Rows of a step whose scores are told: each has logits as wide as the vocabulary, and takes memory for them."""


def refusal(command: Score, longest: int, cache: KVCache) -> Failed | None:
    """Why a command cannot be scored, where no sequence may have more than `longest` tokens; None if it can."""
    if not command.tokens or not command.continuations or not all(command.continuations) or not command.weight > 0:
        message = "Scoring needs a prefix, continuations of at least one token each, and a weight above 0."
        return Failed(command.id, InvalidRequest.code, message)
    tokens = len(command.tokens) + max(map(len, command.continuations))
    prefix_pages = -(-len(command.tokens) // cache.page_size)
    branch_pages = max(_own_pages(len(command.tokens), len(c), cache.page_size) for c in command.continuations)
    if tokens > longest or prefix_pages + branch_pages > cache.page_count:
        message = (
            f"The prefix and its longest continuation have {tokens} tokens, and {longest} may be read at once. Shorten "
            "the text, or load the model with a longer context."
        )
        return Failed(command.id, PromptTooLong.code, message)
    return None


def prefix_of(command: Score) -> Generate:
    """The request that reads a command's prefix, as if one token were to be drawn after it."""
    return Generate(
        id=command.id,
        tokens=command.tokens,
        sampling=Sampling(temperature=0),
        max_tokens=1,
        client=command.client,
        weight=command.weight,
        priority=command.priority,
        salt=command.salt,
        public_tokens=command.public_tokens,
    )


def _own_pages(prefix: int, tokens: int, page_size: int) -> int:
    """Pages that a continuation of so many tokens has for itself: its last token is never computed."""
    return -(-(prefix % page_size + tokens - 1) // page_size) if tokens > 1 else 0


@dataclass(slots=True)
class _Branch:
    """One continuation.

    Attributes:
        tokens: its ids.
        first: log-probability of the first of them; None before the prefix was read.
        known: how many of them have a log-probability.
        logprob: the sum of those.
        pages: its own, while it is computed.
    """

    tokens: Sequence[int]
    first: float | None = None
    known: int = 0
    logprob: float = 0.0
    pages: list[int] = field(default_factory=list)

    @property
    def rows_left(self) -> int:
        return len(self.tokens) - max(self.known, 1)

    def restart(self) -> None:
        """Go back behind the first token, unless all are known."""
        self.pages = []
        if self.first is not None and self.rows_left:
            self.known, self.logprob = 1, self.first


class Scoring:
    """How far the continuations of one request are.

    Args:
        prefix: tokens of the prefix.
        continuations: ids of each; none is empty.
        page_size: tokens in a page.
    """

    def __init__(self, prefix: int, continuations: Sequence[Sequence[int]], page_size: int) -> None:
        self._prefix = prefix
        self._page_size = page_size
        self._prefix_pages = -(-prefix // page_size)
        self._branches = [_Branch(tokens) for tokens in continuations]
        self._dealt = 0  # the request's pages beyond the prefix
        self._free: list[int] = []  # those of them that no branch has
        self._parts: list[tuple[int, int]] = []  # of this step: which branch, how many rows

    @property
    def tokens(self) -> int:
        """Of all continuations."""
        return sum(len(branch.tokens) for branch in self._branches)

    @property
    def rows_left(self) -> int:
        """Tokens of continuations that are still to be computed; 0 where all is known."""
        return sum(branch.rows_left for branch in self._branches)

    @property
    def results(self) -> list[tuple[float, int]]:
        """Of each continuation the sum of its log-probabilities and how many tokens it has."""
        return [(branch.logprob, len(branch.tokens)) for branch in self._branches]

    def firsts(self) -> list[int]:
        """The ids whose log-probability behind the prefix is wanted; none where they are known already."""
        return [branch.tokens[0] for branch in self._branches if branch.first is None]

    def begin(self, logprobs: Sequence[float]) -> None:
        """Take in the log-probabilities of `firsts`."""
        for branch, logprob in zip(self._branches, logprobs, strict=True):
            branch.first = branch.logprob = logprob
            branch.known = 1

    def restart(self) -> None:
        """Do without pages again: branches that are not done begin anew, what is known of others stays."""
        self._dealt, self._free, self._parts = 0, [], []
        for branch in self._branches:
            branch.restart()

    def least_tokens(self) -> int:
        """For how many tokens the request needs pages, so that one branch can go on."""
        return self._tokens(next(self._open()))

    def take(self, request_id: int, rows: int, cache: KVCache) -> int:
        """Choose what a step of `rows` rows computes, as far as pages can be had: how many rows that are."""
        self._room(request_id, rows, cache)
        self._parts = []
        left = rows
        for number, branch in self._open_numbered():
            if not branch.pages:
                own = self._own(branch)
                if own > len(self._free) or (self._parts and branch.rows_left > left):
                    break
                branch.pages = [self._free.pop() for _ in range(own)]
            count = min(branch.rows_left, left)
            self._parts.append((number, count))
            left -= count
            if not left:
                break
        return rows - left

    def chunks(self, request_id: int, table: Sequence[int]) -> Iterator[Chunk]:
        """What was chosen, for the runner, where the request has these pages."""
        full, partial = divmod(self._prefix, self._page_size)
        for number, rows in self._parts:
            branch = self._branches[number]
            begin = branch.known - 1
            yield Chunk(
                request_id,
                branch.tokens[begin : begin + rows],
                self._prefix + begin,
                [*table[:full], *branch.pages],
                samples=False,
                scores=[[token] for token in branch.tokens[begin + 1 : begin + 1 + rows]],
                branch=number,
                copies=(table[full], branch.pages[0]) if partial and not begin else None,
            )

    def advance(self, number: int, logprobs: Sequence[float]) -> None:
        """Take in what a branch's rows told of its next tokens."""
        branch = self._branches[number]
        branch.known += len(logprobs)
        branch.logprob += sum(logprobs)
        if not branch.rows_left:
            self._free += branch.pages
            branch.pages = []

    def _own(self, branch: _Branch) -> int:
        return _own_pages(self._prefix, len(branch.tokens), self._page_size)

    def _open(self) -> Iterator[_Branch]:
        return (branch for _, branch in self._open_numbered())

    def _open_numbered(self) -> Iterator[tuple[int, _Branch]]:
        """Branches with rows left: begun ones first."""
        left = [(number, branch) for number, branch in enumerate(self._branches) if branch.rows_left]
        return iter(sorted(left, key=lambda entry: not entry[1].pages))

    def _tokens(self, *branches: _Branch) -> int:
        """For how many tokens the request needs pages, so that these branches have theirs."""
        more = sum(self._own(branch) for branch in branches if not branch.pages) - len(self._free)
        return (self._prefix_pages + self._dealt + max(more, 0)) * self._page_size

    def _room(self, request_id: int, rows: int, cache: KVCache) -> None:
        """Get pages for as many branches as so many rows compute, as far as nobody has them."""
        chosen: list[_Branch] = []
        for branch in self._open():
            chosen.append(branch)
            rows -= branch.rows_left
            if rows <= 0:
                break
        most = cache.free_pages + cache.cached_pages + len(cache.table(request_id))
        cache.grow(request_id, min(self._tokens(*chosen), most * self._page_size))
        dealt = cache.table(request_id)[self._prefix_pages + self._dealt :]
        self._free += dealt
        self._dealt += len(dealt)
