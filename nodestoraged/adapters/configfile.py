"""The configuration files: where they lie, who may have written them, how they merge.

Owns: reading, merging key by key, the check of ownership, and the one file that
`nodestoragectl config set` writes.  May not know: what the keys mean (`adapters.configschema`).

Every path is taken relative to `root`, so that a test or an image build can read another tree.
"""

from __future__ import annotations

import errno
import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from nodestoraged.adapters import configschema
from nodestoraged.adapters.configschema import KeyPath, dotted
from nodestoraged.adapters.durable import put_in_place
from nodestoraged.model.config import Config
from nodestoraged.model.errors import ConfigError

MAIN = "etc/nodestoraged/config.toml"
#: In the order in which they are read: what ships, what a read-only /etc needs, what a person said.
DROP_IN_DIRECTORIES = (
    "usr/lib/nodestoraged/conf.d",
    "var/lib/nodestoraged/conf.d",
    "etc/nodestoraged/conf.d",
)
#: Where `config set` writes, first choice first; the second serves where /etc is read-only.
LOCAL_DIRECTORIES = ("etc/nodestoraged/conf.d", "var/lib/nodestoraged/conf.d")
LOCAL_NAME = "90-local.toml"
_LOCAL_HEADER = "# Written by `nodestoragectl config set`; comments are not kept.\n"
#: A configuration is a page or two; anything longer is not one.
_LARGEST_BYTES = 1 << 20
#: How a directory says that nobody writes there: a read-only mount, or `chattr +i` (ostree).
_UNWRITABLE = frozenset({errno.EROFS, errno.EPERM})
_DEFAULT_TEXT = Path(__file__).with_name("config.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A configuration and, by dotted key, the file that set each key which was set."""

    config: Config
    origins: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One key in force: its value as TOML, and the file that set it (empty for a default)."""

    key: str
    value: str
    origin: str


def load(root: Path = Path("/")) -> Loaded:
    """The configuration of the files below `root`; without any file the defaults.

    Raises ConfigError for a file that others could have written, for syntax, and for the first
    wrong key, naming file and dotted key.
    """
    return _compose(root, {})


def render_default() -> str:
    """The file as it is shipped: every key under its question, commented with its default."""
    return _DEFAULT_TEXT.read_text(encoding="utf-8")


def show(loaded: Loaded) -> tuple[Shown, ...]:
    """Every key in force with its TOML value and origin."""
    return tuple(
        Shown(key=dotted(key), value=_toml(value), origin=loaded.origins.get(dotted(key), ""))
        for key, value in configschema.flatten(loaded.config)
    )


def set_key(root: Path, key: str, raw_value: str) -> Path:
    """`key` has the value `raw_value` in force (a TOML value or a bare string); says in which file.

    The whole is validated before the file is replaced: on ConfigError nothing has changed.
    """
    path = tuple(key.split("."))
    value = _parse_value(path, raw_value)
    for directory in LOCAL_DIRECTORIES:
        target = root / directory / LOCAL_NAME
        document = _read_if_present(target, root)
        _put(document, path, value, target)
        winner = _compose(root, {target: document}).origins.get(key, "")
        if winner != str(target):
            raise ConfigError(
                f"{key} would have no effect: {winner} sets it and is read later",
                key=key,
                path=winner,
                hint="change it there",
            )
        try:
            _replace(target, _LOCAL_HEADER + tomli_w.dumps(document))
        except OSError as error:
            if error.errno in _UNWRITABLE and directory != LOCAL_DIRECTORIES[-1]:
                continue
            raise _unusable(target, error) from error
        return target
    raise AssertionError("unreachable: the last directory returns or raises")


def _compose(root: Path, instead: Mapping[Path, dict[str, object]]) -> Loaded:
    """The files below `root`, with `instead` in the place of those that it names."""
    merged: dict[str, object] = {}
    origins: dict[KeyPath, str] = {}
    for path in _files(root, instead):
        document = instead[path] if path in instead else _read(path, root)
        _merge(merged, document, (), str(path), origins)
    config = configschema.build(merged, lambda key: origins.get(key, ""))
    return Loaded(config=config, origins={dotted(key): name for key, name in origins.items()})


def _files(root: Path, instead: Mapping[Path, dict[str, object]]) -> Iterator[Path]:
    main = root / MAIN
    if _exists(main):
        yield main
    for directory in DROP_IN_DIRECTORIES:
        yield from sorted({*_drop_ins(root / directory), *_below(root / directory, instead)})


def _below(directory: Path, instead: Mapping[Path, dict[str, object]]) -> Iterator[Path]:
    return (path for path in instead if path.parent == directory)


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unusable(path, error) from error
    return True


def _drop_ins(directory: Path) -> list[Path]:
    try:
        found = list(directory.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unusable(directory, error) from error
    return [path for path in found if path.suffix == ".toml" and not path.name.startswith(".")]


def _read_if_present(path: Path, root: Path) -> dict[str, object]:
    return _read(path, root) if _exists(path) else {}


def _read(path: Path, root: Path) -> dict[str, object]:
    """The TOML document of a file that only root can have written."""
    try:
        # O_NONBLOCK: a FIFO in the place of the file must not hold up the daemon.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise _refused(path, path, "is not a regular file")
            _check_owner(path, path, found, root)
            _check_directories(path, root)
            content = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise _unusable(path, error) from error
    if len(content) > _LARGEST_BYTES:
        raise _refused(path, path, f"is larger than {_LARGEST_BYTES} bytes")
    try:
        return tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}", path=str(path)) from error


def _check_directories(path: Path, root: Path) -> None:
    """Refuse a file that somebody else could exchange: every directory above it is checked."""
    top = root.resolve()
    for directory in path.resolve().parents:
        _check_owner(path, directory, directory.stat(), root)
        if directory == top:
            return


def _check_owner(file: Path, what: Path, found: os.stat_result, root: Path) -> None:
    # In another tree (a test, an image being built) the person who runs us may own the files.
    owners = {0} if root == Path("/") else {0, os.geteuid()}
    if found.st_uid not in owners:
        raise _refused(file, what, f"belongs to uid {found.st_uid}, not to root", f"chown 0 {what}")
    # In a sticky directory (/tmp) others may add files but not exchange this one.
    shared = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    if found.st_mode & 0o022 and not shared:
        raise _refused(file, what, "is writable by others than its owner", f"chmod go-w {what}")


def _refused(file: Path, what: Path, problem: str, hint: str = "") -> ConfigError:
    where = str(file) if file == what else f"{file}: {what}"
    return ConfigError(f"{where} {problem}", path=str(file), hint=hint)


def _unusable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{path}: {error.strerror}", path=str(path))


def _merge(
    into: dict[str, object],
    table: Mapping[str, object],
    at: KeyPath,
    origin: str,
    origins: dict[KeyPath, str],
) -> None:
    """Tables merge, everything else replaces."""
    for name, value in table.items():
        key = (*at, name)
        below = into.get(name)
        if isinstance(value, dict):
            if not isinstance(below, dict):
                below = into[name] = {}
            _merge(below, value, key, origin, origins)
        else:
            into[name] = value
        origins[key] = origin


def _parse_value(key: KeyPath, raw: str) -> object:
    """What `raw` means for `key`: as TOML if it takes that, else as a bare string."""
    readings: list[object] = [raw]
    if "\n" not in raw:
        with suppress(tomllib.TOMLDecodeError):
            readings.insert(0, tomllib.loads(f"value = {raw}")["value"])
    for reading in readings[:-1]:
        with suppress(ConfigError):
            configschema.read_one(key, reading)
            return reading
    try:
        configschema.read_one(key, raw)
    except ConfigError:
        # What was meant as TOML deserves the error of that reading.
        configschema.read_one(key, readings[0])
        raise
    return raw


def _put(document: dict[str, object], key: KeyPath, value: object, path: Path) -> None:
    table = document
    for name in key[:-1]:
        below = table.setdefault(name, {})
        if not isinstance(below, dict):
            raise ConfigError(f"{path}: {name} is not a table", key=dotted(key), path=str(path))
        table = below
    table[key[-1]] = value


def _replace(target: Path, content: str) -> None:
    """`target` holds `content`, whole or not at all, also after a power cut."""
    directory = target.parent
    for parent in (*reversed(directory.parents), directory):
        if not parent.exists():
            parent.mkdir()
            parent.chmod(0o755)
    temporary = directory / f".{target.name}.new"
    with suppress(FileNotFoundError):
        temporary.unlink()
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        os.fchmod(fd, 0o644)
        file.write(content)
    put_in_place(temporary, target)


def _toml(value: object) -> str:
    """A value on one line; tomli_w spreads arrays over several."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name} = {_toml(item)}' for name, item in value.items())}}}"
    # A plain str: tomli_w asks for the type, and a StrEnum's is its own.
    plain = str(value) if isinstance(value, str) else value
    return tomli_w.dumps({"value": plain}).removeprefix("value = ").rstrip("\n")
