"""The engine's server answers only its gateway, and only what the gateway asks."""

import asyncio
from typing import Any

import pytest

from appkit.vllm_plugin.door import PATHS, SECRET, Door


def ask(
    monkeypatch: pytest.MonkeyPatch, path: str, authorization: str | None, kind: str = "http"
) -> list[Any]:
    """What is sent back; an inner app that is reached sends its path."""
    monkeypatch.setenv(SECRET, "s3cret")
    sent: list[Any] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await send(scope["path"])

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [] if authorization is None else [(b"authorization", authorization.encode())]
    asyncio.run(Door(inner)({"type": kind, "path": path, "headers": headers}, None, send))  # type: ignore[arg-type]
    return sent


@pytest.mark.parametrize("path", sorted(PATHS))
def test_the_gateway_reaches_what_it_needs(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    assert ask(monkeypatch, path, "Bearer s3cret") == [path]


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer other", "s3cret", "bearer s3cret"])
def test_without_the_secret_nothing_is_there(
    monkeypatch: pytest.MonkeyPatch, authorization: str | None
) -> None:
    first, _ = ask(monkeypatch, "/v1/completions", authorization)
    assert first["status"] == 404


@pytest.mark.parametrize(
    "path", ["/adapters", "/inference/v1/generate", "/v1/chat/completions", "/v1/models/", "/docs"]
)
def test_what_is_not_on_the_list_is_not_there(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    first, _ = ask(monkeypatch, path, "Bearer s3cret")
    assert first["status"] == 404


def test_no_websocket(monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = ask(monkeypatch, "/v1/completions", "Bearer s3cret", kind="websocket")
    assert first["type"] == "websocket.close"
