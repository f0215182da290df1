"""One pass from its first check to its last flush.

Owns: the order of the phases.  May not know: how one entry is copied, or who asked.
"""

from __future__ import annotations

import os
import time

from nodestoraged.copier import removal
from nodestoraged.copier.crew import work_off
from nodestoraged.copier.failure import CopyFailed, of_error
from nodestoraged.copier.jobs import Plan
from nodestoraged.copier.pace import Pace
from nodestoraged.copier.progress import Counters, Reporter
from nodestoraged.copier.record import Record, coarse_now_ns, wait_for_tick
from nodestoraged.copier.request import Request
from nodestoraged.copier.scan import Scan
from nodestoraged.copier.tree import Tree, join
from nodestoraged.copier.worker import Worker
from nodestoraged.linux.beneath import syncfs

__all__ = ["run"]

#: What a file system wants for itself beyond the data: its own share, and something for a start.
_MARGIN_SHARE = 64
_MARGIN_BYTES = 4 << 20
_MARGIN_INODES = 16


def run(request: Request) -> dict[str, object]:
    """The target is like the source, as far as the pass goes, and on its medium.

    Returns what was done.  Raises CopyFailed.
    """
    begin = time.monotonic()
    source = Tree(request.source, request.source_number)
    target = Tree(request.target, request.target_number)
    if os.path.samestat(os.fstat(source.fd), os.fstat(target.fd)):
        raise CopyFailed("BadArguments", f"{request.source} and {request.target} are the same")
    counters = Counters()
    reporter = Reporter(request.stage, counters)
    reporter.start()
    try:
        plan = _Pass(request, source, target, counters, reporter).run()
    except OSError as error:
        raise _judged(of_error(error, target.path), source, target) from error
    except CopyFailed as failure:
        raise _judged(failure, source, target) from failure
    finally:
        reporter.stop()
    return {
        "entries": plan.entries,
        "written": counters.written,
        "bytes_written": counters.bytes_written,
        "removed": counters.removed,
        "vanished": counters.vanished + plan.vanished,
        "seconds": round(time.monotonic() - begin, 3),
    }


class _Pass:
    """The phases; each leaves the target so that another pass can go on from there."""

    def __init__(
        self,
        request: Request,
        source: Tree,
        target: Tree,
        counters: Counters,
        reporter: Reporter,
    ) -> None:
        self._request = request
        self._source = source
        self._target = target
        self._counters = counters
        self._reporter = reporter
        self._record = Record(source, target)
        self._pace = Pace(target, self._record, counters, request.bytes_per_second)

    def run(self) -> Plan:
        """Everything, in order."""
        self._record.begin()
        if not self._request.final:
            # Stores through memory maps are dated when a clean page is first written to: from
            # here on all pages are clean, so none is stored to without a date after the begin.
            self._reporter.watch(self._source.device)
            syncfs(self._source.fd)
        self._reporter.watch(self._target.device)
        counters = self._counters
        plan = Scan(self._request, self._source, self._target, self._record, counters).run()
        counters.bytes_total, counters.files_total = plan.bytes_total, len(plan.jobs)
        self._record.top_names |= plan.top_names
        self._record.save()
        self._remove(plan)
        self._check_space(plan)
        self._pace.start()
        try:
            self._make_directories(plan)
            threads = self._request.threads
            work_off(plan.jobs, lambda batch: self._worker().do_jobs(batch), threads)
            work_off(plan.links, lambda batch: self._worker().do_links(batch), threads)
            paths = sorted(plan.attributes)
            work_off(paths, lambda batch: self._worker().do_directories(batch), threads)
        finally:
            self._pace.stop()
        wait_for_tick()
        moment_ns = coarse_now_ns()
        syncfs(self._target.fd)
        self._record.synced(moment_ns)
        return plan

    def _worker(self) -> Worker:
        return Worker(
            self._source,
            self._target,
            final=self._request.final,
            pace=self._pace,
            counters=self._counters,
        )

    def _remove(self, plan: Plan) -> None:
        for directory, name in plan.removals:
            try:
                self._counters.removed += removal.remove(self._target, directory, name)
            except OSError as error:
                path = join(self._target.path, join(directory, name))
                raise of_error(error, path) from error

    def _check_space(self, plan: Plan) -> None:
        """What is missing fits; else nothing of it is begun."""
        numbers = os.fstatvfs(self._target.fd)
        free, inodes = numbers.f_bavail * numbers.f_frsize, numbers.f_favail
        needed = plan.space_needed
        if needed > 0:
            needed += needed // _MARGIN_SHARE + _MARGIN_BYTES
        if needed > free:
            message = f"{needed} bytes are needed, {free} are free on {self._target.path}"
            raise CopyFailed("NoSpace", message)
        # A file system that makes inodes as it goes, as Btrfs does, tells of none.
        if numbers.f_files and plan.inodes_needed > 0:
            wanted = plan.inodes_needed + _MARGIN_INODES
            if wanted > inodes:
                message = f"{wanted} inodes are needed, {inodes} are free on {self._target.path}"
                raise CopyFailed("NoSpace", message)

    def _make_directories(self, plan: Plan) -> None:
        for path in plan.directories:
            above, _, name = path.rpartition("/")
            try:
                parent = self._target.open(above)
                try:
                    os.mkdir(name, 0o700, dir_fd=parent)
                finally:
                    os.close(parent)
            except OSError as error:
                raise of_error(error, join(self._target.path, path)) from error


def _judged(failure: CopyFailed, source: Tree, target: Tree) -> CopyFailed:
    """The failure with what the devices tell: one that is gone explains every other error."""
    for tree in (source, target):
        if tree.unplugged:
            message = f"the device of {tree.path} is gone: {failure.message}"
            return CopyFailed("Gone", message, failure.number)
    if failure.reason == "NoSpace" and failure.number is not None:
        numbers = os.fstatvfs(target.fd)
        free = numbers.f_bavail * numbers.f_frsize
        message = f"{failure.message}; {free} bytes and {numbers.f_favail} inodes are free"
        return CopyFailed("NoSpace", message, failure.number)
    return failure
