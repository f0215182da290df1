"""Recipes: what goes into a root image, and the keys under which its stages are cached.

Owns the meaning of `tests/vm/recipes/NAME.toml`. Builds nothing.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.vm.harness.errors import HarnessError

_HERE: Final = Path(__file__).resolve().parent
RECIPES: Final = _HERE.parent / "recipes"
FAKES: Final = _HERE.parent.parent / "fakes"
# Bump when the meaning of a stage changes without a change of a recipe or of its script.
_TREE_VERSION: Final = 1
_IMAGE_VERSION: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a `tests/vm/recipes/NAME.toml` says. `overlays` and `setup` are paths beside it.

    `init` is `systemd` or `openrc`.
    """

    name: str
    init: str
    suite: str
    debootstrap_include: tuple[str, ...]
    debootstrap_exclude: tuple[str, ...]
    packages: tuple[str, ...]
    kernel: str
    overlays: tuple[Path, ...]
    setup: Path


def recipe_names() -> tuple[str, ...]:
    """The names of all recipes, sorted."""
    return tuple(sorted(path.stem for path in RECIPES.glob("*.toml")))


def load_recipe(name: str) -> Recipe:
    """Read the recipe `name`. Raises HarnessError when there is none."""
    path = RECIPES / f"{name}.toml"
    if not path.is_file():
        raise HarnessError(f"no recipe {name!r}; there are {', '.join(recipe_names())}")
    data: dict[str, Any] = tomllib.loads(path.read_text())
    return Recipe(
        name=name,
        init=str(data.get("init", "systemd")),
        suite=str(data["suite"]),
        debootstrap_include=tuple(data["debootstrap_include"]),
        debootstrap_exclude=tuple(data["debootstrap_exclude"]),
        packages=tuple(data["packages"]),
        kernel=str(data["kernel"]),
        overlays=tuple(RECIPES / overlay for overlay in data["overlays"]),
        setup=RECIPES / str(data["setup"]),
    )


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def tree_key(recipe: Recipe) -> str:
    """A short hash of what the first stage is made of: release and packages."""
    packages = (recipe.debootstrap_include, recipe.debootstrap_exclude, sorted(recipe.packages))
    return _digest(_TREE_VERSION, recipe.suite, packages, recipe.kernel)


def _image_inputs(recipe: Recipe) -> list[Path]:
    files = [p for overlay in recipe.overlays for p in sorted(overlay.rglob("*")) if p.is_file()]
    fakes = [FAKES / "kubelet_standin.py", FAKES / "oci_archive.py"]
    return [*files, recipe.setup, *fakes, _HERE / "make-image.sh"]


def image_key(recipe: Recipe) -> str:
    """A short hash of everything that goes into the recipe's image, the fakes included."""
    inputs = [
        (str(path.relative_to(_HERE.parent.parent)), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in _image_inputs(recipe)
    ]
    return _digest(_IMAGE_VERSION, tree_key(recipe), inputs)
