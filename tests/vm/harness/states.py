"""Booted machines, kept: a cached state of each image in which the node is up and its pod runs.

Owns the cache of states. Resuming one takes little more than a second, a boot half a minute. The
states of other flavours are made of that of containerd: the change takes less than a boot.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.fakes.once import made_once
from tests.vm.harness import image as images
from tests.vm.harness import qemu
from tests.vm.harness.flavour import CONTAINERD, Flavour, become, flavour_key
from tests.vm.harness.machine import Machine
from tests.vm.harness.migration import Saved

# Two tasks: the sandbox and the application of the static pod.
POD_RUNS: Final = CONTAINERD.pod_runs
_POD_SECONDS: Final = 90.0
_MEMORY_MIB: Final = 2048
_CPUS: Final = 1


def ensure_flavour(name: str, flavour: Flavour) -> Saved:
    """Return the state of recipe `name`'s node of that flavour, static pod running.

    Makes it of that of `ensure_booted` where the cache lacks it. Raises HarnessError.
    """
    base = ensure_booted(name)
    if not flavour.embedded:
        return base
    # A dot: `prune` takes what stands after the last hyphen for the key.
    suffix = f".{flavour.runtime.replace('-', '')}.{flavour_key(flavour)}"
    final = base.directory.with_name(base.directory.name + suffix)
    made_once(final, lambda work: _change(base, flavour, work))
    return replace(base, directory=final)


def _change(base: Saved, flavour: Flavour, work: Path) -> None:
    with Machine(base, max_minutes=10) as machine:
        machine.resume()
        become(machine, flavour)
        machine.save(work)


def ensure_booted(name: str) -> Saved:
    """Return the state of recipe `name`'s machine after its boot, static pod running.

    Builds the image and boots it once where the cache lacks the state. A state is good for one
    image, one version of QEMU and one command line of it only; the key says so.
    """
    image = images.ensure(name)
    final = image.directory.with_name(f"state-{image.directory.name}-{_key()}")
    made_once(final, lambda work: _boot(image, work))
    return Saved(image=image, directory=final, memory_mib=_MEMORY_MIB, cpus=_CPUS)


def _boot(image: images.Image, work: Path) -> None:
    with Machine(image, memory_mib=_MEMORY_MIB, cpus=_CPUS, max_minutes=10) as machine:
        machine.boot()
        machine.wait_until(POD_RUNS, timeout=_POD_SECONDS)
        machine.save(work)


def _key() -> str:
    version = subprocess.run([qemu.PROGRAM, "--version"], check=True, capture_output=True).stdout
    source = Path(qemu.__file__).read_bytes()
    parts = [version.decode(), hashlib.sha256(source).hexdigest(), _MEMORY_MIB, _CPUS]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]
