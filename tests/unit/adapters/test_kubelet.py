"""kubelet's two numbers, read from a server that behaves and from some that do not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import pytest

from nodestoraged.adapters.kubelet import healthz, image_fs_capacity
from nodestoraged.model.imagefs import KubeletHealth, KubeletImageFs

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answering(raw: bytes, asked: list[bytes] | None = None) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if asked is not None:
            asked.append(request.split(b"\r\n")[0])
        writer.write(raw)
        await writer.drain()
        writer.close()

    return answer


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


def http(status: str, body: bytes) -> bytes:
    return f"HTTP/1.0 {status}\r\nContent-Type: text/plain\r\n\r\n".encode() + body


async def serve(answer: Answer, question: Callable[[int], Awaitable[object]]) -> object:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        return await question(server.sockets[0].getsockname()[1])


def health(answer: Answer, deadline_seconds: float = 2.0) -> KubeletHealth:
    async def question(port: int) -> KubeletHealth:
        return await healthz(port=port, deadline_seconds=deadline_seconds)

    found = asyncio.run(serve(answer, question))
    assert isinstance(found, KubeletHealth)
    return found


def capacity(answer: Answer) -> KubeletImageFs:
    async def question(port: int) -> KubeletImageFs:
        return await image_fs_capacity(port=port, deadline_seconds=2.0)

    found = asyncio.run(serve(answer, question))
    assert isinstance(found, KubeletImageFs)
    return found


def closed_port() -> int:
    async def find() -> int:
        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        async with server:
            return int(server.sockets[0].getsockname()[1])

    return asyncio.run(find())


def test_ok_is_healthy_and_one_path_is_asked() -> None:
    asked: list[bytes] = []

    assert health(answering(http("200 OK", b"ok"), asked)) == KubeletHealth(
        healthy=True, detail="ok"
    )
    assert asked == [b"GET /healthz HTTP/1.0"]


def test_a_failing_check_is_told_in_kubelets_words() -> None:
    found = health(answering(http("500 Internal Server Error", b"[-]syncloop failed")))

    assert found == KubeletHealth(healthy=False, detail="[-]syncloop failed")


def test_a_closed_port_is_a_reading() -> None:
    port = closed_port()

    found = asyncio.run(healthz(port=port))
    silent = asyncio.run(image_fs_capacity(port=port))

    assert not found.healthy
    assert str(port) in found.detail
    assert silent.capacity_bytes is None
    assert str(port) in silent.detail


def test_a_hanging_kubelet_costs_the_deadline_and_no_more() -> None:
    started = time.monotonic()

    found = health(hang, 0.2)

    assert not found.healthy
    assert "0.2 s" in found.detail
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "raw", [b"", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.0\r\n\r\n", b"HTTP/1.0 x y\r\n"]
)
def test_what_is_no_http_is_no_health(raw: bytes) -> None:
    assert not health(answering(raw)).healthy


def summary(image_fs: object) -> bytes:
    return http("200 OK", json.dumps({"node": {"runtime": {"imageFs": image_fs}}}).encode())


def test_the_capacity_is_kubelets_own_number() -> None:
    found = capacity(answering(summary({"capacityBytes": 61_000_000_000, "usedBytes": 1})))

    assert found.capacity_bytes == 61_000_000_000


@pytest.mark.parametrize("image_fs", [None, {}, {"capacityBytes": 0}, {"capacityBytes": "1"}, []])
def test_without_a_sample_there_is_no_capacity(image_fs: object) -> None:
    found = capacity(answering(summary(image_fs)))

    assert found.capacity_bytes is None
    assert "sample" in found.detail


def test_a_refusal_is_no_capacity() -> None:
    found = capacity(answering(http("401 Unauthorized", b"Unauthorized")))

    assert found.capacity_bytes is None
    assert "401" in found.detail


def test_a_long_summary_is_read_to_its_end() -> None:
    body = json.loads(summary({"capacityBytes": 5}).partition(b"\r\n\r\n")[2])
    body["pods"] = ["x" * 100] * 20_000

    assert capacity(answering(http("200 OK", json.dumps(body).encode()))).capacity_bytes == 5
