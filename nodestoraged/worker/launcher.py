"""The launcher: starts what must not inherit the daemon's narrow rights.

Owns: the programs that it runs, what they inherit, and their end.  May not know: why.

Where an init system starts its services itself, a service never is our descendant.  With OpenRC
whoever calls `rc-service` becomes its ancestor, and a runtime with no_new_privs and a narrow
bounding set runs no container.  So this process is started before the daemon gives its rights up.
It listens on a socket for root alone and knows these words:

    start NAME, stop NAME, zap NAME     rc-service
    start-later NAME                    the same as start, but it goes on without the client
    copy                                the copier
    podman VERB ...                     podman, with the few verbs that are needed
    containerd PATH ...                 the containerd of a stopped k3s, for a moment

A client (`launcher.py ask SOCKET WORD ...`) sends the words with its own standard streams and
ends with the exit code of the program.  If the client is killed, so are copier and podman;
rc-service is told to stop (SIGTERM), for it puts the service's state in order then.  Only that one
process is signalled: a supervisor which it started may share its process group.

One script for both sides, without imports of ours: it is run by path, `python -I -S`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import sys

#: An answer that the client could not get: EX_UNAVAILABLE of sysexits.h.
EXIT_UNAVAILABLE = 69
#: A client that said the wrong thing: EX_USAGE.
EXIT_USAGE = 64

#: How long a client may take to say its word.
WORD_SECONDS = 1.0

_SERVICE_WORDS = {"start": "start", "start-later": "start", "stop": "stop", "zap": "zap"}
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+@")
_PODMAN_VERBS = frozenset({"image", "info", "load", "ps", "save", "stop", "umount"})
_REQUEST_BYTES = 16 * 1024
_STREAMS = 3


class _Job:
    """One program on its way, and the client that waits for it."""

    __slots__ = ("client", "pid", "pidfd", "word")

    def __init__(self, client: socket.socket, pid: int, word: str) -> None:
        self.client: socket.socket | None = client
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.word = word

    def lose_client(self) -> None:
        """Nobody waits for the program any more."""
        if self.word not in _SERVICE_WORDS:
            _kill_group(self.pid)  # nothing of it is to outlive the client
        elif self.word != "start-later":
            signal.pidfd_send_signal(self.pidfd, signal.SIGTERM)


class _Launcher:
    """The loop's state; lives as long as the process."""

    def __init__(
        self, control: socket.socket, listener: socket.socket, rc_service: str, copier: str
    ) -> None:
        self._control = control
        self._listener = listener
        self._rc_service = rc_service
        self._copier = copier
        self._jobs: dict[int, _Job] = {}
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._poll.register(listener, select.POLLIN)

    def run(self) -> None:
        """Serve until the daemon closes its end; then wait for what a service is in the middle of.

        Copies end with the daemon.
        """
        serving = True
        while serving or self._jobs:
            for fd, _ in self._poll.poll():
                if fd == self._control.fileno():
                    serving = False
                    self._leave()
                elif fd == self._listener.fileno():
                    self._accept()
                elif fd in self._jobs:
                    self._ended(self._jobs[fd])
                else:
                    self._hung_up(fd)

    def _leave(self) -> None:
        self._poll.unregister(self._control)
        self._poll.unregister(self._listener)
        self._listener.close()
        for job in self._jobs.values():
            if job.word not in _SERVICE_WORDS:
                job.lose_client()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        client.settimeout(WORD_SECONDS)
        streams: list[int] = []
        try:
            packet, streams, _, _ = socket.recv_fds(client, _REQUEST_BYTES, _STREAMS)
            words = packet.decode().split("\0")
            argv = self._argv(words) if _is_root(client) and len(streams) == _STREAMS else None
            if argv is None:
                _answer(client, EXIT_USAGE)
                return
            umask = 0o077 if words[0] == "copy" else 0o022
            job = _Job(client, _spawn(argv, streams, umask), words[0])
        except (OSError, ValueError):
            _answer(client, EXIT_UNAVAILABLE)
            return
        finally:
            for stream in streams:
                os.close(stream)
        self._jobs[job.pidfd] = job
        self._poll.register(job.pidfd, select.POLLIN)
        # POLLHUP comes unasked; the client says nothing more.
        self._poll.register(client, 0)

    def _argv(self, words: list[str]) -> list[str] | None:
        if words == ["copy"]:
            return [sys.executable, "-I", "-S", self._copier]
        if words[0] == "podman" and len(words) > 1 and words[1] in _PODMAN_VERBS:
            return words
        if words[0] == "containerd" and len(words) > 1 and words[1].startswith("/"):
            return words[1:] if os.path.basename(words[1]) == "containerd" else None
        if len(words) == 2 and words[0] in _SERVICE_WORDS:
            name = words[1]
            if name and name[0] not in "-." and _NAME_CHARACTERS.issuperset(name):
                return [self._rc_service, name, _SERVICE_WORDS[words[0]]]
        return None

    def _ended(self, job: _Job) -> None:
        status = os.waitpid(job.pid, 0)[1]
        del self._jobs[job.pidfd]
        self._poll.unregister(job.pidfd)
        os.close(job.pidfd)
        if job.client is not None:
            self._poll.unregister(job.client)
            code = os.waitstatus_to_exitcode(status)
            _answer(job.client, code if code >= 0 else 128 - code)

    def _hung_up(self, fd: int) -> None:
        """A client is gone: nobody waits for its program any more.

        Nothing, if the fd was let go by another event of the same poll.
        """
        for job in self._jobs.values():
            if job.client is not None and job.client.fileno() == fd:
                self._poll.unregister(fd)
                job.client.close()
                job.client = None
                job.lose_client()
                return


def _is_root(client: socket.socket) -> bool:
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return bool(struct.unpack("3i", credentials)[1] == 0)


def _answer(client: socket.socket, code: int) -> None:
    with contextlib.suppress(OSError):
        client.send(bytes((min(code, 255),)))
    client.close()


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _spawn(argv: list[str], streams: list[int], umask: int) -> int:
    """The program runs with these standard streams and nothing else of ours; its pid."""
    pid = os.fork()
    if pid != 0:
        return pid
    try:
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(_STREAMS, 65536)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.chdir("/")
        # As at boot: the daemon's own umask and its shelter from the OOM killer stay its own.
        os.umask(umask)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("0")
        os.execvp(argv[0], argv)  # noqa: S606 - no shell is the point
    except BaseException as error:
        # Nothing may return into the parent's loop.
        os.write(2, f"{argv[0]} cannot be started: {error}\n".encode())
    os._exit(EXIT_UNAVAILABLE)


def serve(control_fd: int, listener_fd: int, rc_service: str, copier: str) -> None:
    """Serve on the listening socket until `control_fd` is closed on the daemon's side."""
    # Stopping the daemon may signal all of its group; it ends us by closing the socket.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.set_inheritable(control_fd, False)
    os.set_inheritable(listener_fd, False)
    with socket.socket(fileno=control_fd) as control, socket.socket(fileno=listener_fd) as listener:
        _Launcher(control, listener, rc_service, copier).run()


def ask(path: str, words: list[str]) -> int:
    """The launcher behind `path` ran it; the program's exit code."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.connect(path)
            socket.send_fds(channel, ["\0".join(words).encode()], [0, 1, 2])
            # The streams are the program's now: whoever reads them waits for it, not for us.
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, 0)
            os.dup2(nothing, 1)
            answer = channel.recv(1)
        except OSError as error:
            sys.stderr.write(f"the launcher does not answer: {error.strerror}\n")
            return EXIT_UNAVAILABLE
    if not answer:
        sys.stderr.write("the launcher ended\n")
        return EXIT_UNAVAILABLE
    return answer[0]


def main(argv: list[str]) -> int:
    """`serve CONTROL LISTENER RC-SERVICE COPIER` or `ask SOCKET WORD ...`."""
    match argv:
        case ["serve", control, listener, rc_service, copier]:
            serve(int(control), int(listener), rc_service, copier)
            return 0
        case ["ask", path, "copy", *_]:
            return ask(path, ["copy"])  # after it stands the script which the launcher knows
        case ["ask", path, *words]:
            return ask(path, words)
        case _:
            pass
    sys.stderr.write("the launcher is started by nodestoraged\n")
    return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
