"""Phi-2 (Javaheripi et al., 2023): attention and MLP side by side behind one layer norm, biases everywhere.

Rotary embedding turns only the first dimensions of each head, the two halves of them against each other.
Queries, keys and values are one tensor in most files and three in some.
"""

from __future__ import annotations

from itertools import pairwise

from fairlead.gguf.model_file import ModelFile
from fairlead.models.plan import Graph, Plan, Value
from fairlead.models.shape import DecoderShape, rope_frequencies


def record(file: ModelFile) -> Plan:
    """The plan of a `phi2` file."""
    c = DecoderShape.read(file)
    eps = file.get_float("phi2.attention.layer_norm_epsilon")
    g = Graph(file)
    turns = g.rotations(rope_frequencies(file, c))
    q_width, kv_width = c.heads * c.head_dim, c.kv_heads * c.head_dim

    def queries_keys_values(x: Value, b: str) -> list[Value]:
        if not g.has(b + "attn_qkv"):
            widths = {"attn_q": q_width, "attn_k": kv_width, "attn_v": kv_width}
            return [g.linear(x, b + name, width=width, bias=True) for name, width in widths.items()]
        ends = [0, q_width, q_width + kv_width, q_width + 2 * kv_width]
        return [
            g.linear(x, b + "attn_qkv", width=end - begin, outputs=(begin, end), bias=True)
            for begin, end in pairwise(ends)
        ]

    def attention(x: Value, layer: int) -> Value:
        q, k, v = queries_keys_values(x, f"blk.{layer}.")
        a = g.attention(q, k, v, turns, "halves", layer=layer, heads=c.heads, scale=c.head_dim**-0.5)
        return g.linear(a, f"blk.{layer}.attn_output", width=c.width, bias=True)

    def mlp(x: Value, layer: int) -> Value:
        hidden = g.linear(x, f"blk.{layer}.ffn_up", width=c.feed_forward, bias=True)
        return g.linear(g.gelu(hidden), f"blk.{layer}.ffn_down", width=c.width, bias=True)

    x = g.embed("token_embd")
    vocabulary = g.outputs_of("token_embd")
    for i in range(c.layers):
        h = g.layer_norm(x, f"blk.{i}.attn_norm", eps)
        x = g.add(g.add(x, attention(h, i)), mlp(h, i))
    x = g.layer_norm(g.select(x), "output_norm", eps)
    return g.finish(g.linear(x, "output", width=vocabulary, bias=True), c.kv)
