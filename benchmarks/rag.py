"""Compares ways of retrieval: `python benchmarks/rag.py --data DIR --write`.

DIR holds `corpus.jsonl` (pid, text) and `train.jsonl` (question, gold_pid), as XQuAD's English part does. Every passage
is indexed whole; each ranking answers every question. Then the program measures speed: it indexes 10,000 short
passages, and indexes them again with 10 of them changed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from tables import table

from appkit.rag import Index, build

WAYS = (("dense", False), ("bm25", False), ("hybrid", False), ("hybrid", True), ("dense", True))
RESAMPLES = 5000


def ranks(index: Index, questions: list[dict[str, str]], by: str, judge: bool) -> np.ndarray:
    """Finds the place of each question's passage among the first five, from 1; 0 where it is not there."""
    texts = [question["question"] for question in questions]
    results = index.search_all(texts, 5, by=by, judge=judge)  # type: ignore[arg-type]
    places = []
    for question, hits in zip(questions, results, strict=True):
        pids = [hit.passage.source.rpartition("#")[2] for hit in hits]
        places.append(pids.index(question["gold_pid"]) + 1 if question["gold_pid"] in pids else 0)
    return np.array(places)


def scores(places: np.ndarray) -> dict[str, np.ndarray]:
    """Scores each question. nDCG of one right passage is 1 / log2(1 + its place)."""
    return {
        "recall@1": (places == 1).astype(float),
        "recall@5": (places > 0).astype(float),
        "nDCG@5": np.where(places > 0, 1 / np.log2(1 + np.maximum(places, 1)), 0.0),
    }


def interval(differences: np.ndarray) -> str:
    """Computes the mean and its 95 % interval, by bootstrap over questions."""
    draws = np.random.default_rng(0).choice(differences, (RESAMPLES, len(differences))).mean(1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{differences.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def speed(folder: Path, corpus: list[dict[str, str]], count: int) -> str:
    """Measures the seconds to index so many short passages, 100 a file, and to index again with ten of them changed."""
    sentences = [part for passage in corpus for part in passage["text"].split(". ") if len(part) > 20]
    files = folder / "files"
    files.mkdir()
    lines = [f"{number}: {sentences[number % len(sentences)]}" for number in range(count)]

    def write(start: int) -> None:
        rows = "".join(json.dumps({"text": line}) + "\n" for line in lines[start : start + 100])
        (files / f"{start:05}.jsonl").write_text(rows, encoding="utf-8")

    for start in range(0, len(lines), 100):
        write(start)
    began = time.monotonic()
    first = build([files], folder / "many")
    seconds = time.monotonic() - began
    for number in range(0, count, count // 10):
        lines[number] += " Changed."
        write(number // 100 * 100)
    began = time.monotonic()
    again = build([files], folder / "many")
    return (
        f"{first.passages} passages ({np.mean([len(line) for line in lines]):.0f} characters each) in {seconds:.0f} s; "
        f"again with {again.embedded} of them changed in {time.monotonic() - began:.1f} s."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--write", type=Path, nargs="?", const=Path(__file__).with_suffix(".tables.md"), help="file"
    )
    parser.add_argument("--passages", type=int, default=10_000, help="indexed for the speed (default 10000)")
    options = parser.parse_args()
    corpus, questions = (
        [json.loads(line) for line in (options.data / name).open(encoding="utf-8")]
        for name in ("corpus.jsonl", "train.jsonl")
    )
    with tempfile.TemporaryDirectory(prefix="appkit-rag-") as name:
        folder = Path(name)
        build([options.data / "corpus.jsonl"], folder / "index", size=20_000, overlap=0)
        index = Index.open(folder / "index")
        scores_of = {}
        for by, judge in WAYS:
            scores_of[by + (" + QIM" if judge else "")] = scores(ranks(index, questions, by, judge))
        measures = list(scores_of["dense"])
        rows = [
            [way, *(f"{columns[measure].mean():.3f}" for measure in measures)]
            for way, columns in scores_of.items()
        ]
        pairs = [
            ("hybrid", "dense"),
            ("hybrid", "bm25"),
            ("hybrid + QIM", "hybrid"),
            ("dense + QIM", "dense"),
        ]
        against = [
            [f"{a} - {b}", *(interval(scores_of[a][measure] - scores_of[b][measure]) for measure in measures)]
            for a, b in pairs
        ]
        text = "\n".join(
            [
                f"{len(questions)} questions, {len(corpus)} passages.\n",
                table(["ranking", *measures], rows),
                "\nPaired differences with 95 % intervals:\n",
                table(["", *measures], against),
                "\n" + speed(folder, corpus, options.passages),
            ]
        )
    print(text)
    if options.write:
        options.write.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
