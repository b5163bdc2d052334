"""BERT (Devlin et al., 2019) as an encoder of texts: one vector for each (Reimers and Gurevych, 2019).

Token, position and type embeddings summed; attention both ways; each norm behind its sublayer; biases everywhere. The
vector of a text is the mean of its tokens' or that of its first, as the file says, brought to length 1.
"""

from __future__ import annotations

from fairlead.errors import ModelFileError, UnsupportedModel
from fairlead.gguf.model_file import ModelFile
from fairlead.models.plan import Graph, Plan, Value
from fairlead.models.shape import EncoderShape

_MEAN, _FIRST = 1, 2
"""`bert.pooling_type`: how a text's vector is made of its tokens'."""


def record(file: ModelFile) -> Plan:
    """The plan of a `bert` file."""
    c = EncoderShape.read(file)
    eps = file.get_float("bert.attention.layer_norm_epsilon")
    g = Graph(file)

    def attention(x: Value, b: str) -> Value:
        q, k, v = (g.linear(x, f"{b}attn_{part}", width=c.width, bias=True) for part in "qkv")
        a = g.bidirectional_attention(q, k, v, heads=c.heads, scale=c.head_dim**-0.5)
        return g.linear(a, b + "attn_output", width=c.width, bias=True)

    def mlp(x: Value, b: str) -> Value:
        hidden = g.linear(x, b + "ffn_up", width=c.feed_forward, bias=True)
        return g.linear(g.exact_gelu(hidden), b + "ffn_down", width=c.width, bias=True)

    x = g.embed("token_embd")
    if g.has("token_types"):
        x = g.add(x, g.embed("token_types", "type"))
    if (positions := g.outputs_of("position_embd")) < c.context_length:
        raise ModelFileError(
            f"{file.file_name}: {positions} positions are too few for its context of {c.context_length}"
        )
    x = g.add(x, g.embed("position_embd", "position"))
    x = g.layer_norm(x, "token_embd_norm", eps)
    for i in range(c.layers):
        b = f"blk.{i}."
        x = g.layer_norm(g.add(x, attention(x, b)), b + "attn_output_norm", eps)
        x = g.layer_norm(g.add(x, mlp(x, b)), b + "layer_output_norm", eps)
    return g.finish(g.l2_norm(_pooled(g, x, file)))


def _pooled(g: Graph, x: Value, file: ModelFile) -> Value:
    pooling = file.get_int("bert.pooling_type", _MEAN)
    if pooling not in (_MEAN, _FIRST):
        raise UnsupportedModel(f"{file.file_name}: pooling of type {pooling} is not built in; mean and first token are")
    return g.mean(x) if pooling == _MEAN else g.select(x)
