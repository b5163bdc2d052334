"""Makes the golden vectors: `PYTHONPATH=src:. python tests/golden/make_vectors.py FOLDER`.

Needs requirements/golden.txt and msgspec. Of the tiny BERT of `tests.tiny_encoders` by `transformers` in float64, over
sequences of random tokens: the mean of each text's tokens and its first token, normalised. And of all-MiniLM-L6-v2,
whose checkpoint is in FOLDER, by its own tokenizer and in float32, of texts of every kind, which are kept with the
vectors.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from tests import tiny_encoders as tiny

HERE = Path(__file__).parent
LENGTHS = (1, 2, 7, 31, 32, 33, 64)
TEXTS = (
    "Hello world",
    "The capital of France is Paris.",
    "a",
    "How do I reset my password?",
    "Naïve café, Ünïcödé and Ærøskøbing: ½ ﬁne",
    "北京 is a city; 数学は美しい。",
    "Привет, мир! Γειά σου Κόσμε",
    "😀 emojis 🚀 and control \x00\x07 characters\tand\u200bspaces",
    "!!! ??? ... --- |||",
    "def f(x):\n    return x ** 2  # squares",
    "x" * 99 + " " + "y" * 101,
    "Not a piece here: ##ing, [unused0]",
    "12345.678e-9 0x1F",
    "Supercalifragilisticexpialidocious antidisestablishmentarianism",
    "The quick brown fox jumps over the lazy dog. " * 20,
    "A line that is led fairly neither chafes nor jams. " * 35,
)


def unit(vectors: torch.Tensor) -> NDArray[np.float32]:
    """Rows brought to length 1."""
    return np.asarray(torch.nn.functional.normalize(vectors, dim=-1).numpy(), np.float32)


def of_the_tiny_one() -> None:
    """Writes bert.npz."""
    model = BertModel(BertConfig(**{**tiny.CONFIG, "attn_implementation": "eager"}), add_pooling_layer=False)
    model.load_state_dict({name: torch.from_numpy(values) for name, values in tiny.weights().items()}, strict=True)
    model = model.double().eval()
    rng = np.random.RandomState(107)
    texts = [rng.randint(0, len(tiny.VOCABULARY), length) for length in LENGTHS]
    with torch.no_grad():
        found = [model(torch.from_numpy(text)[None]).last_hidden_state[0] for text in texts]
    np.savez_compressed(
        HERE / "bert.npz",
        tokens=np.concatenate(texts).astype(np.int32),
        lengths=np.array(LENGTHS),
        means=unit(torch.stack([hidden.mean(0) for hidden in found])),
        firsts=unit(torch.stack([hidden[0] for hidden in found])),
    )


def of_all_minilm(folder: Path) -> None:
    """Writes all-minilm-l6-v2.npz."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    vectors = []
    for text in TEXTS:
        with torch.no_grad():
            inputs = tokenizer(text, return_tensors="pt", padding=False, truncation=True, max_length=512)
            vectors.append(unit(model(**inputs).last_hidden_state[0].mean(0)))
    np.savez_compressed(HERE / "all-minilm-l6-v2.npz", texts=np.array(TEXTS), vectors=np.stack(vectors))


if __name__ == "__main__":
    of_the_tiny_one()
    of_all_minilm(Path(sys.argv[1]))
