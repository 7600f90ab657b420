"""Makes the gateway's app from routes, health checks, and a guard that every request passes."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import appkit
from appkit.errors import AppkitError
from appkit.loopback import names_loopback
from appkit.serving.gateway.body import BadBody, BodyReader, CheckedRoute
from appkit.serving.gateway.faults import Fault, response
from appkit.serving.gateway.logs import protect_log
from appkit.serving.gateway.manual import HEADERS, write_manual
from appkit.serving.gateway.request import Caller, RunningGateway, answer_error
from appkit.serving.gateway.routes import bundles, openai, runs, tasks
from appkit.serving.gateway.state import Gateway

__all__ = ["create_app"]

log = logging.getLogger("appkit.gateway")
POLLED = ("/v1/tasks", "/v1/runs", "/v1/runs/{run}", "/healthz", "/readyz")
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Any]]


def create_app(gateway: Gateway, *, local: bool = True, lifespan: Lifespan | None = None) -> FastAPI:
    """Makes the app around a gateway. local: it listens on loopback, and answers loopback names only."""
    app = FastAPI(
        title="appkit gateway",
        version=appkit.__version__,
        description="Many specialists over one base: OpenAI's routes, typed task routes, and bundles by hand.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages load scripts from another machine
        redoc_url=None,
    )
    protect_log()
    app.state.gateway = gateway
    for module in (openai, tasks, bundles, runs):
        app.include_router(module.router, responses=_RESPONSES)
    for error in (AppkitError, Fault, TimeoutError):
        app.add_exception_handler(error, answer_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(BadBody, _answer_bad_body)
    _add_health_routes(app)
    app.add_middleware(RequestGuard, gateway=gateway, local=local)
    return app


_ERROR = {
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error"],
                "properties": {
                    "error": {
                        "type": "object",
                        "required": ["message", "type", "param", "code"],
                        "properties": {
                            "message": {"type": "string"},
                            "type": {"type": "string"},
                            "param": {"type": ["string", "null"]},
                            "code": {"type": ["string", "null"]},
                        },
                    }
                },
            }
        }
    }
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": text} | _ERROR
    for status, text in {
        400: "a value that is not supported or out of its range",
        401: "no or an unknown key",
        403: "not an admin key, or one of some aliases where all are shown",
        404: "no such model, task, tool or run",
        409: "a ceiling, another name or another run stands against it",
        413: "the request is too large",
        422: "rows or arguments that do not fit the schema; an unsound bundle",
        429: "the key's rate or the queue's length; Retry-After says when",
        502: "the engine failed",
        503: "the engine is starting; Retry-After says when",
        504: "it took too long",
    }.items()
}


def _add_health_routes(app: FastAPI) -> None:
    app.router.route_class = CheckedRoute

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(write_manual(app.openapi()), headers=HEADERS)

    @app.get("/healthz", tags=["health"])
    async def healthz() -> dict[str, str]:
        """Tell that the gateway itself runs."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["health"], responses={503: {"description": "an engine is starting"}})
    async def readyz(gateway: RunningGateway) -> JSONResponse:
        """Tell whether every engine answers; 503 while one does not."""
        engines = [
            {"base": base.name, "dtype": dtype, "role": role, "state": engine.state}
            for (base, dtype, role), engine in gateway.pool.engines.items()
        ]
        body = {
            "status": "ready" if gateway.ready else "not ready",
            "engines": engines,
            "starting": len(gateway.starting),
        }
        return JSONResponse(body, 200 if gateway.ready else 503)

    known: dict[int | str, dict[str, Any]] = {status: _RESPONSES[status] for status in (401, 403, 429)}

    @app.get("/metrics", tags=["health"], response_class=PlainTextResponse, responses=known)
    async def metrics(gateway: RunningGateway, key: Caller) -> Response:
        """Show the metrics of requests and engines, for Prometheus."""
        if key.aliases is not None:
            raise Fault(
                403, f"metrics name every bundle, and key {key.name!r} may use only some; take another key"
            )
        return PlainTextResponse(gateway.metrics.text(), media_type="text/plain; version=0.0.4")


def _answer_invalid(request: Request, error: Exception) -> JSONResponse:
    """Answers a body that does not fit with the field and the reason, never with the whole body."""
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    place = ".".join(str(part) for part in fault["loc"] if part != "body" and fault["type"] != "json_invalid")
    status = 422 if request.url.path.startswith("/v1/tasks") else 400
    return response(Fault(status, f"{place or 'body'}: {fault['msg']}"))


def _answer_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    reply = response(Fault(error.status_code, f"{error.detail}: {request.method} {request.url.path[:200]}"))
    reply.headers.update(error.headers or {})
    return reply


def _answer_bad_body(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BadBody)
    return response(Fault(error.status_code, error.detail))


class RequestGuard:
    """Checks size and Host of every request, gives it an id, logs and counts it, and hides bugs' details."""

    def __init__(self, app: ASGIApp, gateway: Gateway, local: bool) -> None:
        self.app, self.gateway, self.local = app, gateway, local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        began, status, number = time.monotonic(), 0, secrets.token_hex(6)
        body = self._read_body(scope, receive)

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", []), (b"x-request-id", number.encode())]
                await body.drain()
                if body.left:  # else a client that sends half of it keeps the connection open
                    headers.append((b"connection", b"close"))
                message["headers"] = headers
            await send(message)

        try:
            if fault := self._find_fault(scope):
                await response(fault)(scope, receive, send_with_id)
            else:
                await self.app(scope, body.receive, send_with_id)
        except Exception:
            log.exception("request %s failed", number)
            if not status:
                await response(Fault(500, f"internal error; request {number}"))(scope, receive, send_with_id)
        finally:
            route = getattr(scope.get("route"), "path", "")
            bundle = state.get("bundle", "")
            self.gateway.metrics.requests.labels(route, bundle, str(status)).inc()
            # an open page polls these
            again = scope["method"] == "GET" and status == 200 and route in POLLED
            log.log(
                logging.DEBUG if again else logging.INFO,
                "%s %s %d %.0f ms key=%s bundle=%s id=%s",
                *(scope["method"], route or "-", status, 1000 * (time.monotonic() - began)),
                *(state.get("key", "-"), bundle or "-", number),
            )

    def _find_fault(self, scope: Scope) -> Fault | None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if self.local and not names_loopback(host):
            return Fault(
                403, "this gateway answers to loopback names only; start it with --host to serve others"
            )
        size = headers.get(b"content-length", b"0")
        if size.isdigit() and int(size) > self._max_bytes(scope):
            return self._too_large(scope)
        return None

    def _max_bytes(self, scope: Scope) -> int:
        settings = self.gateway.settings
        return settings.max_upload if runs.UPLOAD.fullmatch(scope["path"]) else settings.max_body

    def _too_large(self, scope: Scope) -> Fault:
        key = "max_upload" if runs.UPLOAD.fullmatch(scope["path"]) else "max_body"
        return Fault(413, f"a request may have {self._max_bytes(scope):,} bytes (serve.{key})")

    def _read_body(self, scope: Scope, receive: Receive) -> BodyReader:
        headers = dict(scope["headers"])
        size = headers.get(b"content-length", b"0")
        upload = bool(runs.UPLOAD.fullmatch(scope["path"]))
        return BodyReader(
            receive,
            most=self._max_bytes(scope),
            too_large=self._too_large(scope).message,
            # a file of rows may come over a slow line, as long as it comes
            seconds=self.gateway.settings.timeout_s * (10 if upload else 1),
            begun=b"transfer-encoding" in headers or (size.isdigit() and int(size) > 0),
        )
