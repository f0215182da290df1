"""The configuration files: merging, ownership, the sentence for each mistake, `config set`."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from nodestoraged.adapters import configfile
from nodestoraged.model.config import (
    Allowed,
    Collision,
    Config,
    Fallback,
    Services,
    Trust,
)
from nodestoraged.model.errors import ConfigError

MAIN = "etc/nodestoraged/config.toml"
ETC = "etc/nodestoraged/conf.d"
VAR = "var/lib/nodestoraged/conf.d"
USR = "usr/lib/nodestoraged/conf.d"


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)
    return path


def config(root: Path, text: str) -> Config:
    write(root, MAIN, text)
    return configfile.load(root).config


def error(root: Path, text: str) -> ConfigError:
    write(root, MAIN, text)
    with pytest.raises(ConfigError) as caught:
        configfile.load(root)
    return caught.value


@pytest.fixture(autouse=True)
def _usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


# ------------------------------------------------------------------------- files and merging


def test_without_any_file_the_defaults_hold(tmp_path):
    loaded = configfile.load(tmp_path)
    assert loaded.config == Config()
    assert loaded.origins == {}


def test_an_empty_file_is_the_defaults(tmp_path):
    assert config(tmp_path, "") == Config()


def test_every_key_of_a_role_reaches_the_model(tmp_path):
    (role,) = config(
        tmp_path,
        """
        schema = 1
        [role.containerd]
        kind = "runtime-root"
        labels = ["a"]
        filesystems = ["btrfs"]
        minimum_size = "1.5GiB"
        runtime = "k3s"
        trust = "label"
        allow = [{uuid = "u1"}, {uuid = "u2", serial = "s"}]
        collision = "pinned"
        priority = ["blue"]
        swap_grace_seconds = 0
        fallback = []
        pod_grace_seconds = 1.5
        floor_images = ["busybox:1"]
        stop_foreign = true
        switch_limit = 4
        switch_window_seconds = 5
        quarantine_seconds = 6
        probe_seconds = 7
        write_probe_seconds = 8
        boot_wait_seconds = 9
        [role.containerd.hooks]
        before_switch = [["/bin/a", "b"], ["/bin/c"]]
        after_switch = [["/bin/d"]]
        [role.containerd.profile]
        root = "/r"
        state = "/s"
        socket = "/k.sock"
        runtime_units = ["x.service"]
        kubelet_units = []
        healthz_port = 1
        stats_port = 65535
        """,
    ).roles
    assert role.labels == ("a",)
    assert role.filesystems == ("btrfs",)
    assert role.minimum_size_bytes == 3 * 2**29
    assert role.runtime == "k3s"
    assert role.trust is Trust.LABEL
    assert role.allow == (Allowed(uuid="u1"), Allowed(uuid="u2", serial="s"))
    assert role.collision is Collision.PINNED
    assert role.priority == ("blue",)
    assert role.swap_grace_seconds == 0
    assert role.fallback == ()
    assert role.pod_grace_seconds == 1.5
    assert role.floor_images == ("busybox:1",)
    assert role.stop_foreign is True
    assert role.switch_limit == 4
    assert role.switch_window_seconds == 5
    assert role.quarantine_seconds == 6
    assert role.probe_seconds == 7
    assert role.write_probe_seconds == 8
    assert role.boot_wait_seconds == 9
    assert role.hooks.before_switch == (("/bin/a", "b"), ("/bin/c",))
    assert role.hooks.after_switch == (("/bin/d",),)
    assert role.profile.root == "/r"
    assert role.profile.state == "/s"
    assert role.profile.socket == "/k.sock"
    assert role.profile.runtime_units == ("x.service",)
    assert role.profile.kubelet_units == ()
    assert role.profile.healthz_port == 1
    assert role.profile.stats_port == 65535


def test_the_daemon_table_reaches_the_model(tmp_path):
    daemon = config(
        tmp_path,
        """
        [daemon]
        settle_seconds = 0
        rescan_seconds = 1
        mount_namespace = "own"
        services = "command"
        [daemon.commands]
        start = ["/bin/sv", "start", "{unit}"]
        stop = ["/bin/sv", "stop", "{unit}"]
        status = ["/bin/sv", "status", "{unit}"]
        """,
    ).daemon
    assert daemon.settle_seconds == 0
    assert daemon.mount_namespace == "own"
    assert daemon.services is Services.COMMAND
    assert daemon.commands.stop == ("/bin/sv", "stop", "{unit}")


def test_later_files_win_key_by_key_and_are_named_as_the_origin(tmp_path):
    write(tmp_path, MAIN, '[role.containerd]\ntrust = "none"\nswitch_limit = 2\n')
    write(tmp_path, f"{USR}/99-image.toml", "[role.containerd]\nprobe_seconds = 1\n")
    write(tmp_path, f"{VAR}/50-fleet.toml", "[role.containerd]\nprobe_seconds = 2\n")
    write(tmp_path, f"{ETC}/10-a.toml", "[role.containerd]\nprobe_seconds = 3\n")
    last = write(tmp_path, f"{ETC}/20-b.toml", '[role.containerd]\ntrust = "label"\n')
    loaded = configfile.load(tmp_path)
    (role,) = loaded.config.roles
    assert (role.trust, role.switch_limit, role.probe_seconds) == (Trust.LABEL, 2, 3)
    assert loaded.origins["role.containerd.trust"] == str(last)
    assert loaded.origins["role.containerd.switch_limit"] == str(tmp_path / MAIN)
    assert loaded.origins["role.containerd.probe_seconds"] == str(tmp_path / ETC / "10-a.toml")


def test_an_array_is_replaced_and_not_appended_to(tmp_path):
    write(tmp_path, MAIN, '[role.containerd]\nfallback = ["standby", "internal"]\n')
    write(tmp_path, f"{ETC}/a.toml", '[role.containerd]\nfallback = ["internal"]\n')
    assert configfile.load(tmp_path).config.roles[0].fallback == (Fallback.INTERNAL,)


def test_drop_ins_are_read_without_a_main_file(tmp_path):
    write(tmp_path, f"{ETC}/a.toml", '[role.containerd]\ntrust = "label"\n')
    assert configfile.load(tmp_path).config.roles[0].trust is Trust.LABEL


def test_hidden_files_and_other_suffixes_are_no_drop_ins(tmp_path):
    write(tmp_path, f"{ETC}/.90-local.toml", "broken")
    write(tmp_path, f"{ETC}/a.toml.dpkg-dist", "broken")
    assert configfile.load(tmp_path).config == Config()


def test_roles_come_in_the_order_of_their_names(tmp_path):
    roles = config(tmp_path, '[role.b]\nlabels = ["b"]\n[role.a]\nlabels = ["a"]\n').roles
    assert [role.name for role in roles] == ["a", "b"]


def test_a_syntax_error_names_file_and_line(tmp_path):
    found = error(tmp_path, "schema = 1\n[role\n")
    assert found.path == str(tmp_path / MAIN)
    assert "line 2" in found.message


def test_bytes_that_are_not_utf8_are_refused(tmp_path):
    path = write(tmp_path, MAIN, "")
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="decode"):
        configfile.load(tmp_path)


def test_a_file_larger_than_any_configuration_is_refused(tmp_path):
    assert "larger" in error(tmp_path, "#" * (2 << 20)).message


# ------------------------------------------------------------------------------- who wrote it


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_can_write_is_refused(tmp_path, mode):
    path = write(tmp_path, MAIN, "schema = 1\n")
    path.chmod(mode)
    with pytest.raises(ConfigError, match="writable by others") as caught:
        configfile.load(tmp_path)
    assert caught.value.path == str(path)
    assert caught.value.hint == f"chmod go-w {path}"


@pytest.mark.parametrize("directory", ["etc", "etc/nodestoraged", ETC])
def test_a_directory_above_that_others_can_write_is_refused(tmp_path, directory):
    write(tmp_path, f"{ETC}/a.toml", "schema = 1\n")
    (tmp_path / directory).chmod(0o777)
    with pytest.raises(ConfigError, match="writable by others"):
        configfile.load(tmp_path)


def test_a_sticky_directory_is_no_danger_to_a_file_of_root(tmp_path):
    write(tmp_path, MAIN, "schema = 1\n")
    (tmp_path / "etc").chmod(0o1777)
    assert configfile.load(tmp_path).config == Config()


@pytest.mark.parametrize("what", [MAIN, "etc/nodestoraged"])
def test_a_file_or_directory_of_somebody_else_is_refused(tmp_path, what):
    write(tmp_path, MAIN, "schema = 1\n")
    os.chown(tmp_path / what, 12345, 0)
    with pytest.raises(ConfigError, match="belongs to uid 12345"):
        configfile.load(tmp_path)


def test_a_link_is_judged_by_what_it_leads_to(tmp_path):
    target = write(tmp_path, "srv/config.toml", '[role.containerd]\ntrust = "label"\n')
    (tmp_path / "etc/nodestoraged").mkdir(parents=True)
    (tmp_path / MAIN).symlink_to(target)
    assert configfile.load(tmp_path).config.roles[0].trust is Trust.LABEL
    target.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="writable by others"):
        configfile.load(tmp_path)


def test_a_dangling_link_is_an_error_and_not_a_missing_file(tmp_path):
    (tmp_path / "etc/nodestoraged").mkdir(parents=True)
    (tmp_path / MAIN).symlink_to("nowhere")
    with pytest.raises(ConfigError, match="No such file"):
        configfile.load(tmp_path)


def test_a_fifo_in_the_place_of_the_file_does_not_hang(tmp_path):
    (tmp_path / "etc/nodestoraged").mkdir(parents=True)
    os.mkfifo(tmp_path / MAIN, 0o600)
    with pytest.raises(ConfigError, match="not a regular file"):
        configfile.load(tmp_path)


# ------------------------------------------------------------------------------ wrong keys


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("schemas = 1", "schemas", "did you mean schema?"),
        (
            '[role.containerd]\ncollisions = "ask"',
            "role.containerd.collisions",
            "did you mean role.containerd.collision?",
        ),
        (
            "[role.containerd]\nbefore_switch = []",
            "role.containerd.before_switch",
            "did you mean role.containerd.hooks.before_switch?",
        ),
        (
            "[role.containerd]\nsettle_seconds = 1",
            "role.containerd.settle_seconds",
            "did you mean daemon.settle_seconds?",
        ),
        (
            "[daemon]\nprobe_seconds = 1",
            "daemon.probe_seconds",
            "did you mean role.containerd.probe_seconds?",
        ),
        ("[role.containerd.profile]\nxyzzy = 1", "role.containerd.profile.xyzzy", "known here: "),
    ],
)
def test_an_unknown_key_names_file_key_and_what_was_meant(tmp_path, text, key, hint):
    found = error(tmp_path, text)
    assert found.key == key
    assert found.path == str(tmp_path / MAIN)
    assert found.message == f"{tmp_path / MAIN}: {key}: unknown key"
    assert found.hint.startswith(hint)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("labels = []", "must not be empty"),
        ('labels = ["a", "a"]', "names something twice"),
        ('labels = [""]', "must not be empty"),
        (f'labels = ["{"x" * 37}"]', "longer than 36"),
        (r'labels = ["a\u001bb"]', "control characters"),
        ('labels = "a"', "must be an array, not a string"),
        ("labels = [1]", "must be a string, not an integer"),
        ('filesystems = ["vfat"]', "cannot hold a runtime root"),
        ('minimum_size = "4G"', "is not a size"),
        ('minimum_size = "-4GiB"', "is not a size"),
        ("minimum_size = -1", "must not be negative"),
        ("minimum_size = 1.5", "must be a size, not a float"),
        ("minimum_size = true", "must be a size, not a boolean"),
        ('runtime = "../x"', "is not a name"),
        ('kind = "mount"', "needs a newer one"),
        ('trust = "everyone"', "not one of them"),
        ("trust = true", "must be a string, not a boolean"),
        ('allow = ["u"]', "must hold tables"),
        ('allow = [{serial = "s"}]', "a uuid"),
        ('allow = [{uuid = "u", port = "1"}]', "nothing else"),
        ('collision = "pinned"', "must not be empty"),
        ('collision = "priority"', "must not be empty"),
        ('fallback = ["internal", "internal"]', "twice"),
        ('fallback = ["rescue"]', "not one of them"),
        ("stop_foreign = 1", "must be true or false, not an integer"),
        ('stop_foreign = "yes"', "must be true or false, not a string"),
        ("switch_limit = 0", "must be from 1"),
        ("switch_limit = 1.0", "must be a whole number, not a float"),
        ("switch_limit = true", "must be a whole number, not a boolean"),
        ("probe_seconds = 0", "must be more than 0"),
        ("probe_seconds = nan", "must be at most"),
        ("probe_seconds = inf", "must be at most"),
        ("probe_seconds = 2026-01-01", "not a date or time"),
        ("probe_seconds = 400", "must be at least probe_seconds"),
        ("swap_grace_seconds = -1", "must be at least 0"),
        ("swap_grace_seconds = true", "must be a number of seconds, not a boolean"),
        ('swap_grace_seconds = "10"', "must be a number of seconds, not a string"),
        ("boot_wait_seconds = 1e9", "must be at most"),
        ('hooks.before_switch = ["/bin/a"]', "a program and its arguments"),
        ("hooks.before_switch = [[]]", "a program and its arguments"),
        ('hooks.before_switch = [["drain"]]', "not a plain absolute path"),
        ('hooks.after_switch = [["/bin/a", 1]]', "strings only"),
        ("hooks = 1", "must be a table, not an integer"),
        ('profile.root = "/"', "not a plain absolute path"),
        ('profile.root = "var"', "not a plain absolute path"),
        ('profile.root = "/a/../b"', "not a plain absolute path"),
        ("profile.runtime_units = []", "must not be empty"),
        ('profile.runtime_units = ["-x"]', "not the name of a service"),
        ("profile.healthz_port = 0", "must be from 1 to 65535"),
        ("profile.stats_port = 65536", "must be from 1 to 65535"),
    ],
)
def test_a_wrong_value_is_refused_with_its_file_and_key(tmp_path, line, problem):
    found = error(tmp_path, f"[role.containerd]\n{line}\n")
    assert problem in found.message
    assert found.key.startswith("role.containerd.")
    assert found.path == str(tmp_path / MAIN)
    assert found.reason == "InvalidConfig"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("schema = 2", "schema 1 only"),
        ('schema = "1"', "schema 1 only"),
        ("schema = true", "schema 1 only"),
        ("role = 1", "role: must be a table"),
        ("[role]\ncontainerd = 1", "role.containerd: must be a table"),
        ('[role."a/b"]', "is not a name"),
        (f"[role.{'x' * 33}]", "is not a name"),
        ("[daemon]\nrescan_seconds = 0.5", "must be at least 1"),
        ('[daemon]\nservices = "runit"', "not one of them"),
        ('[daemon]\nservices = "command"', "daemon.commands.start: must not be empty"),
        ('[daemon.commands]\nstart = "sv"', "a program and its arguments"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, text, problem):
    assert problem in error(tmp_path, text).message


def test_one_label_belongs_to_one_role(tmp_path):
    found = error(tmp_path, '[role.a]\nlabels = ["x", "y"]\n[role.b]\nlabels = ["y"]\n')
    assert found.key == "role.b.labels"
    assert "'y' already belongs to role a" in found.message


def test_the_default_labels_cannot_belong_to_two_roles(tmp_path):
    assert "already belongs to role a" in error(tmp_path, "[role.a]\n[role.b]\n").message


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ('"4GiB"', 4 * 2**30),
        ('"4 GB"', 4 * 10**9),
        ('"0B"', 0),
        ('"512KiB"', 2**19),
        ('"1TiB"', 2**40),
        ("12345", 12345),
    ],
)
def test_sizes_are_read_in_binary_and_decimal_units(tmp_path, text, size_bytes):
    (role,) = config(tmp_path, f"[role.containerd]\nminimum_size = {text}\n").roles
    assert role.minimum_size_bytes == size_bytes


# ---------------------------------------------------------------------------------- show


def test_show_names_value_and_origin_of_every_key(tmp_path):
    write(
        tmp_path,
        MAIN,
        '[role.containerd]\nminimum_size = 1073741824\nallow = [{uuid = "u", serial = "s"}]\n'
        '[role.containerd.hooks]\nafter_switch = [["/bin/a", "\\"b"]]\n',
    )
    shown = {row.key: row for row in configfile.show(configfile.load(tmp_path))}
    assert shown["role.containerd.minimum_size"].value == '"1GiB"'
    assert shown["role.containerd.minimum_size"].origin == str(tmp_path / MAIN)
    assert shown["role.containerd.allow"].value == '[{uuid = "u", serial = "s"}]'
    assert shown["role.containerd.hooks.after_switch"].value == '[["/bin/a", "\\"b"]]'
    assert shown["daemon.rescan_seconds"].value == "30"
    assert shown["daemon.rescan_seconds"].origin == ""
    assert "role.containerd.profile.root" not in shown


def test_what_show_prints_is_the_same_configuration_when_read(tmp_path):
    write(tmp_path, MAIN, '[role.containerd]\npriority = ["blue", "a\\tb"]\nminimum_size = 1000\n')
    with pytest.raises(ConfigError, match="control"):
        configfile.load(tmp_path)
    write(tmp_path, MAIN, '[role.containerd]\npriority = ["blue", "ü"]\nminimum_size = 1000\n')
    loaded = configfile.load(tmp_path)
    rows = [row for row in configfile.show(loaded) if not row.key.startswith("daemon.commands")]
    again = tmp_path / "again"
    write(again, MAIN, "".join(f"{row.key} = {row.value}\n" for row in rows))
    assert configfile.load(again).config == loaded.config


# ----------------------------------------------------------------------------------- set


def test_set_writes_one_drop_in_and_keeps_what_it_held(tmp_path):
    first = configfile.set_key(tmp_path, "role.containerd.trust", "label")
    second = configfile.set_key(tmp_path, "daemon.rescan_seconds", "60")
    assert first == second == tmp_path / ETC / "90-local.toml"
    assert tomllib.loads(first.read_text()) == {
        "role": {"containerd": {"trust": "label"}},
        "daemon": {"rescan_seconds": 60},
    }
    assert first.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in first.parent.iterdir()] == ["90-local.toml"]
    loaded = configfile.load(tmp_path).config
    assert loaded.roles[0].trust is Trust.LABEL
    assert loaded.daemon.rescan_seconds == 60


@pytest.mark.parametrize(
    ("key", "raw", "stored"),
    [
        ("role.containerd.trust", '"label"', "label"),
        ("role.containerd.trust", "label", "label"),
        ("role.containerd.runtime", "1234", "1234"),
        ("role.containerd.minimum_size", "8GiB", "8GiB"),
        ("role.containerd.minimum_size", "8", 8),
        ("role.containerd.labels", '["a", "b"]', ["a", "b"]),
        ("role.containerd.stop_foreign", "true", True),
        ("role.containerd.hooks.after_switch", '[["/bin/a"]]', [["/bin/a"]]),
        ("role.containerd.profile.root", "/srv/c", "/srv/c"),
        ("schema", "1", 1),
    ],
)
def test_set_takes_toml_values_and_bare_strings(tmp_path, key, raw, stored):
    path = configfile.set_key(tmp_path, key, raw)
    value = tomllib.loads(path.read_text())
    for part in key.split("."):
        value = value[part]
    assert value == stored


@pytest.mark.parametrize(
    ("key", "raw", "problem"),
    [
        ("role.containerd.trusted", "label", "unknown key"),
        ("role.containerd.trust", "all", "not one of them"),
        ("role.containerd.trust.x", "all", "unknown key"),
        ("role.containerd.probe_seconds", "0", "more than 0"),
        ("role.containerd.probe_seconds", "soon", "number of seconds, not a string"),
        ("role.containerd.probe_seconds", "1\nx = 2", "number of seconds"),
        ("role.containerd.hooks", "x", "is a table"),
        ("role.containerd", "x", "role"),
        ("role", "x", "role"),
        ("", "x", "unknown key"),
        ("role..trust", "label", "must not be empty"),
        ("role.A.trust", "label", "is not a name"),
        ("role.containerd.collision", "pinned", "priority: must not be empty"),
    ],
)
def test_a_set_that_is_refused_changes_nothing(tmp_path, key, raw, problem):
    path = configfile.set_key(tmp_path, "role.containerd.trust", "none")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=problem):
        configfile.set_key(tmp_path, key, raw)
    assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir()] == ["90-local.toml"]


def test_a_refused_first_set_leaves_no_file(tmp_path):
    with pytest.raises(ConfigError):
        configfile.set_key(tmp_path, "role.containerd.trust", "all")
    assert not (tmp_path / "etc").exists()


def test_a_set_that_a_later_file_overrules_is_refused(tmp_path):
    later = write(tmp_path, f"{ETC}/95-fleet.toml", '[role.containerd]\ntrust = "none"\n')
    with pytest.raises(ConfigError, match="no effect") as caught:
        configfile.set_key(tmp_path, "role.containerd.trust", "label")
    assert caught.value.path == str(later)
    assert not (tmp_path / ETC / "90-local.toml").exists()


def test_a_broken_file_elsewhere_refuses_a_set(tmp_path):
    write(tmp_path, MAIN, "nonsense = 1\n")
    with pytest.raises(ConfigError, match="nonsense"):
        configfile.set_key(tmp_path, "role.containerd.trust", "label")
    assert not (tmp_path / ETC).exists()


def test_a_restrictive_umask_does_not_hide_the_file_from_readers(tmp_path):
    os.umask(0o077)
    path = configfile.set_key(tmp_path, "role.containerd.trust", "label")
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.parent.stat().st_mode & 0o777 == 0o755
