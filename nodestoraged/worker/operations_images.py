"""Makes containerd know images again whose blobs are still in its root.

Owns: recall_images, and the one import that does it.  May not know: which images, or why.

containerd looks at the blobs of its root only when something refers to them, and its garbage
collector removes all others as soon as one import or one deletion of an image has ended.  So
there is one import for all images, it comes before any other, and what it leaves out is gone.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping, Sequence

from nodestoraged.worker import arguments, helper
from nodestoraged.worker.directories import DIRECTORY
from nodestoraged.worker.failure import OperationFailed, printable
from nodestoraged.worker.layout import Layout

__all__ = ["recall_images"]

_BLOBS = ("io.containerd.content.v1.content", "blobs", "sha256")
_LIST_BYTES = 16 << 20
_OUTPUT_BYTES = 64 * 1024
_SHOWN = 50


def recall_images(args: Mapping[str, object]) -> Mapping[str, object]:
    """The images in the file `images` are known to the runtime, as far as their blobs are whole.

    `images` is JSON on the root disk: a list of {name, digest}.  `root` is the runtime's root,
    `import` the command that reads an archive from its standard input.  Returns recalled
    (count) and missing (names, the first 50).  Raises ImagesNotRecalled with the last word of
    the command.
    """
    wanted = _read_list(arguments.path(args, "images"))
    command = args.get("import")
    if not isinstance(command, list) or not all(isinstance(each, str) for each in command):
        raise OperationFailed("BadArguments", "import must be a command")
    directory = _open_blobs(arguments.path(args, "root"))
    if directory is None:
        return {"recalled": 0, "missing": [name for name, _ in wanted][:_SHOWN]}
    try:
        layout = Layout(directory)
        missing = [name for name, digest in wanted if not layout.add(name, digest)]
        if len(layout):
            _import(command, layout)
    finally:
        os.close(directory)
    shown = [printable(name) for name in missing[:_SHOWN]]
    return {"recalled": len(layout), "missing": shown}


def _read_list(path: str) -> list[tuple[str, str]]:
    with open(path, "rb") as stream:
        data = stream.read(_LIST_BYTES)
    try:
        return [(str(each["name"]), str(each["digest"])) for each in json.loads(data)["images"]]
    except (ValueError, KeyError, TypeError) as error:
        raise OperationFailed("BadArguments", f"{path}: {error}") from None


def _open_blobs(root: str) -> int | None:
    directory = os.open(root, DIRECTORY)
    for name in _BLOBS:
        try:
            below = os.open(name, DIRECTORY, dir_fd=directory)
        except (FileNotFoundError, NotADirectoryError):
            return None
        finally:
            os.close(directory)
        directory = below
    return directory


def _import(command: Sequence[str], layout: Layout) -> None:
    """The command has read the archive and ended well."""
    executable = helper.find(command[0])
    # Its words go to memory: nobody could read a second pipe while we write the first.
    words = os.memfd_create("import", os.MFD_CLOEXEC)
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.posix_spawn(
            executable,
            list(command),
            helper.ENVIRONMENT,
            file_actions=(
                (os.POSIX_SPAWN_DUP2, read_end, 0),
                (os.POSIX_SPAWN_DUP2, words, 1),
                (os.POSIX_SPAWN_DUP2, words, 2),
            ),
            setsigdef=(signal.SIGPIPE,),
        )
    except OSError as error:
        os.close(write_end)
        message = f"{command[0]}: {error.strerror}"
        raise OperationFailed("ImagesNotRecalled", message, cause=error) from None
    finally:
        os.close(read_end)
    try:
        layout.write(write_end)
    except BrokenPipeError:
        pass  # its own words are better
    finally:
        os.close(write_end)
    _, status = os.waitpid(pid, 0)
    said = os.pread(words, _OUTPUT_BYTES, 0).decode(errors="surrogateescape").strip()
    os.close(words)
    if status:
        last = said.rsplit("\n", 1)[-1]
        raise OperationFailed("ImagesNotRecalled", printable(last) or f"status {status}")
