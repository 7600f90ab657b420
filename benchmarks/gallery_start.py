"""Seconds until a gallery can be opened: `python benchmarks/gallery_start.py --gateway URL`.

From the command to the first page in hand, of a gateway that is served already; each start is a process of its own.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time

import httpx

APPKIT = [sys.executable, "-c", "from appkit.cli.main import main; main()"]


def start(gateway: str) -> float:
    words = [*APPKIT, "demo", "--gateway", gateway, "--port", "0"]
    began = time.monotonic()
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        try:
            said = ""
            for line in process.stderr:
                said += line
                if found := re.search(r"gallery: (http\S+)", line):
                    httpx.get(found[1], timeout=60).raise_for_status()
                    return time.monotonic() - began
            raise SystemExit(said)
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gateway", required=True)
    parser.add_argument("--times", type=int, default=5)
    args = parser.parse_args()
    seconds = [start(args.gateway) for _ in range(args.times)]
    print(" ".join(f"{one:.2f}" for one in seconds), f"median {statistics.median(seconds):.2f} s")


if __name__ == "__main__":
    main()
