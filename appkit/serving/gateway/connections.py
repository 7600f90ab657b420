"""Ends connections on which no whole request head comes: uvicorn itself waits for one without end."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

__all__ = ["PatientProtocol"]

HEAD_S = 20.0
"""seconds for the head of a request, from the connection's or the head's first byte"""


class PatientProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """Speaks HTTP as uvicorn does, but closes a connection whose request head does not come whole in `HEAD_S`.

    Idle connections between requests are uvicorn's own concern (timeout_keep_alive).
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(error)

    def _watch_head(self) -> None:
        """Starts the timer while a head is incomplete, and stops it once its request has begun."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_timer()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(HEAD_S, self._end)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        self._timer = None
        if (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing():
            self.transport.close()
