"""Many people on the gallery at once: `python benchmarks/gallery_load.py --gallery URL --pid PID`.

Each simulated user opens the gallery, asks a page, reads for some seconds, and asks again. Told are the answers, what
else came (that people have to wait is no error), seconds of an answer, and the memory of the gallery's process from a
quarter of the time on.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import threading
import time
from collections import Counter

import psutil
from gradio_client import Client
from gradio_client.exceptions import AppError

TEXTS = (
    "Every dog that chases a cat barks.",
    "No student who studies fails every exam.",
    "Some yacht is anchored.",
)
ASKED = {"translate": (False, False), "classify": ("", False), "entities": (), "qa-ask": ("", True, False)}
"""what each page's function takes behind the text"""


def user(url: str, seconds: float, names: list[str], told: list[tuple[str, float]], number: int) -> None:
    draw = random.Random(number)
    end = time.monotonic() + seconds
    time.sleep(draw.uniform(0, min(10, seconds / 4)))  # people do not come all at once
    client = Client(url, verbose=False)
    while time.monotonic() < end:
        name = draw.choice(names)
        more = next(rest for kind, rest in ASKED.items() if name.endswith(kind))
        began = time.monotonic()
        try:
            client.predict(draw.choice(TEXTS), *more, api_name=name)
            what = "answered"
        except AppError as error:
            what = (
                "has to wait"
                if re.search("rows a minute|queue", str(error))
                else f"error: {str(error)[:100]}"
            )
        except Exception as error:  # whatever a user would see as a broken page
            what = f"broken: {type(error).__name__}: {str(error)[:100]}"
        told.append((what, time.monotonic() - began))
        time.sleep(draw.uniform(2, 12))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gallery", required=True)
    parser.add_argument("--pid", type=int, required=True, help="of the gallery, for its memory")
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300)
    asked = parser.parse_args()
    api = Client(asked.gallery, verbose=False).view_api(return_format="dict", print_info=False)
    names = [name for name in api["named_endpoints"] if name.endswith(tuple(ASKED))]
    process, memory, told = psutil.Process(asked.pid), [], []
    users = [
        threading.Thread(target=user, args=(asked.gallery, asked.seconds, names, told, number))
        for number in range(asked.users)
    ]
    for one in users:
        one.start()
    began = time.monotonic()
    while any(one.is_alive() for one in users):
        memory.append((time.monotonic() - began, process.memory_info().rss / 1e6))
        time.sleep(2)
    steady = memory[len(memory) // 4 :]
    slope = 60 * statistics.linear_regression(*zip(*steady, strict=True)).slope
    seconds = sorted(took for what, took in told if what == "answered")
    print(f"{asked.users} users, {asked.seconds:.0f} s, pages {', '.join(names)}")
    for what, count in Counter(what for what, _ in told).most_common():
        print(f"  {count:5}  {what}")
    print(
        f"seconds of an answer: p50 {statistics.median(seconds):.1f}, p95 {seconds[int(0.95 * (len(seconds) - 1))]:.1f}"
    )
    print(f"memory of the gallery: {steady[0][1]:.0f} to {steady[-1][1]:.0f} MB, {slope:+.2f} MB a minute")


if __name__ == "__main__":
    main()
