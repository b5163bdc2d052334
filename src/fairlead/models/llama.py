"""Llama (Touvron et al., 2023; Dubey et al., 2024), and who shares its blocks: Mistral, TinyLlama, SmolLM2.

Pre-norm, grouped-query attention with rotary embedding, gated MLP, no biases. The files store queries and keys
with the two halves of each head interleaved, so the rotation is of neighbours.
"""

from __future__ import annotations

from fairlead.gguf.model_file import ModelFile
from fairlead.models.plan import Graph, Plan, RopeStyle, Value
from fairlead.models.shape import DecoderShape, rope_frequencies


def record(file: ModelFile) -> Plan:
    """The plan of a `llama` file."""
    return gated_decoder(file, rope="interleaved", qkv_bias=False)


def gated_decoder(file: ModelFile, *, rope: RopeStyle, qkv_bias: bool) -> Plan:
    """The network itself, for the architectures that change no more of it than this."""
    c = DecoderShape.read(file)
    eps = file.get_float(file.architecture + ".attention.layer_norm_rms_epsilon")
    g = Graph(file)
    turns = g.rotations(rope_frequencies(file, c))

    def attention(x: Value, layer: int) -> Value:
        b = f"blk.{layer}."
        q = g.linear(x, b + "attn_q", width=c.heads * c.head_dim, bias=qkv_bias)
        k = g.linear(x, b + "attn_k", width=c.kv_heads * c.head_dim, bias=qkv_bias)
        v = g.linear(x, b + "attn_v", width=c.kv_heads * c.head_dim, bias=qkv_bias)
        a = g.attention(q, k, v, turns, rope, layer=layer, heads=c.heads, scale=c.head_dim**-0.5)
        return g.linear(a, b + "attn_output", width=c.width)

    def mlp(x: Value, layer: int) -> Value:
        b = f"blk.{layer}."
        gate = g.linear(x, b + "ffn_gate", width=c.feed_forward)
        up = g.linear(x, b + "ffn_up", width=c.feed_forward)
        return g.linear(g.swiglu(gate, up), b + "ffn_down", width=c.width)

    x = g.embed("token_embd")
    vocabulary = g.outputs_of("token_embd")
    for i in range(c.layers):
        x = g.add(x, attention(g.rms_norm(x, f"blk.{i}.attn_norm", eps), i))
        x = g.add(x, mlp(g.rms_norm(x, f"blk.{i}.ffn_norm", eps), i))
    x = g.rms_norm(g.select(x), "output_norm", eps)
    head = "output" if g.has("output") else "token_embd"  # untied, or tied to the embedding
    return g.finish(g.linear(x, head, width=vocabulary), c.kv)
