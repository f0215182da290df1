"""The desk of errands: judges prepare, adopt and reclaim by the world, and begins them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nodestoraged.core import errandrules, preparation
from nodestoraged.core.enrolments import checked_name, free_name
from nodestoraged.core.situation import Request, occupied
from nodestoraged.engine.adopter import adopt, adopt_serving, reclaim
from nodestoraged.engine.hearing import rate, situation, text
from nodestoraged.engine.preparer import ACTIVE, EMPTY
from nodestoraged.engine.reconciler import Reconciler
from nodestoraged.model.disk import PrepareRequest
from nodestoraged.model.errors import RefusedError, RequestError
from nodestoraged.model.hidden import HiddenRoot
from nodestoraged.model.operation import INTERNAL_ROOT, Operation, OperationKind, RootRef
from nodestoraged.model.proof import Proof
from nodestoraged.model.reason import MEANINGS, Reason

Json = dict[str, object]

#: Looking through a hidden directory of many small files on a slow disk.
HIDDEN_SECONDS = 120.0
#: After a move the proof is read anew, which takes a moment.
PROOF_SECONDS = 10.0
POLL_SECONDS = 0.2


async def begin(reconciler: Reconciler, verb: str, arguments: Json) -> Operation:
    """The errand runs; raises what speaks against it."""
    _free(reconciler)
    return await _BEGIN[verb](reconciler, arguments)


async def hidden(reconciler: Reconciler) -> Json:
    """What lies hidden under the mount, and whether it may be reclaimed now."""
    found, proof = await _look(reconciler), await _proof(reconciler)
    observation = await reconciler.observe()
    role = reconciler.role
    refusal = errandrules.reclaim_refusal(observation, proof, found, role.reclaim_after_seconds)
    return {
        "path": observation.profile.root,
        "usedBytes": found.used_bytes,
        "files": found.files,
        "entries": [
            {"name": each.name, "usedBytes": each.used_bytes, "files": each.files}
            for each in found.entries
        ],
        "heldBy": list(found.held_by),
        "allowed": refusal is None,
        "reason": refusal.reason if refusal else None,
        "message": refusal.message if refusal else "",
        "hint": refusal.hint if refusal else "nodestoragectl reclaim",
    }


async def _proof(reconciler: Reconciler) -> Proof | None:
    """The proof of the root that serves; one that is being read is waited for."""
    clock = reconciler.ports.clock
    deadline = clock.boottime() + PROOF_SECONDS
    while reconciler.health.proof is None and clock.boottime() < deadline:
        if not (await reconciler.observe()).runtime_runs or reconciler.health.failure:
            break
        await clock.sleep(POLL_SECONDS)
    return reconciler.health.proof


async def _look(reconciler: Reconciler) -> HiddenRoot:
    if (await reconciler.observe()).serving().device is None:
        return HiddenRoot()
    return await reconciler.ports.roots.hidden(
        reconciler.memory.profile.root, deadline_seconds=HIDDEN_SECONDS
    )


async def _prepare(reconciler: Reconciler, arguments: Json) -> Operation:
    observation = await reconciler.observe()
    ports, registry = reconciler.ports, observation.registry
    serves = observation.serving()
    origin = text(arguments, "origin") or (ACTIVE if _fills(reconciler) else EMPTY)
    if origin.rstrip("/") == observation.profile.root:
        origin = ACTIVE
    if origin not in {ACTIVE, EMPTY} and not origin.startswith("/"):
        raise RequestError("BadOrigin", f"{origin!r} is no absolute path", "--from /PATH")
    request = PrepareRequest(
        stick=str(arguments.get("stick", "")),
        name=text(arguments, "name"),
        wipe=bool(arguments.get("wipe")),
        serial=text(arguments, "serial"),
        whole_disk=bool(arguments.get("wholeDisk")),
        fstype=text(arguments, "fstype") or "ext4",
        label=text(arguments, "label"),
        origin=origin,
        check=bool(arguments.get("check")),
        bytes_per_second=rate(arguments),
    )
    if request.fstype not in {"ext4", "xfs"}:
        raise RequestError("BadFilesystem", f"{request.fstype!r} cannot be made", "ext4 or xfs")
    disk = preparation.find(request.stick, ports.devices.disks(), registry)
    around = preparation.Surroundings(
        mounts=observation.mounts,
        root=observation.profile.root,
        minimum_size_bytes=reconciler.role.minimum_size_bytes,
    )
    refusal = preparation.refusal(disk, request, around)
    if refusal is not None:
        raise refusal
    uuids = {part.uuid for part in (*disk.parts, disk.whole)}
    again = next((s for s in registry.sticks if s.identity.uuid in uuids), None)
    if request.name is not None:
        name = checked_name(request.name, registry, but=again)
    else:
        name = again.name if again else free_name(registry)
    if serves.dead:
        raise RefusedError(Reason.STICK_LOST, MEANINGS[Reason.STICK_LOST])
    work = reconciler.preparer.prepare(disk, request, name)
    target = RootRef(identity=None, name=name)
    return reconciler.errands.begin(OperationKind.PREPARE, target, observation, work)


def _fills(reconciler: Reconciler) -> bool:
    """True if there is a root worth copying: the runtime is installed here."""
    view = reconciler.view
    return view is not None and view.observation.runtime_installed


async def _adopt(reconciler: Reconciler, arguments: Json) -> Operation:
    request = Request(verb="adopt", stick=text(arguments, "stick"), name=text(arguments, "name"))
    images_only = bool(arguments.get("imagesOnly"))
    asked = await situation(reconciler, request)
    adoption = errandrules.adoption(request, asked, images_only=images_only)
    root = asked.observation.profile.root
    if adoption.serves:
        work = adopt_serving(reconciler.ports, reconciler.workbench, adoption, root)
    else:
        work = adopt(reconciler.ports, reconciler.workbench, adoption, images_only=images_only)
    target = RootRef(identity=None, name=adoption.stick.name)
    return reconciler.errands.begin(OperationKind.ADOPT, target, asked.observation, work)


async def _reclaim(reconciler: Reconciler, _arguments: Json) -> Operation:
    found, proof = await _look(reconciler), await _proof(reconciler)
    observation = await reconciler.observe()
    refusal = errandrules.reclaim_refusal(
        observation, proof, found, reconciler.role.reclaim_after_seconds
    )
    if refusal is not None:
        raise refusal
    work = reclaim(reconciler.ports, reconciler.memory.profile.root)
    return reconciler.errands.begin(OperationKind.RECLAIM, INTERNAL_ROOT, observation, work)


_BEGIN: dict[str, Callable[[Reconciler, Json], Awaitable[Operation]]] = {
    "prepare": _prepare,
    "adopt": _adopt,
    "reclaim": _reclaim,
}
VERBS = frozenset(_BEGIN)


def _free(reconciler: Reconciler) -> None:
    if reconciler.busy and reconciler.operation is None:
        raise RefusedError(Reason.STARTING, MEANINGS[Reason.STARTING], "try again")
    if reconciler.busy or reconciler.errands.running is not None:
        raise occupied()
