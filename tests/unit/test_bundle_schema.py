"""What a stranger's bundle may say: all that is not allowed is refused in one line that names it."""

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planted import remake, with_config
from safetensors.numpy import load_file, save_file

from appkit.bundles.files import escape
from appkit.bundles.manifest import find_bundles, read_manifest
from appkit.bundles.schema import CONFIGS, known_options
from appkit.config import build_run_config
from appkit.errors import BundleError, ConfigError
from appkit.heads.reference import Recorded
from appkit.runs.prepare import prepare

KEPT = Path(__file__).parents[1] / "golden" / "version_0_1"
EXAMPLES = 10 * int(os.environ.get("APPKIT_FUZZ_EXAMPLES", "5"))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle that 0.1 wrote."""
    return Path(shutil.copytree(KEPT / "nl2fol", tmp_path / "bundle"))


def with_manifest(*keys: str | int, value: Any) -> Callable[[Path], None]:
    def plant(path: Path) -> None:
        manifest = json.loads((path / "appkit.json").read_text(encoding="utf-8"))
        place = manifest
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        (path / "appkit.json").write_text(json.dumps(manifest), encoding="utf-8")

    return plant


def with_text(old: str, new: str, file: str = "appkit.json") -> Callable[[Path], None]:
    def plant(path: Path) -> None:
        text = (path / file).read_text(encoding="utf-8")
        assert old in text
        (path / file).write_bytes(text.replace(old, new, 1).encode("utf-8", "surrogateescape"))

    return plant


def refusal(path: Path, *, verify: bool = True) -> str:
    """Why the bundle is refused: one line that can be printed."""
    with pytest.raises(BundleError) as refused:
        read_manifest(path, verify=verify)
    line = str(refused.value)
    assert escape(line) == line
    assert len(line) < 2000
    return line


# --- options of PEFT --------------------------------------------------------------------------------------

REFUSED: dict[str, Any] = {
    "layer_replication": [[0, 30], [0, 30]],
    "init_lora_weights": "pissa",
    "target_modules": ".*(q|v)_proj",
    "exclude_modules": "(a+)+b",
    "layers_pattern": "(a+)+b",
    "rank_pattern": {"(a+)+b": 4},
    "alpha_pattern": {"q_proj": 1e300},
    "modules_to_save": ["embed_tokens"],
    "target_parameters": ["x"],
    "trainable_token_indices": [3],
    "loftq_config": {"loftq_bits": 4},
    "megatron_core": "os",
    "megatron_config": {},
    "auto_mapping": {"parent_library": "os", "base_model_class": "system"},
    "peft_type": "IA3",
    "task_type": "SEQ_2_SEQ_LM",
    "bias": "all",
    "lora_bias": True,
    "fan_in_fan_out": True,
    "use_qalora": True,
    "lora_alpha": "16",
    "lora_dropout": 1.5,
    "r": 10**9,
    "peft_version": "1\n2",
    "a_new_option": 1,
    "form": "full",
}


@pytest.mark.parametrize("option", REFUSED)
def test_an_option_that_is_not_allowed_is_refused_by_its_name(option: str, bundle: Path) -> None:
    with_config(**{option: REFUSED[option]})(bundle)
    remake(bundle)
    assert option in refusal(bundle)


def test_every_option_of_the_installed_peft_is_known() -> None:
    """After an upgrade of PEFT: decide about each new option, in appkit/bundles/schema.py."""
    from peft import LoraConfig

    options = {field.name for field in dataclasses.fields(LoraConfig)} - {"runtime_config"}
    assert options <= set(CONFIGS["lora"].model_fields)


def test_an_unknown_option_that_is_off_is_not_written() -> None:
    assert known_options({"r": 4, "new": None, "newer": False, "newest": True}) == {"r": 4, "newest": True}


@pytest.mark.parametrize("form", ["full", "routed"])
def test_the_form_decides_which_options_there_are(form: str, bundle: Path) -> None:
    with_manifest("exported", "kind", value=form)(bundle)
    assert "form" in refusal(bundle) if form == "full" else "routers.safetensors" in refusal(bundle)


# --- the manifest -----------------------------------------------------------------------------------------

NAMES = [
    "",
    "a@b",
    "nl2fol@f27005676d80",
    "a/b",
    "..",
    ".a",
    "a" * 65,
    "a\n",
    "a\x1b[2J",
    "ä",
    5,
    None,
    ["a"],
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_an_aliass(name: Any, bundle: Path) -> None:
    with_manifest("name", value=name)(bundle)
    assert "name: " in refusal(bundle, verify=False)


@pytest.mark.parametrize("name", ["my bundle", "nl2fol@1", "a" * 65])
def test_no_bundle_is_trained_under_a_name_that_is_refused_later(name: str) -> None:
    with pytest.raises(
        ConfigError, match=r"a bundle's name has 64 letters, digits, .*; choose another name="
    ):
        prepare(build_run_config({"task": "nl2fol", "name": name}))


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("more",), 1),
        (("base", "more"), 1),
        (("sha",), "null"),
        (("base", "dtype"), "int4"),
        (("base", "name"), "x\ny"),
        (("base", "licence"), "\x1b]0;x\x07"),
        (("exported", "rank"), -1),
        (("exported", "rank"), "8"),
        (("exported", "rank"), 2**40),
        (("exported", "kind"), "pickle"),
        (("decoding", "cap"), 10**9),
        (("decoding", "stop"), ["a"] * 65),
        (("decoding", "temperature"), -1),
        (("config", "decoding", "stop"), ["a" * 257]),
        (("config", "threads"), 10**6),
        (("config", "data", "max_length"), 10**9),
        (("config", "task", "name"), None),
        (("labels",), [5]),
        (("labels",), "abc"),
        (("labels",), ["x" * 1000] * 2001),
        (("grammar",), "x" * 70_000),
        (("metrics",), {str(number): {} for number in range(65)}),
        (("metrics", "adapter", "metrics", "strict", "value"), True),
        (("metrics", "adapter", "metrics", "strict", "value"), 1e300),
        (("confidence", "slope"), -1),
        (("confidence", "more"), 1),
        (("versions",), {"appkit": 1}),
        (("files", "README.md"), "0"),
        (("template",), ""),
        (("seed",), 2**60),
    ],
)
def test_a_key_out_of_its_range_is_refused_by_its_name(
    keys: tuple[str, ...], value: Any, bundle: Path
) -> None:
    with_manifest(*keys, value=value)(bundle)
    line = refusal(bundle, verify=False)
    assert "appkit.json" in line
    assert keys[-1] in line or "number" in line


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"seed": 0,', '"seed": Infinity,', "Infinity is no number of JSON"),
        ('"seed": 0,', '"seed": 1e999,', "a number is too large"),
        ('"seed": 0,', '"seed": ' + "9" * 5000 + ",", "cannot be read"),
        ('"seed": 0,', '"seed": ' + "[" * 100_000 + "]" * 100_000 + ",", "nested deeper than 24"),
        ('"seed": 0,', '"seed": ' + "[" * 30 + "]" * 30 + ",", "nested deeper than 24"),
        ('"seed": 0,', '"seed": 0, "seed": 0,', "the key 'seed' comes twice"),
        ('"verdict": "', '"verdict": "\udcff', "cannot be read"),
        ('"verdict": "', '"verdict": "\\ud800', "holds half a character"),
        ('"verdict": "', '"verdict": "' + "x" * 65_537, "at most 65536 characters"),
        ('"verdict": "', '"verdict": "' + "x" * 8_000_001, "at most 8000000 are read"),
        ('"verdict": "', '"verdict": "' + "x" * 32_000_001, "more than 32000000 bytes"),
    ],
    ids=lambda text: text[:24].strip(),
)  # fmt: skip
def test_what_is_no_sound_json_is_refused(old: str, new: str, reason: str, bundle: Path) -> None:
    with_text(old, new)(bundle)
    assert reason in refusal(bundle, verify=False)


# --- files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "certificates/x", "adapter_model.bin", "a\n"]
)
def test_a_manifest_lists_the_files_of_a_bundle_and_no_other(name: str, bundle: Path) -> None:
    """The hash of another file, or its first digits, is told to nobody."""
    with_manifest("files", name, value="0" * 64)(bundle)
    line = refusal(bundle)
    assert "no file of a bundle" in line or "one line" in line
    assert "sha256" not in line


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json", "report.md"])
def test_no_file_of_a_bundle_may_be_left_out(name: str, bundle: Path) -> None:
    manifest = json.loads((bundle / "appkit.json").read_text(encoding="utf-8"))
    del manifest["files"][name]
    (bundle / "appkit.json").write_text(json.dumps(manifest), encoding="utf-8")
    (bundle / name).unlink()
    assert f"does not list {name}" in refusal(bundle)


def test_a_bundle_with_only_a_pickle_is_refused(bundle: Path) -> None:
    """PEFT would hand adapter_model.bin to torch.load."""
    (bundle / "adapter_model.safetensors").rename(bundle / "adapter_model.bin")
    assert "adapter_model.safetensors is missing" in refusal(bundle)
    manifest = json.loads((bundle / "appkit.json").read_text(encoding="utf-8"))
    manifest["files"]["adapter_model.bin"] = manifest["files"].pop("adapter_model.safetensors")
    (bundle / "appkit.json").write_text(json.dumps(manifest), encoding="utf-8")
    remake(bundle)
    assert "'adapter_model.bin', which is no file of a bundle" in refusal(bundle)


@pytest.mark.parametrize("name", ["appkit.json", "report.md", "README.md", "reference.safetensors"])
def test_a_link_is_not_followed(name: str, bundle: Path, tmp_path: Path) -> None:
    (bundle / name).rename(tmp_path / "outside")
    (bundle / name).symlink_to(tmp_path / "outside")
    assert f"{name} is a link, which is not followed; copy the bundle instead" in refusal(bundle)


def test_a_pipe_or_a_directory_is_not_waited_for(bundle: Path) -> None:
    for make in (os.mkfifo, os.mkdir):
        (bundle / "report.md").unlink(missing_ok=True) if make is os.mkfifo else (
            bundle / "report.md"
        ).unlink()
        make(bundle / "report.md")
        assert "report.md is no regular file" in refusal(bundle)


# --- whatever else ----------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from(["../../etc/passwd", "nl2fol@f27005676d80", "(a+)+b", "a\x1b[2J\n", "x" * 10_000]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


def mutated(draw: Any, value: Any, above: str = "") -> Any:
    """The value with another one somewhere in it, or with a key more or less."""
    if isinstance(value, dict) and value and draw(st.booleans() if above else st.just(True)):
        action = draw(st.sampled_from(["inside", "inside", "inside", "add", "remove"]))
        key = draw(st.sampled_from(sorted(value)))
        if action == "add":
            return value | {draw(st.text(max_size=9)): draw(VALUES)}
        if action == "remove":
            return {name: item for name, item in value.items() if name != key}
        return value | {key: mutated(draw, value[key], key)}
    if isinstance(value, list) and value and draw(st.booleans()):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], mutated(draw, value[place], "item"), *value[place + 1 :]]
    return draw(VALUES)


MUTATED = st.sampled_from(["nl2fol", "classification"]).flatmap(
    lambda name: st.tuples(
        st.just(name), st.sampled_from(["appkit.json", "adapter_config.json"]), st.integers(0, 2)
    )
)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(chosen=MUTATED, data=st.data())
def test_a_mutated_bundle_is_refused_in_one_line_or_read(
    chosen: tuple[str, str, int], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name, file, more = chosen
    path = tmp_path_factory.mktemp("mutated") / "bundle"
    shutil.copytree(KEPT / name, path)
    content = json.loads((path / file).read_text(encoding="utf-8"))
    for _ in range(more + 1):
        content = mutated(data.draw, content)
        if not isinstance(content, dict):
            break
    (path / file).write_text(json.dumps(content), encoding="utf-8")
    if file != "appkit.json":
        remake(path)
    line, manifest = "", {}
    try:
        manifest = read_manifest(path)
    except BundleError as error:
        line = str(error)
    shutil.rmtree(path)
    assert escape(line) == line
    assert json.dumps(manifest, allow_nan=False, ensure_ascii=False).encode()  # whoever shows it can


def test_a_key_that_comes_twice_among_many_is_found_at_once(bundle: Path) -> None:
    many = ", ".join(f'"k{number}": 0' for number in range(200_000))
    with_text('"seed": 0,', f'"seed": 0, "junk": {{{many}, "k199999": 1}},')(bundle)
    assert "the key 'k199999' comes twice" in refusal(bundle, verify=False)


@pytest.mark.parametrize(
    "name", ["README.md", "report.md", "reference.safetensors", "adapter_model.safetensors"]
)
def test_a_sparse_file_is_not_read(name: str, bundle: Path) -> None:
    """It takes no room on the disk, and hours to hash."""
    os.truncate(bundle / name, 2**42)
    assert f"{name} has more than " in refusal(bundle)


def test_bundles_below_thousands_of_directories_are_not_looked_for(bundle: Path) -> None:
    place = os.getcwd()
    try:
        os.chdir(bundle.parent)
        for _ in range(1500):
            os.mkdir("a")
            os.chdir("a")
    finally:
        os.chdir(place)
    try:
        assert find_bundles(bundle.parent) == [bundle]
    finally:
        subprocess.run(["rm", "-rf", str(bundle.parent / "a")], check=True)


def test_numbers_of_a_record_that_do_not_fit_each_other_are_no_table(bundle: Path) -> None:
    """75 KB of them, of the shapes (9000, 1) and (1, 9000), would take a gigabyte."""
    tensors = load_file(bundle / "reference.safetensors")
    wide = {"adapter": np.zeros((9000, 1), "float32"), "base": np.zeros((1, 9000), "float32")}
    save_file(tensors | wide, bundle / "reference.safetensors")
    with pytest.raises(ValueError, match="has another shape than adapter"):
        Recorded.read(bundle, "", "float32")
