"""`config set` on a node whose /etc is read-only: a real mount, in a namespace of its own."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from nodestoraged.adapters import configfile
from nodestoraged.model.config import Trust

TOP = Path(__file__).parents[2]


def in_namespace(root: Path, key: str, value: str) -> subprocess.CompletedProcess[str]:
    """Run set_key with root/etc remounted read-only; nobody else sees the mount."""
    code = (
        "import sys; from pathlib import Path; from nodestoraged.adapters import configfile\n"
        "try: print(configfile.set_key(Path(sys.argv[1]), *sys.argv[2:]))\n"
        "except Exception as error: sys.exit(str(error))"
    )
    script = (
        'mount --bind "$1/etc" "$1/etc" && mount -o remount,bind,ro "$1/etc" && shift && exec "$@"'
    )
    namespace = ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh")
    return subprocess.run(
        [*namespace, str(root), sys.executable, "-c", code, str(root), key, value],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
    )


def test_with_a_read_only_etc_the_state_directory_holds_what_was_set(tmp_path):
    (tmp_path / "etc").mkdir(mode=0o755)
    done = in_namespace(tmp_path, "role.containerd.trust", "label")
    path = tmp_path / "var/lib/nodestoraged/conf.d/90-local.toml"
    assert done.stdout.strip() == str(path), done.stderr
    assert tomllib.loads(path.read_text()) == {"role": {"containerd": {"trust": "label"}}}


def test_an_immutable_etc_is_as_good_as_a_read_only_one(tmp_path):
    etc = tmp_path / "etc"
    etc.mkdir(mode=0o755)
    subprocess.run(["chattr", "+i", etc], check=True)
    try:
        assert configfile.set_key(tmp_path, "role.containerd.trust", "label") == (
            tmp_path / "var/lib/nodestoraged/conf.d/90-local.toml"
        )
    finally:
        subprocess.run(["chattr", "-i", etc], check=True)
    assert configfile.load(tmp_path).config.roles[0].trust is Trust.LABEL


def test_a_set_that_a_read_only_etc_would_overrule_is_refused(tmp_path):
    path = tmp_path / "etc/nodestoraged/conf.d/90-local.toml"
    path.parent.mkdir(mode=0o755, parents=True)
    path.write_text('[role.containerd]\ntrust = "none"\n')
    path.chmod(0o644)
    done = in_namespace(tmp_path, "role.containerd.trust", "label")
    assert "would have no effect" in done.stderr
    assert str(path) in done.stderr
    assert not (tmp_path / "var").exists()
