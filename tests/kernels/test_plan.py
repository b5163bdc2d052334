"""The extension's plans beside the products: attention over pages, norms and activations, in every instruction set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fairlead.kernels import PAGE_TOKENS, instruction_sets, reference, set_instruction_set
from fairlead.kernels._native import KvCache, Plan, Table, ThreadPool, Weight, emulated_instruction_sets
from tests.kernels.weights import random_blocks

F32 = NDArray[np.float32]
POOL = ThreadPool(2)
TILES = ("amx", "amx-emulated")
Q4_K, Q6_K, BF16 = 12, 14, 30  # GGML's numbers


def f32_weight(values: F32) -> Weight:
    outputs, inputs = values.shape
    return Weight(0, np.ascontiguousarray(values).view(np.uint8).ravel(), outputs, inputs, POOL)


@pytest.fixture(params=instruction_sets() + emulated_instruction_sets(), autouse=True)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    set_instruction_set(request.param)
    yield request.param
    set_instruction_set(instruction_sets()[-1])


class Chosen:
    """A plan that begins with chosen rows: token t is row t of `rows`."""

    def __init__(self, rows: F32, cache: KvCache | None = None, activations: str = "q16") -> None:
        self.cache = cache or KvCache(layers=1, heads=1, head_dim=16, pages=1, type="f32")
        self.plan = Plan(POOL, self.cache, activations)
        self.weight = f32_weight(rows)
        self.x = self.hold(self.plan.embedding(self.weight), rows.shape[1])

    def hold(self, rows: int, width: int) -> int:
        buffer = self.plan.buffer(width)
        self.plan.hold(buffer, rows)
        return buffer

    def run(self, tokens: list[int], positions: list[int], pages: list[int], selected: Sequence[int] = ()) -> None:
        self.plan.run(
            tokens=np.array(tokens, np.int32),
            positions=np.array(positions, np.int32),
            first_row=np.array([0, len(tokens)], np.int32),
            first_page=np.array([0, len(pages)], np.int32),
            pages=np.array(pages, np.int32),
            selected=np.array(selected, np.int32),
        )

    def output(self, buffer: int, count: int) -> F32:
        self.run(list(range(count)), list(range(count)), [0])
        return self.plan.rows(buffer, count)


def rows_of(seed: int, count: int, width: int, scale: float = 1.0) -> F32:
    return np.random.default_rng(seed).normal(0, scale, (count, width)).astype(np.float32)


widths = st.sampled_from([1, 3, 15, 16, 17, 64, 100, 257])


@settings(max_examples=15)
@given(width=widths, seed=st.integers(0, 1000), scale=st.sampled_from([1e-20, 1e-3, 1.0, 1e4]))
def test_norms(width: int, seed: int, scale: float) -> None:
    rows = rows_of(seed, 3, width, scale)
    weight, bias = rows_of(seed + 1, 2, width)
    table = Chosen(rows)
    rms = table.hold(table.plan.rms_norm(table.x, weight, 1e-5), width)
    layer = table.hold(table.plan.layer_norm(table.x, weight, bias, 1e-5), width)
    x = rows.astype(np.float64)
    expected = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * weight
    np.testing.assert_allclose(table.output(rms, 3), expected, rtol=1e-4, atol=1e-5)
    x = x - x.mean(-1, keepdims=True)
    expected = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * weight + bias
    np.testing.assert_allclose(table.output(layer, 3), expected, rtol=1e-3, atol=1e-4)


@settings(max_examples=15)
@given(width=widths, seed=st.integers(0, 1000), scale=st.sampled_from([1e-30, 0.1, 1.0, 20.0, 1e6]))
def test_activations(width: int, seed: int, scale: float) -> None:
    rows = rows_of(seed, 4, width, scale)
    table = Chosen(rows)
    gated = table.hold(table.plan.swiglu(table.x, table.x), width)
    gelu = table.hold(table.plan.gelu(table.x), width)
    exact = table.hold(table.plan.exact_gelu(table.x), width)
    doubled = table.hold(table.plan.add(table.x, table.x), width)
    x = rows.astype(np.float64)
    np.testing.assert_array_equal(table.output(doubled, 4), rows + rows)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(table.output(gated, 4), x * x / (1 + np.exp(-x)), rtol=1e-5, atol=1e-9 * scale)
    expected = x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    np.testing.assert_allclose(table.output(gelu, 4), expected, rtol=1e-4, atol=1e-6 * scale)
    expected = x * np.vectorize(lambda z: (1 + math.erf(z / math.sqrt(2))) / 2)(x)
    np.testing.assert_allclose(table.output(exact, 4), expected, rtol=1e-6, atol=5e-7 * min(scale, 10))


@settings(max_examples=25)
@given(
    formats=st.sampled_from([(Q4_K, Q4_K), (Q6_K, Q6_K), (BF16, BF16), (Q4_K, Q6_K)]),
    outputs=st.sampled_from([1, 16, 24, 80]),
    count=st.sampled_from([1, 8, 9, 17, 40, 300]),
    biased=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_a_gate_is_applied_on_the_way_as_afterwards(
    formats: tuple[int, int], outputs: int, count: int, biased: bool, seed: int
) -> None:
    weights = [
        Weight(form, random_blocks(form, outputs, 256, seed=seed + i), outputs, 256, POOL)
        for i, form in enumerate(formats)
    ]
    biases = [rows_of(seed, 1, outputs)[0] if biased else None for _ in weights]
    chosen = Chosen(rows_of(seed, count, 256), KvCache(layers=1, heads=1, head_dim=16, pages=10, type="f32"))
    plan = chosen.plan
    buffers = [plan.buffer(outputs) for _ in range(4)]
    products = [(weights[i % 2], biases[i % 2], buffer, False) for i, buffer in enumerate(buffers)]
    plan.products(chosen.x, products[:2])
    afterwards = chosen.hold(plan.swiglu(*buffers[:2]), outputs)
    on_the_way = chosen.hold(plan.gated_products(chosen.x, *products[2:]), outputs)
    chosen.run(list(range(count)), list(range(count)), list(range(10)))
    np.testing.assert_array_equal(plan.rows(on_the_way, count), plan.rows(afterwards, count))


@pytest.mark.parametrize("number", [Q4_K, Q6_K])
def test_bytes_are_for_all_rows_but_the_selected(number: int, instruction_set: str) -> None:
    """The rows that logits are made of keep 16 bits, whatever the others may become."""
    weight = Weight(number, random_blocks(number, 40, 256, seed=1), 40, 256, POOL)
    rows = rows_of(2, 8, 256)
    found = {}
    for activations in ("q16", "q8"):
        chosen = Chosen(rows, activations=activations)
        inner, last = chosen.plan.buffer(40), chosen.plan.buffer(40, selected=True)
        chosen.plan.products(chosen.x, [(weight, None, inner, False)])
        chosen.plan.products(chosen.plan.select(chosen.x), [(weight, None, last, False)])
        chosen.run(list(range(8)), list(range(8)), [0], selected=list(range(8)))
        found[activations] = chosen.plan.rows(inner, 8), chosen.plan.rows(last, 8)
    np.testing.assert_array_equal(found["q8"][1], found["q16"][1])
    in_bytes = instruction_set in (*TILES, "vnni", "avx-vnni")
    assert np.array_equal(found["q8"][0], found["q16"][0]) != in_bytes
    np.testing.assert_allclose(found["q8"][0], found["q16"][0], atol=0.02 * float(np.abs(found["q16"][0]).max()))


HEAD_DIMS = (8, 16, 20, 32, 64, 80, 96, 128, 256)


def naive_attention(q: F32, k: F32, v: F32, heads: int, kv_heads: int) -> NDArray[np.float64]:
    """q: [tokens, heads · dim], k and v: [tokens, kv_heads · dim]."""
    count = len(q)
    split_q = q.astype(np.float64).reshape(count, heads, -1)
    split_k, split_v = (x.astype(np.float64).reshape(count, kv_heads, -1).repeat(heads // kv_heads, 1) for x in (k, v))
    scores = np.einsum("qhd,khd->hqk", split_q, split_k) + np.triu(np.full((count, count), -np.inf), 1)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = np.einsum("hqk,khd->qhd", weights / weights.sum(-1, keepdims=True), split_v)
    flat: NDArray[np.float64] = mixed.reshape(count, -1)
    return flat


@settings(max_examples=12)
@given(data=st.data())
def test_paged_attention_equals_naive(data: st.DataObject) -> None:
    kv_heads, group = data.draw(st.integers(1, 2)), data.draw(st.sampled_from([1, 2, 3, 4, 7, 8]))
    head_dim = data.draw(st.sampled_from([dim for dim in HEAD_DIMS if dim * kv_heads * group <= 768]))
    count = data.draw(st.one_of(st.integers(1, 70), st.integers(250, 290)))
    kv_type = data.draw(st.sampled_from(["f32", "f16", "q8"]))
    heads = kv_heads * group
    rows = rows_of(data.draw(st.integers(0, 1000)), count, heads * head_dim, data.draw(st.sampled_from([0.1, 1.0])))
    keys, values = rows_of(1, kv_heads * head_dim, heads * head_dim), rows_of(2, kv_heads * head_dim, heads * head_dim)
    keys /= head_dim
    values /= head_dim
    pages = data.draw(st.permutations(range(10)))

    cache = KvCache(layers=2, heads=kv_heads, head_dim=head_dim, pages=10, type=kv_type)
    table = Chosen(rows, cache)
    packed = [f32_weight(keys), f32_weight(values)]
    k, v, out = (table.plan.buffer(width) for width in (kv_heads * head_dim, kv_heads * head_dim, heads * head_dim))
    table.plan.products(table.x, [(packed[0], None, k, False), (packed[1], None, v, False)])
    turns = table.hold(table.plan.rotations([0.0]), 2)  # turns nothing
    table.plan.attention(out, table.x, k, v, turns, layer=1, heads=heads, scale=0.5, rope="halves")

    expected = naive_attention(0.5 * rows, rows @ keys.T, rows @ values.T, heads, kv_heads)
    tolerance = {"f32": 2e-5, "f16": 3e-3, "q8": 6e-2}[kv_type]
    start = 0
    while start < count:  # in chunks of any size
        size = data.draw(st.integers(1, count - start))
        span = list(range(start, start + size))
        table.run(span, span, pages[: -(-(start + size) // PAGE_TOKENS)])
        np.testing.assert_allclose(
            table.plan.rows(out, size), expected[start : start + size], atol=tolerance * max(1, np.abs(expected).max())
        )
        start += size


class Attention:
    """Attention with two heads for one of the cache, over sequences whose token t is row t of one table."""

    HEADS, HEAD_DIM = 2, 16

    def __init__(self, threads: int, tokens: int, kv_type: str) -> None:
        width = self.HEADS * self.HEAD_DIM
        self.pages = -(-tokens // PAGE_TOKENS)
        self.pool = ThreadPool(threads)
        self.cache = KvCache(layers=1, heads=1, head_dim=self.HEAD_DIM, pages=4 * self.pages, type=kv_type)
        self.plan = Plan(self.pool, self.cache)
        self.queries = rows_of(3, tokens, width)
        # Each takes one half of the dimensions, the keys backwards: exact in whatever order products are summed.
        self.keys = np.eye(width, dtype=np.float32)[self.HEAD_DIM - 1 :: -1]
        self.values = np.eye(width, dtype=np.float32)[self.HEAD_DIM :]
        self.weights = [f32_weight(values) for values in (self.queries, self.keys, self.values)]
        q, out = self.plan.buffer(width), self.plan.buffer(width)
        k, v, turns = self.plan.buffer(self.HEAD_DIM), self.plan.buffer(self.HEAD_DIM), self.plan.buffer(2)
        self.plan.hold(q, self.plan.embedding(self.weights[0]))
        self.plan.products(q, [(self.weights[1], None, k, False), (self.weights[2], None, v, False)])
        self.plan.hold(turns, self.plan.rotations([0.0]))
        self.plan.attention(out, q, k, v, turns, layer=0, heads=self.HEADS, scale=0.25, rope="halves")
        self.out = out

    def run(self, spans: list[range]) -> list[F32]:
        """One step with some tokens of each sequence; what came out for each."""
        rows = [token for span in spans for token in span]
        ends = np.cumsum([0, *map(len, spans)])
        self.plan.run(
            tokens=np.array(rows, np.int32),
            positions=np.array(rows, np.int32),
            first_row=ends.astype(np.int32),
            first_page=(np.arange(len(spans) + 1) * self.pages).astype(np.int32),
            pages=np.arange(len(spans) * self.pages, dtype=np.int32),
            selected=np.empty(0, np.int32),
        )
        return np.split(self.plan.rows(self.out, len(rows)), ends[1:-1])


@pytest.mark.parametrize("kv_type", ["f32", "f16", "q8"])
@pytest.mark.parametrize("context", [255, 257, 1100, 5000])
def test_long_contexts_give_the_same_whoever_computes_which_part(
    context: int, kv_type: str, instruction_set: str
) -> None:
    """Bit for bit: alone or beside others, with one thread or three."""
    if instruction_set == "amx-emulated":
        context = min(context, 600)  # emulated tiles are slow
    last = range(context - 1, context)
    found = []
    for threads, others in [(1, []), (2, []), (3, []), (2, [range(40), last, range(7)])]:
        attention = Attention(threads, context, kv_type)
        attention.run([range(context - 1), *(range(span.start) or range(1) for span in others)])
        found.append(attention.run([last, *others])[0])
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
    one = Attention(1, context, kv_type)
    keys, values = one.queries @ one.keys.T, one.queries @ one.values.T
    expected = naive_attention_of_last(one.queries[-1] * 0.25, keys, values)
    tolerance = {"f32": 1e-5, "f16": 1e-3, "q8": 1e-2}[kv_type]
    np.testing.assert_allclose(found[0].reshape(2, -1), expected, atol=tolerance * np.abs(values).max())


def naive_attention_of_last(query: F32, keys: F32, values: F32) -> NDArray[np.float64]:
    """query: [heads · dim] of the last token; keys and values: [tokens, dim]."""
    scores = query.astype(np.float64).reshape(-1, keys.shape[1]) @ keys.T
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    mixed: NDArray[np.float64] = weights @ values / weights.sum(-1, keepdims=True)
    return mixed


@pytest.mark.parametrize("kv_type", ["f16", "q8"])
def test_many_rows_find_nearly_what_rows_alone_find(kv_type: str, instruction_set: str) -> None:
    """The same bits in vectors; tiles take only steps of many rows, and come within some 2^-16."""
    tokens = 300
    whole, alone = Attention(2, tokens, kv_type), Attention(1, tokens, kv_type)
    found = whole.run([range(tokens)])[0]
    for start in range(0, tokens, 5):
        span = range(start, start + 5)
        few = alone.run([span])[0]
        if instruction_set in TILES:
            np.testing.assert_allclose(found[start : start + 5], few, atol=1e-4)
        else:
            np.testing.assert_array_equal(found[start : start + 5], few)


@pytest.mark.parametrize("chunk", [9, 32, 100])
@pytest.mark.parametrize("kv_type", ["f32", "f16", "q8"])
def test_chunks_of_many_rows_give_the_same_bits_as_all_at_once(chunk: int, kv_type: str) -> None:
    tokens = 20 * chunk if chunk < 32 else 3 * chunk
    whole, chunked = Attention(2, tokens, kv_type), Attention(3, tokens, kv_type)
    found = whole.run([range(tokens)])[0]
    for start in range(0, tokens, chunk):
        span = range(start, start + chunk)
        np.testing.assert_array_equal(chunked.run([span])[0], found[start : start + chunk])


@pytest.mark.parametrize("kv_type", ["f32", "f16", "q8"])
@pytest.mark.parametrize("scale", [1e4, 1e15, 1e30, 3e38])
def test_scores_that_overflow_give_one_of_the_values(scale: float, kv_type: str) -> None:
    """The key of token t is as large as t is odd, and its value is t: never a number that is none."""
    count = 48
    rows = np.zeros((count, 16), np.float32)
    rows[:, 0] = scale
    rows[:, 1] = np.arange(count)
    rows[::2, 0] *= -1
    cache = KvCache(layers=1, heads=1, head_dim=16, pages=2, type=kv_type)
    table = Chosen(rows, cache)
    first, second = np.zeros((2, 16, 16), np.float32)
    first[0, 0], second[0, 1] = 1, 1
    weights = [f32_weight(first), f32_weight(second)]
    q, k, v, out = (table.plan.buffer(16) for _ in range(4))
    table.plan.products(table.x, [(weights[0], None, q, False), (weights[0], None, k, False)])
    table.plan.products(table.x, [(weights[1], None, v, False)])
    turns = table.hold(table.plan.rotations([0.0]), 2)
    table.plan.attention(out, q, k, v, turns, layer=0, heads=1, scale=1.0, rope="halves")
    table.run(list(range(count)), list(range(count)), [1, 0])
    found = table.plan.rows(out, count)[:, 0]
    # A positive query looks at the odd tokens before it alike, a negative one at the even ones: means of them.
    expected = [np.arange(t % 2, t + 1, 2).mean() for t in range(count)]
    np.testing.assert_allclose(found, expected, rtol=1e-2)


@pytest.mark.parametrize("kv_type", ["f16", "q8"])
@pytest.mark.parametrize("scale", [0.0, 1e-42, 1e-30, 1e30, 3e38])
def test_the_cache_holds_extreme_keys_and_values_without_infinities(scale: float, kv_type: str) -> None:
    table = Chosen((rows_of(5, 40, 16).clip(-1, 1) * scale).astype(np.float32), KvCache(
        layers=1, heads=1, head_dim=16, pages=2, type=kv_type
    ))  # fmt: skip
    query, key, out = (table.plan.buffer(16) for _ in range(3))
    zeros = f32_weight(np.zeros((16, 16), np.float32))
    table.plan.products(table.x, [(zeros, None, query, False)])
    turns = table.hold(table.plan.rotations([0.0]), 2)
    table.plan.hold(key, table.plan.gelu(table.x))
    table.plan.attention(out, query, key, table.x, turns, layer=0, heads=1, scale=1.0, rope="halves")
    table.run(list(range(40)), list(range(40)), [1, 0])
    found = table.plan.rows(out, 40)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= scale * 1.01


@pytest.mark.parametrize("style", ["halves", "interleaved"])
def test_rotation_turns_the_right_pairs(style: str) -> None:
    """A query's score with itself as key does not change by turning both, and moves with the distance as it should."""
    frequencies = [1.0, 0.25]
    rows = np.zeros((3, 6), np.float32)
    partner = 2 if style == "halves" else 1
    rows[:, 0], rows[:, partner], rows[:, 4] = 1.0, 0.5, 2.0  # the first pair; dimensions 4 and 5 are not turned
    cache = KvCache(layers=1, heads=1, head_dim=6, pages=1, type="f32")
    table = Chosen(rows, cache)
    same = f32_weight(np.eye(6, dtype=np.float32))
    q, k, v, out = (table.plan.buffer(6) for _ in range(4))
    table.plan.products(table.x, [(same, None, buffer, False) for buffer in (q, k, v)])
    turns = table.hold(table.plan.rotations(frequencies), 4)
    table.plan.attention(out, q, k, v, turns, layer=0, heads=1, scale=1.0, rope=style)
    table.run([0, 1, 2], [0, 1, 2], [0])
    turned = table.plan.rows(k, 3)
    for position in range(3):
        angle = position * frequencies[0]
        expected = [np.cos(angle) - 0.5 * np.sin(angle), np.sin(angle) + 0.5 * np.cos(angle)]
        np.testing.assert_allclose(turned[position, [0, partner]], expected, atol=1e-6)
        assert turned[position, 4] == 2.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": [0, 9]}, "token is out of range"),
        ({"pages": [7]}, "page is out of range"),
        ({"positions": [0, 40]}, "lacks pages"),
        ({"positions": [-1, 0]}, "lacks pages"),
        ({"first_row": [0, 3]}, "do not cover its rows"),
        ({"first_page": [0, 2]}, "do not cover its pages"),
        ({"selected": [2]}, "selected row is out of range"),
        ({"positions": [0]}, "disagree in number"),
        ({"tokens": [], "positions": []}, "needs rows"),
    ],
)
def test_steps_that_contradict_themselves_are_refused(change: dict[str, list[int]], message: str) -> None:
    table = Chosen(rows_of(0, 4, 16))
    step = {
        "tokens": [0, 1], "positions": [0, 1], "first_row": [0, 2], "first_page": [0, 1], "pages": [0], "selected": [1]
    } | change  # fmt: skip
    with pytest.raises(ValueError, match=message):
        table.plan.run(**{key: np.array(value, np.int32) for key, value in step.items()})


class Texts:
    """A plan without a cache, for whole texts: token t is row t of a table."""

    def __init__(self, tokens: F32, threads: int = 2) -> None:
        self.plan = Plan(ThreadPool(threads), None)
        self.table = Table(0, np.ascontiguousarray(tokens).view(np.uint8).ravel(), *tokens.shape)
        self.x = self.plan.buffer(tokens.shape[1])
        self.plan.hold(self.x, self.plan.table(self.table, "token"))

    def run(self, texts: list[list[int]], **change: list[int]) -> None:
        first = np.cumsum([0, *map(len, texts)]).astype(np.int32)
        step = {
            "tokens": [token for text in texts for token in text],
            "positions": [place for text in texts for place in range(len(text))],
            "first_row": first, "first_page": 0 * first, "pages": [], "selected": first[:-1],
        } | change  # fmt: skip
        self.plan.run(**{key: np.array(value, np.int32) for key, value in step.items()})


@settings(max_examples=15)
@given(data=st.data())
def test_every_token_attends_to_its_whole_text_and_to_no_other(data: st.DataObject) -> None:
    heads, head_dim = data.draw(st.integers(1, 4)), data.draw(st.sampled_from([5, 16, 32, 64]))
    lengths = data.draw(st.lists(st.integers(1, 100), min_size=1, max_size=4))
    rows = rows_of(data.draw(st.integers(0, 1000)), sum(lengths), heads * head_dim)
    texts = Texts(rows, threads=data.draw(st.integers(1, 3)))
    keys, values = (rows_of(seed, heads * head_dim, heads * head_dim, 1 / head_dim) for seed in (1, 2))
    k, v, out = (texts.plan.buffer(heads * head_dim) for _ in range(3))
    packed = [f32_weight(keys), f32_weight(values)]
    texts.plan.products(texts.x, [(packed[0], None, k, False), (packed[1], None, v, False)])
    texts.plan.bidirectional_attention(out, texts.x, k, v, heads=heads, scale=0.5)
    ends = np.cumsum(lengths)
    texts.run([list(range(end - length, end)) for end, length in zip(ends, lengths, strict=True)])
    found = np.split(texts.plan.rows(out, len(rows)), ends[:-1])
    for x, ours in zip(np.split(rows, ends[:-1]), found, strict=True):
        q, key, value = (
            part.astype(np.float64).reshape(len(x), heads, -1) for part in (x / 2, x @ keys.T, x @ values.T)
        )
        scores = np.einsum("qhd,khd->hqk", q, key)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        expected = np.einsum("hqk,khd->qhd", weights / weights.sum(-1, keepdims=True), value).reshape(len(x), -1)
        np.testing.assert_allclose(ours, expected, atol=2e-5 * max(1, np.abs(expected).max()))


@settings(max_examples=10)
@given(width=widths, lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), seed=st.integers(0, 100))
def test_texts_are_pooled_by_their_mean_and_normalised(width: int, lengths: list[int], seed: int) -> None:
    rows = rows_of(seed, sum(lengths), width)
    texts = Texts(rows)
    mean, unit, first = (texts.plan.buffer(width, selected=True) for _ in range(3))
    texts.plan.hold(mean, texts.plan.mean(texts.x))
    texts.plan.hold(unit, texts.plan.l2_norm(texts.plan.mean(texts.x)))
    texts.plan.hold(first, texts.plan.select(texts.x))
    ends = np.cumsum(lengths)
    texts.run([list(range(end - length, end)) for end, length in zip(ends, lengths, strict=True)])
    expected = np.stack([part.astype(np.float64).mean(0) for part in np.split(rows, ends[:-1])])
    np.testing.assert_allclose(texts.plan.rows(mean, len(lengths)), expected, atol=1e-6)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(texts.plan.rows(unit, len(lengths)), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(texts.plan.rows(first, len(lengths)), rows[[0, *ends[:-1]]])


@pytest.mark.parametrize("number", [0, 1, 30])
def test_tables_are_looked_up_by_token_position_and_type(number: int) -> None:
    form = reference.FORMATS[number]
    texts = Texts(rows_of(0, 8, 20))
    data = random_blocks(number, 6, 20, seed=1)
    expected = reference.dequantise(number, data, 6, 20)
    table = Table(number, data, 6, 20)
    assert table.nbytes == 6 * 20 * form.block_bytes
    by_position, by_type = texts.plan.buffer(20), texts.plan.buffer(20)
    texts.plan.hold(by_position, texts.plan.table(table, "position"))
    texts.plan.hold(by_type, texts.plan.table(table, "type"))
    texts.run([[5, 6, 7], [1]])
    np.testing.assert_array_equal(texts.plan.rows(by_position, 4), expected[[0, 1, 2, 0]])
    np.testing.assert_array_equal(texts.plan.rows(by_type, 4), expected[[0, 0, 0, 0]])
    with pytest.raises(ValueError, match="longer than there are positions"):
        texts.run([[0] * 7])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": [0, 1, 2, 1]}, "whole texts"),
        ({"positions": [1, 2, 3, 0]}, "whole texts"),
        ({"first_page": [0, 1, 1], "pages": [0]}, "no pages"),
        ({"tokens": [0, 1, 2, 8]}, "token is out of range"),
        ({"tokens": [0, 1, 2, -1]}, "token is out of range"),
    ],
)
def test_texts_that_are_not_whole_are_refused(change: dict[str, list[int]], message: str) -> None:
    texts = Texts(rows_of(0, 8, 16))
    with pytest.raises(ValueError, match=message):
        texts.run([[0, 1, 2], [3]], **change)


def test_tables_and_attention_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be q8_0"):
        Table(8, np.zeros(34, np.uint8), 1, 32)
    with pytest.raises(ValueError, match="cannot have 7 bytes"):
        Table(0, np.zeros(7, np.uint8), 1, 2)
    texts = Texts(rows_of(0, 8, 16))
    out = texts.plan.buffer(16)
    with pytest.raises(ValueError, match="heads do not divide"):
        texts.plan.bidirectional_attention(out, texts.x, texts.x, texts.x, heads=3, scale=1.0)
    with pytest.raises(ValueError, match="no cache"):
        texts.plan.attention(out, texts.x, texts.x, texts.x, out, layer=0, heads=1, scale=1.0, rope="halves")
    with pytest.raises(ValueError, match="indexed by"):
        texts.plan.table(texts.table, "colour")


@pytest.mark.parametrize("kv_type", ["f32", "f16", "q8"])
def test_a_copied_page_holds_the_same(kv_type: str) -> None:
    """What attends to a copy finds what attends to the page, in every layer and head; others are as they were."""
    cache = KvCache(layers=1, heads=2, head_dim=16, pages=3, type=kv_type)
    table = Chosen(rows_of(7, 6, 32), cache)
    out = table.plan.buffer(32)
    turns = table.hold(table.plan.rotations([1.0] * 8), 16)
    table.plan.attention(out, table.x, table.x, table.x, turns, layer=0, heads=2, scale=0.25, rope="halves")
    table.run([0, 1, 2], [0, 1, 2], [0])
    cache.copy_page(0, 2)
    found = []
    for page in (0, 2):
        table.run([4], [3], [page])
        found.append(table.plan.rows(out, 1))
    np.testing.assert_array_equal(found[0], found[1])
    table.run([4], [3], [1])
    assert not np.array_equal(table.plan.rows(out, 1), found[0])
    for wrong in (-1, 3):
        with pytest.raises(IndexError):
            cache.copy_page(0, wrong)
