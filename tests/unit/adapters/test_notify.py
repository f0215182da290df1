"""The words to the service manager that started us."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from nodestoraged.adapters.notify import FlagNotifier, SdNotifier, notifier
from nodestoraged.model.errors import StepError


def test_the_words_are_those_of_sd_notify() -> None:
    said: list[str] = []

    def send(message: str) -> bool:
        said.append(message)
        return True

    notifier = SdNotifier(send)
    notifier.extend(1.5)
    notifier.extend(0)
    notifier.status("BOUND to\nblue\tREADY=0")
    notifier.ready()
    assert said == [
        "EXTEND_TIMEOUT_USEC=1500000",
        "EXTEND_TIMEOUT_USEC=1",
        "STATUS=BOUND to blue READY=0",
        "READY=1",
    ]


def test_it_reaches_the_socket_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(5)
        SdNotifier().ready()
        assert manager.recv(100) == b"READY=1"


def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = SdNotifier()
    notifier.ready()
    notifier.status("x")
    notifier.extend(1)


def test_only_a_lost_ready_is_an_error() -> None:
    def send(message: str) -> bool:
        raise ConnectionRefusedError(111, "Connection refused")

    notifier = SdNotifier(send)
    notifier.status("x")
    notifier.extend(1)
    with pytest.raises(StepError) as caught:
        notifier.ready()
    assert (caught.value.reason, caught.value.errno) == ("NotifyFailed", 111)


# ------------------------------------------------------------------------ without systemd


def test_without_a_socket_a_flag_says_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    told = notifier(tmp_path)
    told.status("x")
    told.extend(1)
    assert list(tmp_path.iterdir()) == []
    told.ready()
    assert list(tmp_path.iterdir()) == [tmp_path / "decided"]
    told.ready()


def test_with_a_socket_there_is_no_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    assert isinstance(notifier(tmp_path), SdNotifier)


def test_the_flag_of_an_earlier_daemon_is_gone_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "decided").touch()
    FlagNotifier(tmp_path / "decided")
    assert list(tmp_path.iterdir()) == []


def test_everybody_may_see_the_flag(tmp_path: Path) -> None:
    mask = os.umask(0o077)
    try:
        FlagNotifier(tmp_path / "decided").ready()
    finally:
        os.umask(mask)
    assert (tmp_path / "decided").stat().st_mode & 0o777 == 0o644


def test_a_flag_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StepError) as caught:
        FlagNotifier(tmp_path / "missing" / "decided").ready()
    assert caught.value.reason == "NotifyFailed"
