"""What is in the package that people install."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fairlead.api.page import BUILT

ROOT = Path(__file__).parent.parent


def test_the_wheel_holds_the_built_page(tmp_path: Path) -> None:
    if not (BUILT / "index.html").is_file():
        pytest.skip("the web page was not built: `make build` does it")
    options = ["--no-build-isolation", "--no-deps", "-C", "wheel.cmake=false", "-w", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", *options, str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("fairlead/web/")}
    built = {f"fairlead/web/{path.relative_to(BUILT).as_posix()}" for path in BUILT.rglob("*") if path.is_file()}
    assert held == built
    assert not any("openapi" in name or name.endswith(".ts") for name in held)
