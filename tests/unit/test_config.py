"""Words, files and presets become one configuration, or one line that says what does not fit."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import appkit
from appkit.config import (
    DataConfig,
    EvalConfig,
    RunConfig,
    TrainConfig,
    build,
    build_run_config,
    load_run_config,
    merge_over,
    parse_overrides,
    presets,
    to_values,
    to_yaml,
)
from appkit.config.words import Word, read_words
from appkit.errors import ConfigError
from appkit.plugins import load_method, load_task, modules

PRESETS = sorted((Path(appkit.__file__).parent / "presets").glob("*/*.yaml"))


def fields_of(task: str) -> list[tuple[str, Any]]:
    return list(load_task(task).config.model_fields.items())


def load(*words: str, file: Path | None = None) -> RunConfig:
    return load_run_config(("task=nl2fol", *words), file)


def refusal(*words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- presets ---------------------------------------------------------------------------------------------


def test_there_are_presets() -> None:
    groups = [path.parent.name for path in PRESETS]
    assert groups.count("train") >= 3
    assert groups.count("model") >= 8
    assert {"nf4", "int8", "none"} <= set(presets("quant"))
    assert sorted(set(groups)) == ["model", "quant", "train"]


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: f"{path.parent.name}={path.stem}")
def test_every_preset_is_valid_and_has_its_name(path: Path) -> None:
    group = path.parent.name
    assert path.stem in presets(group)
    assert getattr(load(f"{group}={path.stem}"), group).name == path.stem


# --- order -----------------------------------------------------------------------------------------------


def test_defaults_then_preset_then_pack_then_file_then_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = dataclasses.replace(
        build.load_task("nl2fol"),
        defaults={"train": {"epochs": 7, "warmup": 7, "batch_rows": 7, "weight_decay": 0.7}},
    )
    monkeypatch.setattr(build, "load_task", lambda name: pack)
    file = tmp_path / "run.yaml"
    file.write_text("train:\n  name: thorough\n  warmup: 8\n  batch_rows: 8\n")
    train = load("train.batch_rows=9", file=file).train
    assert (train.batch_rows, train.warmup, train.epochs, train.weight_decay) == (9, 8, 7, 0.7)
    assert (train.name, train.patience) == ("thorough", 8)  # of the preset
    assert train.eval_rows == TrainConfig().eval_rows  # of the defaults


def test_the_decoding_of_the_pack_is_below_that_of_the_user() -> None:
    assert load().decoding.stop == ("\n",)
    assert load("decoding.stop=[]").decoding.stop == ()


@pytest.mark.parametrize("order", [1, -1])
def test_a_word_and_its_keys_come_in_any_order(order: int) -> None:
    words = ["method=lora", "method.rank=3", "train=thorough", "train.epochs=2"][::order]
    loaded = load(*words)
    assert (loaded.method.name, loaded.method.rank) == ("lora", 3)
    assert (loaded.train.name, loaded.train.epochs, loaded.train.batch_rows) == ("thorough", 2, 16)


def test_keys_without_the_word_keep_the_default_choice() -> None:
    loaded = load("quant.double_quant=false", "model.dtype=float32")
    assert (loaded.quant.name, loaded.quant.double_quant) == ("nf4", False)
    assert (loaded.model.name, loaded.model.dtype) == ("smollm2-135m", "float32")


def test_a_bare_word_replaces_what_a_file_says_of_its_group(tmp_path: Path) -> None:
    """A saved configuration holds every value of its model and preset: none may survive another choice."""
    file = tmp_path / "run.yaml"
    file.write_text(to_yaml(load("method.rank=3", "data.max_length=99")))
    other = load(
        "model=some/where@main", "train=thorough", "train.epochs=2", "model.dtype=float32", file=file
    )
    assert (other.model.source, other.model.id, other.model.revision) == ("hub", "some/where", "main")
    assert (other.model.fingerprint, other.model.file, other.model.dtype) == (None, None, "float32")
    assert other.train == load("train=thorough", "train.epochs=2").train
    assert (other.method.rank, other.data.max_length) == (3, 99)


def test_keys_refine_what_a_file_says(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("task: nl2fol\nmethod:\n  rank: 3\n  alpha: 5\ntrain: thorough\n")
    loaded = load_run_config(["method.rank=4"], file)
    assert (loaded.method.rank, loaded.method.alpha, loaded.train.name) == (4, 5, "thorough")


def test_merge_over_leaves_its_arguments_alone() -> None:
    below, above = {"train": {"name": "quick", "epochs": 1}, "seed": 1}, {"train": {"epochs": 2}}
    assert merge_over(below, above) == {"train": {"name": "quick", "epochs": 2}, "seed": 1}
    assert merge_over(below, {"train": "thorough"}) == {"train": {"name": "thorough"}, "seed": 1}
    assert (below, above) == ({"train": {"name": "quick", "epochs": 1}, "seed": 1}, {"train": {"epochs": 2}})


# --- words -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("a.b=1e-3", {"a": {"b": 0.001}}),
        ("a.b=2.0e-3", {"a": {"b": 0.002}}),
        ("a=true", {"a": True}),
        ("a=null", {"a": None}),
        ("a=[x, y]", {"a": ["x", "y"]}),
        ("a.b-c=x=y", {"a": {"b-c": "x=y"}}),
        ("a=b: c", {"a": "b: c"}),
        ("a=don't", {"a": "don't"}),
        ("a=${oc.env:HOME}", {"a": "${oc.env:HOME}"}),
        ("a='1'", {"a": "1"}),
    ],
)
def test_fields_that_take_no_text_follow_yaml(word: str, value: object) -> None:
    assert read_words(dict[str, Any], parse_overrides([word])) == value


TEXTS = [
    "no",
    "true",
    "~",
    "None",
    "#",
    "#x.csv",
    " ",
    "a #b",
    "[a]",
    "{a: 1}",
    "[a",
    "|",
    "0.10",
    "2024-01-01",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_field_gets_what_was_typed(text: str) -> None:
    assert load(f"task.instruction={text}").task.instruction == text
    columns = load(f"data.columns.sentence={text}x", "data={columns: {fol: no}}").data.columns
    assert columns == {"fol": "no"}  # the later word replaces the group
    if text.strip():
        keys = ("data.train", "run_dir", "name", "rag.index", "model.revision")
        loaded = load(*(f"{key}={text}" for key in keys))
        values = [loaded.data.train, loaded.run_dir, loaded.name, loaded.rag.index, loaded.model.revision]
        assert values == [text] * 5
    if text.strip()[:1] not in ("", "[", "{"):
        assert load(f"rag={text}").rag.index == text


OPTIONS = [
    *((f"task.{name}", field) for task in modules("appkit.tasks") for name, field in fields_of(task)),
    *((name, field) for name, field in RunConfig.model_fields.items()),
    *(
        (f"{section}.{name}", field)
        for section, model in RunConfig.model_fields.items()
        if hasattr(model.annotation, "model_fields")
        for name, field in model.annotation.model_fields.items()
    ),
]


def test_in_every_field_of_every_section_and_pack_only_null_is_none() -> None:
    """Either the text arrives, or the number or truth value that it is; never None and never less than was typed."""
    seen = set()
    for key, field in OPTIONS:
        assert read_words(field.annotation, Word("null")) is None
        for text in ("", " ", "#", "~", "Null", "a #b", "#x.csv"):
            assert read_words(field.annotation, Word(text)) == text, key
        if text_field := read_words(field.annotation, Word("1")) == "1":
            assert read_words(field.annotation, Word("0.10")) == "0.10", key
        seen.add((key, text_field))
    assert {("task.oos", True), ("task.normalize", False), ("data.train", True), ("seed", False)} <= seen


@pytest.mark.parametrize(
    "key",
    [
        "data.train",
        "data.dev",
        "data.test",
        "data.feedback",
        "data.columns.sentence",
        "run_dir",
        "name",
        "rag",
        "rag.index",
        "model.revision",
        "model.fingerprint",
    ],
)
@pytest.mark.parametrize("blank", ["", " ", '""'])
def test_an_empty_path_or_name_is_refused_with_the_remedy(key: str, blank: str, tmp_path: Path) -> None:
    shown = {"rag": "rag.index"}.get(key, key)
    line = f"{shown}: is empty (a shell variable that is not set?); fill it in, or leave the key out, got "
    assert refusal(f"{key}={blank}").startswith(line)
    file = tmp_path / "run.yaml"
    if key.startswith("data."):
        *groups, leaf = key.split(".")
        file.write_text("".join(f"{'  ' * depth}{name}:\n" for depth, name in enumerate([*groups, leaf])))
        with pytest.raises(ConfigError, match=f"^{key}: is empty"):
            load_run_config(["task=nl2fol"], file)
        nested: Any = ""
        for name in reversed(key.split(".")):
            nested = {name: nested}
        with pytest.raises(ConfigError, match=f"^{key}: is empty"):
            build_run_config({"task": "nl2fol", **nested})


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("seed=", "seed: input should be a valid integer, got ''"),
        ("train.max_rows=", "train.max_rows: input should be a valid integer, got ''"),
        ("train.max_rows=~", "train.max_rows: input should be a valid integer, got '~'"),
        ("task.normalize=", "task.normalize: input should be a valid boolean, got ''"),
        ("task.instruction=", "task.instruction: string should have at least 1 character, got ''"),
        ("method.targets=", "method.targets: input should be a list or 'all-linear', got ''"),
        ("decoding.loop=#", "decoding.loop: input should be a valid integer, got '#'"),
        ("model=", "model.name: is empty"),  # not this directory
        ("method=", "no method named ''"),
        ("quant=", "no quant preset ''"),
        ("rag.k=", "rag.k: input should be a valid integer, got ''"),
    ],
)
def test_an_empty_value_is_no_default(word: str, line: str) -> None:
    assert refusal(word).startswith(line)


def test_words_in_a_list_are_words() -> None:
    assert load("decoding.stop=[no, 0.10, ~, ' ', 'a, b']").decoding.stop == ("no", "0.10", "~", " ", "a, b")
    with pytest.raises(
        ConfigError, match=r"^decoding.stop.0: string should have at least 1 character, got ''$"
    ):
        load("decoding.stop=['']")  # every token holds it
    assert load("train.max_rows=010", "decoding.top_k=1_0").train.max_rows == 10
    assert load("train.max_rows=null", "rag=null").train.max_rows is None


@pytest.mark.parametrize("text", ["&a [*a]", "[&a [x, x], *a, *a]", "!!python/name:os.system x", "{[a]: 1}"])
def test_what_yaml_would_build_more_from_is_text(text: str) -> None:
    assert load(f"task.instruction={text}").task.instruction == text


def test_a_hash_in_a_text_is_part_of_it() -> None:
    assert load("task.instruction=Rank #1 first").task.instruction == "Rank #1 first"


@pytest.mark.parametrize("text", ["2024", "0.10", "007", "1e3", "1_000", "-3.0"])
def test_a_number_can_be_a_text_and_is_kept_as_written(text: str) -> None:
    loaded = load(
        f"name={text}", f"model.revision={text}", f"task.instruction={text}", f"decoding.stop=['{text}']"
    )
    assert [loaded.name, loaded.model.revision, loaded.task.instruction, *loaded.decoding.stop] == [text] * 4
    assert build_run_config({"task": "nl2fol", "name": 2024}).name == "2024"
    number = load("train.learning_rate=1e-3").train.learning_rate
    assert (number, str(number), type(number)) == (0.001, "0.001", float)
    assert load("decoding.stop=[1]", "method.targets=[2]").method.targets == ("2",)


def test_half_an_interpolation_is_text() -> None:
    assert load("task.instruction=It costs ${5").task.instruction == "It costs ${5"


@pytest.mark.parametrize("word", ["", "=3", "Train=3", "train", "train..x=1", "a b=1"])
def test_what_is_no_word_is_shown(word: str) -> None:
    assert refusal(word).startswith(f"expected key=value, got {word!r}")


# --- faults ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("task=nl2fo", "no task named 'nl2fo'; did you mean 'nl2fol'?"),
        ("method=lorra", "no method named 'lorra'; did you mean 'lora'?"),
        ("quant=nf5", "no quant preset 'nf5'; did you mean 'nf4'?"),
        ("train=quik", "no train preset 'quik'; did you mean 'quick'?"),
        ("model=smollm", "did you mean 'smollm2-135m'?"),
        ("train.epoch=2", "unknown key 'train.epoch'; did you mean train.epochs?"),
        ("method.rnak=2", "unknown key 'method.rnak'; did you mean method.rank?"),
        ("task.instructions=x", "unknown key 'task.instructions'; did you mean task.instruction?"),
        ("evall.rows=2", "unknown key 'evall'; did you mean eval?"),
        (
            "zzz=1",
            "unknown key 'zzz'; known: task, model, method, quant, head, train, data, rag, stages, eval, decoding",
        ),
    ],
)
def test_misspelt_words_and_keys(word: str, hint: str) -> None:
    assert hint in refusal(word)


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("method.rank=0", "method.rank: input should be greater than or equal to 1, got 0"),
        ("method.rank=513", "method.rank: input should be less than or equal to 512, got 513"),
        ("head.dropout=5", "head.dropout: input should be less than 1 or 'auto', got 5"),
        ("head.dropout=-1", "head.dropout: input should be greater than or equal to 0 or 'auto', got -1"),
        ("method.dropout=1", "method.dropout: input should be less than 1, got 1"),
        ("train.learning_rate=-1", "train.learning_rate: input should be greater than 0, got -1"),
        ("train.epochs=many", "train.epochs: input should be a valid number"),
        ("train.select=worst", "train.select: input should be 'best' or 'last', got 'worst'"),
        ("train.max_rows=0", "train.max_rows: input should be greater than or equal to 1, got 0"),
        ("quant.name=nf5", "no quant preset 'nf5'"),
        (
            "model.dtype=float16",
            "model.dtype: input should be 'auto', 'bfloat16' or 'float32', got 'float16'",
        ),
        ("data.on_long=keep", "data.on_long: input should be 'refuse', 'drop' or 'cut', got 'keep'"),
        ("data.test_share=0.5", "data.test_share: input should be less than 0.5, got 0.5"),
        (
            "decoding.temperature=-1",
            "decoding.temperature: input should be greater than or equal to 0, got -1",
        ),
        ("seed=1.5", "seed: input should be a valid integer"),
        ("eval=3", "eval: input should be a valid dictionary"),
        ("method.init=loftq", "method.init: init must be default, gaussian or orthogonal, got 'loftq'"),
        ("method.init=pissa", "method.init: pissa is a method of its own; use method=pissa"),
        (
            "method.init=pissa_niter_4",
            "method.init: pissa_niter_4 is a method of its own; use method=pissa method.niter=4",
        ),
    ],
)
def test_a_wrong_value_is_one_line_with_key_and_value(word: str, line: str) -> None:
    assert refusal(word).startswith(line)


@pytest.mark.parametrize(
    ("key", "truth", "line"),
    [
        ("train.max_rows", "yes", "input should be a valid integer"),
        ("eval.rows", "Yes", "input should be a valid integer"),
        ("train.epochs", "on", "input should be a valid number"),
        ("data.near", "off", "input should be a valid number"),
        ("head.dropout", "no", "input should be a valid number or 'auto'"),
        ("decoding.max_new_tokens", "true", "input should be a valid integer or 'auto'"),
        ("method.rank", "yes", "input should be a valid integer"),
        ("method.alpha", "yes", "input should be a valid number"),
        ("threads", "on", "input should be a valid integer"),
        ("seed", "no", "input should be a valid integer"),
    ],
)
def test_a_truth_value_is_no_number(key: str, truth: str, line: str, tmp_path: Path) -> None:
    assert refusal(f"{key}={truth}") == f"{key}: {line}, got {truth!r}"
    group, _, leaf = key.rpartition(".")
    file = tmp_path / "run.yaml"
    file.write_text(f"{group}:\n  {leaf}: {truth}" if group else f"{leaf}: {truth}")
    with pytest.raises(ConfigError) as caught:
        load(file=file)
    assert str(caught.value) == f"{key}: {line}, got {truth!r}"
    values: dict[str, Any] = {group: {leaf: True}} if group else {leaf: True}
    with pytest.raises(ConfigError) as caught:
        build_run_config({"task": "nl2fol", **values})
    assert str(caught.value) == f"{key}: {line}, got 'True'"


def test_a_section_itself_takes_no_truth_value_for_a_number_either() -> None:
    with pytest.raises(ValidationError, match="'True'"):
        TrainConfig(epochs=True)
    assert load("eval.baseline=no").eval.baseline is False
    assert EvalConfig(baseline=True, rows="3").rows == 3  # type: ignore[arg-type]


@pytest.mark.parametrize("number", ["inf", "-inf", "nan"])
def test_every_number_is_finite(number: str) -> None:
    words = ("train.max_grad_norm", "method.alpha", "head.dropout", "head.label_smoothing", "data.near")
    for key in (*words, "train.epochs", "train.beta2", "decoding.temperature", "seed"):
        line = refusal(f"{key}={number if number == 'nan' else number.replace('inf', '.inf')}")
        assert re.fullmatch(rf"{key}: input should be .*, got '?\.?{number}'?", line)
        group, _, leaf = key.rpartition(".")
        values: dict[str, Any] = {group: {leaf: float(number)}} if group else {leaf: float(number)}
        with pytest.raises(ConfigError, match=rf"^{key}: input should be .*, got {number}$"):
            build_run_config({"task": "nl2fol", **values})


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("decoding.stop=x", "decoding.stop: input should be a list, got 'x'"),
        ("method.targets=3", "method.targets: input should be a list or 'all-linear', got 3"),
        ("method.targets={a: 1}", "method.targets: input should be a list or 'all-linear', got {'a': 1}"),
        ("method.targets=[null]", "method.targets.0: input should be a valid string, got None"),
        (
            "decoding.max_new_tokens=many",
            "decoding.max_new_tokens: input should be a valid integer or 'auto', got 'many'",
        ),
        (
            "decoding.max_new_tokens=0",
            "decoding.max_new_tokens: input should be greater than or equal to 1 or 'auto', got 0",
        ),
        ("data.columns=x", "data.columns: input should be a valid dictionary, got 'x'"),
    ],
)
def test_what_a_value_may_be_is_told_by_the_users_key(word: str, line: str) -> None:
    assert refusal(word) == line


def test_without_a_task_the_tasks_are_listed() -> None:
    with pytest.raises(ConfigError, match=r"task is missing; choose one: .*task=nl2fol"):
        load_run_config(["train=quick"])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("task: [", "is not valid YAML"),
        ("- a", "must hold keys and values, got list"),
        ("task: nl2fol\ntask: nl2fol", "duplicate key task"),
        ("task: nl2fol\nfoo: 1", "unknown key 'foo'"),
        ("task: nl2fol\ntrain:\n  epochs: x", "train.epochs: input should be a valid number"),
        ("task: nl2fol\ntrain:", "no train preset ''"),
    ],
)
def test_a_faulty_file_is_one_line(text: str, line: str, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_run_config([], file)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none.yaml: No such file"):
        load_run_config([], tmp_path / "none.yaml")


# --- models ----------------------------------------------------------------------------------------------


def test_a_directory_wins_over_the_hub_and_is_kept_as_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert load("model=org/name").model.source == "hub"
    monkeypatch.chdir(tmp_path)
    model = load("model=org/name").model
    assert (model.name, model.source, model.id) == ("org/name", "directory", str(tmp_path / "org" / "name"))


def test_a_hub_id_with_and_without_a_revision() -> None:
    assert load("model=a/b@v1.0").model.model_dump(include={"id", "revision"}) == {
        "id": "a/b",
        "revision": "v1.0",
    }
    assert load("model=a/b").model.revision is None


# --- there and back --------------------------------------------------------------------------------------

VARIANTS = [
    (),
    ("train=thorough", "train.trackers=[]", "train.max_rows=5", "train.learning_rate=3e-5"),
    ("model=a/b@c", "quant=none", "method.targets=[q_proj, v_proj]", "method.dora=true"),
    ("data.train=x.jsonl", "data.columns.sentence=Satz #1: x", "name='yes'", "run_dir=~/a b"),
    ('decoding.stop=["\\n", ": ", "# "]', "decoding.max_new_tokens=7", "seed=7", "threads=2"),
    ("task.instruction=Sag's: ja, nein — ∀x", "task.normalize=false"),
]


@pytest.mark.parametrize("words", VARIANTS, ids=lambda words: words[0] if words else "defaults")
def test_yaml_is_read_back_to_the_same_value(words: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    first = load(*words)
    file.write_text(to_yaml(first), encoding="utf-8")
    second = load_run_config([], file)
    assert second == first
    assert to_yaml(second) == to_yaml(first)


@pytest.mark.parametrize("task", sorted(modules("appkit.tasks")))
@pytest.mark.parametrize("method", sorted(modules("appkit.methods")))
def test_a_saved_configuration_is_read_back_with_the_same_types(task: str, method: str) -> None:
    """32 and 32.0 are equal, but they are written differently into a bundle, whose name then differs."""
    first = load_run_config([f"task={task}", f"method={method}"])
    second = build_run_config(json.loads(json.dumps(to_values(first))))
    assert repr(second) == repr(first)
    assert build_run_config({"task": task, "method": {"name": method, **numbers_of(method)}}) == first


def numbers_of(method: str) -> dict[str, Any]:
    """The default numbers of a method's options, as a user might write them: 32 for 32.0."""
    values = load_method(method).config().model_dump()
    return {key: value for key, value in values.items() if type(value) in (int, float)}


def test_interpolations_in_a_file_are_text_too(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    first = load("task.instruction=${oc.env:HOME}")
    file.write_text(to_yaml(first), encoding="utf-8")
    assert load_run_config([], file) == first


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().train.epochs = 3  # type: ignore[misc]


def test_configuring_imports_nothing_heavy() -> None:
    code = (
        "import sys; from appkit.config import load_run_config; load_run_config(['task=nl2fol'])\n"
        "print(*sorted({'torch', 'transformers', 'peft', 'pyarrow', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


@pytest.mark.parametrize(
    ("written", "value"), [("on", "on"), ("off", "off"), ("auto", "auto"), ("'off'", "off")]
)
def test_on_and_off_are_words_though_yaml_has_them_for_truth(written: str, value: str) -> None:
    config = load_run_config(["task=nl2fol", f"train.gradient_checkpointing={written}"])
    assert config.train.gradient_checkpointing == value


# --- options of files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "kept"), [(";", ";"), ("|", "|"), ("tab", "\t"), ("\\t", "\t"), ("\t", "\t")]
)
def test_a_delimiter_is_one_sign(written: str, kept: str) -> None:
    assert DataConfig(delimiter=written).delimiter == kept


@pytest.mark.parametrize(
    "values",
    [
        {"delimiter": ";;"},
        {"delimiter": ""},
        {"delimiter": '"'},
        {"encoding": "cp9"},
        {"encoding": "rot13"},
        {"encoding": ""},
    ],
)
def test_options_of_files_that_do_not_fit_are_one_line(values: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"^data\.(delimiter|encoding): must be .*, got '"):
        build_run_config({"task": "classification", "data": values})


def test_paths_are_taken_where_names_of_files_are() -> None:
    config = build_run_config(
        {
            "task": "classification",
            "data": {"train": Path("a") / "train.jsonl", "feedback": Path("store")},
            "run_dir": Path("runs") / "x",
        }
    )
    assert (config.data.train, config.data.feedback, config.run_dir) == ("a/train.jsonl", "store", "runs/x")
    assert to_values(config)["data"]["train"] == "a/train.jsonl"


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("data.train", 'data={"train": ...}'),
        ("method.rank", 'method={"rank": ...}'),
        ("data.columns.text", 'data={"columns": {"text": ...}}'),
    ],
)
def test_a_key_of_the_command_line_as_a_keyword_is_told(key: str, hint: str) -> None:
    with pytest.raises(
        ConfigError, match=re.escape(f"unknown key {key!r}; did you mean {hint}? On a command line")
    ):
        build_run_config({"task": "classification", key: "x"})


@pytest.mark.parametrize(
    ("values", "key", "hint"),
    [
        ({"data": {"columns.text": "a"}}, "data.columns.text", 'data={"columns": {"text": ...}}'),
        ({"train.epoch": 2}, "train.epochs", 'train={"epochs": ...}'),
        ({"eval": {"row": 2}}, "eval.rows", None),
        ({"data": {"train.x": 1}}, "", None),
        ({"task": {"name": "classification", "oos.x": "a"}}, "", None),
    ],
)
def test_a_hint_can_be_followed(values: dict[str, Any], key: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        build_run_config({"task": "classification", **values})
    if not key:
        assert "; known: name, " in str(caught.value) or "; known: train, " in str(caught.value)
        return
    meant = f"{hint}? On a command line it is {key}=..." if hint else f"{key}?"
    assert str(caught.value).endswith(f"; did you mean {meant}")
    assert load_run_config(["task=classification", f"{key}=2"])
    if hint:
        build_run_config({"task": "classification", **eval(f"dict({hint})".replace("...", "'2'"))})
