from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.config import Settings
from fairlead.errors import ConfigError, Conflict, InvalidRequest, ModelNotFound
from fairlead.gguf.added import ADDED_FILE, AddedModels
from fairlead.gguf.catalogue import Catalogue, entry_for_hub
from fairlead.model_entry import FileSource, HubSource, ModelEntry, WheelSource

HUB = ModelEntry("mine", "mine.gguf", (HubSource("owner/repo", "folder/mine.gguf", "v1"),), sha256="0" * 64)


def test_what_is_added_is_there_for_others_and_can_be_struck_out(tmp_path: Path) -> None:
    catalogue, other = Catalogue(Settings(tmp_path)), Catalogue(Settings(tmp_path))
    catalogue.add(HUB)
    before = other.version
    other.refresh()
    assert other.version != before
    assert other.find("mine") == HUB
    assert other.is_added(HUB)
    assert not other.is_added(other.find("phi-2"))
    other.remove(HUB)
    catalogue.refresh()
    with pytest.raises(ModelNotFound):
        catalogue.find("mine")


def test_a_name_and_a_file_are_one_models_alone(tmp_path: Path) -> None:
    catalogue = Catalogue(Settings(tmp_path))
    catalogue.add(HUB)
    for name, file in (("MINE", "x.gguf"), ("x", "mine.gguf"), ("phi-2", "y.gguf")):
        with pytest.raises(Conflict, match="already"):
            catalogue.add(ModelEntry(name, file, HUB.sources))


def test_removing_a_built_in_model_removes_its_files_alone(tmp_path: Path) -> None:
    catalogue = Catalogue(Settings(tmp_path))
    phi = catalogue.find("phi-2")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / phi.file).write_bytes(b"1234")
    assert catalogue.remove(phi) == 4
    assert catalogue.find("phi-2") == phi
    assert catalogue.path(phi) is None


def test_defaults_may_be_set_for_an_added_model(tmp_path: Path) -> None:
    AddedModels(tmp_path).add(HUB)
    (tmp_path / "fairlead.toml").write_text("[models.mine.defaults]\ntop_k = 3\n")
    from fairlead.config import load_settings

    assert Catalogue(load_settings(tmp_path)).find("mine").defaults.top_k == 3


def test_a_file_that_somebody_spoilt_is_named_with_its_line(tmp_path: Path) -> None:
    AddedModels(tmp_path).add(HUB)
    path = tmp_path / ADDED_FILE
    path.write_text(path.read_text().replace("file =", "fill ="))
    with pytest.raises(ConfigError, match=rf"{ADDED_FILE}:4: models.mine.fill is not a setting; did you mean file"):
        Catalogue(Settings(tmp_path))


def test_names_after_files(tmp_path: Path) -> None:
    entry = entry_for_hub(HubSource("o/r", "some folder/A model (1).Q4.gguf"))
    assert (entry.name, entry.file) == ("A-model-1-.Q4", "A-model-1-.Q4.gguf")
    with pytest.raises(InvalidRequest, match="no GGUF file"):
        entry_for_hub(HubSource("o/r", "model.bin"))


def test_searching_finds_all_words_in_whatever_order(tmp_path: Path) -> None:
    catalogue = Catalogue(Settings(tmp_path))
    assert [entry.name for entry in catalogue.search("llama 8B")] == ["llama-3-8b", "llama-3.1-8b"]
    assert [entry.name for entry in catalogue.search("THEBLOKE phi")] == ["phi-2"]
    assert len(catalogue.search("")) == len(list(catalogue))
    assert catalogue.search("no such thing") == []


def test_many_at_once_lose_nothing(tmp_path: Path) -> None:
    entries = [ModelEntry(f"m{number}", f"m{number}.gguf", HUB.sources) for number in range(20)]
    threads = [threading.Thread(target=AddedModels(tmp_path).add, args=(entry,)) for entry in entries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {entry.name for entry in AddedModels(tmp_path).entries()} == {entry.name for entry in entries}


PATHS = st.text(st.characters(blacklist_categories=("Cc", "Cs")), min_size=1, max_size=40)


@settings(max_examples=50)
@given(path=PATHS, name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, path: str, name: str) -> None:
    home = tmp_path_factory.mktemp("home")
    sources = (FileSource(Path("/") / path), HubSource("o/r", "a.gguf"), WheelSource("a==1", "b/c.gguf"))
    entry = ModelEntry(name, "file.gguf", sources)
    AddedModels(home).add(entry)
    assert AddedModels(home).entries() == (entry,)
