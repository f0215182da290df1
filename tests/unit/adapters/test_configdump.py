"""Rules for reading containerd's configuration: each schema, its imports, and broken files."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodestoraged.adapters.runtimes import configdump

_DATA = Path(__file__).parent / "data"
_MAIN = "/etc/containerd/config.toml"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("number", "snapshotter", "address"),
    [
        (1, "native", "/run/containerd/old.sock"),
        (2, "overlayfs", "/run/containerd/containerd.sock"),
        (3, "overlayfs", "/run/containerd/containerd.sock"),
        (4, "overlayfs", "/run/containerd/containerd.sock"),
    ],
)
def test_each_schema_keeps_the_same_facts_in_other_places(
    number: int, snapshotter: str, address: str
) -> None:
    found = configdump.parse((_DATA / f"containerd-schema-{number}.toml").read_text())

    assert found is not None
    assert found.version == number
    assert (found.root, found.state) == ("/srv/containerd", "/run/containerd")
    assert found.address == address
    assert found.snapshotter == snapshotter
    assert found.snapshot_roots == ((snapshotter, "/mnt/layers"),)
    assert found.elsewhere("/srv/containerd") == ("/mnt/layers",)
    assert found.cri


def test_the_grpc_table_is_of_no_account_in_schema_4() -> None:
    text = '[grpc]\naddress = "/run/x.sock"'
    old, new = configdump.parse(f"version = 3\n{text}"), configdump.parse(f"version = 4\n{text}")
    assert old is not None
    assert new is not None
    assert (old.address, new.address) == ("/run/x.sock", None)


def test_a_snapshotter_below_the_root_is_not_elsewhere() -> None:
    text = """version = 2
[plugins."io.containerd.snapshotter.v1.overlayfs"]
root_path = "/srv/containerd/layers"
"""
    found = configdump.parse(text)
    assert found is not None
    assert found.elsewhere("/srv/containerd/") == ()
    assert found.elsewhere("/srv/cont") == ("/srv/containerd/layers",)


def test_a_snapshotter_that_is_switched_off_keeps_nothing() -> None:
    text = """version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.zfs"]
[plugins."io.containerd.snapshotter.v1.zfs"]
root_path = "/tank/containerd"
"""
    found = configdump.parse(text)
    assert found is not None
    assert found.snapshot_roots == ()


def test_a_snapshotter_of_its_own_process_counts_where_cri_uses_it() -> None:
    text = """version = 2
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "stargz"
[proxy_plugins.stargz]
type = "snapshot"
address = "/run/containerd-stargz-grpc/containerd-stargz-grpc.sock"
[proxy_plugins.stargz.exports]
root = "/var/lib/containerd-stargz-grpc/"
[proxy_plugins.other.exports]
root = "/var/lib/other"
"""
    found = configdump.parse(text)
    assert found is not None
    assert found.elsewhere("/var/lib/containerd") == ("/var/lib/containerd-stargz-grpc/",)


@pytest.mark.parametrize(
    "name", ["cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images"]
)
def test_cri_can_be_switched_off_under_each_of_its_names(name: str) -> None:
    found = configdump.parse(f'disabled_plugins = ["{name}"]')
    assert found is not None
    assert not found.cri


def test_imports_override_in_their_order_and_are_relative_to_who_names_them(
    tmp_path: Path,
) -> None:
    write(
        tmp_path,
        {
            _MAIN: 'version = 2\nroot = "/a"\nstate = "/s"\nimports = ["conf.d/*.toml"]',
            "/etc/containerd/conf.d/10-root.toml": 'version = 2\nroot = "/b"',
            "/etc/containerd/conf.d/20-root.toml": 'root = "/c"\nimports = ["/etc/more.toml"]',
            "/etc/containerd/conf.d/notes.txt": 'root = "/d"',
            "/etc/more.toml": 'root = "/e"\nimports = ["/etc/containerd/config.toml"]',
        },
    )

    found = configdump.read(_MAIN, tmp_path)

    assert found is not None
    assert (found.root, found.state) == ("/e", "/s")
    assert found.files == (
        _MAIN,
        "/etc/containerd/conf.d/10-root.toml",
        "/etc/containerd/conf.d/20-root.toml",
        "/etc/more.toml",
    )


def test_an_import_can_switch_more_off(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            _MAIN: 'disabled_plugins = ["cri"]\nimports = ["b.toml"]',
            "/etc/containerd/b.toml": 'disabled_plugins = ["io.containerd.snapshotter.v1.zfs"]',
        },
    )
    found = configdump.read(_MAIN, tmp_path)
    assert found is not None
    assert not found.cri


@pytest.mark.parametrize(
    "broken", ["root = ", "\0\0", "[a]\n[a]", 'root = "/x"\n' + "[" * 3000, "é".encode("latin-1")]
)
def test_a_broken_import_is_named_and_the_rest_counts(tmp_path: Path, broken: str | bytes) -> None:
    write(tmp_path, {_MAIN: 'root = "/a"\nimports = ["b.toml"]'})
    data = broken if isinstance(broken, bytes) else broken.encode()
    (tmp_path / "etc/containerd/b.toml").write_bytes(data)

    found = configdump.read(_MAIN, tmp_path)

    assert found is not None
    assert found.root == "/a"
    assert found.problems == ("/etc/containerd/b.toml cannot be read as TOML",)


@pytest.mark.parametrize(
    "text",
    ["root = 7", "plugins = 3", 'imports = "x"', "imports = [3]", "disabled_plugins = 1",
     'version = "two"', "[plugins]\noverlayfs = 3", "[proxy_plugins]\nx = 1", "grpc = []"],
)  # fmt: skip
def test_values_of_another_kind_are_passed_over(text: str) -> None:
    found = configdump.parse(text)
    assert found is not None
    assert (found.root, found.address, found.snapshot_roots) == (None, None, ())


def test_a_missing_file_is_no_configuration(tmp_path: Path) -> None:
    assert configdump.read(_MAIN, tmp_path) is None
    (tmp_path / "etc/containerd/config.toml").mkdir(parents=True)
    assert configdump.read(_MAIN, tmp_path) is None
    assert configdump.parse("root = ") is None
