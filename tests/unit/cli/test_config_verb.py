"""`config`: works on files below a root, and tells the daemon after `set`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nodestoraged.cli import main
from nodestoraged.cli.offline import config
from tests.unit.api.fake_service import running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc/nodestoraged").mkdir(parents=True)
    return tmp_path


def test_default_is_valid_and_shown_by_key(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["config", "default"]) == 0
    (root / "etc/nodestoraged/config.toml").write_text(capsys.readouterr().out)
    assert main.main(["config", "validate", "--root", str(root)]) == 0
    words = ["config", "show", "role.containerd.trust", "--root", str(root), "-o", "json"]
    capsys.readouterr()
    assert main.main(words) == 0
    assert json.loads(capsys.readouterr().out)[0]["value"] == '"enrolled"'
    assert main.main(["config", "show", "role.nothing", "--root", str(root)]) == 4


def test_a_wrong_file_fails_and_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "etc/nodestoraged/config.toml").write_text("schema = 1\n[daemon]\nsetle = 1\n")
    assert main.main(["config", "validate", "--root", str(root)]) == 1
    said = capsys.readouterr().err
    assert "config.toml" in said
    assert "setle" in said


def test_set_writes_and_is_shown_with_its_origin(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--root", str(root)]
    assert main.main(["config", "set", "role.containerd.trust", "label", *place]) == 0
    assert "90-local.toml" in capsys.readouterr().err
    assert main.main(["config", "show", "role.containerd.trust", *place]) == 0
    shown = capsys.readouterr().out
    assert '"label"' in shown
    assert "90-local.toml" in shown
    assert main.main(["config", "set", "role.containerd.trust", "sometimes", *place]) == 1


@pytest.mark.parametrize("words", [["set", "a"], ["show", "a", "b"], ["validate", "a"]])
def test_a_wrong_number_of_words_is_2(words: list[str]) -> None:
    assert main.main(["config", *words]) == 2


def test_after_set_the_daemon_reads_it_again_or_is_said_to_be_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(config.configfile, "set_key", lambda *_: Path("/etc/nodestoraged/x"))
    words = ["config", "set", "daemon.rescan_seconds", "5", "--socket", str(tmp_path / "socket")]
    assert main.main(words) == 0
    assert "does not run" in capsys.readouterr().err
    with running(tmp_path / "socket") as server:
        assert main.main(words) == 0
        assert [verb for verb, _, _ in server.service.acts] == ["reload"]
        server.service.act_error = KeyError("no")
        assert main.main(words) == 1
