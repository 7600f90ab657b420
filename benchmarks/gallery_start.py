"""Measures the seconds until a gallery opens: `python benchmarks/gallery_start.py --gateway URL`.

The time runs from the command to the first page. The gateway runs already; each start is a process of its own.
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
            output = ""
            for line in process.stderr:
                output += line
                if address := re.search(r"gallery: (http\S+)", line):
                    httpx.get(address[1], timeout=60).raise_for_status()
                    return time.monotonic() - began
            raise SystemExit(output)
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
    print(" ".join(f"{second:.2f}" for second in seconds), f"median {statistics.median(seconds):.2f} s")


if __name__ == "__main__":
    main()
