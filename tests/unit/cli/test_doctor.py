"""`doctor` as a verb: its forms of output, its exit code, the daemon, other systems, hanging."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from nodestoraged import __version__
from nodestoraged.cli import main
from nodestoraged.cli.offline.doctor import gather as gathering
from nodestoraged.cli.offline.doctor import verb
from nodestoraged.cli.offline.doctor.facts import CheckResult, Finding, Level, Machine
from nodestoraged.cli.offline.doctor.limit import within
from nodestoraged.cli.offline.doctor.verb import examine, lines
from tests.fakes.machine_files import MachineFiles
from tests.unit.api.fake_service import running


@pytest.fixture
def node(tmp_path: Path) -> MachineFiles:
    return MachineFiles(tmp_path / "node")


def run(node: MachineFiles, *words: str) -> int:
    return main.main(["doctor", "--root", str(node.root), *words])


def test_a_well_node_is_0_and_a_warning_too(
    node: MachineFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(node) == 0
    assert "FAIL" not in capsys.readouterr().out
    node.archive(0)
    assert run(node) == 0
    assert "WARN  sandbox" in capsys.readouterr().out


def test_one_failure_is_8_and_stands_with_its_remedy_below(
    node: MachineFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    node.remove("run/udev/control")
    assert run(node) == 8
    shown = capsys.readouterr().out.splitlines()
    at = next(number for number, line in enumerate(shown) if line.startswith("FAIL"))
    assert "      systemctl start systemd-udevd" in shown[at:]
    assert "1 failed" in shown[-1]


def test_of_another_system_it_is_said_where_the_commands_are_meant(
    node: MachineFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    run(node)
    told = f"the commands are for the system in {node.root}: run them there, not here\n"
    assert capsys.readouterr().err == told
    run(node, "-o", "json")
    assert capsys.readouterr().err == ""


def test_json_says_the_worst_result_and_every_check(
    node: MachineFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    node.remove("run/udev/control")
    assert run(node, "-o", "json") == 8
    said = json.loads(capsys.readouterr().out)
    assert (said["apiVersion"], said["result"]) == ("nodestorage/v1", "FAIL")
    keys = {"check", "role", "result", "message", "remedy"}
    assert [one for one in said["checks"] if set(one) != keys] == []
    assert {one["role"] for one in said["checks"]} == {None, "containerd"}
    udev = next(one for one in said["checks"] if one["check"] == "udev")
    assert (udev["result"], udev["remedy"]) == ("FAIL", "systemctl start systemd-udevd")
    config = next(one for one in said["checks"] if one["check"] == "config")
    assert (config["result"], config["remedy"]) == ("PASS", None)


def test_jsonl_has_one_check_per_line_and_name_only_what_is_not_well(
    node: MachineFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    node.remove("run/udev/control")
    run(node, "-o", "jsonl")
    lines_ = capsys.readouterr().out.splitlines()
    assert len([json.loads(line) for line in lines_]) > 10
    assert run(node, "-o", "name") == 8
    assert "udev" in capsys.readouterr().out.splitlines()
    node.write("run/udev/control", "")
    assert run(node, "-o", "name") == 0
    assert "udev" not in capsys.readouterr().out.splitlines()


def test_a_role_is_chosen_and_an_unknown_one_is_4(
    node: MachineFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    roles = '[role.one]\nlabels = ["one"]\n[role.two]\nlabels = ["two"]\n'
    node.write("etc/nodestoraged/config.toml", f"schema = 1\n{roles}")
    for words, roles_said in (((), {"one", "two"}), (("--role", "two"), {"two"})):
        run(node, *words, "-o", "json")
        said = json.loads(capsys.readouterr().out)["checks"]
        assert {one["role"] for one in said} == {None, *roles_said}
    assert run(node, "--role", "three") == 4


def test_the_report_fits_80_columns_but_for_commands(
    node: MachineFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    node.fstab("LABEL=containerd-opt /var/lib/containerd ext4 defaults 0 2")
    node.remove("usr/lib/systemd/system/kubelet.service.d/10-nodestoraged.conf")
    run(node)
    shown = capsys.readouterr().out.splitlines()
    remedies = [line for line in shown if line.startswith("      ") and line[6] != " "]
    assert len(remedies) == 2
    assert [line for line in shown if len(line) > 80 and line not in remedies] == []


def test_nothing_that_acts_on_a_terminal_is_shown() -> None:
    finding = Finding(level=Level.WARN, message="a\x1b[2Jb \\x1b", remedy="c\rd")
    shown = "\n".join(lines([CheckResult(check="x", role=None, finding=finding)]))
    assert "\x1b" not in shown
    assert "\r" not in shown
    assert "a\\x1b[2Jb \\x1b" in shown  # what a check escaped already is not escaped again


# ------------------------------------------------------------------------------ the daemon


def _status(**role: object) -> dict[str, object]:
    well: dict[str, object] = {
        "name": "containerd", "phase": "BOUND", "reason": "SlotProven", "availability": "FULL",
        "attention": None, "imagefs": {"verified": True}, "conditions": [],
    }  # fmt: skip
    daemon = {"version": __version__, "pid": os.getpid(), "init": "systemd"}
    return {"daemon": daemon, "roles": [well | role]}


def _asked(
    node: MachineFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str], status: object
) -> tuple[int, dict[str, tuple[str, str, str]]]:
    assert isinstance(status, dict)
    path = tmp_path / "socket"
    with running(path) as server:
        server.service.state |= status
        code = run(node, "-o", "json", "--socket", str(path))
    said = json.loads(capsys.readouterr().out)["checks"]
    return code, {one["check"]: (one["result"], one["message"], one["remedy"]) for one in said}


def test_a_daemon_that_answers_passes_and_says_its_phase(
    node: MachineFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node.write(f"proc/{os.getpid()}/mountinfo", (node.root / "proc/self/mountinfo").read_text())
    node.write("proc/1/mountinfo", (node.root / "proc/self/mountinfo").read_text())
    code, said = _asked(node, tmp_path, capsys, _status())
    assert code == 0
    assert said["daemon"][:2] == ("PASS", f"nodestoraged {__version__} answers")
    assert said["namespace"][0] == "PASS"
    assert said["health"][:2] == ("PASS", "BOUND (SlotProven)")


def test_a_daemon_in_another_namespace_than_process_1_fails(
    node: MachineFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = (node.root / "proc/self/mountinfo").read_text()
    node.write(f"proc/{os.getpid()}/mountinfo", own)
    node.write("proc/1/mountinfo", own.replace("25 1 8:1", "725 1 8:1"))
    code, said = _asked(node, tmp_path, capsys, _status())
    assert (code, said["namespace"][0]) == (8, "FAIL")


def test_an_attention_fails_with_the_daemon_s_own_hint(
    node: MachineFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hint = {"text": "choose", "command": "nodestoragectl switch STICK"}
    attention = {"reason": "Clone", "message": "two sticks claim to be blue", "hint": hint}
    code, said = _asked(node, tmp_path, capsys, _status(attention=attention))
    assert code == 8
    assert said["health"] == ("FAIL", "two sticks claim to be blue", "nodestoragectl switch STICK")


def test_a_daemon_of_another_version_is_told(
    node: MachineFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = _status() | {"daemon": {"version": "0.0.1", "pid": 1, "init": "systemd"}}
    _, said = _asked(node, tmp_path, capsys, status)
    assert said["daemon"][0] == "WARN"
    assert said["daemon"][2] == "systemctl restart nodestoraged"


def test_without_a_daemon_the_rest_is_still_judged(
    node: MachineFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(node, "-o", "json", "--socket", str(tmp_path / "nobody")) == 8
    said = {one["check"]: one for one in json.loads(capsys.readouterr().out)["checks"]}
    assert said["daemon"]["result"] == "FAIL"
    assert said["daemon"]["remedy"] == "systemctl start nodestoraged"
    assert said["namespace"]["result"] == "SKIP"
    assert said["fence"]["result"] == "PASS"


@pytest.mark.parametrize(
    ("closed", "skipped"),
    [
        (("var/lib/kubelet", "var/lib/nodestoraged", "etc/fstab"), {"kubelet", "sandbox", "fstab"}),
        (("etc/nodestoraged",), {"config"}),
    ],
)
def test_what_may_not_be_read_is_skipped_and_never_passed(
    node: MachineFiles,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    closed: tuple[str, ...],
    skipped: set[str],
) -> None:
    real = os.open

    def guarded(path: object, *rest: object, **more: object) -> int:
        if any(str(path).startswith(str(node.root / one)) for one in closed):
            raise PermissionError(13, "Permission denied")
        return real(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", guarded)
    code = run(node, "-o", "json")
    said = json.loads(capsys.readouterr().out)["checks"]
    assert {one["check"] for one in said if one["result"] == "SKIP"} == skipped
    assert not {one["check"] for one in said if one["result"] == "PASS"} & skipped
    # Which roles there are stands in the configuration: without it none is judged.
    assert ({one["role"] for one in said} == {None}) == ("config" in skipped)
    assert code == 0


# ------------------------------------------------------------------------------ limits


def test_a_question_that_hangs_is_given_up() -> None:
    begun = time.monotonic()
    assert within(0.2, lambda: time.sleep(60)) is None
    assert time.monotonic() - begun < 5


def test_a_question_is_answered_whole_and_its_fault_is_not_hidden() -> None:
    assert within(5, lambda: "x" * 1_000_000) == "x" * 1_000_000

    def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        within(5, fails)
    assert within(5, lambda: os._exit(3)) is None


def test_a_machine_whose_files_hang_fails_in_words(
    node: MachineFiles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gathering, "LIMIT_SECONDS", 0.1)
    monkeypatch.setattr(gathering, "machine_facts", lambda _: time.sleep(60))
    assert run(node) == 8
    assert "could not be read within" in " ".join(capsys.readouterr().out.split())


def test_a_role_whose_files_hang_hides_nothing_of_the_machine(
    node: MachineFiles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gathering, "role_facts", lambda *_: os._exit(1))
    assert run(node, "-o", "json") == 8
    said = json.loads(capsys.readouterr().out)["checks"]
    assert said[-1]["check"] == "limit"
    assert "the root of containerd" in said[-1]["message"]
    assert {one["check"] for one in said} >= {"udev", "config", "tools"}
    run(node)
    assert "FAIL  limit" in capsys.readouterr().out


def test_each_check_has_a_name_of_its_own_that_fits_its_column() -> None:
    tables = (verb.MACHINE_CHECKS, verb.OUR_CHECKS, verb.ROLE_CHECKS, verb.MIGRATION_CHECKS)
    names = [name for table in tables for name, _ in table]
    assert len(names) == len(set(names))
    assert [name for name in names if len(name) > verb._NAME_COLUMNS] == []


def test_a_machine_without_anything_is_judged_too(tmp_path: Path) -> None:
    facts, missing = gathering.gather(tmp_path, gathering.SOCKET_PATH, None)
    assert missing == ""
    assert facts is not None
    assert facts.machine != Machine()
    assert {one.finding.level for one in examine(facts)} >= {Level.FAIL, Level.WARN}
