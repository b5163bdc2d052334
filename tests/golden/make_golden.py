"""Makes the golden logits: `PYTHONPATH=src:. python tests/golden/make_golden.py`, with requirements/golden.txt.

Builds the transformers model that is equal to each of `tests.tiny_models.MODELS`, runs it in float64 with eager
attention over two sequences of tokens, and writes tokens [2, 48] and logits [2, 48, vocabulary] to NAME.npz.
Its RMS norms and rotary embedding compute in float32 all the same, so the logits are good to 2e-6.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from tests.tiny_models import MODELS, TOKENS, TinyModel, weights

F32 = NDArray[np.float32]
SEQUENCES, LENGTH = 2, 48

# GGUF's names of a layer's modules, and transformers'.
_LLAMA = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_PHI2 = _LLAMA | {"attn_output": "self_attn.dense", "ffn_up": "mlp.fc1", "ffn_down": "mlp.fc2"}


def peer(name: str) -> PreTrainedModel:
    """The transformers model of the same shape, its weights not set yet."""
    model = MODELS[name]
    rope: dict[str, object] = {"rope_type": "default", "rope_theta": model.rope_base}
    if model.rope_scaling:
        rope |= {
            "rope_type": "llama3",
            "factor": model.rope_scaling.factor,
            "low_freq_factor": model.rope_scaling.low_freq_factor,
            "high_freq_factor": model.rope_scaling.high_freq_factor,
            "original_max_position_embeddings": model.rope_scaling.original_context,
        }
    shape = {
        "vocab_size": len(TOKENS),
        "hidden_size": model.width,
        "intermediate_size": model.feed_forward,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "max_position_embeddings": model.context,
        "tie_word_embeddings": model.tied,
        "rope_parameters": rope,
        "attn_implementation": "eager",
    }
    if model.architecture == "phi2":
        rope["partial_rotary_factor"] = model.rotary / model.head_dim
        return PhiForCausalLM(PhiConfig(**shape, layer_norm_eps=model.epsilon, hidden_act="gelu_new"))
    if model.architecture == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**shape, rms_norm_eps=model.epsilon))
    if name == "mistral":
        window = {"head_dim": model.head_dim, "sliding_window": None}
        return MistralForCausalLM(MistralConfig(**shape, **window, rms_norm_eps=model.epsilon))
    return LlamaForCausalLM(LlamaConfig(**shape, head_dim=model.head_dim, rms_norm_eps=model.epsilon))


def peer_weights(name: str) -> dict[str, torch.Tensor]:
    """The same weights under transformers' names and in its order of rows."""
    model = MODELS[name]
    layer_names = _PHI2 if model.architecture == "phi2" else _LLAMA
    final_norm = "model.final_layernorm" if model.architecture == "phi2" else "model.norm"
    outer = {"token_embd": "model.embed_tokens", "output_norm": final_norm, "output": "lm_head"}
    renamed: dict[str, F32] = {}
    for tensor, values in weights(name).items():
        module, _, kind = tensor.rpartition(".")
        if tensor.startswith("blk."):
            _, layer, part = module.split(".")
            place = f"model.layers.{layer}."
            if part == "attn_qkv":
                for third, rows in zip("qkv", np.split(values, 3), strict=True):
                    renamed[f"{place}self_attn.{third}_proj.{kind}"] = rows
                continue
            renamed[f"{place}{layer_names[part]}.{kind}"] = _unpermuted(model, part, values)
        elif module != "rope_freqs":
            renamed[f"{outer[module]}.{kind}"] = values
    if model.tied:
        renamed["lm_head.weight"] = renamed["model.embed_tokens.weight"]
    return {key: torch.from_numpy(values) for key, values in renamed.items()}


def _unpermuted(model: TinyModel, part: str, values: F32) -> F32:
    """Queries and keys of `llama`, from rotary pairs side by side to the two halves of a head."""
    if model.architecture != "llama" or part not in {"attn_q", "attn_k"}:
        return values
    pairs = values.reshape(-1, model.head_dim // 2, 2, model.width)
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(values.shape))


def main() -> None:
    """Writes a file for each model that has weights of its own."""
    for name in MODELS:
        if name == "phi2-split":  # the weights of phi2
            continue
        model = peer(name)
        model.load_state_dict(peer_weights(name), strict=True)
        model = model.double().eval()
        tokens = np.random.RandomState(MODELS[name].seed + 100).randint(0, len(TOKENS), (SEQUENCES, LENGTH))
        with torch.no_grad():
            logits = model(torch.from_numpy(tokens)).logits.numpy().astype(np.float32)
        path = Path(__file__).parent / f"{name}.npz"
        np.savez_compressed(path, tokens=tokens.astype(np.int32), logits=logits)


if __name__ == "__main__":
    main()
