"""Measures how fast rows are made of a git history: `python benchmarks/codechange.py`.

A repository is written by git fast-import: files of eight languages with some thirty documented functions each, commits
that change one to three of them (each third its comment too), side branches that are merged, renames, bots, commits of
a lock file, and a few of megabytes. `appkit data build` then reads it as a process, once for each problem; its peak of
memory is that of the largest of it and the git processes that it starts.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tables import table

COMMENT = "Returns the {word} of shelf {n}, in units of {unit}."
FUNCTIONS = {
    "py": 'def weigh_{n}(jar, lid):\n    """{comment}"""\n',
    "java": "    /** {comment} */\n    int weigh{n}(Jar jar, Lid lid) {{\n",
    "js": "// {comment}\nexport function weigh{n}(jar, lid) {{\n",
    "ts": "/** {comment} */\nexport function weigh{n}(jar: Jar, lid: Lid): number {{\n",
    "go": "// {comment}\nfunc Weigh{n}(jar Jar, lid Lid) int {{\n",
    "rs": "/// {comment}\npub fn weigh_{n}(jar: &Jar, lid: &Lid) -> u64 {{\n",
    "c": "/* {comment} */\nint weigh_{n}(struct jar *jar, struct lid *lid)\n{{\n",
    "cpp": "/// {comment}\nint weigh_{n}(const Jar &jar, const Lid &lid) {{\n",
}
LINE = '        total{k} = combine(jar, lid, {value}, "{word}"){end}\n'
WORDS = [
    "weight",
    "height",
    "depth",
    "price",
    "colour",
    "label",
    "order",
    "place",
    "number",
    "count",
    "volume",
    "mass",
]
UNITS = ["grams", "pounds", "stones", "litres", "metres", "inches", "dozens", "pieces"]
VERBS = ["Fix", "Change", "Correct", "Simplify", "Speed", "Explain", "Check", "Measure"]
START = 1_600_000_000
"""seconds of Unix time of the first commit; each later one is ten minutes after it"""


@dataclass
class Source:
    """A file: its place, and its functions as (comment, values of its lines)."""

    path: str
    functions: list[tuple[str, list[str]]]

    def render(self) -> str:
        ending = self.path.rpartition(".")[2]
        end, close = ("", "") if ending == "py" else (";", "}\n")
        parts = [
            FUNCTIONS[ending].format(n=n, comment=comment)
            + "".join(
                LINE.format(k=k, value=value, word=WORDS[k % 12], end=end) for k, value in enumerate(values)
            )
            + f"{close}\n"
            for n, (comment, values) in enumerate(self.functions)
        ]
        text = "".join(parts)
        return f"class Shelf {{\n{text}}}\n" if ending == "java" else text

    def change(self, draw: random.Random) -> None:
        place = draw.randrange(len(self.functions))
        comment, values = self.functions[place]
        values[draw.randrange(len(values))] = str(draw.randrange(10**6))
        if draw.random() < 1 / 3:
            comment = COMMENT.format(word=draw.choice(WORDS), n=draw.randrange(100), unit=draw.choice(UNITS))
        self.functions[place] = comment, values


def make_sources(count: int, draw: random.Random) -> list[Source]:
    endings = list(FUNCTIONS)
    return [
        Source(
            f"src/part{number % 17}/file{number}.{endings[number % len(endings)]}",
            [
                (
                    COMMENT.format(word=draw.choice(WORDS), n=n, unit=draw.choice(UNITS)),
                    [str(draw.randrange(10**6)) for _ in range(8)],
                )
                for n in range(30)
            ],
        )
        for number in range(count)
    ]


def write_commit(number: int, message: str, parents: list[int], changes: list[str], bot: bool = False) -> str:
    """Writes a commit for fast-import; changes: its commands, each with its line end."""
    person = (
        "helper[bot] <bot@host.example>" if bot else f"Person {number % 23} <p{number % 23}@work.example>"
    )
    when = f"{START + 600 * number} +0000"
    links = "".join(f"{'merge' if at else 'from'} :{parent}\n" for at, parent in enumerate(parents))
    size = len(message.encode())
    return (
        f"commit refs/heads/main\nmark :{number}\nauthor {person} {when}\ncommitter {person} {when}\n"
        f"data {size}\n{message}\n{links}{''.join(changes)}\n"
    )


def write_file(path: str, content: str) -> str:
    return f"M 100644 inline {path}\ndata {len(content.encode())}\n{content}\n"


def write_history(count: int) -> Iterator[str]:
    """Yields commits for fast-import: of eight, one is on a side branch, which the next one merges."""
    draw = random.Random(7)
    sources = make_sources(max(8, count // 40), draw)
    yield write_commit(1, "Add the shelf", [], [write_file(one.path, one.render()) for one in sources])
    trunk = 1
    number = 2
    while number <= count:
        chosen = draw.sample(sources, draw.choice((1, 1, 2, 3)))
        message = (
            f"{draw.choice(VERBS)} the {draw.choice(WORDS)} of {chosen[0].path.split('/')[1]} number {number}"
        )
        for one in chosen:
            one.change(draw)
        changes = [write_file(one.path, one.render()) for one in chosen]
        if number % 50 == 0:
            changes = [write_file("package-lock.json", f'{{"version": {number}}}\n' * 500)]
        elif number % 997 == 0:
            changes = [write_file(f"data/{number}.txt", f"{number} and so on\n" * 300_000)]
        elif number % 31 == 0:
            path = chosen[0].path.replace("file", "moved")
            changes.insert(0, f"R {chosen[0].path} {path}\n")
            changes[1] = write_file(path, chosen[0].render())
            chosen[0].path = path
        yield write_commit(number, message, [trunk], changes, bot=number % 41 == 0)
        if number % 8 == 0 and number + 2 <= count:
            side, other = number, draw.choice([one for one in sources if one not in chosen])
            other.change(draw)
            change = write_file(other.path, other.render())
            yield write_commit(number + 1, f"Measure the lids aside, time {number}", [trunk], [change])
            yield write_commit(number + 2, "Merge branch 'side'", [side, number + 1], [change])
            number += 2
        trunk = number
        number += 1


def write_repository(folder: Path, count: int) -> float:
    """Writes the repository; returns the seconds that took."""
    began = time.monotonic()
    subprocess.run(["git", "init", "-q", "--initial-branch=main", str(folder)], check=True)
    command = ["git", "-C", str(folder), "fast-import", "--quiet"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for part in write_history(count):
            process.stdin.write(part.encode())
    if process.returncode:
        raise SystemExit("git fast-import failed")
    return time.monotonic() - began


def measure(repository: Path, problem: str, out: Path) -> list[str]:
    """Builds the rows as a process; returns the problem, seconds, seconds of processors, peak memory, and rows."""
    program = "from appkit.cli.main import main; main()"
    words = ["data", "build", "codechange", f"repo={repository}", f"problem={problem}", "-o", str(out)]
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    if process.returncode:
        raise SystemExit(f"appkit data build ended with {process.returncode}\n{printed}")
    counts = [line.split("  ")[-2:] for line in printed.splitlines()]
    rows = next(count.strip() for count, *what in counts if what and what[0].startswith("rows"))
    computed = used.ru_utime + used.ru_stime
    return [problem, f"{seconds:.1f} s", f"{computed:.1f} s", f"{used.ru_maxrss / 2**20:.2f} GiB", rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", type=int, default=10_000)
    parser.add_argument(
        "--quick", action="store_true", help="a hundredth of the commits, to see that all runs"
    )
    given = parser.parse_args()
    count = max(60, given.commits // 100) if given.quick else given.commits
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder, "shelf")
        seconds = write_repository(repository, count)
        rows = [
            measure(repository, problem, Path(folder, problem))
            for problem in ("commit_message", "comment_update")
        ]
    print(f"{count:,} commits, written in {seconds:.1f} s\n")
    print(table(["problem", "time", "of processors", "peak memory", "rows"], rows))


if __name__ == "__main__":
    main()
