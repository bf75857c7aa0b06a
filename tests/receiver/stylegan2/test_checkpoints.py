# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch

from genjscc.errors import BundleError, InvalidInputError
from receiver.stylegan2.checkpoints import load_generator, save_bundle
from receiver.stylegan2.generator import Generator
from tests.helpers.tiny_generators import (
    basicsr_names,
    reference_state,
    reference_values,
    tiny_generator,
)

REFUSED = "Convert such a file elsewhere"


def save(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def same(a: Generator, b: Generator) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.fixture
def generator() -> Generator:
    return tiny_generator()


def rosinality(generator: Generator) -> dict[str, object]:
    state = generator.state_dict()
    return {"latent_avg": state.pop("latent_avg"), "g_ema": state}


def test_rosinality(generator: Generator, tmp_path: Path) -> None:
    loaded = load_generator(save(rosinality(generator), tmp_path / "generator.pt"))
    assert same(loaded, generator)
    assert not loaded.training


def test_basicsr(tmp_path: Path) -> None:
    state = reference_state()
    theirs = basicsr_names(state)
    assert not set(theirs) & {"input.input", "conv1.conv.weight"}
    loaded = load_generator(save({"params_ema": theirs}, tmp_path / "generator.pth"))
    values = reference_values()
    image = loaded.requires_grad_(False)(values["z"])
    assert (image - values["image"]).abs().max() < 1e-4 * values["image"].std()
    # Its files hold no mean latent: it is estimated.
    assert (loaded.latent_avg - loaded.mean_latent(seed=1)).abs().mean() < 0.1


def test_a_bare_state_dict(generator: Generator, tmp_path: Path) -> None:
    assert same(load_generator(save(generator.state_dict(), tmp_path / "g.pt")), generator)


def test_missing_noise_maps_are_drawn_the_same_each_time(generator: Generator) -> None:
    state = {k: v for k, v in generator.state_dict().items() if not k.startswith("noises.")}
    first, second = (Generator.from_state_dict(state) for _ in range(2))
    assert same(first, second)
    assert first.fixed_noise()[0].std() > 0.5


@pytest.mark.parametrize("layers", [2, 8])
def test_sizes_are_read_from_the_shapes(layers: int) -> None:
    state = Generator((24, 16, 8), 20, layers).state_dict()
    sizes = Generator.from_state_dict(state).sizes
    assert (sizes.widths, sizes.style_dim, sizes.mapping_layers) == ((24, 16, 8), 20, layers)


def test_bundle_round_trip(generator: Generator, tmp_path: Path) -> None:
    save_bundle(generator, tmp_path / "faces", "# Faces\n")
    loaded = load_generator(tmp_path / "faces")
    z = torch.randn(2, 16)
    deviation = (loaded(z) - generator(z)).abs().max() / generator(z).std()
    assert deviation < 0.01
    assert loaded.conv1.conv.weight.dtype == torch.float32
    assert (tmp_path / "faces" / "card.md").read_text() == "# Faces\n"


def test_an_altered_generator_is_refused(generator: Generator, tmp_path: Path) -> None:
    save_bundle(generator, tmp_path / "faces", "")
    weights = tmp_path / "faces" / "generator.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BundleError, match=r"generator\.safetensors: SHA-256 is"):
        load_generator(tmp_path / "faces")


def test_a_generators_folder_needs_the_name_of_a_bundle(
    generator: Generator, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match="name: got 'My Faces'"):
        save_bundle(generator, tmp_path / "My Faces", "")
    assert not (tmp_path / "My Faces").exists()
    save_bundle(generator, tmp_path / "faces", "")
    (tmp_path / "faces").rename(tmp_path / "others")
    with pytest.raises(BundleError, match="name is 'faces', the folder's is 'others'"):
        load_generator(tmp_path / "others")


def test_a_bundle_stores_what_fits_or_says_so(generator: Generator, tmp_path: Path) -> None:
    with torch.no_grad():
        generator.conv1.activate.bias[0] = 1e6
    with pytest.raises(BundleError, match=r"conv1\.activate\.bias"):
        save_bundle(generator, tmp_path / "faces", "")
    save_bundle(generator, tmp_path / "faces", "", dtype=torch.bfloat16)
    assert load_generator(tmp_path / "faces").conv1.activate.bias[0] > 9e5


def test_a_bundle_whose_config_and_weights_differ(generator: Generator, tmp_path: Path) -> None:
    save_bundle(generator, tmp_path, "")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"image_size": 64}))
    with pytest.raises(BundleError, match="image_size 64, the weights 32"):
        load_generator(tmp_path)


class _Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("kind", ["pickle", "torch", "inside"])
def test_a_malicious_pickle_is_refused_and_creates_nothing(
    generator: Generator, tmp_path: Path, kind: str
) -> None:
    target, path = tmp_path / "created", tmp_path / "network.pkl"
    evil = _Malicious(target)
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"G_ema": evil}))
    elif kind == "torch":
        torch.save(evil, path)
    else:
        torch.save(rosinality(generator) | {"note": evil}, path)
    with pytest.raises(BundleError, match=REFUSED):
        load_generator(path)
    assert not target.exists()
    # It is what it claims to be.
    if kind == "pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert target.exists()


def test_broken_and_foreign_files(generator: Generator, tmp_path: Path) -> None:
    missing = tmp_path / "none.pt"
    with pytest.raises(BundleError, match="no such file"):
        load_generator(missing)
    for name, content in (("text.pt", b"hello"), ("empty.pt", b""), ("x.safetensors", b"{}")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BundleError, match=name):
            load_generator(tmp_path / name)
    save(rosinality(generator), tmp_path / "cut.pt")
    whole = (tmp_path / "cut.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError):
        load_generator(tmp_path / "cut.pt")
    with pytest.raises(BundleError, match="no StyleGAN2 generator"):
        load_generator(save({"g_ema": {"weight": torch.zeros(2)}}, tmp_path / "other.pt"))
    with pytest.raises(BundleError, match="no state dict"):
        load_generator(save([torch.zeros(2)], tmp_path / "list.pt"))
    with pytest.raises(BundleError, match="scheme: Input should be 'stylegan2'"):
        load_generator(tmp_path_without_config(tmp_path))


def tmp_path_without_config(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text('{"name": "folder", "scheme": "deepjscc"}')
    return folder


@pytest.mark.parametrize("change", ["missing", "unknown", "shape", "filter"])
def test_what_is_wrong_with_the_tensors_is_named(generator: Generator, change: str) -> None:
    state = dict(generator.state_dict())
    if change == "missing":
        del state["to_rgbs.1.bias"]
        match = r"missing: to_rgbs\.1\.bias"
    elif change == "unknown":
        state["extra"] = torch.zeros(1)
        match = "unknown: extra"
    elif change == "shape":
        state["convs.1.activate.bias"] = torch.zeros(5)
        match = r"another shape: convs\.1\.activate\.bias"
    else:
        state["convs.0.conv.blur.kernel"] = torch.ones(4, 4)
        match = "filter"
    with pytest.raises(BundleError, match=match):
        Generator.from_state_dict(state)
