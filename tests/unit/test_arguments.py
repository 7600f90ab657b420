"""One text is one input, word or path wherever many may be given, and paths are taken where words are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import appkit
from appkit.arguments import list_paths, list_words, read_path
from appkit.bundles.manifest import find
from appkit.bundles.specialist import eval_config
from appkit.config import build_run_config, load_run_config, to_values
from appkit.errors import AppkitError, ConfigError, DataError
from appkit.rag import Index, build
from appkit.rag.retriever import retriever
from appkit.serving.certify.certify import certify
from appkit.serving.certify.recertify import recertify
from appkit.serving.export import export
from appkit.serving.gateway.keys import add_key, read_keys
from appkit.serving.gateway.serve import serve


def test_one_is_a_list_of_one() -> None:
    assert list_words("task=nl2fol") == ["task=nl2fol"]
    assert list_words(iter(["a", "b"])) == ["a", "b"]
    assert list_paths("notes", "x") == list_paths(Path("notes"), "x") == [Path("notes")]
    assert list_paths(["a", Path("b")], "x") == [Path("a"), Path("b")]


@pytest.mark.parametrize("path", ["", " ", None, 3, ["a"], b"a"])
def test_what_is_no_path_is_refused_by_what_it_was_meant_to_be(path: Any) -> None:
    for call in (
        lambda: find(path),
        lambda: appkit.load(path),
        lambda: appkit.evaluate(path),
        lambda: export(path, "there"),
        lambda: certify(path),
    ):
        with pytest.raises(ConfigError, match=r"^a bundle is (empty|a path, got)"):
            call()
    with pytest.raises(ConfigError, match=r"^the directory of an index is (empty|a path)"):
        retriever(path)
    with pytest.raises(ConfigError, match=r"^the directory of an index is (empty|a path)"):
        build(["x"], path)
    with pytest.raises(ConfigError):
        read_path(path, "it")
    if path is not None:
        with pytest.raises(ConfigError, match=r"^the run to resume is (empty|a path)"):
            appkit.train(resume=path)


def test_one_text_is_not_its_characters_elsewhere_either(tmp_path: Path, letters: Any) -> None:
    assert load_run_config("task=nl2fol").task.name == "nl2fol"
    add_key(tmp_path / "keys.json", "one", aliases="nl2fol")
    (key,) = read_keys(tmp_path / "keys.json")
    assert key.aliases == ("nl2fol",)
    with pytest.raises(AppkitError, match="none-such"):
        serve("none-such")
    (tmp_path / "runs").mkdir()
    with pytest.raises(ConfigError, match="no bundle below"):
        recertify(str(tmp_path / "runs"), engine="transformers")
    (tmp_path / "notes.md").write_text("The pass is closed in winter.\n\nThe lift runs all year.")
    assert build(str(tmp_path / "notes.md"), str(tmp_path / "index")).files == 1
    index = Index.open(tmp_path / "index")
    assert index.search_all("the pass") == [index.search("the pass")]
    with pytest.raises(DataError, match="a query is a text, got list"):
        index.search(["the pass"])  # type: ignore[arg-type]
    with pytest.raises(DataError, match="a query is a text, got list"):
        retriever(tmp_path / "index").invoke(["the pass"])  # type: ignore[arg-type]


def test_paths_are_taken_where_words_are(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    places = {name: tmp_path / name for name in ("base", "index", "train.jsonl", "run", "post")}
    values: dict[str, Any] = {
        "task": "nl2fol",
        "model": places["base"],
        "rag": places["index"],
        "run_dir": places["run"],
        "data": {"train": places["train.jsonl"], "columns": {"sentence": Path("NL")}},
        "method": {"name": "lora", "targets": ("q_proj",)},
    }
    config = build_run_config(values)
    as_words = {
        **values,
        "model": str(places["base"]),
        "rag": str(places["index"]),
        "run_dir": str(places["run"]),
        "data": {"train": str(places["train.jsonl"]), "columns": {"sentence": "NL"}},
    }
    assert to_values(config) == to_values(build_run_config(as_words))
    assert config.rag.index == str(places["index"])
    assert build_run_config({**values, "rag": {"name": places["index"], "k": 3}}).rag.k == 3
    assert build_run_config({**values, "model": {"name": places["base"]}}).model == config.model
    with pytest.raises(ConfigError, match=r"^no model '/none'"):
        build_run_config({**values, "model": Path("/none")})
    manifest: Any = {"config": to_values(config)}
    other = eval_config(manifest, {"rag": tmp_path, "data": {"test": tmp_path / "t.jsonl"}})
    assert (other.rag.index, other.data.test) == (str(tmp_path), str(tmp_path / "t.jsonl"))


@pytest.mark.parametrize(
    "config", ["task=nl2fol", "", ["task=nl2fol"], {"task": "nl2fol"}, {}, Path("run.yaml")], ids=repr
)
def test_what_is_no_configuration_is_refused_with_the_remedy(config: Any) -> None:
    for call in (appkit.train, lambda config: appkit.evaluate(config=config)):
        with pytest.raises(ConfigError) as caught:
            call(config)
        assert str(caught.value).startswith(f"config is a RunConfig, got {type(config).__name__} ")
        assert "by keyword (task=...), or what appkit.config.load_run_config(words, file)" in str(
            caught.value
        )


def test_keywords_beside_a_configuration_or_a_run_are_refused(tmp_path: Path) -> None:
    config = load_run_config("task=nl2fol")
    for call in (appkit.train, lambda config, **values: appkit.evaluate(config=config, **values)):
        with pytest.raises(
            ConfigError, match=r"^seed has no effect beside a ready configuration, got 'x'; leave"
        ):
            call(config, seed="x", bogus=1)
    with pytest.raises(
        ConfigError, match=r"^a resumed run has its own configuration, got seed, bogus beside"
    ):
        appkit.train(resume=tmp_path, seed=1, bogus=1)
    with pytest.raises(
        ConfigError, match=r"^a resumed run has its own configuration, got config beside resume"
    ):
        appkit.train(config, resume=tmp_path)
