"""Drives a server that speaks OpenAI's chat completions, as several people at once would, and times its streams.

    python -m benchmarks.serving.load --url http://127.0.0.1:8081/v1 --users 4 --requests 16 > load.json

Without --rate each user sends the next request when the last is answered. With it, requests arrive at random, so many a
second on average, whether or not the server keeps up (Poisson arrivals; Schroeder et al., "Open Versus Closed", NSDI
2006), and are dealt to the users in turn. Prompts are common words in an order of their own; the same --seed asks the
same again, which a server may have cached. TTFT is from sending to the first text, a gap from one piece of text to the
next. An API key is read from OPENAI_API_KEY. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import itertools
import json
import os
import random
import sys
from collections.abc import Sequence

import httpx

from benchmarks.serving.client import Answer, Body, Stream
from benchmarks.serving.texts import chat, words

KEY_VARIABLE = "OPENAI_API_KEY"


async def drive(arguments: argparse.Namespace, model: str) -> list[Answer]:
    """Send all requests, at a rate or one after another for each user."""
    draw = random.Random(arguments.seed)
    bodies = [_body(arguments, model, number, draw) for number in range(arguments.requests)]
    users = [number % arguments.users for number in range(arguments.requests)]

    async def ask(user: int, body: Body) -> Answer:
        stream = Stream(arguments.url, f"user-{user}", body, os.environ.get(KEY_VARIABLE))
        try:
            async with asyncio.timeout(arguments.timeout):
                return await stream.end()
        except TimeoutError:
            answer = await stream.leave()
            answer.error = f"not answered within {arguments.timeout:g} s"
            return answer

    async def take_turns(user: int) -> list[Answer]:
        return [await ask(user, body) for body in bodies[user :: arguments.users]]

    async def arrive(delay: float, user: int, body: Body) -> Answer:
        await asyncio.sleep(delay)
        return await ask(user, body)

    if arguments.rate is None:
        shares = await asyncio.gather(*map(take_turns, range(min(arguments.users, arguments.requests))))
        return [answer for share in shares for answer in share]
    delays = itertools.accumulate(draw.expovariate(arguments.rate) for _ in bodies)
    return list(await asyncio.gather(*map(arrive, delays, users, bodies)))


def _body(arguments: argparse.Namespace, model: str, number: int, draw: random.Random) -> Body:
    extras = {"ignore_eos": True} if arguments.ignore_eos else {}
    messages = chat(words(draw, arguments.prompt_words))
    return {"model": model, "messages": messages, "max_tokens": arguments.max_tokens, "seed": number, **extras}


def percentiles(seconds: Sequence[float]) -> dict[str, float] | None:
    """In milliseconds, by nearest rank; None where nothing was measured."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    ranks = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: round(ordered[round(share * (len(ordered) - 1))] * 1e3, 2) for name, share in ranks.items()}


def figures(answers: Sequence[Answer]) -> dict[str, object]:
    """Of some requests that were answered whole, and what became of the others."""
    whole = [answer for answer in answers if answer.error is None]
    seconds = max(answer.ended for answer in answers) - min(answer.sent for answer in answers)
    tokens = sum(answer.tokens for answer in whole)
    return {
        "requests": len(answers),
        "failed": len(answers) - len(whole),
        "errors": sorted({answer.error for answer in answers if answer.error is not None}),
        "seconds": round(seconds, 3),
        "tokens": tokens,
        "tokens_per_s": round(tokens / seconds, 2),
        "ttft_ms": percentiles([answer.ttft for answer in whole if answer.pieces]),
        "gap_ms": percentiles([gap for answer in whole for gap in answer.gaps]),
    }


def first_model(url: str) -> str:
    """The first model that the server lists; ends the program where there is none."""
    headers = {"Authorization": f"Bearer {key}"} if (key := os.environ.get(KEY_VARIABLE)) else {}
    try:
        with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
            models = client.get("models").raise_for_status().json()["data"]
    except httpx.HTTPError as error:
        sys.exit(f"{url} does not list its models: {error}")
    if not models:
        sys.exit(f"{url} has no model loaded yet; name one with --model, or wait until it has")
    return str(models[0]["id"])


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Everything that is printed."""
    model = arguments.model or first_model(arguments.url)
    answers = asyncio.run(drive(arguments, model))
    settings = ("users", "rate", "prompt_words", "max_tokens", "ignore_eos", "seed")
    users = sorted({answer.user for answer in answers})
    return {
        "url": arguments.url,
        "model": model,
        **{name: getattr(arguments, name) for name in settings},
        "all": figures(answers),
        "per_user": {user: figures([answer for answer in answers if answer.user == user]) for user in users},
    }


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine."""
    host = httpx.URL(url).host
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _count(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def main() -> None:
    """Prints one JSON object; exits with 1 where a request failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8081/v1")
    parser.add_argument("--model", help="the first that the server lists, unless named")
    parser.add_argument("--users", type=_count, default=4)
    parser.add_argument("--requests", type=_count, default=16, help="of all users together")
    parser.add_argument("--rate", type=float, help="requests a second; without it each user waits for the last answer")
    parser.add_argument("--prompt-words", type=_count, default=200)
    parser.add_argument("--max-tokens", type=_count, default=64)
    parser.add_argument("--ignore-eos", action="store_true", help="ask for all --max-tokens, where the server can")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for one answer")
    parser.add_argument("--remote", action="store_true", help="allow an address that is not of this machine")
    arguments = parser.parse_args()
    if not arguments.remote and not is_loopback(arguments.url):
        parser.error(f"{arguments.url} is not on this machine; --remote drives it all the same")
    if arguments.rate is not None and arguments.rate <= 0:
        parser.error("--rate must be above 0")
    if not arguments.url.startswith("http://"):
        parser.error("the load generator speaks plain HTTP")
    found = run(arguments)
    json.dump(found, sys.stdout, indent=1)
    print()
    total = found["all"]
    sys.exit(1 if isinstance(total, dict) and total["failed"] else 0)


if __name__ == "__main__":
    main()
