"""Rules for finding the runtime that is in force, and where its root is."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from nodestoraged.adapters.runtimes import discovery
from nodestoraged.adapters.runtimes.discovery import Discovery, discover
from nodestoraged.model.config import ProfileOverride, RoleConfig
from nodestoraged.model.errors import ConfigError
from nodestoraged.model.runtime import RuntimeProfile


class Node:
    """A machine's files below a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def file(self, name: str, text: str = "") -> Path:
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def unit(self, name: str, exec_start: str = "/usr/bin/x", *, enabled: bool = True) -> None:
        self.file(f"/usr/lib/systemd/system/{name}", f"[Service]\nExecStart={exec_start}\n")
        if enabled:
            self.file(f"/etc/systemd/system/multi-user.target.wants/{name}")

    def process(
        self,
        pid: int,
        *arguments: str,
        name: str = "containerd",
        parent: str = "systemd",
        cgroup: str = "",
        nested: bool = False,
        state: str = "S (sleeping)",
    ) -> None:
        inner = f"\t{pid}\t17" if nested else f"\t{pid}"
        self.file(f"/proc/{pid}/comm", f"{name}\n")
        self.file(f"/proc/{pid}/cmdline", "\0".join((name, *arguments)) + "\0")
        self.file(f"/proc/{pid}/cgroup", f"0::{cgroup}\n")
        self.file(f"/proc/{pid}/status", f"State:\t{state}\nPPid:\t{pid - 1}\nNSpid:{inner}\n")
        self.file(f"/proc/{pid - 1}/comm", f"{parent}\n")

    def find(self, runtime: str = "auto", **over: object) -> Discovery:
        profile = ProfileOverride(**over)  # type: ignore[arg-type]
        role = RoleConfig(name="r", runtime=runtime, profile=profile)
        return discover(role, root=self.root)

    def profile(self, runtime: str = "auto", **over: object) -> RuntimeProfile:
        return self.find(runtime, **over).profile


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


# --- which runtime -----------------------------------------------------------------------------


def test_an_empty_machine_has_the_table_s_defaults_and_says_so(node: Node) -> None:
    found = node.find()
    assert found.profile.name == "containerd"
    assert found.sources == ("runtime containerd: nothing is installed yet",)


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        ("containerd.service", "containerd"),
        ("k3s.service", "k3s"),
        ("k3s-agent.service", "k3s"),
        ("rke2-server.service", "rke2"),
        ("rke2-agent.service", "rke2"),
        ("k0sworker.service", "k0s"),
        ("snap.microk8s.daemon-containerd.service", "microk8s"),
        ("crio.service", "crio"),
        ("docker.service", "docker"),
    ],
)
def test_an_enabled_unit_names_its_runtime(node: Node, unit: str, name: str) -> None:
    node.unit(unit)
    found = node.find()
    assert found.profile.name == name
    assert found.sources[0] == f"runtime {name}: {unit} is enabled"


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("/usr/bin/containerd", "containerd"),
        ("/usr/local/bin/k3s", "k3s"),
        ("/usr/bin/crio", "crio"),
    ],
)
def test_a_program_without_a_unit_is_a_trace_too(node: Node, program: str, name: str) -> None:
    node.file(program)
    assert node.find().sources[0] == f"runtime {name}: {program} is installed"


def test_openrc_has_scripts_and_runlevels(node: Node) -> None:
    node.file("/etc/init.d/containerd", "#!/sbin/openrc-run\n")
    node.file("/etc/init.d/k3s", "#!/sbin/openrc-run\n")
    node.file("/etc/runlevels/default/k3s")
    assert node.find().sources == ("runtime k3s: k3s.service is enabled",)


def test_what_embeds_a_kubelet_goes_before_what_stands_on_any_machine(node: Node) -> None:
    for unit in ("containerd.service", "docker.service", "podman.socket", "k3s.service"):
        node.unit(unit)
    found = node.find()
    assert found.profile.name == "k3s"
    assert found.sources[-1] == "also here: containerd, docker, podman"


def test_enabled_outweighs_running_and_running_outweighs_installed(node: Node) -> None:
    """In the middle of a move our own runtime is stopped, and another one may run."""
    node.unit("k3s.service", enabled=False)
    node.unit("containerd.service", enabled=False)
    assert node.profile().name == "k3s"
    node.process(500, cgroup="/system.slice/containerd.service")
    assert node.find().sources[0] == "runtime containerd: process 500 runs"
    node.unit("k3s.service", enabled=True)
    assert node.profile().name == "k3s"


def test_the_kubelet_that_is_installed_decides_between_two(node: Node) -> None:
    node.unit("containerd.service")
    node.unit("crio.service")
    flags = 'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix:///var/run/crio/crio.sock"'
    node.file("/var/lib/kubelet/kubeadm-flags.env", flags)
    node.unit("kubelet.service", enabled=False)
    assert node.find().sources[0] == (
        "runtime crio: /var/lib/kubelet/kubeadm-flags.env names /run/crio/crio.sock"
    )
    socket = 'containerRuntimeEndpoint: "unix:///run/containerd/containerd.sock"\n'
    node.file("/var/lib/kubelet/instance-config.yaml", socket)
    assert node.profile().name == "containerd"


def test_what_a_kubelet_left_behind_says_nothing(node: Node) -> None:
    node.unit("k3s.service")
    node.unit("containerd.service")
    node.file("/etc/crictl.yaml", "runtime-endpoint: unix:///run/containerd/containerd.sock\n")
    assert node.profile().name == "k3s"


def test_a_masked_unit_is_not_installed(node: Node) -> None:
    node.unit("containerd.service", enabled=False)
    node.unit("crio.service", enabled=False)
    mask = node.root / "etc/systemd/system/containerd.service"
    mask.parent.mkdir(parents=True, exist_ok=True)
    mask.symlink_to("/dev/null")
    assert node.profile().name == "crio"


def test_podman_is_named_and_never_chosen(node: Node) -> None:
    node.unit("podman.socket")
    assert node.find().sources[0] == "runtime containerd: nothing is installed yet"
    assert node.profile("podman").name == "podman"


def test_docker_s_containerd_without_cri_is_docker_s(node: Node) -> None:
    node.unit("containerd.service")
    node.file("/etc/containerd/config.toml", 'disabled_plugins = ["cri"]')
    assert node.profile().name == "containerd"
    node.unit("docker.service")
    found = node.find()
    assert found.profile.name == "docker"
    assert found.profile.elsewhere == ("/var/lib/docker",)
    assert "elsewhere /var/lib/docker" in found.sources


def test_a_kubelet_s_containerd_stays_so_beside_docker(node: Node) -> None:
    node.unit("containerd.service")
    node.unit("docker.service")
    node.file("/etc/containerd/config.toml", "version = 2")
    assert node.profile().name == "containerd"


def test_a_runtime_in_a_container_or_of_somebody_is_none_of_the_machine_s(node: Node) -> None:
    node.process(500, cgroup="/kubepods/pod1/docker.service", nested=True)
    node.process(600, "--address", "/tmp/x/c.sock", "--root", "/tmp/x/root", parent="bash")
    found = node.find("containerd")
    assert found.profile.root == "/var/lib/containerd"
    assert node.find().sources == ("runtime containerd: nothing is installed yet",)


def test_a_process_in_uninterruptible_sleep_is_not_read(node: Node) -> None:
    node.process(500, "--root", "/x", cgroup="/a/containerd.service", state="D (disk sleep)")
    assert node.profile("containerd").root == "/var/lib/containerd"


def test_a_process_without_a_service_is_the_machine_s_where_it_listens_as_expected(
    node: Node,
) -> None:
    node.process(500, "--root", "/srv/c", parent="supervise-daemo")
    assert node.profile().root == "/srv/c"
    node.process(500, "--root", "/srv/c", "-a", "/tmp/c.sock", parent="bash")
    assert node.profile("containerd").root == "/var/lib/containerd"
    assert node.profile("containerd", socket="/tmp/c.sock").root == "/srv/c"


# --- where its root is -------------------------------------------------------------------------


def test_each_source_outranks_the_one_before_and_is_named(node: Node) -> None:
    node.file("/etc/containerd/config.toml", 'version = 2\nroot = "/a"\nstate = "/s"')
    assert node.find("containerd").sources[1:] == (
        "root /a: /etc/containerd/config.toml",
        "state /s: /etc/containerd/config.toml",
    )
    node.unit("containerd.service", "/usr/bin/containerd --root /b")
    found = node.find("containerd")
    assert found.profile.root == "/b"
    assert "root /b: /usr/lib/systemd/system/containerd.service" in found.sources
    node.process(500, "--root=/c", cgroup="/system.slice/containerd.service")
    found = node.find("containerd")
    assert (found.profile.root, found.profile.state) == ("/c", "/s")
    assert "root /c: arguments of process 500" in found.sources
    found = node.find("containerd", root="/d")
    assert found.profile.root == "/d"
    assert found.sources[-1] == "root: role.r.profile"


def test_a_configuration_that_the_command_line_names_is_the_one_that_is_read(node: Node) -> None:
    node.file("/etc/containerd/config.toml", 'root = "/a"')
    node.file("/etc/other.toml", 'root = "/b"\n[grpc]\naddress = "/run/b.sock"')
    node.unit("containerd.service", "@/usr/bin/containerd containerd -c /etc/other.toml")
    found = node.profile()
    assert (found.root, found.socket) == ("/b", "/run/b.sock")


def test_drop_ins_of_a_unit_replace_its_command(node: Node) -> None:
    node.unit("containerd.service", "/usr/bin/containerd --root /a")
    drop_in = "[Service]\nExecStart=\nExecStart=/usr/bin/containerd \\\n  --root '/b c/'\n"
    node.file("/etc/systemd/system/containerd.service.d/10-root.conf", drop_in)
    assert node.profile().root == "/b c"


def test_a_local_drop_in_outranks_the_vendors_and_replaces_one_of_its_name(node: Node) -> None:
    command = "[Service]\nExecStart=\nExecStart=/usr/bin/containerd --root {}\n"
    node.unit("containerd.service", "/usr/bin/containerd")
    node.file("/usr/lib/systemd/system/containerd.service.d/10-a.conf", command.format("/vendor"))
    node.file("/etc/systemd/system/containerd.service.d/20-b.conf", command.format("/local"))
    assert node.profile().root == "/local"
    node.file("/usr/lib/systemd/system/containerd.service.d/30-c.conf", command.format("/later"))
    assert node.profile().root == "/later"
    node.file("/etc/systemd/system/containerd.service.d/30-c.conf", "")
    assert node.profile().root == "/local"


def test_a_snapshotter_elsewhere_is_told_for_the_root_in_force(node: Node) -> None:
    text = 'version = 2\n[plugins."io.containerd.snapshotter.v1.overlayfs"]\nroot_path="/srv/l"\n'
    node.file("/etc/containerd/config.toml", text)
    node.unit("containerd.service")
    found = node.find()
    assert found.profile.elsewhere == ("/srv/l",)
    assert "elsewhere /srv/l" in found.sources
    assert node.profile(root="/srv").elsewhere == ()


@pytest.mark.parametrize("name", ["k3s", "rke2"])
def test_the_data_directory_moves_the_root_and_with_it_the_configuration(
    node: Node, name: str
) -> None:
    unit = {"k3s": "k3s.service", "rke2": "rke2-server.service"}[name]
    node.unit(unit, f"/usr/local/bin/{name} \\\n    server \\\n\t'--token' 'x'")
    node.file(f"/etc/rancher/{name}/config.yaml", 'token: "x"\ndata-dir: "/data"  # big\n')
    overlay = '[plugins."io.containerd.snapshotter.v1.overlayfs"]\nroot_path = "/layers"'
    node.file("/data/agent/etc/containerd/config.toml", f"version = 3\n{overlay}")
    found = node.find()
    assert found.profile.root == "/data/agent/containerd"
    assert found.profile.socket == "/run/k3s/containerd/containerd.sock"
    assert found.profile.elsewhere == ("/layers",)
    assert f"root /data/agent/containerd: /etc/rancher/{name}/config.yaml" in found.sources


def test_the_unit_outranks_the_environment_and_that_the_settings(node: Node) -> None:
    node.file("/etc/rancher/k3s/config.yaml", "data-dir: /a\n")
    node.file("/etc/rancher/k3s/config.yaml.d/20-data.yml", "data-dir: /b\n")
    node.file("/etc/rancher/k3s/config.yaml.d/10-data.yaml", "data-dir: /1\n")
    node.unit("k3s.service", "/usr/local/bin/k3s server")
    assert node.profile().root == "/b/agent/containerd"
    environment = "[Service]\nEnvironmentFile=-/etc/systemd/system/%N.service.env\n"
    node.file("/etc/systemd/system/k3s.service.d/a.conf", environment)
    node.file("/etc/systemd/system/k3s.service.env", "K3S_DATA_DIR=/0\nK3S_DATA_DIR='/c'\n")
    assert node.profile().root == "/c/agent/containerd"
    node.unit("k3s.service", "/usr/local/bin/k3s server '--data-dir' '/d/'")
    assert node.profile().root == "/d/agent/containerd"


def test_the_settings_file_itself_can_be_moved(node: Node) -> None:
    node.file("/etc/rancher/k3s/config.yaml", "data-dir: /a\n")
    node.file("/etc/mine.yaml", "data-dir: /b\n")
    node.unit("k3s.service", "/usr/local/bin/k3s server -c /etc/mine.yaml")
    found = node.find()
    assert found.profile.root == "/b/agent/containerd"
    assert found.complete, "it is no configuration of containerd"
    node.unit("k3s.service", "/usr/local/bin/k3s server")
    environment = "[Service]\nEnvironment=K3S_CONFIG_FILE=/etc/mine.yaml\n"
    node.file("/run/systemd/system/k3s.service.d/a.conf", environment)
    assert node.profile().root == "/b/agent/containerd"


def test_a_root_in_the_template_of_k3s_counts_for_nothing(node: Node) -> None:
    """k3s gives containerd its root on the command line."""
    node.file("/var/lib/rancher/k3s/agent/etc/containerd/config.toml", 'root = "/x"')
    assert node.profile("k3s").root == "/var/lib/rancher/k3s/agent/containerd"


def test_what_runs_has_read_the_configuration_that_it_was_given(node: Node) -> None:
    node.file("/etc/a.toml", 'root = "/a"')
    node.file("/etc/b.toml", 'root = "/b"')
    node.unit("containerd.service", "/usr/bin/containerd --config /etc/a.toml")
    node.process(500, "--config", "/etc/b.toml", cgroup="/system.slice/containerd.service")
    assert node.profile().root == "/b"


def test_the_data_directory_stands_in_openrc_s_script_too(node: Node) -> None:
    script = (
        '#!/sbin/openrc-run\ncommand="/usr/local/bin/k3s"\n'
        "command_args=\"server \\\n\t'--data-dir' \\\n\t'/data' \\\n \n"
        '    >>/var/log/k3s.log 2>&1"\n'
    )
    node.file("/etc/init.d/k3s-agent", script)
    found = node.find()
    assert found.profile.root == "/data/agent/containerd"
    assert "root /data/agent/containerd: /etc/init.d/k3s-agent" in found.sources
    node.file("/etc/init.d/k3s-agent", "#!/sbin/openrc-run\ncommand_args=agent\n")
    node.file("/etc/rancher/k3s/k3s-agent.env", 'K3S_DATA_DIR="/env"\n')
    assert node.profile().root == "/env/agent/containerd"


def test_openrc_s_script_is_read_after_its_settings_and_may_use_them(node: Node) -> None:
    node.file("/etc/conf.d/k3s", 'K3S_EXEC="server"\nK3S_OPTS="--data-dir /data"\n')
    script = '#!/sbin/openrc-run\ncommand_args="${K3S_EXEC:-agent} $K3S_OPTS ${MORE:-}"\n'
    node.file("/etc/init.d/k3s", script)
    assert node.profile().root == "/data/agent/containerd"
    node.file("/etc/conf.d/k3s", 'command_args="--data-dir /settings"\n')
    assert node.profile().root == "/var/lib/rancher/k3s/agent/containerd"
    node.file("/etc/init.d/k3s", '#!/sbin/openrc-run\ncommand_args="server ${command_args}"\n')
    assert node.profile().root == "/settings/agent/containerd"


def test_k3s_hides_its_own_arguments_and_shows_containerd_s(node: Node) -> None:
    arguments = (
        *("-c", "/x/agent/etc/containerd/config.toml", "-a", "/run/k3s/containerd/containerd.sock"),
        *("--state", "/run/k3s/containerd", "--root", "/x/agent/containerd"),
    )
    node.process(500, *arguments, parent="k3s-server", cgroup="/system.slice/k3s.service")
    found = node.find()
    assert found.profile.name == "k3s"
    assert found.profile.root == "/x/agent/containerd"
    assert found.sources[0] == "runtime k3s: process 500 runs"


def test_k3s_s_containerd_is_not_the_machine_s_other_one(node: Node) -> None:
    node.process(500, "--root", "/x", parent="k3s-agent", cgroup="/openrc.k3s-agent")
    assert node.profile("containerd").root == "/var/lib/containerd"
    assert node.profile("k3s").root == "/x"
    assert node.profile("rke2").root == "/var/lib/rancher/rke2/agent/containerd"


@pytest.mark.parametrize(
    ("parent", "name"), [("k3s-server", "k3s"), ("rke2", "rke2"), ("k0s", "k0s")]
)
def test_a_parent_tells_whose_containerd_it_is(node: Node, parent: str, name: str) -> None:
    node.process(500, "--root", "/x", parent=parent, cgroup="/")
    found = node.find()
    assert (found.profile.name, found.profile.root) == (name, "/x")


def test_rke2_s_client_lies_in_its_data_directory(node: Node) -> None:
    node.unit("rke2-agent.service", "/usr/local/bin/rke2 agent --data-dir=/data")
    assert node.profile().ctr == ("/data/bin/ctr",)


def test_k3s_s_client_is_k3s_itself_wherever_it_is_installed(node: Node) -> None:
    assert node.profile("k3s").ctr == ("k3s", "ctr")
    node.file("/opt/bin/k3s")
    assert node.profile("k3s").ctr == ("/opt/bin/k3s", "ctr")


def test_variables_in_a_unit_are_expanded_as_systemd_does(node: Node) -> None:
    node.file("/etc/sysconfig/crio", 'CRIO_STORAGE_OPTIONS="--root /big --runroot /run/big"\n')
    text = "[Service]\nEnvironmentFile=-/etc/sysconfig/crio\nEnvironment=D=/run/a\n"
    start = "ExecStart=/usr/bin/crio $CRIO_STORAGE_OPTIONS $NOTHING --listen ${D}/crio.sock\n"
    node.file("/etc/systemd/system/crio.service", text + start)
    found = node.profile("crio")
    assert (found.root, found.state, found.socket) == ("/big", "/run/big", "/run/a/crio.sock")


def test_microk8s_has_its_arguments_in_a_file(node: Node) -> None:
    text = "--config ${SNAP_DATA}/args/containerd.toml\n--root ${SNAP_COMMON}/big/containerd\n"
    node.file("/var/snap/microk8s/current/args/containerd", text)
    assert node.profile("microk8s").root == "/var/snap/microk8s/common/big/containerd"


def test_crio_s_root_is_containers_storage_s_unless_it_has_its_own(node: Node) -> None:
    storage = '[storage]\ndriver = "overlay"\ngraphroot = "/a"\nrunroot = "/run/a"\n'
    node.file("/etc/containers/storage.conf", storage)
    assert (node.profile("crio").root, node.profile("podman").root) == ("/a", "/a")
    node.file("/etc/crio/crio.conf", '[crio]\nroot = "/b"\n[crio.api]\nlisten = "/run/b.sock"\n')
    node.file("/etc/crio/crio.conf.d/10-images.conf", '[crio]\nimagestore = "/images"\n')
    found = node.profile("crio")
    assert (found.root, found.state, found.socket) == ("/b", "/run/a", "/run/b.sock")
    assert found.elsewhere == ("/images",)
    assert node.profile("podman").elsewhere == ()


def test_the_administrator_s_storage_conf_replaces_the_vendor_s(node: Node) -> None:
    node.file("/usr/share/containers/storage.conf", '[storage]\ngraphroot = "/vendor"\n')
    assert node.profile("podman").root == "/vendor"
    node.file("/etc/containers/storage.conf", "[storage]\n")
    assert node.profile("podman").root == "/var/lib/containers/storage"


# --- what others left ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("/etc/containerd/config.toml", "root = "),
        ("/usr/lib/systemd/system/containerd.service", "ExecStart='"),
        ("/usr/lib/systemd/system/containerd.service", "ExecStart=\nEnvironment='\n\0"),
        ("/etc/init.d/containerd", 'command_args="'),
        ("/proc/7/comm", "containerd"),
        ("/proc/x/comm", "containerd"),
        ("/proc/7/status", "containerd"),
        ("/etc/containers/storage.conf", "["),
        ("/etc/crictl.yaml", ":" * 100),
    ],
)
def test_broken_files_of_others_change_nothing(node: Node, name: str, text: str) -> None:
    node.file(name, text)
    for runtime in ("auto", "containerd", "crio", "podman", "k3s"):
        found = node.profile(runtime)
        assert found.root in (
            "/var/lib/containerd",
            "/var/lib/containers/storage",
            "/var/lib/rancher/k3s/agent/containerd",
        )


def test_a_broken_configuration_is_named(node: Node) -> None:
    assert node.find("containerd").complete
    node.file("/etc/containerd/config.toml", "root = ")
    assert not node.find("containerd").complete
    assert (
        node.find("containerd").sources[-1] == "/etc/containerd/config.toml cannot be read as TOML"
    )


@pytest.mark.parametrize("value", ["relative/path", "$DATA/x", "%h/x", ""])
def test_a_path_that_is_not_known_yet_is_passed_over(node: Node, value: str) -> None:
    node.unit("containerd.service", f"/usr/bin/containerd --root '{value}'")
    assert node.profile().root == "/var/lib/containerd"


def test_a_file_that_is_no_configuration_is_not_read(node: Node) -> None:
    path = node.file("/etc/containerd/config.toml")
    path.unlink()
    os.mkfifo(path)  # whoever opened it would wait for ever
    assert node.find("containerd").complete
    assert node.profile("containerd").root == "/var/lib/containerd"
    path.unlink()
    path.write_text('root = "/x"\n' + "#" * 2_000_000)
    assert node.profile("containerd").root == "/var/lib/containerd"


def test_where_reading_hangs_the_table_answers(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()
    monkeypatch.setattr(discovery, "look", lambda *_: held.wait(30))
    began = time.monotonic()
    try:
        role = RoleConfig(name="r", runtime="k3s", profile=ProfileOverride(state="/run/x"))
        found = discover(role, root=node.root, deadline_seconds=0.1)
    finally:
        held.set()
    assert time.monotonic() - began < 5
    assert (found.profile.name, found.profile.state) == ("k3s", "/run/x")
    assert not found.complete
    assert found.sources == ("the table's defaults: nothing could be read within 0.1 s",)


def test_a_fault_of_ours_does_not_stop_the_daemon(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(discovery, "look", fail)
    assert node.find().sources == ("the table's defaults: RuntimeError: boom",)
    assert node.find().profile.name == "containerd"


def test_an_unknown_runtime_is_the_one_thing_that_raises(node: Node) -> None:
    with pytest.raises(ConfigError):
        node.find("nspawn")
