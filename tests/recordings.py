"""What a soak records, written by hand."""

from typing import Any

TEXTS = ("Every dog barks.", "Some cats sleep.", "Socrates is a man.")


def recorded() -> dict[str, Any]:
    """What `--record` writes of a soak of two minutes with one kill: 120 answers, an error told in the outage."""
    versions = [f"soak-{number}@{number}{number}" for number in range(3)]
    expected = {version: {text: f"{version} of {text}" for text in TEXTS} for version in (*versions, "base")}
    answers = []
    for second in range(120):
        version, text = versions[second % 3], TEXTS[second % len(TEXTS)]
        one = {"asked": version.partition("@")[0], "allowed": [version], "model": version, "text": text}
        answers.append(one | {"answer": expected[version][text], "seconds": 0.5, "at": float(second)})
    memory = [(float(second), 400 + second / 600) for second in range(120)]
    return {
        "expected": expected,
        "answers": answers,
        "errors": [(61.0, 503, "the engine is being started again")],
        "lost": [],
        "hung_up": 2,
        "outages": [[60.0, 70.0]],
        "memory": {"gateway": memory, "engine": memory},
        "changes": {"canaries": 3},
    }
