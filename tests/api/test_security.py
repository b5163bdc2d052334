"""Who may call: configured hosts and origins. What is refused without any setting is in `test_bad_input`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.served import serving, settings_with_models


def test_hosts_and_origins_that_were_configured(tmp_path: Path) -> None:
    settings = settings_with_models(
        tmp_path / "home", allowed_hosts=("box.lan",), allowed_origins=("https://chat.example",)
    )
    with serving(settings, None) as served, served.http() as http:
        assert http.get("/health", headers={"Host": "Box.lan:8081"}).status_code == 200
        assert http.get("/health", headers={"Host": "other.lan"}).status_code == 403
        answer = http.get("/health", headers={"Origin": "https://chat.example"})
        assert answer.headers["Access-Control-Allow-Origin"] == "https://chat.example"
        assert http.get("/health", headers={"Origin": "https://chat.example.evil"}).status_code == 403
        preflight = http.options(
            "/infer",
            headers={
                "Origin": "https://chat.example",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "content-type",
            },
        )
        assert preflight.status_code == 200
        assert "POST" in preflight.headers["Access-Control-Allow-Methods"]


def test_metrics_are_for_the_machine_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(settings_with_models(tmp_path / "home"), None) as served, served.http() as http:
        assert http.get("/metrics").status_code == 200
        monkeypatch.setattr("fairlead.api.native.is_loopback", lambda _: False)
        assert http.get("/metrics").status_code == 403
