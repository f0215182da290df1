"""A directory on a mounted disk as a slot: named, judged, bound, copied to, lost with its disk."""

from __future__ import annotations

import pytest

from nodestoraged.core.requests import Request
from nodestoraged.core.words import headline
from nodestoraged.engine.preview import preview
from nodestoraged.model.config import DataPolicy, Trust
from nodestoraged.model.decision import Attention
from nodestoraged.model.errors import NodeStorageError, NotFoundError, RequestError
from nodestoraged.model.hidden import Wash
from nodestoraged.model.manifest import Manifest
from nodestoraged.model.registry import Intent, Wish
from nodestoraged.sim.node import SimNode
from nodestoraged.sim.world import NODE
from tests.property.laws import check_rest, everything_runs, observed
from tests.unit.engine.conftest import Make
from tests.unit.engine.scenes import enroll, last, plug, pull, running, stops

HOME = "/mnt/storage"
SLOT = f"{HOME}/containerd"


def with_store(make: Make, **role: object) -> SimNode:
    """A disk is in, mounted where its owner wants it, and bears no label of the role."""
    node = make(**role)
    node.world.internal_images = {"pause", "app"}
    node.world.make("store", label="photos")
    node.world.home("store", HOME)
    node.settle()
    node.run_for(5)
    return node


def test_a_directory_is_bound_proven_and_listed_with_its_path(make: Make) -> None:
    node = with_store(make)
    node.ask("switch", stick=SLOT)
    assert last(node) == ("bind", "internal", "dir1", "done")
    assert (node.serving(), node.phase) == ("store", "BOUND")
    check_rest(node, everything_runs())
    (candidate,) = node.view.candidates
    assert (candidate.device.directory, candidate.verdict) == (SLOT, "active")
    told = node.world.media["store"].manifest
    assert told is not None
    assert told.generation == 1


def test_a_directory_is_copied_to_where_it_is(make: Make) -> None:
    node = with_store(make)
    node.ask("switch", stick=SLOT, data=DataPolicy.COPY)
    assert node.world.media["store"].images == {"pause", "app"}
    assert not node.world.aside
    assert node.serving() == "store"


def test_a_directory_is_left_for_a_stick_and_its_disk_stays_mounted(make: Make) -> None:
    node = with_store(make)
    node.ask("switch", stick=SLOT)
    plug(node, "blue")
    enroll(node, "blue", no_switch=True)
    node.ask("switch", stick="blue")
    assert node.serving() == "blue"
    assert node.world.homes
    node.ask("switch", stick="dir1")
    assert node.serving() == "store"


def test_a_directory_is_lost_with_its_disk(make: Make) -> None:
    node = with_store(make)
    node.ask("switch", stick=SLOT)
    pull(node, "store")
    assert (node.serving(), running(node)) == ("internal", (True, True))


def test_half_a_copy_in_a_directory_is_finished_by_asking_again(make: Make) -> None:
    node = with_store(make)
    node.inject({4: "fail"})
    node.ask("switch", stick=SLOT, data=DataPolicy.COPY)
    assert node.serving() == "internal"
    node.run_for(700)
    with pytest.raises(RequestError) as refused:
        node.ask("switch", stick=SLOT)
    assert refused.value.reason == "Incomplete"
    node.ask("switch", stick=SLOT, data=DataPolicy.COPY)
    assert node.serving() == "store"


def test_a_directory_of_another_node_is_refused_and_not_enrolled(make: Make) -> None:
    node = with_store(make)
    node.world.media["store"].manifest = Manifest(
        id="d", generation=1, complete=True, node=f"not {NODE}", role="containerd", created=""
    )
    with pytest.raises(RequestError) as refused:
        node.ask("switch", stick=SLOT)
    assert refused.value.reason == "ForeignNode"
    assert not node.world.registry.sticks


def test_a_path_on_no_disk_is_no_slot(make: Make) -> None:
    node = with_store(make)
    with pytest.raises(NotFoundError) as refused:
        node.ask("switch", stick="/srv/containerd")
    assert refused.value.reason == "NoSuchDirectory"
    with pytest.raises(NotFoundError):
        node.ask("switch", stick="/dev/none")


@pytest.mark.parametrize("path", [f"{SLOT}/", f"{HOME}//containerd", f"{HOME}/./containerd"])
def test_a_path_may_be_written_as_people_write_it(make: Make, path: str) -> None:
    node = with_store(make)
    node.ask("switch", stick=path)
    assert node.serving() == "store"
    (stick,) = node.world.registry.sticks
    assert stick.identity.directory == SLOT


@pytest.mark.parametrize(
    "path",
    [f"{HOME}/../storage/containerd", HOME],
    ids=["a way that climbs", "the top of a file system"],
)
def test_a_path_that_mountinfo_cannot_tell_from_others_is_refused_or_serves_as_itself(
    make: Make, path: str
) -> None:
    node = with_store(make)
    try:
        node.ask("switch", stick=path)
    except NodeStorageError:
        return
    assert not observed(node).serving().foreign
    assert node.serving() == "store"
    check_rest(node, everything_runs())


@pytest.mark.parametrize("directory", ["/var/lib/containerd", "/var/lib/containerd/sub", "/var"])
def test_the_root_itself_and_what_holds_it_or_lies_in_it_is_no_slot(
    make: Make, directory: str
) -> None:
    """The final pass removes what the source has not."""
    node = with_store(make)
    node.world.homes = {directory.rpartition("/")[0] or "/": node.device("store").number}
    if directory == "/var":
        node.world.homes = {"/var": node.device("store").number}
        directory = "/var/lib"
    with pytest.raises(NodeStorageError):
        node.say("switch", stick=directory, data=DataPolicy.COPY)


@pytest.mark.parametrize(
    ("traits", "reason"),
    [
        ({"fstype": "vfat"}, "WrongFilesystem"),
        ({"size_bytes": 1 << 20}, "TooSmall"),
    ],
)
def test_a_directory_that_cannot_serve_is_refused_and_not_enrolled(
    make: Make, traits: dict[str, object], reason: str
) -> None:
    node = with_store(make)
    node.world.relabel("store", **traits)
    with pytest.raises(RequestError) as refused:
        node.ask("switch", stick=SLOT)
    assert refused.value.reason == reason
    assert not node.world.registry.sticks


def test_where_nobody_is_trusted_no_directory_is(make: Make) -> None:
    node = with_store(make, trust=Trust.NONE)
    with pytest.raises(RequestError) as refused:
        node.ask("switch", stick=SLOT)
    assert refused.value.reason == "TrustNone"


def test_a_plan_is_shown_for_a_directory_that_is_not_known_yet(make: Make) -> None:
    node = with_store(make)
    observation = observed(node)
    told = node._drive(preview(node.reconciler, observation, SLOT, None))
    assert (told["decision"], told["target"]) == ("bind", "dir1")
    assert Request(verb="switch", stick=SLOT)
    assert not node.world.registry.sticks


def test_a_directory_that_stands_by_is_washed_where_it_is(make: Make) -> None:
    node = with_store(make)
    node.ask("switch", stick=SLOT)
    node.ask("switch", stick="internal")
    node.world.media["store"].images = {"pause", "old"}
    node.world.trace.clear()
    node.ask("powerwash", stick="dir1", tier=Wash.ALL)
    assert (node.world.media["store"].images, node.serving()) == (set(), "internal")
    assert not stops(node)
    assert node.world.internal_images == {"pause", "app"}


# -- what somebody else mounted -----------------------------------------------------------------


def by_others(node: SimNode, name: str, inner: str = "/") -> None:
    """An fstab line or a script put the stick, or a directory of it, on the root at boot."""
    node.world.root_mounts = [node.device(name).number]
    node.world.inner = inner
    node.world.runtime_root = node.world.root_number
    node.settle()


def test_a_stick_that_fstab_mounted_is_adopted_without_stopping_a_pod(make: Make) -> None:
    node = make()
    plug(node, "blue")
    by_others(node, "blue")
    assert (node.phase, headline(node.view)[0]) == ("BOUND", "MountedByOthers")
    node.world.trace.clear()
    done = node.errand("adopt", stick=node.device("blue").devnode, name="blue")
    assert done is not None
    assert (done.result, stops(node)) == ("done", [])
    assert (node.phase, headline(node.view)[0]) == ("BOUND", "SlotProven")
    assert node.world.registry.named("blue") is not None
    told = node.world.media["blue"].manifest
    assert told is not None
    assert (told.node, told.generation) == (NODE, 1)
    with pytest.raises(RequestError) as again:
        node.errand("adopt", stick="blue")
    assert again.value.reason == "Active"


@pytest.mark.parametrize("wished", [None, "green", "blue"])
def test_no_wish_for_another_root_outlasts_an_adoption(make: Make, wished: str | None) -> None:
    """A removal of the package leaves one for internal, and the fstab line goes after it."""
    node = make()
    plug(node, "green")
    plug(node, "blue")
    identity = node.device(wished).identity() if wished else None
    wish = Wish(identity=identity, since="2025-12-31T00:00:00Z", boot_id="boot-0")
    node.world.intents["containerd"] = Intent(wish=wish)
    by_others(node, "blue")
    node.errand("adopt", stick=node.device("blue").devnode)
    assert node.world.intents["containerd"].wish == (wish if wished == "blue" else None)
    node.shut_down_and_boot()
    assert (node.serving(), node.phase) == ("blue", "BOUND")


def test_a_directory_that_a_script_bound_is_adopted_without_stopping_a_pod(make: Make) -> None:
    node = with_store(make)
    by_others(node, "store", "/containerd")
    assert isinstance(node.view.decision, Attention)
    assert node.view.decision.reason == "MountedByOthers"
    assert node.view.decision.hint == f"nodestoragectl adopt {SLOT}"
    node.world.trace.clear()
    done = node.errand("adopt", stick=SLOT)
    assert done is not None
    assert (done.result, stops(node)) == ("done", [])
    assert (node.phase, headline(node.view)[0]) == ("BOUND", "SlotProven")
    assert node.world.units["containerd.service"].state == "active"


def test_what_serves_cannot_be_adopted_in_parts(make: Make) -> None:
    node = make()
    plug(node, "blue")
    by_others(node, "blue")
    with pytest.raises(RequestError) as refused:
        node.errand("adopt", stick=node.device("blue").devnode, imagesOnly=True)
    assert refused.value.reason == "Active"


def test_an_adoption_of_what_serves_that_fails_enrols_nothing(make: Make) -> None:
    node = make()
    plug(node, "blue")
    by_others(node, "blue")
    node.inject({1: "fail"})
    done = node.errand("adopt", stick=node.device("blue").devnode)
    assert done is not None
    assert done.result == "failed"
    assert not node.world.registry.sticks
    assert node.phase == "BOUND"
