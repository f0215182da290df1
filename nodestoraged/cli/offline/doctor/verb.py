"""`doctor`: every check of this machine, with a remedy for what is not well.

Owns: the order of the checks, the exit code, and how findings are shown.  May not know: what is
looked at (`gather`), or what is good (`machine`, `ours`, `role`, `migration`).  Works without the
daemon; what cannot be looked at is said to be so.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from nodestoraged.cli import exits
from nodestoraged.cli.offline.doctor.facts import CheckResult, Facts, Finding, Level
from nodestoraged.cli.offline.doctor.gather import LIMIT_SECONDS, gather
from nodestoraged.cli.offline.doctor.machine import MACHINE_CHECKS
from nodestoraged.cli.offline.doctor.migration import MIGRATION_CHECKS
from nodestoraged.cli.offline.doctor.ours import OUR_CHECKS
from nodestoraged.cli.offline.doctor.role import ROLE_CHECKS
from nodestoraged.cli.render import COLUMNS, as_json, as_jsonl, out, paint, say
from nodestoraged.cli.text import safe, wrap
from nodestoraged.cli.verb import format_option, role_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nodestoraged.cli.fields import Json
    from nodestoraged.cli.verb import Arguments, Declares

__all__ = ["VERBS", "examine", "lines", "worst"]

_COLOURS = {Level.PASS: "green", Level.WARN: "yellow", Level.FAIL: "red", Level.SKIP: "dim"}
_WORDS = (
    (Level.FAIL, "failed"), (Level.WARN, "warned"), (Level.INFO, "to know"),
    (Level.SKIP, "skipped"), (Level.PASS, "passed"),
)  # fmt: skip
_NAME_COLUMNS = 10
_INDENT = " " * (4 + 2 + _NAME_COLUMNS + 2)


def examine(facts: Facts) -> list[CheckResult]:
    """What every check says of these facts, in the order of the tables."""
    results = [
        CheckResult(check=name, role=None, finding=finding)
        for name, check in (*MACHINE_CHECKS, *OUR_CHECKS)
        for finding in check(facts)
    ]
    for role in facts.roles:
        results += [
            CheckResult(check=name, role=role.config.name, finding=finding)
            for name, check in (*ROLE_CHECKS, *MIGRATION_CHECKS)
            for finding in check(facts, role)
        ]
    return results


def worst(results: list[CheckResult]) -> Level:
    """FAIL if any check failed, else WARN if any warned, else PASS."""
    levels = {one.finding.level for one in results}
    return next((each for each in (Level.FAIL, Level.WARN) if each in levels), Level.PASS)


def lines(results: list[CheckResult]) -> list[str]:
    """The report for a terminal of 80 columns; a remedy is whole in one line, to be pasted."""
    shown: list[str] = []
    role: str | None = None
    for one in results:
        if one.role != role:
            role = one.role
            shown += ["", f"{safe(role)}:"] if role is not None else [""]
        finding = one.finding
        head = f"{finding.level:<4}  {one.check:<{_NAME_COLUMNS}}  "
        first, *more = wrap(head + _plain(finding.message), COLUMNS, _INDENT)
        shown.append(paint(first[:4], _COLOURS.get(finding.level, "")) + first[4:])
        shown += more
        if finding.remedy:
            shown.append(f"      {_plain(finding.remedy)}")
    counts = Counter(one.finding.level for one in results)
    told = ", ".join(f"{counts[level]} {word}" for level, word in _WORDS if counts[level])
    return [*shown, "", f"{len(results)} checks: {told}"]


def _plain(text: str) -> str:
    """Nothing that acts on a terminal; what a check has escaped already keeps its backslashes."""
    return "".join(one if one.isprintable() else safe(one) for one in text)


def _json(one: CheckResult) -> Json:
    return {
        "check": one.check,
        "role": one.role,
        "result": one.finding.level.value,
        "message": one.finding.message,
        "remedy": one.finding.remedy or None,
    }


def _arguments(parser: Declares) -> None:
    parser.add_argument("--root", type=Path, default=Path("/"), metavar="DIRECTORY",
                        help="the files of another system; its daemon is not asked")  # fmt: skip
    role_option(parser)
    format_option(parser)


def _doctor(args: Arguments) -> int:
    facts, missing = gather(args.root, args.socket, args.role)
    results = examine(facts) if facts is not None else []
    if missing:
        late = Finding(
            level=Level.FAIL,
            message=f"{missing} could not be read within {LIMIT_SECONDS:g} s: a disk may hang",
            remedy="dmesg | tail",
        )
        results.append(CheckResult(check="limit", role=None, finding=late))
    elif args.role is not None and facts is not None and not _looked_at(facts):
        raise exits.StopError(exits.NOT_FOUND, f"there is no role {safe(args.role)}")
    _print(results, args.output)
    if args.root != Path("/") and args.output in ("table", "wide"):
        say(f"the commands are for the system in {safe(args.root)}: run them there, not here")
    return exits.DEGRADED if worst(results) is Level.FAIL else exits.OK


def _looked_at(facts: Facts) -> bool:
    """True if a role was found, or nobody could say which there are."""
    return bool(facts.roles) or facts.daemon.config_denied


def _print(results: list[CheckResult], output: str) -> None:
    if output == "json":
        checks = [_json(one) for one in results]
        out(as_json({"apiVersion": "nodestorage/v1", "result": worst(results), "checks": checks}))
    elif output == "jsonl":
        out(*(as_jsonl(_json(one)) for one in results))
    elif output == "name":
        bad = (one.check for one in results if one.finding.level in (Level.FAIL, Level.WARN))
        out(*dict.fromkeys(bad))
    else:
        out(*lines(results))


VERBS = {"doctor": (_arguments, _doctor)}
