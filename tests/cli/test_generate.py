"""`fairlead run`, against a server with a fake model, and with the starter model in one of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fairlead.answer_info import Answer
from fairlead.cli import asking
from tests.cli.conftest import Fairlead
from tests.documents import made
from tests.served import HELLO, Served, until

RUN = [sys.executable, "-m", "fairlead", "run"]


def test_the_answer_is_printed(fairlead: Fairlead, served: Served) -> None:
    done = fairlead("run", "Hi", "--url", served.url)
    assert (done.exit_code, done.stdout, done.stderr) == (0, HELLO + "\n", "")


def test_as_json_it_is_the_servers_answer(fairlead: Fairlead, served: Served) -> None:
    answer = json.loads(fairlead("run", "Hi", "--json", "--url", served.url).stdout)
    assert (answer["text"], answer["finish_reason"], answer["model"]) == (HELLO, "stop", "hello")


def test_options_reach_the_server(fairlead: Fairlead, served: Served) -> None:
    few = ["--max-tokens", "2", "--temperature", "0", "--seed", "7", "--system", "Be brief.", "--json"]
    answer = json.loads(fairlead("run", "Hi", *few, "--url", served.url).stdout)
    plain = json.loads(fairlead("run", "Hi", "--json", "--url", served.url).stdout)
    assert (answer["finish_reason"], answer["usage"]["completion_tokens"]) == ("length", 2)
    assert answer["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"], "the system prompt is read, too"
    assert fairlead("run", "Hi", "--temperature", "3", "--url", served.url).exit_code == 2


def test_the_name_given_is_who_asked(fairlead: Fairlead, served: Served, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("Sails.")
    with served.http() as http:
        used = 0
        for files in ([], ["--file", str(tmp_path / "note.txt")]):
            assert fairlead("run", "Hi", "--user", "nadia", *files, "--url", served.url).exit_code == 0
            before, used = used, http.get("/me", params={"user": "nadia"}).json()["used"]["tokens_today"]
            assert used > before
        assert http.get("/next_chat_id", params={"user": "nadia"}).json()["chat_id"] == 2, "hers was the first"


def test_a_model_that_is_not_loaded_is_loaded_first(fairlead: Fairlead, served: Served) -> None:
    done = fairlead("run", "Hi", "--model", "other", "--url", served.url)
    assert done.stdout == "Another model.\n"
    done = fairlead("run", "Hi", "--model", "nope", "--url", served.url)
    assert (done.exit_code, done.stdout) == (4, "")
    assert "There is no model 'nope'" in done.stderr
    assert fairlead("run", "Hi", "--url", "http://127.0.0.1:9").exit_code == 4


def test_a_prompt_can_be_piped_in(served: Served, fairlead: Fairlead) -> None:
    assert fairlead("run", "--url", served.url, stdin="Hi").stdout == HELLO + "\n"
    assert fairlead("run", "--url", served.url, stdin=" \n").exit_code == 2
    command = [*RUN, "Say it again.", "--json", "--url", served.url]
    lengths = [
        json.loads(subprocess.run(command, input=text, capture_output=True, check=True).stdout)["usage"][
            "prompt_tokens"
        ]
        for text in (b"", b"a longer text in front")
    ]
    assert lengths[0] < lengths[1]


def test_a_closed_standard_input_is_no_prompt(served: Served) -> None:
    done = subprocess.run(
        ["bash", "-c", 'exec "$@" <&-', "-", *RUN, "Hi", "--url", served.url], capture_output=True, check=True
    )
    assert done.stdout.decode() == HELLO + "\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_generation(served: Served, number: signal.Signals) -> None:
    running = subprocess.Popen([*RUN, "Hi", "--model", "slow", "--url", served.url], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.read(4) == "tick"
    running.send_signal(number)
    assert running.wait(10) == 128 + number
    running.stdout.close()
    with served.http() as http:
        until(lambda: "fairlead_generations_running 0.0" in http.get("/metrics").text)


def test_what_came_before_a_signal_is_printed_as_json_too(served: Served) -> None:
    running = subprocess.Popen([*RUN, "Hi", "--model", "slow", "--json", "--url", served.url], stdout=subprocess.PIPE)
    with served.http() as http:
        until(lambda: "fairlead_generations_running 1.0" in http.get("/metrics").text)
    running.send_signal(signal.SIGINT)
    told, _ = running.communicate(timeout=10)
    answer = json.loads(told)
    assert (running.returncode, answer["finish_reason"], answer["model"]) == (130, "cancelled", "slow")
    assert answer["usage"]["prompt_tokens"] > 0, "the server's own end was waited for"


@pytest.mark.parametrize(
    ("reason", "bounded", "status"),
    [("stop", False, 0), ("length", True, 0), ("length", False, 3), ("timeout", True, 3), ("cancelled", False, 1)],
)
def test_how_an_answer_ended_is_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, fairlead: Fairlead, served: Served, reason: str, bounded: bool, status: int
) -> None:
    async def ask(*_: object, user: str | None) -> Answer:
        return Answer(id="one", model="hello", finish_reason=reason, text="So far")

    monkeypatch.setattr(asking, "ask", ask)
    done = fairlead("run", "Hi", "--url", served.url, *(["--max-tokens", "2"] if bounded else []))
    assert done.exit_code == status
    assert done.stderr == (f"The answer was cut off: {reason}.\n" if status else "")


def test_what_was_asked_wrongly_is_told_by_the_exit_status(fairlead: Fairlead, served: Served) -> None:
    asked = fairlead("run", "Hi", "--max-tokens", "2", "--url", served.url)
    assert (asked.exit_code, asked.stderr) == (0, ""), "so much was asked for"
    assert fairlead("run", "x " * 2000, "--url", served.url).exit_code == 2


def test_files_are_put_to_the_model_and_no_chat_is_left(fairlead: Fairlead, served: Served, tmp_path: Path) -> None:
    first, second = tmp_path / "one.txt", tmp_path / "more" / "one.txt"
    second.parent.mkdir()
    first.write_text("The harbour is closed.")
    second.write_text("It opens at noon.")
    arguments = ["run", "When?", "--file", str(first), "-f", str(second), "--url", served.url]
    answer = json.loads(fairlead(*arguments, "--json").stdout)
    assert (answer["text"], answer["finish_reason"]) == (HELLO, "stop")
    assert [source["name"] for source in answer["sources"]] == ["one.txt", "one.txt"]
    (tmp_path / "terms.docx").write_bytes(made.word([("Normal", "Guests leave by noon.")]))
    (tmp_path / "offer.pdf").write_bytes(made.pdf(["A night costs 42."]))
    arguments += ["--file", str(tmp_path / "terms.docx"), "--file", str(tmp_path / "offer.pdf")]
    assert fairlead(*arguments).stdout == HELLO + "\n"
    with served.http() as http:
        assert http.get("/chats").json()["chats"] == []


def test_files_that_cannot_be_read_are_named(fairlead: Fairlead, served: Served, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(b"%PDF-1.7 and nothing")
    done = fairlead("run", "What?", "--file", str(broken), "--url", served.url)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "broken.pdf" in done.stderr
    assert fairlead("run", "What?", "--file", str(tmp_path / "absent.txt"), "--url", served.url).exit_code == 2
    (tmp_path / "program.exe").write_bytes(b"MZ\x90\0" * 100)
    assert fairlead("run", "?", "--file", str(tmp_path / "program.exe"), "--url", served.url).exit_code == 2
    with served.http() as http:
        assert http.get("/chats").json()["chats"] == []


def test_a_signal_stops_an_answer_about_files(served: Served, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("Sails.")
    command = [*RUN, "Hi", "--file", str(tmp_path / "note.txt"), "--model", "slow", "--url", served.url]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert running.stdout is not None
    assert running.stdout.read(4) == "tick"
    running.send_signal(signal.SIGINT)
    assert running.wait(10) == 130
    running.stdout.close()
    with served.http() as http:
        assert "fairlead_generations_running 0.0" in http.get("/metrics").text
        assert http.get("/chats").json()["chats"] == []


def test_in_a_terminal_the_answer_cannot_steer_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fairlead.cli import terminal

    terminal.say("\x1b[1m\n")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    terminal.say("\x1b[1m\n\t\x07\x7f\u0085é")
    assert capsys.readouterr().out == "\x1b[1m\n␛[1m\n\t␇␡\ufffdé"


def test_without_a_server_it_starts_one_and_ends_it(home: Path, starter_model: Path) -> None:
    (home / "models").mkdir()
    (home / "models" / starter_model.name).symlink_to(starter_model)
    kept = home / "files" / "ab" / ("ab" * 32)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"of a chat in the database of the home")
    done = subprocess.run(
        [*RUN, "Say hello.", "--max-tokens", "4", "--temperature", "0", "--json"],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == "smollm2-135m"
    assert done.stderr.startswith("No server answers at http://127.0.0.1:9. Starting one for this answer.\n")
    assert not servers_of(home)
    assert kept.exists(), "the files of other servers are none of its business"


def test_a_file_is_answered_by_a_server_of_its_own_that_a_signal_ends(home: Path, starter_model: Path) -> None:
    running = subprocess.Popen(
        [*RUN, "Write a long story.", "--model", str(starter_model)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert running.stdout is not None
    assert running.stdout.read(1)
    assert servers_of(home)
    running.send_signal(signal.SIGINT)
    assert running.wait(20) == 130
    running.stdout.close()
    assert not servers_of(home)


def test_a_server_that_cannot_start_is_said(fairlead: Fairlead, home: Path) -> None:
    (home / "bad.gguf").write_bytes(b"GGUF")
    done = fairlead("run", "Hi", "--model", str(home / "bad.gguf"))
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert not servers_of(home)


def servers_of(home: Path) -> list[int]:
    """Processes that serve from this home."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if process.pid != os.getpid() and {"serve", str(home)} <= set(process.info["cmdline"] or [])
    ]
