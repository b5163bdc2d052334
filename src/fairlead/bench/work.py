"""What a step has to read and to compute, whoever does it and however: what speed is told as a share of.

Counted are the packed weights, once for each step; the keys and values of all that a token attends to, once for each
sequence and step; and the multiply-adds of products and of attention. Activations, norms and the few rows of the
embedding are left out, so a share is if anything a little too small.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fairlead.bench.machine import Limits
from fairlead.kernels import product_unit, vector_unit
from fairlead.kernels.native_runner import NativeRunner
from fairlead.models.plan import Attention, Linear, Plan


@dataclass(frozen=True, slots=True)
class Work:
    """Bytes to read, and multiply-adds by the arithmetic unit that the engine has do them."""

    nbytes: int = 0
    multiply_adds: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Work) -> Work:
        return Work(self.nbytes + other.nbytes, Counter(self.multiply_adds) + Counter(other.multiply_adds))


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens of one sequence that a step computes: from position `start` to before `end`."""

    start: int
    end: int

    @property
    def attended(self) -> int:
        """How many positions its tokens look at, all together: each at those before it and at itself."""
        return (self.end * (self.end + 1) - self.start * (self.start + 1)) // 2


class StepWork:
    """What the steps of one loaded model take."""

    def __init__(self, plan: Plan, runner: NativeRunner) -> None:
        self._activations = runner.activations
        self._products = [(runner.weights[op.weight], op.out.selected) for op in plan.ops if isinstance(op, Linear)]
        # For each position that a token looks at: a multiply-add for each width of its score, and of the value.
        self._attention = sum(2 * op.q.width for op in plan.ops if isinstance(op, Attention))
        self._kv_bytes = runner.kv_bytes // (runner.page_count * runner.page_size)

    def of(self, spans: Sequence[Span], sampled: int) -> Work:
        """One step over these spans that draws so many tokens."""
        rows = sum(span.end - span.start for span in spans)
        nbytes = self._kv_bytes * sum(span.end for span in spans)
        multiply_adds = Counter({vector_unit(): self._attention * sum(span.attended for span in spans)})
        read = set()
        for weight, selected in self._products:
            count = sampled if selected else rows
            if count == 0:
                continue
            read.add(weight)
            multiply_adds[product_unit(weight, count, "q16" if selected else self._activations)] += (
                weight.outputs * weight.inputs * count
            )
        return Work(nbytes + sum(weight.nbytes for weight in read), multiply_adds)


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of the machine's limits some work took, 1 being all: the greater of the two is what held it up.

    A model that fits into the caches partly is read faster than memory: then `memory` may pass 1.
    """

    memory: float
    arithmetic: float


def shares(work: Work, seconds: float, limits: Limits) -> Shares:
    """The shortest time that memory needs for the work, and that the arithmetic units need, over the time it took."""
    peaks = limits.operations_per_s
    arithmetic_s = sum(2 * count / peaks[unit] for unit, count in work.multiply_adds.items())
    return Shares(memory=work.nbytes / limits.read_bytes_per_s / seconds, arithmetic=arithmetic_s / seconds)
