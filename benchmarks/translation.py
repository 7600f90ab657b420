"""Measures what the translation pack does without a model: `python benchmarks/translation.py`.

Terms are found in sentences, pairs are checked, and the nearest examples are looked up. Sentences are the shipped
interface texts, varied by a number so that none comes twice; terms are pairs of words of them, and half are in no text.
The checks run in a process of their own, whose peak of memory is that of the interpreter, the models and the pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.resources import files

from tables import table

Pair = tuple[str, str, str, str]


def shipped() -> list[dict[str, str]]:
    folder = files("appkit_data").joinpath("interface")
    lines = folder.joinpath("en-fr.train.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def pairs(count: int) -> Iterator[Pair]:
    rows = shipped()
    for number in range(count):
        row = rows[number % len(rows)]
        yield f"{row['source']} {number}", f"{row['target']} {number}", "en", "fr"


def measure_glossary(sentences: int, terms: int) -> list[str]:
    from appkit_tasks.translation.glossary import Entry, Glossary

    draw = random.Random(0)
    words = sorted({word for row in shipped() for word in row["source"].split() if word.isalpha()})
    sources = {" ".join(draw.sample(words, 2)) for _ in range(terms // 2)} | set(words[: terms // 4])
    sources |= {f"zq{number} part" for number in range(terms - len(sources))}
    glossary = Glossary("en", "fr", tuple(Entry(source, (source.upper(),)) for source in sorted(sources)))
    texts = [text for text, *_ in pairs(sentences)]
    began = time.monotonic()
    glossary.find(texts[0])
    built = time.monotonic() - began
    began = time.monotonic()
    matches = sum(len(glossary.find(text)) for text in texts)
    seconds = time.monotonic() - began
    what = f"{sentences:,} sentences against {len(glossary.entries):,} terms"
    return [what, f"{seconds:.1f} s", f"{built:.1f} s to build, {matches:,} matches"]


def measure_checks(count: int) -> list[str]:
    """In a process of its own, so that the peak is its."""
    command = [sys.executable, os.path.abspath(__file__), "--pairs", str(count), "--alone"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, peak, found = json.loads(done.stdout.splitlines()[-1])
    return [f"{count:,} pairs checked", f"{seconds:.1f} s", f"peak {peak:.2f} GiB, {found:,} with findings"]


def check_alone(count: int) -> None:
    from appkit_tasks.translation.clean import check_pairs

    began = time.monotonic()
    found = sum(1 for _ in check_pairs(pairs(count)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps([time.monotonic() - began, peak, found]))


def measure_examples(sentences: int) -> list[str]:
    from appkit_tasks.translation import TASK
    from appkit_tasks.translation.load import TranslationRow

    from appkit.rag.examples import Retriever

    rows = [
        TranslationRow(source=source, target=target, source_language="en", target_language="fr")
        for source, target, *_ in pairs(sentences)
    ]
    began = time.monotonic()
    assert TASK.similar is not None
    retriever = Retriever(rows, TASK.similar)
    built = time.monotonic() - began
    began = time.monotonic()
    for row in rows[: max(1, sentences // 10)]:
        retriever.nearest(row, 3)
    seconds = time.monotonic() - began
    what = f"3 nearest of {sentences:,} pairs, {max(1, sentences // 10):,} times"
    return [what, f"{seconds:.1f} s", f"{built:.1f} s to index"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=10_000)
    parser.add_argument("--terms", type=int, default=50_000)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--alone", action="store_true", help="of the process that checks pairs")
    given = parser.parse_args()
    if given.alone:
        check_alone(given.pairs)
        return
    rows = [
        measure_glossary(given.sentences, given.terms),
        measure_checks(given.pairs),
        measure_examples(given.sentences),
    ]
    print(table(["what", "time", ""], rows))


if __name__ == "__main__":
    main()
