"""A manifest as JSON, checked field by field.

Owns: the names and types of the fields.  May not know: where a manifest lies.
A stranger may have written it: unknown fields are dropped, everything else must fit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from nodestoraged.worker.failure import OperationFailed

__all__ = ["broken", "encode", "parse"]

_SCHEMA = 1
_TEXT_LENGTH = 4096
_NUMBER_LIMIT = 1 << 63
# The fields of model.manifest.Manifest and Quality: their types, and whether null or absent is
# allowed.  The model itself would cost the warm process a mebibyte.
_FIELDS: Mapping[str, tuple[tuple[type, ...], bool]] = {
    "id": ((str,), False),
    "generation": ((int,), False),
    "complete": ((bool,), False),
    "node": ((str,), False),
    "role": ((str,), False),
    "created": ((str,), False),
    "origin": ((str,), False),
    "activated": ((str,), True),
}
_QUALITY_FIELDS: Mapping[str, tuple[tuple[type, ...], bool]] = {
    "checked_at": ((str,), False),
    "capacity_bytes": ((int,), False),
    "write_rate": ((int,), True),
    "read_rate": ((int,), True),
    "small_writes_per_second": ((int, float), True),
    "fsync_seconds": ((int, float), True),
    "slow": ((bool,), False),
}


def parse(data: bytes) -> dict[str, object]:
    """The known fields of a manifest in JSON.  Raises ManifestBroken, ManifestUnknown."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise broken(f"the manifest is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise broken("the manifest holds no object")
    schema = found.get("schema")
    if type(schema) is int and schema != _SCHEMA:
        message = f"the manifest is of schema {schema}, {_SCHEMA} is known here"
        raise OperationFailed("ManifestUnknown", message)
    if type(schema) is not int:
        raise broken("the manifest names no schema")
    return _validated(found)


def encode(wished: Mapping[str, object]) -> bytes:
    """The manifest `wished` as it is written.  Raises BadArguments if a field does not fit."""
    try:
        fields = _validated(wished)
    except OperationFailed as error:
        raise OperationFailed("BadArguments", error.message) from None
    return json.dumps({"schema": _SCHEMA, **fields}, indent=1).encode() + b"\n"


def broken(message: str) -> OperationFailed:
    """The failure of a manifest that cannot be read."""
    return OperationFailed("ManifestBroken", message)


def _validated(found: Mapping[str, object]) -> dict[str, object]:
    """The known fields and no others, each of its type."""
    kept = _typed(found, _FIELDS, "")
    quality = found.get("quality")
    if quality is not None and not isinstance(quality, dict):
        raise broken("quality is no object")
    kept["quality"] = None if quality is None else _typed(quality, _QUALITY_FIELDS, "quality.")
    return kept


def _typed(
    found: Mapping[str, object], fields: Mapping[str, tuple[tuple[type, ...], bool]], prefix: str
) -> dict[str, object]:
    kept: dict[str, object] = {}
    for name, (kinds, optional) in fields.items():
        value = found.get(name)
        if not (value is None and optional) and not _fits(value, kinds):
            raise broken(f"{prefix}{name} is missing or of the wrong type")
        kept[name] = value
    return kept


def _fits(value: object, kinds: tuple[type, ...]) -> bool:
    if type(value) not in kinds:  # not isinstance: True is no number
        return False
    if isinstance(value, str):
        surrogates = any("\ud800" <= char <= "\udfff" for char in value)
        return len(value) <= _TEXT_LENGTH and "\0" not in value and not surrogates
    assert isinstance(value, (int, float))
    return 0 <= value < _NUMBER_LIMIT  # false for NaN, too
