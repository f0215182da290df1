"""Command line of the harness: `python -m tests.vm.harness build trixie bookworm`, `prune`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.vm.harness import image, recipe, states


def main() -> int:
    """Build and boot the named images (all without a name), or remove stale ones."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm.harness")
    verbs = parser.add_subparsers(dest="verb", required=True)
    build = verbs.add_parser("build", help="build and boot what is missing; prints the states")
    build.add_argument("recipe", nargs="*", default=[])
    verbs.add_parser("prune", help="remove cached stages that no present recipe leads to")
    arguments = parser.parse_args()
    if arguments.verb == "prune":
        for path in image.prune():
            print(path)
        return 0
    for name in arguments.recipe or recipe.recipe_names():
        start = time.monotonic()
        state = states.ensure_booted(name)
        print(f"{name}\t{state.directory}\t{time.monotonic() - start:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
