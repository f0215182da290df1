"""kubelet on localhost: its healthz, and its own idea of the image file system's capacity.

Owns the few lines of HTTP that this takes.  Never raises for anything that kubelet does or
does not: an unreachable kubelet is a reading.  kubelet's authenticated port is not used, its
own certificate has no right to nodes/stats.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from nodestoraged.model.imagefs import KubeletHealth, KubeletImageFs

#: KubeletConfiguration healthzPort, without authentication.
HEALTHZ_PORT = 10248
#: KubeletConfiguration readOnlyPort; 0 (off) on most nodes.
READ_ONLY_PORT = 10255
#: A summary lists every pod's volumes: about 1 MiB with 110 busy pods.
_LARGEST_BODY_BYTES = 16 * 1024 * 1024


async def healthz(
    host: str = "127.0.0.1", port: int = HEALTHZ_PORT, *, deadline_seconds: float = 2.0
) -> KubeletHealth:
    """One GET /healthz.

    It proves that the process serves: kubelet says ok before the runtime is there, and long
    after the disk is gone.
    """
    try:
        status, body = await _get(host, port, "/healthz", deadline_seconds)
    except _NoAnswer as reason:
        return KubeletHealth(healthy=False, detail=str(reason))
    text = body.decode(errors="replace").strip()
    return KubeletHealth(healthy=status == 200, detail=text[:200] or f"status {status}")


async def image_fs_capacity(
    host: str = "127.0.0.1", port: int = READ_ONLY_PORT, *, deadline_seconds: float = 5.0
) -> KubeletImageFs:
    """`node.runtime.imageFs.capacityBytes` of /stats/summary on the read-only port.

    kubelet needs 15-20 s after its start for the first sample; until then there is no number.
    """
    try:
        status, body = await _get(host, port, "/stats/summary", deadline_seconds)
    except _NoAnswer as reason:
        return KubeletImageFs(capacity_bytes=None, detail=str(reason))
    if status != 200:
        return KubeletImageFs(capacity_bytes=None, detail=f"/stats/summary: status {status}")
    capacity = _capacity(body)
    detail = "as kubelet reports it" if capacity else "kubelet has no sample yet"
    return KubeletImageFs(capacity_bytes=capacity, detail=detail)


def _capacity(body: bytes) -> int | None:
    try:
        value: object = json.loads(body)
    except ValueError:
        return None
    for key in ("node", "runtime", "imageFs", "capacityBytes"):
        value = value.get(key) if isinstance(value, dict) else None
    # 0 is what kubelet reports before cAdvisor's first sample.
    return value if isinstance(value, int) and value > 0 else None


class _NoAnswer(Exception):  # noqa: N818 - never leaves this module
    """Nobody answered, or not in HTTP."""


async def _get(host: str, port: int, path: str, deadline_seconds: float) -> tuple[int, bytes]:
    where = f"{host}:{port}{path}"
    try:
        async with asyncio.timeout(deadline_seconds):
            return await _exchange(host, port, path)
    except TimeoutError:
        raise _NoAnswer(f"{where}: no answer within {deadline_seconds:g} s") from None
    except OSError as error:
        raise _NoAnswer(f"{where}: {error.strerror or error}") from None
    except (ValueError, IndexError):
        raise _NoAnswer(f"{where}: not an HTTP answer") from None


async def _exchange(host: str, port: int, path: str) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        # HTTP/1.0: the answer ends with the connection and is never chunked.
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: */*\r\n\r\n".encode())
        await writer.drain()
        answer = bytearray()
        while chunk := await reader.read(65536):
            answer += chunk
            if len(answer) > _LARGEST_BODY_BYTES:
                raise ValueError("answer too large")
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    protocol, status = head.split(b"\r\n", 1)[0].split(b" ")[:2]
    if not protocol.startswith(b"HTTP/1."):
        raise ValueError("not HTTP")
    return int(status), body
