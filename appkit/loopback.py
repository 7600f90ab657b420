"""Loopback tells which hosts and names belong to this machine alone."""

from __future__ import annotations

import ipaddress
import re

__all__ = ["is_loopback", "names_loopback"]

HOST = re.compile(r"((localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d*)?)?", re.IGNORECASE)


def is_loopback(host: str) -> bool:
    """Tell whether a server that listens on this host is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def names_loopback(host: str) -> bool:
    """Tell whether a Host header names this machine, since a web page can make its own name point here.

    An empty header counts too: no browser sends one.
    """
    return HOST.fullmatch(host) is not None
