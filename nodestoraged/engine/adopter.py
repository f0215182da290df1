"""The errands that make a stick this node's own, and that free what lies hidden."""

from __future__ import annotations

from dataclasses import replace

from nodestoraged.core import manifests
from nodestoraged.core.errandrules import Adoption
from nodestoraged.core.sizes import size
from nodestoraged.engine.errands import Errand, Work
from nodestoraged.engine.workbench import Workbench
from nodestoraged.model.device import BlockDevice
from nodestoraged.model.errors import StepError
from nodestoraged.model.manifest import Manifest
from nodestoraged.model.reason import MEANINGS, Reason
from nodestoraged.ports import Ports

RENEW_SECONDS = 600.0
#: Hashing what a stick holds takes as long as reading it.
SIFT_SECONDS = 6 * 3600.0
RECLAIM_SECONDS = 3600.0


def adopt(ports: Ports, workbench: Workbench, adoption: Adoption, *, images_only: bool) -> Work:
    """The stick is this node's: its manifest says so, and with `images_only` holds no more."""
    before = ports.store.registry().named(adoption.stick.name)

    async def work(errand: Errand) -> str:
        device, stick = adoption.candidate.device, adoption.stick
        try:
            if adoption.clone:
                device = await _renewed(ports, workbench, errand, device, stick.name)
            stick = workbench.enrol(replace(stick, identity=device.identity()))
            async with workbench.aside(errand, device, stick.name) as place:
                if not images_only:
                    _refuse_half((await workbench.read(place)).manifest, stick.name)
                else:
                    async with errand.step("only images that prove themselves are kept"):
                        await ports.roots.keep_images_only(place, deadline_seconds=SIFT_SECONDS)
                async with errand.step("the manifest is written"):
                    known = (await workbench.read(place)).manifest
                    own = adoption.clone or images_only
                    manifest = manifests.adopted(
                        known,
                        ports.sticks.new_id() if own or known is None else known.id,
                        workbench.here(),
                        at_least=stick.generation,
                    )
                    await workbench.write(device, place, manifest)
        except BaseException:
            workbench.give_back(stick, before)
            raise
        workbench.release(
            replace(stick, data_id=manifest.id, generation=manifest.generation), device
        )
        return f"{stick.name} is adopted"

    return work


def adopt_serving(ports: Ports, workbench: Workbench, adoption: Adoption, root: str) -> Work:
    """What serves already is this node's, as if we had mounted it; nothing is stopped for it."""
    before = ports.store.registry().named(adoption.stick.name)

    async def work(errand: Errand) -> str:
        device, stick = adoption.candidate.device, adoption.stick
        known = (await workbench.read(root)).manifest
        _refuse_half(known, stick.name)
        manifest = manifests.activated(
            known, known.id if known else ports.sticks.new_id(), workbench.here()
        )
        try:
            async with errand.step("the manifest is written"):
                await workbench.write(device, root, manifest)
        except BaseException:
            workbench.give_back(stick, before)
            raise
        stick = replace(stick, data_id=manifest.id, generation=manifest.generation)
        workbench.took_over(stick, device)
        return f"{stick.name} is adopted; whatever mounts it at boot may go"

    return work


def _refuse_half(manifest: Manifest | None, name: str) -> None:
    """Nobody may have read it before: what was begun and not finished is no stick to adopt."""
    if manifest is not None and not manifest.complete:
        raise StepError(
            Reason.INCOMPLETE,
            f"{name}: {MEANINGS[Reason.INCOMPLETE]}",
            f"nodestoragectl switch {name} --copy, or adopt --images-only",
        )


def reclaim(ports: Ports, root: str) -> Work:
    """Nothing lies hidden under the mount on `root`; the sandbox image is there as an archive."""

    async def work(errand: Errand) -> str:
        async with errand.step("the sandbox image is kept"):
            if not ports.runtime.kept_images():
                raise StepError(
                    "SandboxImageNotSaved",
                    "no image is archived: a fallback could start no pod without a registry",
                    "name some in floor_images, or see nodestoragectl explain SandboxImageMissing",
                )
        async with errand.step("what lies hidden is removed"):
            removed = await ports.roots.reclaim(root, deadline_seconds=RECLAIM_SECONDS)
        return f"{size(removed.freed_bytes)} in {removed.files} files are free again"

    return work


async def _renewed(
    ports: Ports, workbench: Workbench, errand: Errand, device: BlockDevice, name: str
) -> BlockDevice:
    async with errand.step(f"{name} gets a UUID of its own"):
        uuid = await ports.sticks.renew_uuid(device, deadline_seconds=RENEW_SECONDS)
        return await workbench.appeared(uuid, device.number, device.devnode)
