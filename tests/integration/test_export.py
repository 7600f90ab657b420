"""A bundle in the forms that others read: what is written computes what was trained, or nothing is written."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
import yaml
from forked import NO_MOUNT, Commands
from fsspec.implementations.memory import MemoryFileSystem
from planted import doubled_alpha, remake, with_config, with_tensors
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from appkit.bundles.manifest import read_manifest
from appkit.cli.main import app
from appkit.config import build_run_config
from appkit.errors import AppkitError, BundleError, ConfigError
from appkit.heads.lm.check import canaries
from appkit.heads.reference import Recorded
from appkit.models.sources import locate
from appkit.serving.engines.protocol import served_base
from appkit.serving.export import export
from appkit.storage import remote
from conftest import Project

PEFT = ["README.md", "adapter_config.json", "adapter_model.safetensors"]
DOCUMENT = Path(__file__).parents[2] / "docs" / "export.md"


@pytest.fixture
def bundle(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: Commands) -> Path:
    monkeypatch.setenv("APPKIT_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(trained / "bundle", tmp_path / "bundle"))


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    yield MemoryFileSystem()
    MemoryFileSystem.store.clear()


class Hub:
    """Stands in for huggingface_hub.HfApi: repositories are directories of file contents."""

    repositories: dict[str, Any]

    def __init__(self) -> None:
        self.repositories = {}

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> None:
        self.repositories.setdefault(name, SimpleNamespace(private=private, files={}, message=None))

    def model_info(self, name: str) -> Any:
        return self.repositories[name]

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        self.repositories[repo_id].message = commit_message
        self.repositories[repo_id].files = {path.name: path.read_bytes() for path in folder_path.iterdir()}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    found = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: found)
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def edited(path: Path, change: Any) -> None:
    manifest = json.loads((path / "appkit.json").read_text())
    change(manifest)
    (path / "appkit.json").write_text(json.dumps(manifest))


def licensed(path: Path, base: str | None, rows: str | None) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["base"]["licence"] = base
        for source in manifest["data"]["sources"]:
            source["licence"] = "proprietary" if source["split"] == "test" else rows

    edited(path, change)


# --- a directory ------------------------------------------------------------------------------------------


def test_the_adapter_is_as_in_the_bundle_and_its_card_tells_the_rest(bundle: Path, tmp_path: Path) -> None:
    assert export(bundle, tmp_path / "out") == str(tmp_path / "out")
    assert names(tmp_path / "out") == PEFT
    for name in PEFT[1:]:
        assert (tmp_path / "out" / name).read_bytes() == (bundle / name).read_bytes()
    manifest, card = read_manifest(bundle), (tmp_path / "out" / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front == {
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["appkit", "nl2fol"],
    }
    for told in (manifest["sha"], manifest["base"]["fingerprint"], manifest["data"]["train"], "0.500 ["):
        assert told in card
    assert "| base, 1-shot | adapter |" in card
    assert "base: unknown, train rows: unknown, dev rows: unknown" in card
    assert str(tmp_path.parent) not in card


def test_a_run_and_an_empty_directory_do(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export(trained, tmp_path / "out")
    assert names(tmp_path / "out") == PEFT


def test_neither_the_adapter_nor_the_layout_of_ray_needs_torch(bundle: Path, tmp_path: Path) -> None:
    body = f"""
import sys
from appkit.serving.export import export
export({str(bundle)!r}, {str(tmp_path / "a")!r})
export({str(bundle)!r}, {str(tmp_path / "b")!r}, ray=True)
assert not {{"torch", "transformers", "peft"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", body], check=True, timeout=60)


def test_nothing_is_overwritten(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept").write_text("mine")
    for place in (tmp_path / "full", tmp_path / "full" / "kept"):
        with pytest.raises(ConfigError, match="is there, and nothing is overwritten; remove it, or choose"):
            export(bundle, place)
    assert names(tmp_path / "full") == ["kept"]
    assert (tmp_path / "full" / "kept").read_text() == "mine"


def test_a_damaged_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / "adapter_model.safetensors").write_bytes(b"no")
    with pytest.raises(BundleError, match="was changed after it was written"):
        export(bundle, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("moment", [r"^open .*adapter_model\.safetensors.* wb?", r"^os\.rename .*out"])
def test_killed_it_leaves_nothing_and_the_next_time_it_succeeds(
    moment: str, trained: Path, tmp_path: Path, commands: Commands
) -> None:
    words = ("export", str(trained), "--to", str(tmp_path / "out"))
    done = commands.run(*words, cwd=tmp_path, at={"path": moment, "nth": 1, "do": "kill"})
    assert done.code == -9
    assert not (tmp_path / "out").exists()
    done = commands.run(*words, cwd=tmp_path)
    assert (done.code, done.stdout) == (0, f"{tmp_path / 'out'}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert names(tmp_path / "out") == PEFT


def test_a_full_disk_is_one_line(trained: Path, tmp_path: Path, commands: Commands) -> None:
    (tmp_path / "small").mkdir()
    disk = {"path": str(tmp_path / "small"), "bytes": 12288, "copy": str(tmp_path / "left")}
    done = commands.run(
        *("export", str(trained), "--to", str(tmp_path / "small" / "out")), cwd=tmp_path, disk=disk
    )
    if done.code == NO_MOUNT:
        pytest.skip("no file system of its own may be mounted here")
    assert (done.code, done.stderr.count("\n")) == (2, 1)
    assert "no space for" in done.stderr
    assert names(tmp_path / "left") == []


# --- merged -----------------------------------------------------------------------------------------------


def served(bundle: Path) -> Path:
    config = build_run_config(read_manifest(bundle)["config"])
    return served_base(config.model, config.quant, locate(config.model))


def test_the_merged_model_gives_what_peft_gives_unmerged(bundle: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    said: list[str] = []
    export(bundle, tmp_path / "out", merge=True, say=said.append)
    assert "answers: 3 of 3 greedy ones equal" in said
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert merged.dtype == torch.float32
    assert merged.config.use_cache
    base = AutoModelForCausalLM.from_pretrained(served(bundle), dtype=torch.float32)
    apart = PeftModel.from_pretrained(base, str(bundle)).eval()
    for canary in canaries(Recorded.read(bundle, "", "float32")):
        tokens = torch.tensor([canary.tokens])
        with torch.no_grad():
            found, wanted = merged(tokens).logits, apart(tokens).logits
            with apart.disable_adapter():
                plain = apart(tokens).logits
        torch.testing.assert_close(found, wanted, atol=1e-5 * float(wanted.abs().max()), rtol=1e-5)
        assert (wanted - plain).abs().mean() > 0.1
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(served(bundle)).chat_template
    files = names(tmp_path / "out")
    assert {"generation_config.json", "README.md", "model.safetensors", "tokenizer.json"} <= set(files)
    assert not {"manifest.json", "adapter_config.json", "appkit.json"} & set(files)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "quantization_config" not in config
    assert "library_name: transformers" in (tmp_path / "out" / "README.md").read_text()


def test_a_bundle_in_bf16_merges_into_bf16(
    project: Project, commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPKIT_CACHE", str(tmp_path / "cache"))
    words = [word for word in project.words if word != "model.dtype=float32"]
    done = commands.run(*words, "model.dtype=bfloat16", f"run_dir={tmp_path / 'run'}", cwd=project.folder)
    assert done.code == 0, done.stderr
    said: list[str] = []
    export(tmp_path / "run", tmp_path / "out", merge=True, say=said.append)
    assert any(line.startswith("log-probabilities, adapter: mean difference") for line in said)
    assert {tensor.dtype for tensor in load_file(tmp_path / "out" / "model.safetensors").values()} == {
        torch.bfloat16
    }


@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        (doubled_alpha, r"does not give what training gave: log-probabilities, adapter: .*without --merge"),
        (with_tensors(lambda t: dict(list(t.items())[:-2])), "no tensor is there for it"),
    ],
)
def test_a_merged_model_that_is_another_is_not_written(
    plant: Any, reason: str, bundle: Path, tmp_path: Path
) -> None:
    plant(bundle)
    remake(bundle)
    (tmp_path / "place").mkdir()
    with pytest.raises(BundleError, match=reason):
        export(bundle, tmp_path / "place" / "out", merge=True)
    assert list((tmp_path / "place").iterdir()) == []


# --- object storage and Ray -------------------------------------------------------------------------------


def test_a_prefix_in_a_store_gets_the_files(bundle: Path, memory: MemoryFileSystem) -> None:
    assert export(bundle, "memory://bucket/adapters/") == "memory://bucket/adapters"
    assert sorted(memory.find("/bucket")) == [f"/bucket/adapters/{name}" for name in PEFT]
    assert memory.cat_file("/bucket/adapters/adapter_config.json") == (bundle / PEFT[1]).read_bytes()
    with pytest.raises(ConfigError, match="memory://bucket/adapters is there, and nothing is overwritten"):
        export(bundle, "memory://bucket/adapters")


def test_the_layout_of_ray(bundle: Path, memory: MemoryFileSystem) -> None:
    sha = read_manifest(bundle)["sha"][:12]
    said: list[str] = []
    export(bundle, "memory://bucket/prefix/", ray=True, say=said.append)
    assert said == ["fetch memory://bucket/prefix/serve_config.yaml to start it: serve run serve_config.yaml"]
    assert sorted(memory.find("/bucket")) == [
        *(f"/bucket/prefix/nl2fol-{sha}/{name}" for name in PEFT),
        "/bucket/prefix/serve_config.yaml",
    ]
    text = memory.cat_file("/bucket/prefix/serve_config.yaml").decode()
    (application,) = yaml.safe_load(text)["applications"]
    assert application == {
        "name": "appkit",
        "route_prefix": "/",
        "import_path": "ray.serve.llm:build_openai_app",
        "args": {
            "llm_configs": [
                {
                    "model_loading_config": {
                        "model_id": "base",
                        "model_source": {"bucket_uri": "memory://bucket/prefix-base"},
                    },
                    "lora_config": {
                        "dynamic_lora_loading_path": "memory://bucket/prefix",
                        "max_num_adapters_per_replica": 16,
                    },
                    "engine_kwargs": {
                        "enable_lora": True,
                        "max_loras": 16,
                        "max_lora_rank": 8,  # the next one up from 4 that vLLM takes
                        "dtype": "float32",
                    },
                }
            ]
        },
    }
    assert f"# Ask for model base:nl2fol-{sha}, with temperature 0, at most 4 tokens" in text
    assert "rounded to NF4: the directory that `appkit certify` makes in" in text


def test_a_base_from_the_hub_is_named_with_its_revision(bundle: Path, tmp_path: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["quant"]["name"] = "none"
        manifest["base"] |= {"source": "hub", "name": "q", "id": "Qwen/Qwen2.5-0.5B", "revision": "abc"}

    edited(bundle, change)
    export(bundle, tmp_path / "out", ray=True)
    text = (tmp_path / "out" / "serve_config.yaml").read_text()
    (config,) = yaml.safe_load(text)["applications"][0]["args"]["llm_configs"]
    assert config["model_loading_config"] == {"model_id": "q", "model_source": "Qwen/Qwen2.5-0.5B"}
    assert config["engine_kwargs"]["revision"] == "abc"
    assert "Upload the base" not in text
    (card,) = (tmp_path / "out").glob("*/README.md")
    assert yaml.safe_load(card.read_text().split("---")[1])["base_model"] == "Qwen/Qwen2.5-0.5B"


def test_bundles_of_one_base_share_a_prefix(bundle: Path, memory: MemoryFileSystem) -> None:
    export(bundle, "memory://bucket/prefix", ray=True)
    edited_there = memory.cat_file("/bucket/prefix/serve_config.yaml") + b"# mine\n"
    memory.pipe_file("/bucket/prefix/serve_config.yaml", edited_there)
    with pytest.raises(ConfigError, match=r"prefix/nl2fol-\w{12} is there, and nothing is overwritten"):
        export(bundle, "memory://bucket/prefix", ray=True)
    doubled_alpha(bundle)
    remake(bundle)
    export(bundle, "memory://bucket/prefix", ray=True)
    assert len(memory.ls("/bucket/prefix")) == 3
    assert memory.cat_file("/bucket/prefix/serve_config.yaml") == edited_there

    before = sorted(memory.find("/bucket"))
    with_config(r=12)(bundle)
    remake(bundle)
    with pytest.raises(ConfigError, match=r"allows a smaller max_lora_rank than 16, .* raise it"):
        export(bundle, "memory://bucket/prefix", ray=True)
    edited(bundle, lambda manifest: manifest["base"].update(fingerprint="sha256:0"))
    with pytest.raises(ConfigError, match="serves another base than this bundle's; choose another prefix"):
        export(bundle, "memory://bucket/prefix", ray=True)
    assert sorted(memory.find("/bucket")) == before


def test_a_directory_shows_the_layout_of_ray(bundle: Path, tmp_path: Path) -> None:
    said: list[str] = []
    export(bundle, tmp_path / "out", ray=True, say=said.append)
    assert len(names(tmp_path / "out")) == 4
    (line,) = said
    assert line.startswith("Ray reads object storage only: copy ")
    assert "s3://BUCKET/PREFIX" in (tmp_path / "out" / "serve_config.yaml").read_text()


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.update(servable_by=["transformers"]),
        lambda manifest: manifest["quant"].update(name="int8"),
    ],
)
def test_what_vllm_cannot_serve_ray_cannot(change: Any, bundle: Path, tmp_path: Path) -> None:
    edited(bundle, change)
    with pytest.raises(BundleError, match="cannot be served by Ray, whose engine is vLLM"):
        export(bundle, tmp_path / "out", ray=True)
    assert not (tmp_path / "out").exists()


def test_an_upload_that_fails_is_taken_back(
    bundle: Path, memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    put = MemoryFileSystem.put_file

    def failing(self: MemoryFileSystem, source: str, target: str) -> None:
        order.append(target.rpartition("/")[2])
        if len(order) == 3:
            raise OSError("connection\nreset")
        put(self, source, target)

    monkeypatch.setattr(MemoryFileSystem, "put_file", failing)
    with pytest.raises(AppkitError) as told:
        export(bundle, "memory://bucket/prefix")
    assert str(told.value) == (
        "cannot write to memory://bucket/prefix: OSError: connection reset; "
        "check the address, the credentials and the network"
    )
    assert order == ["README.md", "adapter_model.safetensors", "adapter_config.json"]
    assert memory.find("/bucket") == {} or memory.find("/bucket") == []


# --- the hub ----------------------------------------------------------------------------------------------


def test_the_hub_gets_a_private_repository(bundle: Path, hub: Hub) -> None:
    licensed(bundle, "Apache-2.0", "CC-BY-NC-4.0")
    assert export(bundle, "hub:me/nl2fol") == "https://huggingface.co/me/nl2fol"
    found = hub.repositories["me/nl2fol"]
    assert (found.private, sorted(found.files)) == (True, PEFT)
    assert found.message == f"nl2fol@{read_manifest(bundle)['sha'][:12]}"
    assert b"base: Apache-2.0, train rows: CC-BY-NC-4.0" in found.files["README.md"]
    export(bundle, "hub:me/open", public=True)
    assert not hub.repositories["me/open"].private


@pytest.mark.parametrize(("public", "line"), [(False, "is public; .* add --public"), (True, "is private")])
def test_a_repository_never_changes_who_reads_it(public: bool, line: str, bundle: Path, hub: Hub) -> None:
    licensed(bundle, "MIT", "MIT")
    hub.create_repo("me/nl2fol", private=public, exist_ok=True)
    with pytest.raises(ConfigError, match=f"hub:me/nl2fol exists and {line}"):
        export(bundle, "hub:me/nl2fol", public=public)
    assert hub.repositories["me/nl2fol"].files == {}


@pytest.mark.parametrize(
    ("base", "rows", "given", "line"),
    [
        ("MIT", None, None, "records no licence of the train rows; name the one"),
        (None, "MIT", None, "records no licence of the base; name the one"),
        ("other", "MIT", None, "records no licence of the base"),
        ("MIT", "unknown", "other", "records no licence of the train rows"),
        (
            "MIT",
            "Proprietary",
            "MIT",
            "licence of the train rows, 'Proprietary', does not allow it; export to",
        ),
        ("MIT", "cc-by-nc-nd-4.0", None, "'cc-by-nc-nd-4.0', does not allow it"),
        ("MIT", "(c) ACME, All Rights Reserved", None, "does not allow it"),
        ("MIT", None, "internal", "'internal', does not allow it"),
    ],
)
def test_a_licence_that_forbids_it_blocks_publishing(
    base: str | None, rows: str | None, given: str | None, line: str, bundle: Path, hub: Hub
) -> None:
    licensed(bundle, base, rows)
    with pytest.raises(BundleError, match=f"cannot be published: .*{re.escape(line)}"):
        export(bundle, "hub:me/nl2fol", licence=given)
    assert hub.repositories == {}


def test_a_missing_licence_can_be_named(bundle: Path, hub: Hub) -> None:
    licensed(bundle, "llama3.2", None)
    export(bundle, "hub:me/nl2fol", licence="CC-BY-4.0")
    assert b"base: llama3.2, train rows: CC-BY-4.0" in hub.repositories["me/nl2fol"].files["README.md"]


def test_no_network_is_one_line(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    licensed(bundle, "MIT", "MIT")
    api = partial(huggingface_hub.HfApi, endpoint="http://127.0.0.1:9", token="none")
    monkeypatch.setattr(huggingface_hub, "HfApi", api)
    with pytest.raises(
        AppkitError, match=r"^cannot write to hub:me/nl2fol: .*; check the name and the network"
    ) as told:
        export(bundle, "hub:me/nl2fol")
    assert "\n" not in str(told.value)


# --- options and commands ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "options", "line"),
    [
        ("out", {"merge": True, "ray": True}, "--merge and --ray do not go together"),
        ("hub:a/b", {"ray": True}, "Ray loads adapters from object storage, got --to hub:a/b; use s3://"),
        ("out", {"public": True}, "--public and --licence are for --to hub:OWNER/NAME, got 'out'"),
        ("s3://a/b", {"licence": "MIT"}, "--public and --licence are for --to hub:OWNER/NAME"),
        ("hub", {}, "the hub needs a repository, got --to hub; write hub:OWNER/NAME, or ./hub for a"),
        ("hub:name", {}, "the hub needs a repository, got --to hub:name"),
        ("ftp://a/b", {}, "--to takes a directory, hub:OWNER/NAME, s3://, gs://, abfss://, got 'ftp://a/b'"),
        ("s3://bucket", {}, "s3:// needs a bucket and a prefix, got 's3://bucket'; add /PREFIX"),
        ("s3:///x", {}, "s3:// needs a bucket and a prefix"),
    ],
)
def test_what_does_not_fit_is_one_line(
    to: str, options: dict[str, Any], line: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=re.escape(line)) as told:
        export(bundle, to, **options)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "out").exists()


def test_a_store_without_its_package_names_it(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ConfigError, match="s3:// needs s3fs; pip install s3fs"):
        export(bundle, "s3://bucket/prefix")


def document_commands() -> list[str]:
    blocks = re.findall(r"^```bash\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.M | re.S)
    return [line for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("line", document_commands())
def test_a_command_of_the_document(
    line: str,
    bundle: Path,
    hub: Hub,
    memory: MemoryFileSystem,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As written, but for the run; the hub and the stores are stand-ins."""
    import fsspec.core

    real = fsspec.core.url_to_fs
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda url: real(re.sub(r"^\w+://", "memory://", url)))
    assert set(remote.STORES) >= set(re.findall(r"(\w+)://", line))
    monkeypatch.chdir(tmp_path)
    licensed(bundle, "MIT", "MIT")
    shutil.copytree(bundle, tmp_path / "runs" / "nl2fol" / "20261123-104500" / "bundle")
    done = CliRunner().invoke(app, shlex.split(line)[1:])
    assert done.exit_code == 0, done.output


def test_the_document_has_every_form() -> None:
    assert len(document_commands()) >= 7
