"""The import graph: nothing imports upward, and what must not know of each other does not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "fairlead"

ALLOWED = {
    "errors": set[str](),
    "visible": set[str](),
    "checks": {"errors"},
    "control_groups": set[str](),
    "queue": set[str](),
    "gguf": {"errors", "config", "checks", "model_entry", "toml_document"},
    "models": {"errors", "gguf"},
    "kernels": {"errors", "control_groups", "gguf", "models", "engine.messages", "engine.runner"},
    "engine": {"errors", "kernels"},
    "storage": {"errors"},
    "documents": set[str](),
    "service": {
        "errors", "checks", "config", "model_entry", "control_groups", "queue", "gguf", "models", "kernels", "storage",
        "engine.messages", "engine.client", "documents.messages", "documents.client", "documents.kinds",
        "documents.cutting", "documents.units", "documents.columns",
    },
    "bench": {
        "errors", "config", "gguf", "models", "kernels", "engine.messages", "engine.runner", "service.memory",
        "service.capacity",
    },
    "api": {"errors", "checks", "config", "queue", "service"},
    "config": {"errors", "checks", "model_entry", "toml_document"},
    "model_entry": {"checks", "toml_document"},
    "toml_document": {"errors", "checks"},
    "model_info": set[str](),
    "answer_info": set[str](),
    "chat_info": {"answer_info"},
    "client": {"errors", "model_info", "answer_info", "queue"},
    "chat_client": {"client", "chat_info", "answer_info"},
    "file_client": {"client"},
    "task_info": {"answer_info"},
    "task_client": {"client", "task_info", "answer_info"},
    "collection_info": set[str](),
    "collection_client": {"client", "collection_info"},
    "cli": {
        "errors", "checks", "config", "model_entry", "queue", "client", "chat_client", "file_client", "task_client",
        "chat_info", "answer_info", "task_info", "model_info", "collection_client",
        "collection_info", "gguf", "kernels", "bench", "api", "service.backup",
        "service.keys", "service.store", "documents.kinds", "tui", "visible",
    },
    "tui": {
        "errors", "queue", "client", "chat_client", "file_client", "chat_info", "answer_info", "model_info", "visible",
    },
}  # fmt: skip
"""For each part: the parts, or single modules of them, that it may import beside itself."""


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(SOURCE.rglob("*.py")):
        part = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if part not in ("__init__", "__main__"):
            yield part, path


def imports(path: Path) -> Iterator[str]:
    """Names below `fairlead.` that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.removeprefix("fairlead.") for name in names if name.startswith("fairlead."))


@pytest.mark.parametrize(("part", "path"), list(modules()), ids=lambda value: getattr(value, "stem", value))
def test_nothing_imports_upward(part: str, path: Path) -> None:
    for name in imports(path):
        top = name.split(".")[0]
        allowed = top == part or any(name == way or name.startswith(way + ".") for way in ALLOWED[part])
        assert allowed, f"{path.relative_to(SOURCE)} must not import fairlead.{name}"
