"""The interface `io.nodestorage`: one table of methods for server, client and description.

Owns: names, parameter types, who may call, what streams, the errors, and the text of the
Varlink interface definition.  May not know: how a method is carried out.
No dataclasses and no typing: the command line imports this and is measured against a bare
interpreter.  The shipped file `io.nodestorage.varlink` is `describe()`, kept equal by a test.
"""

from __future__ import annotations

__all__ = [
    "ERRORS", "INTERFACE", "METHODS", "SOCKET_PATH", "Method", "describe", "wrong_parameter",
]  # fmt: skip

INTERFACE = "io.nodestorage"
#: Where the daemon listens unless it is told of another run-time directory.
SOCKET_PATH = f"/run/nodestoraged/{INTERFACE}"

NEVER, MAY, MUST = "never", "may", "must"

Fields = tuple[tuple[str, str], ...]


class Method:
    """One method: its parameters and results as (name, Varlink type), and its rules.

    `verb` is the word that `NodeService.act` gets, "" for a method that only reads.
    `stream` says what `more` means: never (one reply), may, or must be given.
    """

    __slots__ = ("doc", "name", "parameters", "results", "stream", "verb")

    def __init__(
        self, name: str, parameters: Fields, results: Fields, *,
        doc: str, stream: str = NEVER, verb: str = "",
    ) -> None:  # fmt: skip
        self.name = name
        self.parameters = parameters
        self.results = results
        self.doc = doc
        self.stream = stream
        self.verb = verb

    @property
    def changes(self) -> bool:
        """True when only root may call it."""
        return bool(self.verb)


_ROLE = ("role", "?string")
_ACTED: Fields = (
    ("operationId", "?string"),
    ("changed", "bool"),
    ("message", "string"),
    ("hint", "string"),
)


def _act(verb: str, doc: str, *parameters: tuple[str, str]) -> Method:
    return Method(verb.capitalize(), (_ROLE, *parameters), _ACTED, doc=doc, verb=verb)


_STICK = ("stick", "string")

_ALL = (
    Method(
        "GetStatus", (("generation", "?int"),), (("status", "object"),), stream=MAY,
        doc="The whole state, as `nodestoragectl status -o json` prints it. With more: one reply\n"
        "whenever the generation is another than the one given or sent last.",
    ),
    Method(
        "ListOperations", (_ROLE, ("limit", "?int")), (("operations", "[]object"),), stream=MAY,
        doc="Operations, newest first. With more: then those that changed, as they change.",
    ),
    Method(
        "GetOperation", (("id", "string"),), (("operation", "object"),), stream=MAY,
        doc="One operation. With more: again after each step, until it has a result.",
    ),
    Method(
        "ListEvents", (("since", "?string"),), (("events", "[]object"),),
        doc="Events since an RFC 3339 time, oldest first. Each bears a cursor.",
    ),
    Method(
        "WatchEvents", (("cursor", "int"),), (("events", "[]object"),), stream=MUST,
        doc="Events after the cursor, as they come.",
    ),
    Method(
        "Plan", (_ROLE, ("to", "?string"), ("device", "?string"), ("data", "?string")),
        (("plan", "object"),),
        doc="What would be done, and by which steps; changes nothing. to: a stick.\n"
        "device: the description of a stick that is not there. data: as in Switch.",
    ),
    Method(
        "GetHidden", (_ROLE,), (("hidden", "object"),),
        doc="What lies hidden below the mount on the runtime root, its size, who holds any of it,\n"
        "and whether Reclaim may delete it. Reads a whole directory tree: it may take minutes.",
    ),
    _act("switch", "Move to a stick, to internal, to a directory (an absolute path), or to what\n"
         "the policy says (auto). data: keep, copy or pinned. rate: bytes per second.",
         _STICK, ("noWait", "?bool"), ("data", "?string"), ("rate", "?int")),
    _act("eject", "Make a stick safe to pull out.",
         ("stick", "?string"), ("to", "?string"), ("waitSeconds", "?float")),
    _act("rollback", "Switch to what served before."),
    _act("enroll", "Trust a stick on this node.",
         _STICK, ("name", "?string"), ("noSwitch", "?bool")),
    _act("forget", "End a stick's enrolment.", _STICK),
    _act("rename", "Give an enrolled stick another name.", _STICK, ("name", "string")),
    _act("delist", "Keep a stick enrolled, but never choose it.", _STICK),
    _act("relist", "End delist.", _STICK),
    _act("adopt", "Take over a stick that served elsewhere, or is an older copy; with imagesOnly\n"
         "only the content whose checksum is right.",
         _STICK, ("name", "?string"), ("imagesOnly", "?bool")),
    _act("prepare", "Make a disk a stick of this role: partition, file system, label, data.\n"
         "serial: confirms wipe. origin: empty, active, or an absolute path.",
         _STICK, ("name", "?string"), ("wipe", "?bool"), ("serial", "?string"),
         ("wholeDisk", "?bool"), ("fstype", "?string"), ("label", "?string"),
         ("origin", "?string"), ("check", "?bool"), ("rate", "?int")),
    _act("reclaim", "Delete what lies hidden below the mount on the runtime root."),
    _act("powerwash", "Clear what the runtime keeps. tier: containers, images or all.",
         ("tier", "string"), ("stick", "?string"), ("nextBoot", "?bool")),
    _act("pause", "No automatic moves towards a stick; failover and boot still work."),
    _act("resume", "End pause; with clear also NO_CHANGES.", ("clear", "?bool")),
    _act("abort", "Stop an operation and roll it back.", ("id", "string")),
    _act("reload", "Read the configuration again."),
)  # fmt: skip

METHODS = {method.name: method for method in _ALL}

_SAID = "(reason: string, message: string, hint: string, exitCode: int)"

#: Our errors: name, fields, when.  exitCode is what `nodestoragectl` exits with.
ERRORS = (
    ("Error", _SAID, "It failed."),
    ("NotFound", _SAID, "No such object, or an ambiguous name."),
    ("Refused", _SAID, "Policy or the present situation forbids it; nothing has changed."),
    ("NotReady", _SAID, "The daemon cannot answer yet, or has too many clients."),
    (
        "PermissionDenied",
        "(reason: string, message: string, hint: string, exitCode: int, group: string)",
        "Only root changes things; members of the group may read.",
    ),
)

_CHECKS = {
    "string": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
}


def wrong_parameter(method: Method, parameters: dict[str, object]) -> str | None:
    """The name of the first parameter that is unknown, missing or of a wrong type, or None."""
    known = dict(method.parameters)
    for name in parameters:
        if name not in known:
            return name
    for name, kind in method.parameters:
        value = parameters.get(name)
        if value is None and kind[0] == "?":
            continue
        if not _CHECKS[kind.lstrip("?")](value):
            return name
    return None


def describe() -> str:
    """The interface definition in Varlink's own language."""
    lines = [
        "# The local interface of nodestoraged: images of a Kubernetes node on a labelled stick.",
        "# Members of the group nodestorage may read; root may change.",
        f"interface {INTERFACE}",
    ]
    for method in _ALL:
        lines += ["", *(f"# {line}" for line in method.doc.split("\n"))]
        lines += [f"method {method.name}{_fields(method.parameters)} -> {_fields(method.results)}"]
    for name, fields, doc in ERRORS:
        lines += ["", f"# {doc}", f"error {name} {fields}"]
    return "\n".join(lines) + "\n"


def _fields(fields: Fields) -> str:
    return "(" + ", ".join(f"{name}: {kind}" for name, kind in fields) + ")"
