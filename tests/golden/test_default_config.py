"""The shipped configuration file says the defaults, all of them, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from nodestoraged.adapters import configfile, configschema
from nodestoraged.model.config import Config

TOP = Path(__file__).parents[2]
SHIPPED = TOP / "config" / "nodestoraged.toml"


def install(root: Path, text: str) -> configfile.Loaded:
    path = root / configfile.MAIN
    path.parent.mkdir(mode=0o755, parents=True)
    path.write_text(text)
    path.chmod(0o644)
    return configfile.load(root)


def uncommented(mark: str) -> str:
    """The file with the keys and tables live that stand behind exactly this mark."""
    return re.sub(rf"(?m)^{mark}(?=[a-z_]+ = |\[)", "", SHIPPED.read_text())


def test_the_shipped_file_is_what_config_default_prints():
    assert SHIPPED.read_text() == configfile.render_default()


def test_as_shipped_it_sets_schema_and_kind_only(tmp_path):
    loaded = install(tmp_path, SHIPPED.read_text())
    assert loaded.config == Config()
    assert {key for key, origin in loaded.origins.items() if origin} == {
        "schema", "role", "role.containerd", "role.containerd.kind", "daemon",
    }  # fmt: skip


def test_with_every_key_uncommented_it_still_says_the_defaults(tmp_path):
    assert install(tmp_path, uncommented("#")).config == Config()


def test_no_key_is_missing_from_it(tmp_path):
    loaded = install(tmp_path, uncommented("##?"))
    every = {configschema.dotted(key) for key, _ in configschema.flatten(loaded.config)}
    assert every <= loaded.origins.keys()
    # Keys without a default are shown only once they are set.
    assert "role.containerd.profile.stats_port" in every


def test_its_lines_are_plain_ascii():
    assert SHIPPED.read_text().isascii()
