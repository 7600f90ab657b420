"""Guards the engine's HTTP server, which answers its gateway only, and only what the gateway asks.

vLLM's own key guards `/v1`, and leaves open what loads adapters or generates under other names. `--middleware` puts
this in front of everything.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

__all__ = ["SECRET", "Door"]

SECRET = "APPKIT_ENGINE_SECRET"
"""The environment variable that holds the secret: every user of the machine could read an argument."""
PATHS = frozenset(
    {
        "/health",
        "/pooling",
        "/v1/completions",
        "/v1/models",
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
    }
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Door:
    """Answers 404, as ASGI middleware, to requests for other paths and to those without the secret."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.app = app
        self.expected = f"Bearer {os.environ[SECRET]}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        authorization = dict(scope["headers"]).get(b"authorization", b"")
        if (
            scope["type"] == "http"
            and scope["path"] in PATHS
            and hmac.compare_digest(authorization, self.expected)
        ):
            await self.app(scope, receive, send)
            return
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "websocket.close", "code": 1008})
