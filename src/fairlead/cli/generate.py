"""`fairlead run`: one answer, from the running server or from one that is started for it.

Exit status: 0 done, 1 it failed, 2 it was asked for wrongly, 3 the answer was cut off, 4 no server or no model that
could answer, 130 interrupted. An answer as long as --max-tokens allows is done.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fairlead.cli.options import Config, Home, Key, Url, User
from fairlead.cli.reaching import is_file, is_piped, reached_server, see_loaded, until_told
from fairlead.cli.terminal import note, say
from fairlead.config import load_settings

if TYPE_CHECKING:
    from fairlead.answer_info import Wishes
    from fairlead.client import FairleadClient
    from fairlead.errors import FairleadError

_FAILED: Final = 1
_ASKED_WRONGLY: Final = 2
_CUT_OFF: Final = 3
_NOBODY_ANSWERS: Final = 4


def run(
    prompt: Annotated[
        str | None,
        typer.Argument(help="The prompt; what is piped in is put in front of it.", show_default=False),
    ] = None,
    *,
    model: Annotated[
        str | None, typer.Option(help="Answer with this model, or GGUF file.", metavar="NAME|FILE")
    ] = None,
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "--file",
            "-f",
            help="Put this file to the model, too; may be given several times. Text, PDF, Word and what else the "
            "server reads.",
            exists=True,
            dir_okay=False,
            readable=True,
            show_default=False,
        ),
    ] = None,
    url: Url = None,
    user: User = None,
    key: Key = None,
    system: Annotated[str | None, typer.Option(help="The system prompt.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer, in tokens.", min=1)] = None,
    temperature: Annotated[float | None, typer.Option(help="0 (always the likeliest) to 2.", min=0, max=2)] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.", min=0)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON, at the end.")] = False,
    home: Home = None,
    config: Config = None,
) -> None:
    """Answer one prompt; starts a server for it where none is running.

    Ctrl-C stops the generation, and leaves what came.

    Exit status: 0 done; 1 it failed; 2 asked for wrongly; 3 the answer was cut off, by its time or by its length
    without --max-tokens; 4 no server or no model that could answer; 130 interrupted.
    """
    from fairlead.errors import FairleadError

    wishes: Wishes = {}
    if system is not None:
        wishes["system"] = system
    if max_tokens is not None:
        wishes["max_tokens"] = max_tokens
    if temperature is not None:
        wishes["temperature"] = temperature
    if seed is not None:
        wishes["seed"] = seed
    text, settings = _prompt(prompt), load_settings(home, config)

    async def answer() -> int:
        async with AsyncExitStack() as stack:
            client = await reached_server(stack, model, url, key, settings, config)
            if model is not None and not is_file(model):
                wishes["model"] = model
            await see_loaded(client, wishes.get("model"))
            return await _print(client, text, wishes, files or [], user, as_json=as_json)

    try:
        status = asyncio.run(until_told(answer()))
    except FairleadError as error:
        note(f"Error: {error.message}")
        status = status_of(error)
    raise typer.Exit(status)


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


async def _print(
    client: FairleadClient, prompt: str, wishes: Wishes, files: list[Path], user: str | None, *, as_json: bool
) -> int:
    """Print the answer; the exit status says whether it came to its own end."""
    import msgspec

    from fairlead.cli.asking import ask

    answer = await ask(client, prompt, wishes, files, (lambda _piece: None) if as_json else say, user=user)
    if as_json:
        typer.echo(msgspec.json.encode(answer))
    elif not answer.text.endswith("\n"):
        say("\n")
    status = end_of(answer.finish_reason, bounded="max_tokens" in wishes)
    if status and not as_json:
        note(f"The answer was cut off: {answer.finish_reason}.")
    return status


def end_of(finish_reason: str, *, bounded: bool) -> int:
    """The exit status of an answer that ended so; `bounded`: it was asked to be no longer than it is."""
    match finish_reason:
        case "stop":
            return 0
        case "length":
            return 0 if bounded else _CUT_OFF
        case "timeout":
            return _CUT_OFF
    return _FAILED


def status_of(error: FairleadError) -> int:
    """The exit status where there is no answer."""
    from fairlead.client import Unreachable
    from fairlead.errors import (
        ConfigError,
        DoesNotFit,
        FileTooLarge,
        InvalidRequest,
        ModelNotFound,
        ModelNotReady,
        UnsupportedFile,
    )

    if isinstance(error, InvalidRequest | ConfigError | UnsupportedFile | FileTooLarge):
        return _ASKED_WRONGLY
    if isinstance(error, Unreachable | ModelNotFound | ModelNotReady | DoesNotFit):
        return _NOBODY_ANSWERS
    return _FAILED
