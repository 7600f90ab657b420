"""What listens on loopback answers to this machine's own names alone."""

from __future__ import annotations

import ipaddress
import re

__all__ = ["is_loopback", "names_loopback"]

HOST = re.compile(r"((localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d*)?)?", re.IGNORECASE)


def is_loopback(host: str) -> bool:
    """Tell whether who listens there is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def names_loopback(host: str) -> bool:
    """Tell whether a Host header names this machine: a page in its browser may have a name of its own point here.

    An empty one comes from no browser.
    """
    return HOST.fullmatch(host) is not None
