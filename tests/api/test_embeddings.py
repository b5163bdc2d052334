"""Vectors of texts by OpenAI's official client, from a real worker with a tiny BERT; and all-MiniLM-L6-v2 itself."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
from numpy.typing import NDArray

from fairlead.config import Settings
from fairlead.gguf.opening import open_model
from fairlead.gguf.tokenizer import Tokenizer
from fairlead.kernels import reference_plan
from fairlead.model_entry import FileSource, ModelEntry
from tests.served import ENCODER, Served, serving, settings_with_models

TEXTS = ["The ship's lines", "fairlead", "a rope, shipping 12 lines!"]
GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def served(home: Path) -> Iterator[Served]:
    with serving(settings_with_models(home)) as server:
        yield server


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    with served.http() as http:
        yield http


def expected(home: Path, texts: list[str]) -> NDArray[np.float64]:
    """The vectors by the reference."""
    with open_model(home / f"{ENCODER}.gguf") as file:
        tokenizer = Tokenizer.from_metadata(file.metadata)
        return np.stack([reference_plan.vector(file, tokenizer.encode(text, bos=True, eos=True)) for text in texts])


def test_the_official_client_gets_the_reference_vectors_in_both_encodings(client: openai.OpenAI, home: Path) -> None:
    in_base64 = client.embeddings.create(model=ENCODER, input=TEXTS)  # which the client asks for by itself
    in_floats = client.embeddings.create(model=ENCODER, input=TEXTS, encoding_format="float")
    for answer in (in_base64, in_floats):
        vectors = np.array([item.embedding for item in answer.data])
        assert (vectors * expected(home, TEXTS)).sum(1).min() > 0.9999
        assert [item.index for item in answer.data] == [0, 1, 2]
        assert (answer.model, answer.object) == (ENCODER, "list")
        assert answer.usage.prompt_tokens == answer.usage.total_tokens > 3 * 3
    one, other = (np.array([item.embedding for item in answer.data], np.float32) for answer in (in_base64, in_floats))
    np.testing.assert_array_equal(one, other)


def test_a_text_and_its_token_ids_have_one_vector(client: openai.OpenAI, home: Path) -> None:
    with open_model(home / f"{ENCODER}.gguf") as file:
        tokens = Tokenizer.from_metadata(file.metadata).encode(TEXTS[0], bos=True, eos=True)
    found = [
        client.embeddings.create(model=ENCODER, input=given).data[0].embedding
        for given in (TEXTS[0], TEXTS[:1], tokens, [tokens])
    ]
    assert found[1:] == found[:1] * 3


def test_many_texts_of_every_length_come_back_in_their_order(client: openai.OpenAI) -> None:
    texts = [("rope " * (place % 60) + "line")[:200] for place in range(700)]
    answer = client.embeddings.create(model=ENCODER, input=texts)
    alone = client.embeddings.create(model=ENCODER, input=texts[317])
    assert answer.data[317].embedding == alone.data[0].embedding
    assert [item.index for item in answer.data] == list(range(700))


def test_the_configured_model_is_used_where_none_is_named(http: httpx.Client) -> None:
    answer = http.post("/v1/embeddings", json={"input": "rope"}).raise_for_status().json()
    assert answer["model"] == ENCODER
    assert np.linalg.norm(answer["data"][0]["embedding"]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": ["rope", ""]}, "input[1]"),
        ({"input": []}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": [[1], []]}, "input[1]"),
        ({"input": ["rope"] * 2049}, "input"),
        ({"input": 7}, "input"),
        ({"input": ["rope", 7]}, "input"),
        ({"input": [10**6]}, "input"),
        ({"input": [[5], [10**6]]}, "input[1]"),
        ({"input": [-1]}, "input"),
        ({"input": "rope", "dimensions": 64}, "dimensions"),
        ({"input": "rope", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "rope", "temperature": 1}, "temperature"),
        ({"input": "rope", "model": "hello"}, "model"),
        ({}, "input"),
    ],
)
def test_what_cannot_be_right_is_refused_by_name(http: httpx.Client, body: dict[str, object], param: str) -> None:
    answer = http.post("/v1/embeddings", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_an_input_past_the_context_is_refused_and_not_cut(http: httpx.Client) -> None:
    answer = http.post("/v1/embeddings", json={"input": ["rope", "rope " * 63]})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "prompt_too_long", "input[1]")
    assert error["details"] == {"tokens": 65, "context_length": 64}
    http.post("/v1/embeddings", json={"input": ["rope " * 62]}).raise_for_status()


def test_a_model_that_is_not_there_is_said_so(http: httpx.Client) -> None:
    assert http.post("/v1/embeddings", json={"input": "rope", "model": "nothing"}).status_code == 404
    assert http.post("/v1/embeddings", json={"input": "rope", "model": "absent"}).status_code in (400, 503)


def test_each_model_is_asked_for_what_it_can_do(http: httpx.Client) -> None:
    models = {model["name"]: model for model in http.get("/models").json()["models"]}
    assert models[ENCODER]["capabilities"] == ["embedding"]
    assert models["hello"]["capabilities"] == ["chat", "completion"]
    for route, body in (
        ("/infer", {"prompt": "Hi", "model": ENCODER}),
        ("/v1/completions", {"prompt": "Hi", "model": ENCODER}),
        ("/set_model", {"name": ENCODER}),
    ):
        answer = http.post(route, json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request"), route
    assert http.get("/models").json()["active"] == "hello"


def test_loading_it_leaves_the_active_model_alone(tmp_path: Path) -> None:
    with serving(settings_with_models(tmp_path), model=None) as server, server.http() as http:
        assert http.post("/load_model", json={"name": ENCODER}).json()["active"] is False
        assert http.get("/models").json()["active"] is None
        http.post("/unload_model", json={"name": ENCODER}).raise_for_status()
        http.post("/load_model", json={"name": "hello"}).raise_for_status()
        assert http.get("/models").json()["active"] == "hello"


def test_people_are_served_side_by_side(served: Served) -> None:
    def ask(user: int) -> list[float]:
        with served.http() as http:
            texts = [f"rope {user}"] * (200 if user % 2 else 1)
            answer = http.post("/v1/embeddings", json={"input": texts, "user": f"user {user}"})
            return list(answer.raise_for_status().json()["data"][-1]["embedding"])

    with ThreadPoolExecutor(12) as pool:
        both = list(pool.map(ask, [*range(12), *range(12)]))
    assert both[:12] == both[12:]
    with served.http() as http:
        metrics = http.get("/metrics").text
        told = {model["name"]: model for model in http.get("/queue").json()["models"]}[ENCODER]
    assert (told["running"], told["waiting"]) == (0, 0)
    assert f'fairlead_tokens_total{{kind="prompt",model="{ENCODER}"}}' in metrics
    assert {load["user"] for load in told["users"]} >= {f"user {user}" for user in range(12)}


def test_all_minilm_by_the_official_client(embedding_model: Path, tmp_path: Path) -> None:
    entry = ModelEntry("minilm", "minilm/model.safetensors", (FileSource(embedding_model),))
    with np.load(GOLDEN / "all-minilm-l6-v2.npz") as arrays:
        texts, theirs = arrays["texts"].tolist(), arrays["vectors"]
    settings = Settings(home=tmp_path, models=(entry,), default_model=None)
    with serving(settings, model=None) as server, openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        in_base64 = client.embeddings.create(model="minilm", input=texts)
        in_floats = client.embeddings.create(model="minilm", input=texts, encoding_format="float")
        for answer in (in_base64, in_floats):
            vectors = np.array([item.embedding for item in answer.data])
            assert (vectors * theirs).sum(1).min() > 0.9999
