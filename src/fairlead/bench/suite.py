"""What is to be measured of the engine."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.kernels import PAGE_TOKENS


@dataclass(frozen=True, slots=True)
class Suite:
    """Figures to take.

    Attributes:
        prompts: lengths of prompts to read, one prompt at a time.
        batches: numbers of sequences to decode side by side, each of them at each of `contexts`.
        contexts: tokens that each of these sequences holds.
        seconds: about how long each figure is measured; once round at least.
        limit_s: what has no figure after so long is left out.
    """

    prompts: tuple[int, ...] = (128, 512, 2048)
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    contexts: tuple[int, ...] = (128, 2048)
    seconds: float = 1.5
    limit_s: float = 600.0

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return max(*self.prompts, *self.contexts)

    @property
    def kv_tokens(self) -> int:
        """Tokens of KV cache that it takes, in whole pages."""
        pages = max(pages_of(max(self.prompts)), max(self.batches) * pages_of(max(self.contexts)))
        return pages * PAGE_TOKENS


QUICK = Suite(prompts=(512,), batches=(1, 16), contexts=(128,), seconds=0.5, limit_s=60.0)


def pages_of(tokens: int) -> int:
    """Pages of the KV cache that a sequence takes."""
    return -(-tokens // PAGE_TOKENS)
