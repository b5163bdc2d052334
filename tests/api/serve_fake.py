"""Serves the fake models in a process of its own: `python -m tests.api.serve_fake HOME PORT_FILE DRAIN_S MODEL`."""

from __future__ import annotations

import sys
from pathlib import Path

from fairlead.api import logs, server
from fairlead.api.app import create_app
from fairlead.service.registry import Registry
from tests.served import settings_with_models, start_fake


def main(home: Path, port: int, drain_s: float, model: str) -> None:
    settings = settings_with_models(home, port=port, drain_timeout_s=drain_s)
    logs.set_up("json")
    server.serve(create_app(settings, model, Registry(settings, start_fake)), settings)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4])
