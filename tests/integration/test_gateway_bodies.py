"""Bodies that nobody should send: what is answered, when, and that the gateway is none the worse."""

import asyncio
import json
import logging
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fakes import Served, gateway, in_loop

from appkit.serving.gateway import body, connections
from appkit.serving.gateway.keys import add_key
from appkit.serving.gateway.logs import protect_log

HALF = "\ud800"
JSON = {"Content-Type": "application/json"}
CHAT: dict[str, Any] = {"model": "nl2fol", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


async def post(one: Served, path: str, content: Any, **more: Any) -> httpx.Response:
    text = content if isinstance(content, bytes | str) else json.dumps(content)
    return await one.http.post(path, content=text, headers=JSON, **more)


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("/v1/chat/completions", CHAT | {"messages": [{"role": "user", "content": f"a{HALF}"}]}),
        ("/v1/chat/completions", CHAT | {"stream": True, "user": HALF}),
        ("/v1/chat/completions", CHAT | {"model": HALF}),
        ("/v1/chat/completions", CHAT | {"model": "tiny-base", "stop": [HALF]}),
        ("/v1/chat/completions", CHAT | {"messages": [{"role": "system", "content": "a", HALF: 1}]}),
        ("/v1/chat/completions", CHAT | {HALF: 1}),
        ("/v1/completions", {"model": "nl2fol", "prompt": ["ok", HALF]}),
        ("/v1/completions", {"model": "nl2fol", "prompt": HALF, "stream": True}),
        ("/v1/completions", {"model": "tiny-base", "prompt": HALF}),
        ("/v1/tasks/nl2fol", {"rows": [HALF]}),
        ("/v1/tasks/nl2fol", {"rows": [{"sentence": HALF}]}),
        ("/v1/tasks/nl2fol", {"rows": ["Hi."], "base": True, HALF: 1}),
        ("/v1/tasks/nl2fol", {"rows": ["Hi.", f"Hi{HALF}"], "stream": True}),
        ("/v1/tasks/nl2fol/tools/check", {"formula": HALF}),
        ("/v1/tasks/nl2fol/tools/check", {"formula": "P(a)", HALF: 1}),
        ("/v1/bundles", {"path": HALF}),
        ("/v1/bundles", {"path": "A", "alias": HALF}),
    ],
)
@in_loop
async def test_half_a_surrogate_pair_is_refused_wherever_it_stands(
    root: Path, tmp_path: Path, path: str, values: Any
) -> None:
    keys, secret = tmp_path / "keys.json", add_key(tmp_path / "keys.json", "operator", admin=True)
    async with gateway(root, keys=keys, secret=secret, admin=secret) as one:
        answer = await post(one, path, values)
        assert answer.status_code == 400
        assert "half a surrogate pair, \\ud800" in answer.json()["error"]["message"]
        raw = json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass")
        answer = await post(one, path, raw)
        assert (answer.status_code, "is not UTF-8" in answer.text) == (400, True)
        assert one.engine.asked == []


@in_loop
async def test_whole_surrogate_pairs_are_characters_like_others(root: Path) -> None:
    async with gateway(root) as one:
        text = json.dumps(CHAT).replace("Hi", "\\ud83d\\ude42 \\ufffd")
        assert (await post(one, "/v1/chat/completions", text)).status_code == 200


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"rows": ["a"], "rows": ["b"]}', "the key 'rows' occurs twice"),
        ('{"rows": [{"sentence": "a", "sentence": "b"}]}', "the key 'sentence' occurs twice"),
        ('{"rows": ["a"], "threshold": NaN}', "NaN is no number in JSON"),
        ('{"rows": [{"sentence": "a", "n": -Infinity}]}', "-Infinity is no number in JSON"),
        ('{"rows": [{"sentence": "a", "n": ' + "9" * 5000 + "}]}", "it cannot be read"),
        ('{"rows": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
    ],
    ids=["twice", "twice below", "NaN", "Infinity", "digits", "deep"],
)
@in_loop
async def test_json_that_readers_would_differ_in_is_refused(root: Path, text: str, message: str) -> None:
    async with gateway(root) as one:
        answer = await post(one, "/v1/tasks/nl2fol", text)
        assert answer.status_code == 400
        assert message in answer.json()["error"]["message"]


@in_loop
async def test_the_key_is_checked_before_the_body_is_read(root: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    user, admin = add_key(keys, "user", per_minute=2), add_key(keys, "operator", admin=True)
    async with gateway(root, keys=keys, secret=user, admin=admin) as one:
        unknown = {"headers": JSON | {"Authorization": "Bearer ak-wrong"}}
        for path in ("/v1/chat/completions", "/v1/tasks/nl2fol", "/v1/bundles", "/v1/runs"):
            for text in ("{", '{"a": 1, "a": 2}', HALF.encode("utf-8", "surrogatepass"), "{}"):
                assert (await one.http.post(path, content=text, **unknown)).status_code == 401
        assert (await post(one, "/v1/bundles", "{")).status_code == 403
        # each request counts once, though its key is looked at twice
        assert [(await post(one, "/v1/chat/completions", "{")).status_code for _ in range(3)] == [
            400,
            400,
            429,
        ]


async def send_half(one: Served, *, key: str | None = None, chunked: bool = False) -> bytes:
    """Sends a request with half a body, and returns all that comes until the gateway closes the connection."""
    host = one.url.removeprefix("http://")
    reader, writer = await asyncio.open_connection(*host.split(":"))
    length = "Transfer-Encoding: chunked" if chunked else "Content-Length: 100"
    lines = ["POST /v1/chat/completions HTTP/1.1", f"Host: {host}", "Content-Type: application/json", length]
    lines += [f"Authorization: Bearer {key}"] if key else []
    writer.write("\r\n".join([*lines, "", "1\r\n{" if chunked else "{"]).encode())
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


@pytest.mark.parametrize("chunked", [False, True])
@in_loop
async def test_a_body_that_stops_coming_ends_the_request(
    root: Path, monkeypatch: pytest.MonkeyPatch, chunked: bool
) -> None:
    monkeypatch.setattr(body, "PATIENCE_S", 0.2)
    monkeypatch.setattr(body, "DRAIN_S", 0.1)
    async with gateway(root) as one:
        answers = await asyncio.gather(*(send_half(one, chunked=chunked) for _ in range(20)))
        assert all(answer.startswith(b"HTTP/1.1 408") for answer in answers)
        assert (await post(one, "/v1/chat/completions", CHAT)).status_code == 200


@in_loop
async def test_half_a_body_without_a_key_is_refused_at_once(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "DRAIN_S", 0.1)
    add_key(tmp_path / "keys.json", "user")
    async with gateway(root, keys=tmp_path / "keys.json") as one:
        assert (await send_half(one)).startswith(b"HTTP/1.1 401")


@in_loop
async def test_a_body_must_come_whole_within_the_time_of_a_request() -> None:
    async def drip() -> dict[str, Any]:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b" ", "more_body": True}

    reader = body.BodyReader(drip, most=10**6, too_large="", seconds=0.2, begun=True)

    async def read_all() -> None:
        while reader.read < 100:
            await reader.receive()

    with pytest.raises(body.BadBody, match="did not come in time") as caught:
        await read_all()
    assert caught.value.status_code == 408
    assert 0 < reader.read < 20


@in_loop
async def test_a_head_that_stops_coming_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.5)  # longer than a head may take
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    config = uvicorn.Config(answer, port=0, log_config=None, lifespan="off", http=connections.PatientProtocol)
    server = uvicorn.Server(config)
    server.capture_signals = nullcontext  # type: ignore[method-assign]
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]

    async def send(*parts: bytes, pause: float = 0.01) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for part in parts:
            writer.write(part)
            await asyncio.sleep(pause)
        try:
            return await asyncio.wait_for(reader.read(), 3)
        finally:
            writer.close()

    whole = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    try:
        halves = await asyncio.gather(*(send(b"GET / HTTP/1.1\r\nHost") for _ in range(20)), send())
        assert set(halves) == {b""}
        for parts in ((whole,), (whole[:9], whole[9:])):
            assert (await send(*parts)).startswith(b"HTTP/1.1 204")
        kept = whole.replace(b"Connection: close\r\n", b"")
        assert (await send(kept, b"GET / HT", pause=0.7)).count(b"HTTP/1.1 204") == 1
    finally:
        server.should_exit = True
        await task


async def connect(one: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*one.url.removeprefix("http://").split(":"))


@in_loop
async def test_the_gateway_waits_for_a_head_only_so_long(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    async with gateway(root) as one:

        async def send(start: bytes) -> bytes:
            reader, writer = await connect(one)
            writer.write(start)
            try:
                return await asyncio.wait_for(reader.read(), 5)
            finally:
                writer.close()

        starts = [b"", b"POST", b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX: "]
        waiting = asyncio.gather(*(send(start) for start in starts * 40))
        assert (await post(one, "/v1/chat/completions", CHAT)).status_code == 200  # meanwhile
        assert set(await waiting) == {b""}


@in_loop
async def test_a_slow_but_steady_request_and_a_long_stream_are_not_cut(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 1.0)
    async with gateway(root) as one:
        one.engine.flow.clear()
        content = json.dumps(CHAT | {"stream": True}).encode()
        host = one.url.removeprefix("http://")
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        head += f"Connection: close\r\nContent-Length: {len(content)}\r\n\r\n"
        reader, writer = await connect(one)
        size = len(content) // 8
        pieces = [
            head[:20].encode(),
            head[20:].encode(),
            *(content[n : n + size] for n in range(0, len(content), size)),
        ]
        for piece in pieces:  # the body takes longer than a head may
            writer.write(piece)
            await asyncio.sleep(0.15)
        await one.engine.begun.get()
        await asyncio.sleep(1.2)
        one.engine.flow.set()
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"data: [DONE]" in answer


# --- what else a stranger meets ---------------------------------------------------------------------------


@in_loop
async def test_the_page_of_routes_needs_no_other_machine(root: Path) -> None:
    async with gateway(root) as one:
        answer = await one.http.get("/docs")
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert not re.search(r"<script|https?://|//", answer.text)
        for path in (await one.http.get("/openapi.json")).json()["paths"]:
            assert path in answer.text
        assert (await one.http.get("/redoc")).status_code == 404


def test_no_text_begins_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    protect_log()
    forged = "x\n2026-01-01 INFO POST /v1/bundles 201\r\x1b[2J\u2028\u202e"
    caplog.set_level(logging.INFO)
    logging.getLogger("appkit.gateway").info("key=%s", forged)
    try:
        raise ValueError(forged)
    except ValueError:
        logging.getLogger("a.library").exception("failed: %s", forged)
    first, second, *trace = caplog.text.rstrip("\n").split("\n")
    assert "key=x\\n2026-01-01 INFO POST /v1/bundles 201\\r\\x1b[2J\\u2028\\u202e" in first
    assert "failed: x\\n2026" in second
    assert trace
    assert all(line.startswith("  ") for line in trace)
    assert not set("\r\x1b\u2028\u202e") & set(caplog.text)
