"""The command line: what one `nodestoragectl status` costs.

Against a bare interpreter, because that is what any program in this language costs at least.
Both are started as a shell would start them; the daemon answers on its real socket.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks import private
from benchmarks.measure import command_ms
from benchmarks.report import Report
from benchmarks.rows import Target
from benchmarks.units import systemd
from demo.node import PROJECT, DemoNode

ROUNDS = 40
STATUS = Target(
    name="cli.status",
    what="`nodestoragectl status`, from exec to exit",
    unit="ms",
    anchor="`python -I -c pass`",
    ratio=2.5,
)
JSON = Target(
    name="cli.json",
    what="`nodestoragectl status -o json`",
    unit="ms",
    anchor="`python -I -c pass`",
    ratio=2.5,
)
SYSTEMCTL = Target(
    name="cli.systemctl",
    what="`nodestoragectl status`",
    unit="ms",
    anchor="`systemctl --version`, a small C program",
)
TARGETS = (STATUS, JSON, SYSTEMCTL)


def run(report: Report) -> None:
    """Measure the verb that everybody types."""
    found = private.run(measure, seconds=120)
    assert isinstance(found, dict)
    report.row(STATUS, found["status"], found["bare"])
    report.row(JSON, found["json"], found["bare"])
    report.row(SYSTEMCTL, found["status"], found["systemctl"])


def measure(base: Path) -> dict[str, list[float]]:
    """Inside a private node: milliseconds of each program, in turns."""
    with DemoNode(base) as node, systemd(node):
        node.start_daemon()
        environment = {
            "PATH": os.environ["PATH"],
            "NODESTORAGE_SOCKET": str(base / "run/io.nodestorage"),
            "COLUMNS": "80",
        }
        ours = [str(_installed(base)), "status"]
        commands = {
            "bare": [sys.executable, "-I", "-c", "pass"],
            "status": ours,
            "json": [*ours, "-o", "json"],
            "systemctl": ["systemctl", "--version"],
        }
        values: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, words in commands.items():
                values[name].append(command_ms(words, environment=environment))
    return values


def _installed(base: Path) -> Path:
    """bin/nodestoragectl as a package installs it, for this interpreter and this tree."""
    text = (PROJECT / "bin/nodestoragectl").read_text()
    text = text.replace("/usr/bin/python3", sys.executable, 1)
    text = text.replace("import sys\n", f"import sys\nsys.path.insert(0, {str(PROJECT)!r})\n", 1)
    program = base / "nodestoragectl"
    program.write_text(text)
    program.chmod(0o755)
    return program
