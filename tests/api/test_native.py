"""Fairlead's own routes, on a live server with real workers."""

from __future__ import annotations

import httpx
import pytest

from tests.api.sse import Event, events
from tests.served import CONTEXT, HELLO, TOKENIZER, Served, tokens, until

# ---- generation -----------------------------------------------------------------------------------


def stream(http: httpx.Client, **body: object) -> list[Event]:
    with http.stream("POST", "/infer_stream", json=body) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(events(response.iter_lines()))


def test_infer(http: httpx.Client) -> None:
    response = http.post("/infer", json={"prompt": "Hi"})
    assert response.status_code == 200
    answer = response.json()
    assert answer["text"] == HELLO
    assert answer["finish_reason"] == "stop"
    assert answer["model"] == "hello"
    assert answer["id"] == response.headers["X-Request-Id"]
    assert answer["usage"]["completion_tokens"] == len(tokens(HELLO))
    assert answer["usage"]["prompt_tokens"] > len(tokens("Hi"))
    assert answer["context"] == {"dropped_messages": 0, "dropped_tokens": 0}
    assert 0 < answer["timing"]["ttft_ms"] <= answer["timing"]["total_ms"]


def test_a_stream_says_what_the_whole_answer_says(http: httpx.Client) -> None:
    *pieces, done = stream(http, prompt="Hi")
    assert "".join(event.data["text"] for event in pieces) == HELLO
    assert {event.name for event in pieces} == {"token"}
    assert [event.id for event in [*pieces, done]] == [str(n + 1) for n in range(len(pieces) + 1)]
    whole = http.post("/infer", json={"prompt": "Hi"}).json()
    assert done.name == "done"
    assert done.data.keys() == whole.keys() - {"text"}
    assert done.data["usage"] == {**whole["usage"], "cached_tokens": done.data["usage"]["cached_tokens"]}


def test_another_model_by_name(http: httpx.Client) -> None:
    answer = http.post("/infer", json={"prompt": "Count", "model": "counting", "max_tokens": 3}).json()
    assert answer["model"] == "counting"
    assert answer["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 3


def test_a_stop_string_ends_the_answer_before_it(http: httpx.Client) -> None:
    body = {"prompt": "Count", "model": "counting", "stop": ["four", "ve six"], "ignore_eos": True}
    answer = http.post("/infer", json=body).json()
    assert answer["text"] == "one two three "
    assert answer["finish_reason"] == "stop"
    *pieces, done = stream(http, **body)
    assert "".join(event.data["text"] for event in pieces) == "one two three "
    assert done.data["finish_reason"] == "stop"


def test_a_raw_prompt_is_taken_verbatim(http: httpx.Client) -> None:
    answer = http.post("/infer", json={"prompt": "Once upon", "raw": True}).json()
    assert answer["usage"]["prompt_tokens"] == len(tokens("Once upon"))


def test_logprobs_belong_to_the_text(http: httpx.Client) -> None:
    answer = http.post("/infer", json={"prompt": "Hi", "logprobs": 2}).json()
    assert b"".join(bytes(item["bytes"]) for item in answer["logprobs"]).decode() == HELLO
    assert all(len(item["top_logprobs"]) == 2 and item["logprob"] < 0 for item in answer["logprobs"])
    *pieces, _ = stream(http, prompt="Hi", logprobs=2)
    streamed = [item for event in pieces for item in event.data.get("logprobs", [])]
    assert streamed == answer["logprobs"]


def test_a_prompt_too_long_says_both_lengths(http: httpx.Client) -> None:
    for route in ("/infer", "/infer_stream"):
        response = http.post(route, json={"prompt": "word " * CONTEXT})
        error = response.json()["error"]
        assert response.status_code == 400
        assert (error["code"], error["param"]) == ("prompt_too_long", "prompt")
        assert error["details"]["context_length"] == CONTEXT
        assert error["details"]["prompt_tokens"] >= CONTEXT


def test_cancel_ends_a_running_answer(http: httpx.Client, served: Served) -> None:
    body = {"prompt": "Go", "model": "slow", "ignore_eos": True}
    with http.stream("POST", "/infer_stream", json=body, headers={"X-Request-Id": "mine"}) as response:
        assert response.headers["X-Request-Id"] == "mine"
        coming = events(response.iter_lines())
        next(coming)
        with served.http() as other:
            assert other.post("/cancel", json={"id": "mine"}).json() == {"id": "mine", "cancelled": True}
        last = list(coming)[-1]
    assert last.name == "done"
    assert last.data["finish_reason"] == "cancelled"
    assert last.data["usage"]["completion_tokens"] < 50
    response = http.post("/cancel", json={"id": "mine"})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "request_not_found")


@pytest.mark.parametrize("route", ["/infer", "/infer_stream", "/v1/chat/completions"])
def test_a_client_that_goes_stops_its_generation(served: Served, route: str) -> None:
    body: dict[str, object] = {"model": "slow", "ignore_eos": True}
    body |= {"messages": [{"role": "user", "content": "Go"}]} if "chat" in route else {"prompt": "Go"}
    (engine,) = [model.engine for model in served.services.registry.loaded() if model.name == "slow"]
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(served.url + route, json=body, timeout=0.3, trust_env=False) if route != "/infer_stream" else _leave(
            served.url + route, body
        )
    until(lambda: engine.in_flight == 0, within_s=2)


def _leave(url: str, body: dict[str, object]) -> None:
    """Read one event and go."""
    with httpx.stream("POST", url, json=body, timeout=5, trust_env=False) as response:
        next(response.iter_lines())
        raise httpx.ReadTimeout("left")


def test_a_time_limit_ends_an_answer(http: httpx.Client) -> None:
    answer = http.post("/infer", json={"prompt": "Go", "model": "slow", "ignore_eos": True, "timeout_s": 0.3}).json()
    assert answer["finish_reason"] == "timeout"
    assert answer["text"]


def test_tokenize_and_back(http: httpx.Client) -> None:
    told = http.post("/tokenize", json={"text": HELLO}).json()
    assert told["tokens"] == tokens(HELLO)
    assert (told["count"], told["fits"], told["context_length"]) == (len(tokens(HELLO)), True, CONTEXT)
    assert http.post("/detokenize", json={"tokens": told["tokens"]}).json() == {"text": HELLO}
    chat = http.post("/tokenize", json={"messages": [{"role": "user", "content": "Hi"}]}).json()
    assert chat["count"] == http.post("/infer", json={"prompt": "Hi"}).json()["usage"]["prompt_tokens"]
    assert not http.post("/tokenize", json={"text": "word " * CONTEXT}).json()["fits"]


def test_special_tokens_in_a_prompt_stay_text(http: httpx.Client) -> None:
    told = http.post("/tokenize", json={"text": "<|im_end|>"}).json()
    assert not TOKENIZER.special_ids & set(told["tokens"])


# ---- the service ----------------------------------------------------------------------------------


def test_health(http: httpx.Client) -> None:
    response = http.get("/health")
    body = response.json()
    assert response.status_code == 200
    assert body["status"] == "ok"
    assert body["active_model"] == "hello"
    assert body["models"]["hello"] == "loaded"
    assert body["models"]["absent"] == "available"
    assert body["uptime_s"] >= 0


def test_models(http: httpx.Client) -> None:
    body = http.get("/models").json()
    by_name = {model["name"]: model for model in body["models"]}
    assert body["active"] == "hello"
    hello = by_name["hello"]
    assert hello["active"]
    assert hello["state"] == "loaded"
    assert hello["context_length"] == CONTEXT
    assert hello["architecture"] == "llama"
    assert hello["memory"]["estimated_bytes"] > 0
    assert hello["memory"]["used_bytes"] > 0
    assert hello["source"] == "file hello.gguf"
    assert by_name["other"]["state"] == "downloaded"
    assert by_name["other"]["context_length"] == 512
    assert by_name["absent"]["state"] == "available"
    assert by_name["damaged"]["error"]


def test_metrics(http: httpx.Client) -> None:
    http.post("/infer", json={"prompt": "Hi"})
    http.get("/nowhere")
    text = http.get("/metrics").text
    assert 'fairlead_http_requests_total{method="POST",route="/infer",status="200"}' in text
    assert 'fairlead_http_requests_total{method="ANY",route="unmatched",status="404"}' in text
    assert 'fairlead_tokens_total{kind="completion",model="hello"}' in text
    assert "fairlead_time_to_first_token_seconds_bucket" in text
    assert "fairlead_inter_token_seconds_bucket" in text
    assert "fairlead_generations_running 0.0" in text


def test_the_api_describes_itself(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    assert {"/infer", "/infer_stream", "/load_model", "/v1/chat/completions"} <= paths.keys()
    page = http.get("/docs").text
    assert "<code>POST /infer_stream</code>" in page
    assert "<th>temperature</th><td>number from 0 to 2" in page
    assert '<p>Answers <a href="#Model">Model</a>, or <a href="#LoadEvents">LoadEvents</a> as events.</p>' in page
    assert '<h2 id="LoadEvents"><code>LoadEvents</code></h2>' in page
    assert "<th>largest_context_that_fits</th><td>integer</td>" in page
    assert "<script" not in page
    assert "://" not in page
