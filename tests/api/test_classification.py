"""Texts put under labels over HTTP: real workers with a model of hashes, and the starter model itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fairlead.config import Settings
from fairlead.model_entry import FileSource, ModelEntry
from tests.api.sse import named
from tests.api.test_bad_input import check
from tests.served import ENCODER, Served, serving, settings_with_models, until

TEXTS = [f"Ship number {number} lies in the harbour." for number in range(12)]
LABELS = ["sea", "land", "the air above", "fire"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("classification")
    with serving(settings_with_models(home, context_length=1024, kv_tokens=8192)) as running:
        yield running


@pytest.fixture
def http(server: Served) -> Iterator[httpx.Client]:
    with server.http() as client:
        yield client


def classify(http: httpx.Client, **body: object) -> dict[str, Any]:
    answer: dict[str, Any] = http.post("/classify", json=body).raise_for_status().json()
    return answer


def test_every_text_has_a_label_and_probabilities_that_add_up(http: httpx.Client) -> None:
    answer = classify(http, texts=TEXTS, labels=LABELS)
    assert len(answer["results"]) == len(TEXTS)
    for result in answer["results"]:
        assert list(result["probabilities"]) == LABELS
        assert sum(result["probabilities"].values()) == pytest.approx(1, abs=1e-9)
        assert result["label"] == max(LABELS, key=result["probabilities"].__getitem__)
    assert len({result["label"] for result in answer["results"]}) > 1
    assert answer["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == 0
    assert answer["usage"]["cached_tokens"] > 0  # the question, of all texts but the first


def test_the_order_of_labels_changes_nothing(http: httpx.Client) -> None:
    one, other = (classify(http, text=TEXTS[0], labels=labels)["results"][0] for labels in (LABELS, LABELS[::-1]))
    assert one["probabilities"] == other["probabilities"]


def test_descriptions_examples_and_the_instruction_are_told(http: httpx.Client) -> None:
    plain = classify(http, text=TEXTS[0], labels=LABELS)
    described = [{"name": "sea", "description": "with much water"}, *LABELS[1:]]
    examples = [{"text": "A field.", "label": "land"}]
    others: list[dict[str, Any]] = [
        {"labels": described},
        {"labels": LABELS, "examples": examples},
        {"labels": LABELS, "instruction": "Where is it?"},
    ]
    for other in others:
        assert classify(http, text=TEXTS[0], **other)["results"] != plain["results"]


def test_results_are_told_as_they_are_found(http: httpx.Client) -> None:
    with http.stream("POST", "/classify", json={"texts": TEXTS, "labels": LABELS, "stream": True}) as response:
        told = list(named(response.iter_lines()))
    name, end = told[-1]
    assert name == "done"
    found = [data for name, data in told if name == "result"]
    assert sorted(data["index"] for data in found) == list(range(len(TEXTS)))
    for data in found:
        assert end["results"][data["index"]] == {"label": data["label"], "probabilities": data["probabilities"]}
    done = [data["done"] for name, data in told if name == "progress"]
    assert (done, done[0], done[-1]) == (sorted(done), 0, len(TEXTS))


@pytest.mark.parametrize("by_id", [True, False])
def test_ended_half_way_it_leaves_the_engine_free(server: Served, http: httpx.Client, by_id: bool) -> None:
    http.post("/load_model", json={"name": "slow"}).raise_for_status()
    told: list[tuple[str, dict[str, Any]]] = []
    ids: list[str] = []
    leave = threading.Event()

    def ask() -> None:
        with server.http() as other:
            body = {"texts": TEXTS * 40, "labels": LABELS, "model": "slow", "stream": True, "request_id": "mine"}
            with other.stream("POST", "/classify", json=body) as response:
                ids.append(response.headers["X-Request-Id"])
                if by_id:
                    told.extend(named(response.iter_lines()))
                else:
                    assert leave.wait(10)

    thread = threading.Thread(target=ask)
    thread.start()
    engine = next(model for model in server.services.registry.loaded() if model.name == "slow").engine
    until(lambda: bool(ids) and engine.in_flight > 0)
    assert engine.in_flight <= 5  # four texts, and the one that says nothing
    if by_id:
        http.post("/cancel", json={"id": "mine"}).raise_for_status()
    leave.set()
    until(lambda: engine.in_flight == 0, within_s=2)
    thread.join(20)
    until(lambda: (stats := engine.stats) is not None and stats.running + stats.waiting == 0)
    if by_id:
        name, end = told[-1]
        assert (name, end["finish_reason"], end["results"][-1]) == ("done", "cancelled", None)
    check(http.post("/cancel", json={"id": "mine"}), 404)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"labels": LABELS}, "text"),
        ({"text": "A rope.", "texts": ["A rope."], "labels": LABELS}, "text"),
        ({"text": " \n", "labels": LABELS}, "text"),
        ({"texts": [], "labels": LABELS}, "texts"),
        ({"texts": ["A rope.", ""], "labels": LABELS}, "texts[1]"),
        ({"texts": ["A rope."] * 1001, "labels": LABELS}, "texts"),
        ({"texts": ["A rope.", "A rope. " * 1000], "labels": LABELS}, "texts[1]"),
        ({"text": "A rope."}, "labels"),
        ({"text": "A rope.", "labels": []}, "labels"),
        ({"text": "A rope.", "labels": ["sea", " sea "]}, "labels"),
        ({"text": "A rope.", "labels": [f"label {number}" for number in range(10_000)]}, "labels"),
        ({"text": "A rope.", "labels": LABELS, "examples": [{"text": "A", "label": "rope"}]}, "examples[0].label"),
        ({"text": "A rope.", "labels": LABELS, "examples": [{"text": "", "label": "sea"}]}, "examples[0].text"),
        ({"text": "A rope.", "labels": LABELS, "instruction": " "}, "instruction"),
        ({"text": "A rope.", "labels": LABELS, "label": "sea"}, "label"),
        ({"text": "A rope.", "labels": LABELS, "model": ENCODER}, "model"),
    ],
)
def test_wrong_wishes_are_refused_by_name(http: httpx.Client, body: dict[str, object], param: str) -> None:
    assert check(http.post("/classify", json=body), 400)["param"] == param
    if "text" in body:
        assert check(http.post("/classify", json={**body, "stream": True}), 400)["param"] == param


@pytest.mark.parametrize("labels", [[""], [" "], [1], [{"description": "sea"}], "sea"])
def test_what_is_no_label_is_refused(http: httpx.Client, labels: object) -> None:
    check(http.post("/classify", json={"text": "A rope.", "labels": labels}), 400)


def test_the_starter_model_tells_what_a_text_is_about_in_whatever_order_it_is_asked(
    starter_model: Path, tmp_path: Path
) -> None:
    entry = ModelEntry(name="starter", file=starter_model.name, sources=(FileSource(starter_model),))
    settings = Settings(home=tmp_path, models=(entry,), default_model=None, context_length=1024, kv_tokens=4096)
    texts = {
        "The striker scored twice and the team won the football match.": "sports",
        "Simmer the onions in butter, add the rice and stir in the broth.": "cooking",
        "The central bank raised interest rates and shares fell.": "finance",
    }
    labels = ["sports", "cooking", "finance", "road traffic"]
    with serving(settings, "starter") as server, server.http() as http:
        together = classify(http, texts=list(texts), labels=labels)
        assert [result["label"] for result in together["results"]] == list(texts.values())
        for text, result in zip(texts, together["results"], strict=True):
            alone = classify(http, text=text, labels=labels[::-1])["results"][0]
            assert alone["probabilities"] == pytest.approx(result["probabilities"], abs=1e-3)
