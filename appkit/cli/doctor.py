"""`appkit doctor` finds what is missing or broken on this machine, and the command that mends it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from appkit.errors import AppkitError
from appkit.storage.atomic import cache_dir

__all__ = ["Check", "diagnose"]

GB = 1e9
COMET = "unbabel-comet==2.2.7"
"""the tested version; its pins (transformers < 5, numpy < 2) keep it out of this environment"""


@dataclass(frozen=True)
class Check:
    """Reports one finding about this machine."""

    name: str
    """what was checked"""
    state: Literal["ok", "info", "fault"]
    detail: str
    """version, size or fault, in words"""
    mend: str = ""
    """a command for the shell; empty when nothing needs mending"""


def diagnose() -> Iterator[Check]:
    """Checks Python, torch, the stack's versions, bitsandbytes, disk, the base model, extras, vLLM and COMET."""
    yield _check_python()
    yield _check_torch()
    yield from _check_packages()
    yield _check_bitsandbytes()
    yield from _check_disk()
    yield _check_base()
    yield from _check_extras()
    yield _check_vllm()
    yield _check_comet()


def _check_python() -> Check:
    installed = sys.version.split()[0]
    return Check("python", "ok", installed)


def _check_torch() -> Check:
    if find_spec("torch") is None:
        return Check("torch", "fault", "not installed", "pip install -c constraints.txt 'appkit[train]'")
    import torch

    from appkit.config import model_config
    from appkit.models.base import compute_dtype

    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = str(compute_dtype(model_config("smollm2-135m"), place)).removeprefix("torch.")
    where = (
        torch.cuda.get_device_name() if place.type == "cuda" else f"CPU, threads: {torch.get_num_threads()}"
    )
    if torch.version.cuda and place.type == "cpu":
        return Check(
            "torch", "info", f"{torch.__version__}: a CUDA build, but no GPU is seen; computes in {dtype}"
        )
    return Check("torch", "ok", f"{torch.__version__}, {where}, computes in {dtype}")


def _check_packages() -> Iterator[Check]:
    from packaging.requirements import Requirement

    try:
        requirements = [Requirement(line) for line in requires("appkit") or ()]
    except PackageNotFoundError:
        yield Check("appkit", "fault", "not installed as a package", "pip install -e .")
        return
    names = {"transformers", "peft", "accelerate", "safetensors"}
    for requirement in requirements:
        if requirement.name not in names:
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            yield Check(
                requirement.name, "fault", "not installed", "pip install -c constraints.txt 'appkit[train]'"
            )
            continue
        fits = requirement.specifier.contains(installed, prereleases=True)
        yield Check(
            requirement.name,
            "ok" if fits else "fault",
            f"{installed}" if fits else f"{installed}, tested with {requirement.specifier}",
            "" if fits else f"pip install '{requirement.name}{requirement.specifier}'",
        )


def _check_bitsandbytes() -> Check:
    if find_spec("bitsandbytes") is None or find_spec("torch") is None:
        return Check(
            "bitsandbytes", "fault", "not installed (needed for quant=nf4)", "pip install bitsandbytes"
        )
    try:
        import torch

        from appkit.models.quantize import round_to_nf4_

        weight = torch.linspace(-1, 1, 4096, dtype=torch.bfloat16).reshape(64, 64)
        before = weight.clone()
        round_to_nf4_(weight, double_quant=True)
        off = float((weight - before).abs().max())
    except Exception as error:  # a broken native library fails in many ways
        return Check(
            "bitsandbytes", "fault", f"does not run: {error}", "pip install --force-reinstall bitsandbytes"
        )
    if not 0 < off < 0.2:
        return Check(
            "bitsandbytes",
            "fault",
            f"NF4 is off by {off:.2f}",
            "pip install --force-reinstall bitsandbytes",
        )
    return Check("bitsandbytes", "ok", f"{version('bitsandbytes')}, NF4 quantizes")


def _check_disk() -> Iterator[Check]:
    for name, path in (("disk, here", "."), ("disk, cache", str(cache_dir()))):
        while not os.path.exists(path):
            path = os.path.dirname(path)
        free = shutil.disk_usage(path).free
        mend = "appkit runs prune && appkit cache prune" if free < 2 * GB else ""
        yield Check(name, "fault" if mend else "ok", f"{free / GB:.1f} GB free", mend)


def _check_base() -> Check:
    from appkit.config import model_config
    from appkit.models.sources import cached

    try:
        path = cached(model_config("smollm2-135m"))
    except AppkitError as error:
        return Check("base model", "fault", str(error), "appkit models pull smollm2-135m --force")
    if path is None:
        return Check("base model", "fault", "smollm2-135m is not here", "appkit models pull smollm2-135m")
    return Check("base model", "ok", f"smollm2-135m at {path}")


def _check_extras() -> Iterator[Check]:
    for name, package, use in (
        ("serve", "fastapi", "appkit serve"),
        ("apps", "gradio", "appkit demo"),
        ("rag", "faiss", "appkit rag"),
        ("qdrant", "qdrant_client", "appkit rag index --store qdrant"),
        ("chroma", "chromadb", "appkit rag index --store chroma"),
        ("hub", "datasets", "data from the hub"),
        ("nl2fol", "z3", "the NL→FOL pack's prover"),
        ("lingua", "lingua", "task.language_detector=lingua, translation's second opinion"),
    ):
        if find_spec(package):
            yield Check(f"extra {name}", "ok", use)
        else:
            yield Check(f"extra {name}", "info", f"not installed ({use})", f"pip install 'appkit[{name}]'")


def _check_vllm() -> Check:
    from appkit import vllm_plugin
    from appkit.serving.engines.vllm import TESTED, installed_version

    gpu = shutil.which("nvidia-smi") is not None
    mend = f"pip install 'vllm=={TESTED}.*'" if gpu else "make serve-setup"
    installed = installed_version()
    if installed is None:
        return Check("vllm", "info", "not installed (certify and serve in vLLM)", mend)
    if not installed.startswith(f"{TESTED}."):
        return Check("vllm", "fault", f"{installed}, tested with {TESTED}", mend)
    reason = vllm_plugin.unused_because()
    return Check(
        "vllm", "ok", f"{installed}, {f'its own LoRA: {reason}' if reason else 'with grouped LoRA on CPU'}"
    )


def _check_comet() -> Check:
    """Checks the scorer of `appkit comet`, without starting it: it has an environment of its own."""
    setup = (
        f"python -m venv comet && comet/bin/pip install {COMET}\n"
        "                    export APPKIT_COMET=$PWD/comet/bin/comet-score"
    )
    rule = "models whose licence allows it: wmt22-comet-da is Apache-2.0, XCOMET and CometKiwi are non-commercial"
    try:
        installed = version("unbabel-comet")
    except PackageNotFoundError:
        pass
    else:
        mend = "pip uninstall unbabel-comet && pip install -c constraints.txt 'appkit[train]'"
        return Check(
            "comet", "fault", f"{installed} is in this environment, whose packages it replaces", mend
        )
    named = os.environ.get("APPKIT_COMET")
    if not named:
        return Check("comet", "info", f"no scorer is named (appkit comet; {rule})", setup)
    program = Path(os.path.abspath(named))
    if not (program.is_file() and os.access(program, os.X_OK)):
        return Check("comet", "fault", f"APPKIT_COMET={named} is no program", setup)
    packages = program.parent.parent.glob("lib/python*/site-packages/unbabel_comet-*.dist-info")
    found = next((package.stem.split("-")[1] for package in packages), "version unknown")
    return Check("comet", "ok", f"{program}, {found}; {rule}")
