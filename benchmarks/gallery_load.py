"""Simulates many people on the gallery: `python benchmarks/gallery_load.py --gallery URL --pid PID`.

Each simulated user opens the gallery, asks a page, reads for some seconds, and asks again. The program prints the count
of answers and of other outcomes (having to wait is no error), seconds of an answer, and the memory of the gallery's
process after the first quarter of the time.
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
ARGUMENTS = {
    "translate": (False, False),
    "classify": ("", False),
    "entities": (),
    "qa-ask": ("", True, False),
}
"""arguments of each page's function after the text"""


def user(url: str, seconds: float, names: list[str], outcomes: list[tuple[str, float]], number: int) -> None:
    draw = random.Random(number)
    end = time.monotonic() + seconds
    time.sleep(draw.uniform(0, min(10, seconds / 4)))  # people do not come all at once
    client = Client(url, verbose=False)
    while time.monotonic() < end:
        name = draw.choice(names)
        arguments = next(rest for kind, rest in ARGUMENTS.items() if name.endswith(kind))
        began = time.monotonic()
        try:
            client.predict(draw.choice(TEXTS), *arguments, api_name=name)
            outcome = "answered"
        except AppError as error:
            outcome = (
                "has to wait"
                if re.search("rows a minute|queue", str(error))
                else f"error: {str(error)[:100]}"
            )
        except Exception as error:  # whatever a user would see as a broken page
            outcome = f"broken: {type(error).__name__}: {str(error)[:100]}"
        outcomes.append((outcome, time.monotonic() - began))
        time.sleep(draw.uniform(2, 12))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gallery", required=True)
    parser.add_argument("--pid", type=int, required=True, help="of the gallery, for its memory")
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300)
    options = parser.parse_args()
    api = Client(options.gallery, verbose=False).view_api(return_format="dict", print_info=False)
    names = [name for name in api["named_endpoints"] if name.endswith(tuple(ARGUMENTS))]
    process, memory, outcomes = psutil.Process(options.pid), [], []
    users = [
        threading.Thread(target=user, args=(options.gallery, options.seconds, names, outcomes, number))
        for number in range(options.users)
    ]
    for thread in users:
        thread.start()
    began = time.monotonic()
    while any(thread.is_alive() for thread in users):
        memory.append((time.monotonic() - began, process.memory_info().rss / 1e6))
        time.sleep(2)
    steady = memory[len(memory) // 4 :]
    slope = 60 * statistics.linear_regression(*zip(*steady, strict=True)).slope
    seconds = sorted(elapsed for outcome, elapsed in outcomes if outcome == "answered")
    print(f"{options.users} users, {options.seconds:.0f} s, pages {', '.join(names)}")
    for outcome, count in Counter(outcome for outcome, _ in outcomes).most_common():
        print(f"  {count:5}  {outcome}")
    print(
        f"seconds of an answer: p50 {statistics.median(seconds):.1f}, p95 {seconds[int(0.95 * (len(seconds) - 1))]:.1f}"
    )
    print(f"memory of the gallery: {steady[0][1]:.0f} to {steady[-1][1]:.0f} MB, {slope:+.2f} MB a minute")


if __name__ == "__main__":
    main()
