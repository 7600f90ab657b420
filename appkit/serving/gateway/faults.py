"""Turns errors into answers for callers, in OpenAI's format."""

from __future__ import annotations

import logging
import math
from typing import Any

from fastapi.responses import JSONResponse

from appkit.errors import AppkitError, BundleError, DataError, ModelError, RunError
from appkit.serving.engines.protocol import Conflict, EngineGone, JobRefused
from appkit.serving.engines.supervised import Busy
from appkit.serving.gateway.registry import Unknown

__all__ = ["Fault", "error_body", "fault_of", "response"]


log = logging.getLogger(__name__)


class Fault(Exception):
    """Carries the HTTP status, message and code of an error for a caller; retry_after: seconds."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.retry_after = status, message, code, retry_after


KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}


def error_body(fault: Fault) -> dict[str, Any]:
    """Writes an error in OpenAI's format."""
    kind = KINDS.get(fault.status, "invalid_request_error" if fault.status < 500 else "server_error")
    return {"error": {"message": fault.message, "type": kind, "param": None, "code": fault.code}}


def response(fault: Fault) -> JSONResponse:
    """Makes the HTTP answer of a fault."""
    headers = {} if fault.retry_after is None else {"Retry-After": str(max(1, math.ceil(fault.retry_after)))}
    if fault.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error_body(fault), fault.status, headers)


def fault_of(error: Exception) -> Fault:
    """Turns one of our errors into a Fault. Any other error is a bug, whose message stays in the log."""
    match error:
        case Fault():
            return error
        case Unknown():
            return Fault(404, str(error), code="model_not_found")
        case Conflict():
            return Fault(409, str(error))
        case Busy():
            return Fault(429, str(error), code="queue_full", retry_after=error.retry_after)
        case EngineGone():
            return Fault(503, str(error), code="engine_restarting", retry_after=2)
        case JobRefused() if not error.broken:
            return Fault(400, str(error))
        case DataError() | BundleError():
            return Fault(422, str(error))
        case TimeoutError():
            return Fault(504, "the request took too long (serve.timeout_s); ask for fewer rows or tokens")
        case RunError() | ModelError() | AppkitError():
            return Fault(502, str(error))
        case _:
            log.error("unexpected error", exc_info=error)
            return Fault(500, "internal error; the gateway's log says more")
