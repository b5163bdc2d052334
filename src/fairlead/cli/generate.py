"""`fairlead run`: one answer, from the running server or from one that is started for it."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.cli.options import Config, Home, Key, Url
from fairlead.cli.reaching import is_file, is_piped, reached_server, see_loaded, until_told
from fairlead.cli.terminal import note, say
from fairlead.config import load_settings

if TYPE_CHECKING:
    from fairlead.answer_info import Options
    from fairlead.client import FairleadClient

_GOOD_ENDS = ("stop", "length")


def run(
    prompt: Annotated[
        str | None,
        typer.Argument(help="The prompt; what is piped in is put in front of it.", show_default=False),
    ] = None,
    *,
    model: Annotated[
        str | None, typer.Option(help="Answer with this model, or GGUF file.", metavar="NAME|FILE")
    ] = None,
    url: Url = None,
    key: Key = None,
    system: Annotated[str | None, typer.Option(help="The system prompt.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer, in tokens.", min=1)] = None,
    temperature: Annotated[float | None, typer.Option(help="0 (always the likeliest) to 2.", min=0, max=2)] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.", min=0)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON, at the end.")] = False,
    home: Home = None,
    config: Config = None,
) -> None:
    """Answer one prompt; starts a server for it where none is running."""
    options: Options = {}
    if system is not None:
        options["system"] = system
    if max_tokens is not None:
        options["max_tokens"] = max_tokens
    if temperature is not None:
        options["temperature"] = temperature
    if seed is not None:
        options["seed"] = seed
    text, settings = _prompt(prompt), load_settings(home, config)

    async def answer() -> int:
        async with AsyncExitStack() as stack:
            client = await reached_server(stack, model, url, key, settings, config)
            if model is not None and not is_file(model):
                options["model"] = model
            await see_loaded(client, options.get("model"))
            return await _print(client, text, options, as_json=as_json)

    raise typer.Exit(asyncio.run(until_told(answer())))


def _prompt(argument: str | None) -> str:
    """The prompt of the command line, behind what is piped or redirected in."""
    piped = ""
    if sys.stdin is not None and (argument is None or is_piped()):
        if argument is None and sys.stdin.isatty():
            raise typer.BadParameter("give a prompt, or pipe one in", param_hint="PROMPT")
        piped = sys.stdin.buffer.read().decode("utf-8", "replace").strip()
    text = "\n\n".join(part for part in (piped, argument) if part)
    if not text.strip():
        raise typer.BadParameter("the prompt is empty", param_hint="PROMPT")
    return text


async def _print(client: FairleadClient, prompt: str, options: Options, *, as_json: bool) -> int:
    """Print the answer; the exit status says whether it came to its own end."""
    import msgspec

    from fairlead.answer_info import Answer, Text

    if as_json:
        answer = await client.infer(prompt, **options)
        typer.echo(msgspec.json.encode(answer))
        return 0 if answer.finish_reason in _GOOD_ENDS else 1
    reason, last = "", ""
    async with aclosing(client.infer_stream(prompt, **options)) as stream:
        async for event in stream:
            if isinstance(event, Text):
                say(event.text)
                last = event.text or last
            elif isinstance(event, Answer):
                reason = event.finish_reason
    if not last.endswith("\n"):
        say("\n")
    if reason not in _GOOD_ENDS:
        note(f"The answer was cut off: {reason}.")
        return 1
    return 0
