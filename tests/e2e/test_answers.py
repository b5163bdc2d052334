"""The whole way with the real model: curl's, `fairlead run`'s and the official OpenAI client's."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from fairlead.kernels import instruction_sets
from tests.e2e.conftest import STARTER, TINY, Server, start, stop

PROMPT = "What is gravity?"
GREEDY = {"prompt": PROMPT, "temperature": 0, "max_tokens": 40}


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Server-sent events: name and data."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        found.append((fields["event"], json.loads(fields["data"])))
    return found


def infer(client: httpx.Client, **body: object) -> dict[str, Any]:
    answer = client.post("/infer", json=body)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


@pytest.fixture(scope="module")
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url + "/v1", api_key="unused", max_retries=0)


def test_the_answer_reads_like_the_models(server: Server) -> None:
    with server.http() as http:
        answer = infer(http, **GREEDY)
    assert answer["text"].startswith("Gravity is a fundamental concept in physics")
    assert answer["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 40
    assert answer["usage"]["prompt_tokens"] == 34


def test_streamed_equals_whole(server: Server) -> None:
    with server.http() as http:
        whole = infer(http, **GREEDY)
        stream = events(http.post("/infer_stream", json=GREEDY).text)
    assert "".join(data["text"] for name, data in stream if name == "token") == whole["text"]
    assert [name for name, _ in stream if name != "token"] == ["done"]
    usage = stream[-1][1]["usage"]
    assert usage == {**whole["usage"], "cached_tokens": usage["cached_tokens"]}
    assert usage["cached_tokens"] == whole["usage"]["prompt_tokens"] // 32 * 32  # whole pages that were computed before


def test_many_at_once_get_what_they_get_alone(tmp_path: Path, starter_model: Path) -> None:
    """Greedy and seeded answers do not depend on who is served beside them.

    With AMX they may, from the first near-tie of two tokens on: its tiles take steps of many rows alone, and round
    differently. So this runs in the best of the sets that compute every row the same way.
    """
    best = [name for name in instruction_sets() if name != "amx"][-1]
    bodies = [
        {"prompt": f"Count to {n}.", "max_tokens": 24, "temperature": 0.7 * (n % 2), "seed": n} for n in range(12)
    ]
    server = start(tmp_path / "home", starter_model, FAIRLEAD_ISA=best)
    try:
        with server.http() as http:
            alone = [infer(http, **body)["text"] for body in bodies]
            with ThreadPoolExecutor(len(bodies)) as pool:
                together = list(pool.map(lambda body: infer(http, **body)["text"], bodies))
    finally:
        stop(server)
    assert together == alone


def test_the_openai_client_chats(client: openai.OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": PROMPT}]
    whole = client.chat.completions.create(model=STARTER, messages=messages, temperature=0, max_tokens=40)
    assert str(whole.choices[0].message.content).startswith("Gravity is a fundamental concept")
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 40

    parts, usage = [], None
    with client.chat.completions.create(
        model=STARTER,
        messages=messages,
        temperature=0,
        max_tokens=40,
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        for chunk in stream:
            parts += [choice.delta.content or "" for choice in chunk.choices]
            usage = chunk.usage or usage
    assert "".join(parts) == whole.choices[0].message.content
    assert usage == whole.usage


def test_the_openai_client_completes_with_logprobs_and_stops(client: openai.OpenAI) -> None:
    done = client.completions.create(
        model=STARTER, prompt="The capital of France is", temperature=0, max_tokens=30, logprobs=3, stop=["."]
    )
    choice = done.choices[0]
    assert choice.text == " Paris"
    assert choice.finish_reason == "stop"
    assert choice.logprobs is not None
    assert choice.logprobs.tokens is not None
    assert choice.logprobs.tokens[0] == " Paris"
    assert [model.id for model in client.models.list()] == [STARTER]


def test_the_estimate_is_near_what_is_taken_and_never_less(server: Server) -> None:
    with server.http() as http:
        infer(http, prompt="word " * 1500, max_tokens=4)
        (model,) = [model for model in http.get("/models").json()["models"] if model["name"] == STARTER]
    memory = model["memory"]
    assert memory["used_bytes"] <= memory["measured_bytes"] <= memory["estimated_bytes"]
    assert memory["estimated_bytes"] - memory["measured_bytes"] < 40 << 20


def test_two_models_are_loaded_and_switched(server: Server) -> None:
    with server.http() as http:
        assert http.post("/load_model", json={"name": TINY}).json()["state"] == "loaded"
        assert len(server.workers()) == 2
        assert http.post("/set_model", json={"name": TINY}).json() == {"active": TINY}
        assert infer(http, prompt="Hi", max_tokens=4)["model"] == TINY
        assert infer(http, **GREEDY, model=STARTER)["text"].startswith("Gravity is a fundamental")
        assert http.post("/set_model", json={"name": STARTER}).json() == {"active": STARTER}
        assert http.post("/unload_model", json={"name": TINY}).json()["state"] == "downloaded"
        assert len(server.workers()) == 1
        assert infer(http, prompt="Hi", max_tokens=4, model=TINY)["model"] == TINY  # which loads it again
        assert http.post("/unload_model", json={"name": TINY}).json()["state"] == "downloaded"
        refused = http.post("/infer", json={"prompt": "Hi", "model": "phi-2"})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "model_not_ready"


@pytest.mark.parametrize(
    ("route", "body", "status", "code", "param"),
    [
        ("/infer", {"prompt": "Hi", "model": "nobody"}, 404, "model_not_found", "model"),
        ("/infer", {}, 400, "invalid_request", "prompt"),
        ("/infer", {"prompt": "Hi", "temperature": 3}, 400, "invalid_request", "temperature"),
        ("/infer", {"prompt": "Hi", "top_p": 0}, 400, "invalid_request", "top_p"),
        ("/infer", {"prompt": "Hi", "max_tokens": 0}, 400, "invalid_request", "max_tokens"),
        ("/infer", {"prompt": "Hi", "tempratur": 1}, 400, "invalid_request", "tempratur"),
        ("/infer_stream", {"prompt": "word " * 9000}, 400, "prompt_too_long", None),
        ("/load_model", {"name": "../../etc/passwd"}, 404, "model_not_found", "name"),
        ("/v1/chat/completions", {"model": STARTER, "messages": []}, 400, "invalid_request", "messages"),
    ],
)
def test_bad_requests_get_the_contracts_errors(
    server: Server, route: str, body: object, status: int, code: str, param: str | None
) -> None:
    with server.http() as http:
        answer = http.post(route, json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert error["message"]
    if param is not None:
        assert error["param"] == param


def test_bodies_that_are_no_json_objects_are_refused(server: Server) -> None:
    headers = {"Content-Type": "application/json"}
    with server.http() as http:
        assert http.post("/infer", content=b'{"prompt": ', headers=headers).status_code == 400
        assert http.post("/infer", content=b"[1, 2]", headers=headers).status_code == 400
        assert (
            http.post("/infer", content=b'{"prompt": "Hi"}', headers={"Content-Type": "text/plain"}).status_code == 415
        )
        assert http.get("/infer").status_code == 405
        assert http.get("/nowhere").status_code == 404


def test_fairlead_run_answers_in_a_pipe(server: Server) -> None:
    command = [
        sys.executable,
        "-m",
        "fairlead",
        "run",
        PROMPT,
        "--url",
        server.url,
        "--temperature",
        "0",
        "--max-tokens",
        "40",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("Gravity is a fundamental concept in physics")


def test_what_was_computed_before_changes_no_answer(server: Server) -> None:
    prompt = "Ropes hold ships in a harbour, and fairleads guide the ropes. " * 12 + "Say this in other words."
    with server.http() as http:

        def ask(user: str) -> tuple[str, int]:
            body = {"prompt": prompt, "temperature": 0, "max_tokens": 16, "user": user}
            answer = http.post("/infer", json=body).json()
            return answer["text"], answer["usage"]["cached_tokens"]

        cold, found = ask("first")
        assert found < 64  # what the template alone writes may be there
        warm, found = ask("first")
        assert warm == cold
        assert found > 120
        other, found = ask("second")  # who is not told by the clock what others asked
        assert other == cold
        assert found < 64
