"""From the tokens of an answer to the text that is sent, piece by piece.

Feed/flush objects without I/O: what they gave out, joined, does not depend on how the input was cut. They know nothing
of requests or of how the text travels.
"""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterable, Sequence

from fairlead.errors import InvalidRequest
from fairlead.gguf.tokenizer import Tokenizer


class Detokenizer:
    """Token ids to text, never half a character.

    All that `feed` and `flush` gave, joined, is `tokenizer.decode` of all the ids. `continues` is as there: the
    text goes on behind other text, as a raw completion does, and keeps its leading space.
    """

    def __init__(self, tokenizer: Tokenizer, *, continues: bool = False) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._drops_space = tokenizer.leading_space and not continues

    def feed(self, token_id: int) -> str:
        """The text that is certain after this token; empty while a character is incomplete."""
        return self._without_leading_space(self._decoder.decode(self._tokenizer.token_bytes(token_id)))

    def flush(self) -> str:
        """The rest: U+FFFD if the last character was cut off. Nothing may be fed after it."""
        return self._without_leading_space(self._decoder.decode(b"", final=True))

    def _without_leading_space(self, text: str) -> str:
        if self._drops_space and text:
            self._drops_space = False
            return text.removeprefix(" ")
        return text


class StopStrings:
    """Ends a text before the first of some strings, and gives out no part of that string.

    The first is the one that is complete first; of several complete at the same character, the longest. What
    cannot become a part of a stop string any more is given out at once.

    The strings are searched all together by the automaton of Aho and Corasick (1975), whose state is the longest end
    of the text that begins a stop string: what must be held back. The time for a character does not depend on how
    many strings there are.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        """Raises InvalidRequest for an empty stop string."""
        stops = tuple(stops)
        if "" in stops:
            raise InvalidRequest("a stop string must not be empty", param="stop")
        self._next, self._fail, self._depth, self._found = _automaton(stops)
        self._state = 0
        self._held = ""
        self._stopped = False

    def feed(self, text: str) -> tuple[str, bool]:
        """What may be given out now, and whether a stop string was found; nothing more comes after that."""
        if self._stopped or len(self._next) == 1:
            return ("" if self._stopped else text), self._stopped
        held = self._held + text
        state = self._state
        for end, character in enumerate(text, start=len(self._held) + 1):
            while state and character not in self._next[state]:
                state = self._fail[state]
            state = self._next[state].get(character, 0)
            if self._found[state]:
                self._stopped = True
                self._held = ""
                return held[: end - self._found[state]], True
        self._state = state
        certain = len(held) - self._depth[state]
        self._held = held[certain:]
        return held[:certain], False

    def flush(self) -> str:
        """What was held back, at the end of a text without a stop string."""
        held, self._held = self._held, ""
        return held


def _automaton(stops: Sequence[str]) -> tuple[list[dict[str, int]], list[int], list[int], list[int]]:
    """The automaton's states, 0 being the start.

    Returns for each state: the next states by character, the state to fall back to, how many characters it
    stands for, and the length of the longest stop string that is complete in it (0 for none).
    """
    follow: list[dict[str, int]] = [{}]
    depth, found = [0], [0]
    for stop in stops:
        state = 0
        for character in stop:
            if character not in follow[state]:
                follow[state][character] = len(follow)
                follow.append({})
                depth.append(depth[state] + 1)
                found.append(0)
            state = follow[state][character]
        found[state] = len(stop)

    fail = [0] * len(follow)
    queue = deque(follow[0].values())
    while queue:
        state = queue.popleft()
        for character, child in follow[state].items():
            fallback = fail[state]
            while fallback and character not in follow[fallback]:
                fallback = fail[fallback]
            fail[child] = follow[fallback].get(character, 0)
            found[child] = found[child] or found[fail[child]]
            queue.append(child)
    return follow, fail, depth, found
