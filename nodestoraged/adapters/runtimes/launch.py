"""How a service would start its program: arguments and environment, from the files of its unit.

Owns: the search for unit files of systemd and scripts of OpenRC, and the few lines that are read of
them.  May not know: what any argument means.  Nothing is asked of a service manager: this runs
before one can be asked, and where none of the services has ever run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nodestoraged.adapters.runtimes import files

__all__ = ["Launch", "launch_of", "option"]

#: systemd.unit(5), the first one that has the unit; drop-ins count wherever they lie.
_DIRECTORIES = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_WANTED_IN = ("/etc/systemd/system", "/usr/lib/systemd/system")
_MASK = "/dev/null"
_PREFIXES = "@-:+!|"  # systemd.service(5), before the path in ExecStart=
_BRACED = re.compile(r"\$\{(\w+)\}")
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}|\$(\w+)")
_COMMAND_ARGS = re.compile(r'^command_args=(?:"((?:[^"\\]|\\[\s\S])*)"|(\S*))', re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One installed service.  `arguments` are those after the program; `enabled`: at each boot."""

    unit: str
    source: str
    enabled: bool
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()

    def variable(self, name: str) -> str | None:
        """The value of an environment variable, None if it is not set or empty."""
        return next(
            (value for key, value in reversed(self.environment) if key == name and value), None
        )


def launch_of(root: Path, unit: str) -> Launch | None:
    """The service `unit` of the machine below `root`; None if it is not installed, or masked.

    `unit` is systemd's name; OpenRC's is the same without its suffix.
    """
    for directory in _DIRECTORIES:
        path = files.below(root, f"{directory}/{unit}")
        if path.is_symlink() and str(path.readlink()) == _MASK:
            return None
        text = files.read_text(path)
        if text is not None:
            return _of_systemd(root, unit, f"{directory}/{unit}", text)
    script = f"/etc/init.d/{_stem(unit)}"
    text = files.read_text(files.below(root, script))
    return None if text is None else _of_openrc(root, unit, script, text)


def option(arguments: Sequence[str], *names: str) -> str | None:
    """The value of an option, the last one given: `--name VALUE` or `--name=VALUE`; or None."""
    found: str | None = None
    for at, word in enumerate(arguments):
        if word in names and at + 1 < len(arguments):
            found = arguments[at + 1]
        name, mark, value = word.partition("=")
        if mark and name in names:
            found = value
    # What the service manager or a shell would have to expand is not known here.
    return None if found is None or not found or "$" in found or "%" in found else found


def _stem(unit: str) -> str:
    return unit.removesuffix(".service")


def _of_systemd(root: Path, unit: str, source: str, text: str) -> Launch:
    # systemd.unit(5): by name, whatever the directory, and of one name the more local file.
    drop_ins: dict[str, Path] = {}
    for directory in reversed(_DIRECTORIES):
        found = files.matching(root, f"{directory}/{unit}.d/*.conf")
        drop_ins.update({path.name: path for path in found})
    parts = [text, *(files.read_text(drop_ins[name]) or "" for name in sorted(drop_ins))]
    command = ""
    environment: list[tuple[str, str]] = []
    from_files: list[tuple[str, str]] = []
    for line in "\n".join(parts).replace("\\\n", " ").splitlines():
        key, _, value = line.strip().partition("=")
        if key == "ExecStart":
            command = value  # an empty one resets, and the last one is the one that stays
        elif key == "Environment":
            environment += [(n, v) for n, mark, v in _pairs(value) if mark]
        elif key == "EnvironmentFile":
            path = value.strip().lstrip("-").replace("%N", _stem(unit)).replace("%n", unit)
            from_files += files.assignments(files.read_text(files.below(root, path)) or "")
    environment += from_files  # systemd.exec(5): they outrank Environment=
    wants = [f"{base}/*.{kind}/{unit}" for base in _WANTED_IN for kind in ("wants", "requires")]
    return Launch(
        unit=unit,
        source=source,
        enabled=any(files.matching(root, pattern) for pattern in wants),
        arguments=_expanded(files.words(command.strip().lstrip(_PREFIXES))[1:], dict(environment)),
        environment=tuple(environment),
    )


def _expanded(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    """As systemd.service(5): `$NAME` alone becomes words, `${NAME}` in a word its value."""
    found: list[str] = []
    for word in arguments:
        if word.startswith("$") and word[1:].isidentifier():
            found += files.words(environment.get(word[1:], ""))
        else:
            found.append(_BRACED.sub(lambda match: environment.get(match[1], match[0]), word))
    return tuple(found)


def _substituted(text: str, values: Mapping[str, str]) -> str:
    """As a shell: `$NAME`, `${NAME}`, `${NAME:-default}`; what is not known stays as it is."""

    def value(match: re.Match[str]) -> str:
        known = values.get(match[1] or match[3])
        return known or (match[0] if match[2] is None else match[2])

    return _VARIABLE.sub(value, text)


def _of_openrc(root: Path, unit: str, source: str, text: str) -> Launch:
    stem = _stem(unit)
    settings = files.read_text(files.below(root, f"/etc/conf.d/{stem}")) or ""
    values = dict(files.assignments(settings))
    # OpenRC reads conf.d first; what the script says then may be made of it.
    for match in _COMMAND_ARGS.finditer(f"{settings}\n{text}"):
        values["command_args"] = _substituted(match[1] or match[2] or "", values)
    # install.sh of k3s leaves its environment here.
    kept = files.read_text(files.below(root, f"/etc/rancher/k3s/{stem}.env")) or ""
    return Launch(
        unit=unit,
        source=source,
        enabled=bool(files.matching(root, f"/etc/runlevels/*/{stem}")),
        arguments=files.words(values.get("command_args", "").replace("\\\n", " ")),
        environment=(*files.assignments(settings), *files.assignments(kept)),
    )


def _pairs(value: str) -> list[tuple[str, str, str]]:
    return [word.partition("=") for word in files.words(value)]
