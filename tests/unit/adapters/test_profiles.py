"""Rules for the runtime table."""

from __future__ import annotations

import pytest

from nodestoraged.adapters.runtimes.profiles import CONTAINERD, profile_of
from nodestoraged.model.config import ProfileOverride, RoleConfig
from nodestoraged.model.errors import ConfigError


def test_auto_is_containerd_of_the_packages() -> None:
    assert profile_of(RoleConfig(name="containerd")) == CONTAINERD
    assert CONTAINERD.root == "/var/lib/containerd"
    assert CONTAINERD.runtime_units == ("containerd.service",)


def test_what_the_configuration_says_wins_and_nothing_is_a_value_too() -> None:
    over = ProfileOverride(root="/srv/c", kubelet_units=(), healthz_port=0)
    found = profile_of(RoleConfig(name="containerd", runtime="containerd", profile=over))
    assert (found.root, found.kubelet_units, found.healthz_port) == ("/srv/c", (), 0)
    assert (found.state, found.socket) == (CONTAINERD.state, CONTAINERD.socket)


def test_an_unknown_runtime_is_named_with_its_key_and_what_is_known() -> None:
    with pytest.raises(ConfigError) as caught:
        profile_of(RoleConfig(name="containerd", runtime="podman"))
    assert caught.value.key == "role.containerd.runtime"
    assert "containerd" in caught.value.hint
