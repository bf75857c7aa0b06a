# SPDX-License-Identifier: Apache-2.0
"""The GenerativeJSCC decoder, and the receiver's engine that serves it beside DeepJSCC."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from channel.noise import unit_complex_gaussian
from genjscc import LocalLink
from genjscc.bundles.store import find_bundles
from genjscc.errors import BundleError, InvalidInputError, UnsupportedError
from genjscc.limits import Limits
from genjscc.serving.engine import answer, answer_many
from genjscc.serving.settings import ReceiverSettings
from genjscc.v1 import model_pb2, receiver_pb2, tensor_pb2
from genjscc.wire.codewords import Codeword, codeword_to_message
from genjscc.wire.images import rgb_from_message
from receiver.generative import GenerativeDecoder, LatentDecoder, fed_noise_inputs
from receiver.models import load_decoder
from receiver.service import ReceiverEngine
from receiver.stylegan2.generator import Generator
from tests.helpers.pictures import gradient
from tests.helpers.tiny_bundles import (
    GENERATIVE,
    GENERATOR,
    SINGLE,
    fill_by_rule,
    tiny_face_generator,
    write_tiny,
    write_tiny_generative,
)

SIZE = (64, 64)


def symbols(count: int, k: int = 16) -> torch.Tensor:
    rows = [unit_complex_gaussian(seed, k) for seed in range(count)]
    return torch.from_numpy(np.stack(rows))


def decoder(**changes: Any) -> GenerativeDecoder:
    generator = tiny_face_generator()
    latents = LatentDecoder(8, 2, size=64, style_dim=16, **changes)
    fill_by_rule(latents, 3)
    latents.start_at_mean(generator)
    return GenerativeDecoder(latents, generator).eval()


@pytest.mark.parametrize("size", [64, 128, 256, 512])
def test_the_blocks_feed_the_noise_inputs_of_their_size(size: int) -> None:
    blocks = size.bit_length() - 2
    generator = Generator([1] * blocks, 8, 1)
    latents = LatentDecoder(4, 2, size=size, style_dim=8)
    k = (size // 16) ** 2
    _, noise = latents(symbols(1, k), torch.zeros(1))
    fed = [i for i, maps in enumerate(noise) if maps is not None]
    assert fed == list(fed_noise_inputs(size)) == list(range(2 * blocks - 10, 2 * blocks - 2))
    sides = [size // d for d in (16, 8, 8, 4, 4, 2, 2, 1)]
    assert [maps.shape for maps in noise if maps is not None] == [(1, 1, s, s) for s in sides]
    assert [generator.noise_sizes[i] for i in fed] == sides


@pytest.mark.parametrize("size", [32, 96, 0])
def test_sizes_that_no_run_of_noise_inputs_fits(size: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        fed_noise_inputs(size)


@pytest.mark.parametrize(
    "changes", [{}, {"latent": "w+"}, {"noise": False}, {"latent_grid": 4, "latent_part": 5}]
)
def test_images_are_in_range_and_batched_equals_alone(changes: dict[str, Any]) -> None:
    network = decoder(**changes)
    snr_db = torch.tensor([-5.0, 0.0, 5.0])
    with torch.inference_mode():
        together = network(symbols(3), snr_db, SIZE)
        assert together.shape == (3, 3, *SIZE)
        assert 0 <= float(together.min()) < float(together.max()) <= 1
        assert float((together[0] - together[1]).abs().max()) > 1e-3
        for i in range(3):
            alone = network(symbols(3)[i : i + 1], snr_db[i : i + 1], SIZE)[0]
            torch.testing.assert_close(together[i], alone, rtol=0, atol=1e-5)


def test_the_snr_matters_with_af_modules_alone() -> None:
    same = symbols(1).repeat(2, 1)
    for af in (True, False):
        with torch.inference_mode():
            low, high = decoder(af=af)(same, torch.tensor([-5.0, 5.0]), SIZE)
        assert bool((low != high).any()) is af


def test_an_untrained_decoder_shows_faces_near_the_average_one() -> None:
    torch.manual_seed(0)
    generator = tiny_face_generator()
    latents = LatentDecoder(8, 2, size=64, style_dim=16)
    latents.start_at_mean(generator)
    with torch.no_grad():
        ws, noise = latents(symbols(8), torch.zeros(8))
        spread = generator.mapping(torch.randn(512, 16)).std(0)
    assert float(((ws - generator.latent_avg) / spread).abs().max()) < 1
    assert float(ws.std(0).min()) > 0
    assert all(not maps.any() for maps in noise if maps is not None)


def test_noise_maps_reach_the_image() -> None:
    network = decoder()
    with torch.inference_mode():
        before = network(symbols(1), torch.zeros(1), SIZE)
        for head in network.latents.to_noise:
            head.weight.zero_()
            head.bias.zero_()
        silent = network(symbols(1), torch.zeros(1), SIZE)
    assert float((before - silent).abs().max()) > 1e-3
    off = decoder(noise=False)
    off.latents.load_state_dict(network.latents.state_dict(), strict=False)
    with torch.inference_mode():
        torch.testing.assert_close(off(symbols(1), torch.zeros(1), SIZE), silent)


def test_noise_maps_are_in_units_of_the_features() -> None:
    """However weakly a generator's noise inputs are scaled, a map adds the same."""
    strong, weak = decoder(), decoder()
    with torch.no_grad():
        for name, parameter in weak.generator.named_parameters():
            if name.endswith("noise.weight"):
                parameter.mul_(0.05)
        # The inputs that no block feeds keep their buffers, which the factor weakens.
        for network in (strong, weak):
            for buffer in network.generator.fixed_noise():
                buffer.zero_()
        images = [network(symbols(2), torch.zeros(2), SIZE) for network in (strong, weak)]
    torch.testing.assert_close(images[0], images[1], atol=1e-5, rtol=1e-5)


def test_a_generator_without_noise_shows_no_maps() -> None:
    network = decoder()
    with torch.no_grad():
        for name, parameter in network.generator.named_parameters():
            if name.endswith("noise.weight"):
                parameter.zero_()
        with_maps = network(symbols(1), torch.zeros(1), SIZE)
        for head in network.latents.to_noise.parameters():
            head.zero_()
        torch.testing.assert_close(network(symbols(1), torch.zeros(1), SIZE), with_maps)


def test_w_plus_gives_each_layer_its_own_style() -> None:
    with torch.no_grad():
        ws, _ = decoder(latent="w+").latents(symbols(2), torch.zeros(2))
    assert ws.shape == (2, 10, 16)
    assert float((ws[:, 0] - ws[:, 1]).abs().max()) > 1e-4


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="style_dim: the generator has 16"):
        GenerativeDecoder(LatentDecoder(4, 2, size=64, style_dim=8), tiny_face_generator())
    with pytest.raises(ValueError, match=r"generator makes 64x64"):
        decoder()(symbols(1, 25), torch.zeros(1), (80, 80))
    with pytest.raises(ValueError, match="multiple of 8"):
        LatentDecoder(4, 2, size=64, style_dim=12)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generative")
    write_tiny(folder, SINGLE)
    write_tiny_generative(folder)
    write_tiny_generative(folder, "tiny-wplus", latent="w+")
    return folder


@pytest.fixture(scope="module")
def engine(root: Path) -> ReceiverEngine:
    made = ReceiverEngine(ReceiverSettings(bundles=root))
    made.warm_up()
    return made


def request_for(engine: ReceiverEngine, name: str = GENERATIVE, **changes: Any) -> Any:
    fields: dict[str, Any] = {"size": SIZE, "seed": 1, "snr_db": 0.0, **changes}
    pair_id = {model.name: model.pair_id for model in engine.catalogue.messages()}[name]
    rate, channels = ("1/192", 8) if name == SINGLE else ("1/48", 32)
    rows, columns = (-(-side // 16) for side in fields["size"])
    received = Codeword(
        unit_complex_gaussian(fields["seed"], channels * rows * columns // 2),
        pair_id,
        Fraction(rate),
        fields["size"],
        fields["snr_db"],
    )
    return receiver_pb2.DecodeRequest(
        received=codeword_to_message(received),
        format=tensor_pb2.IMAGE_FORMAT_RAW,
        scheme=fields.get("scheme", 0),
    )


def pixels(response: receiver_pb2.DecodeResponse) -> Any:
    return rgb_from_message(response.image, limits=Limits()).astype(int)


def test_both_schemes_are_offered_and_the_generator_is_loaded_once(engine: ReceiverEngine) -> None:
    schemes = {model.name: model.scheme for model in engine.catalogue.messages()}
    assert schemes == {
        SINGLE: model_pb2.SCHEME_DEEP_JSCC,
        GENERATIVE: model_pb2.SCHEME_GENERATIVE_JSCC,
        "tiny-wplus": model_pb2.SCHEME_GENERATIVE_JSCC,
    }
    offered = {model.name: list(model.schemes) for model in engine.models()}
    assert offered[SINGLE] == [model_pb2.SCHEME_DEEP_JSCC, model_pb2.SCHEME_INVERSE_JSCC]
    assert offered[GENERATIVE] == [model_pb2.SCHEME_GENERATIVE_JSCC]
    networks = [engine.catalogue.by_name(name).network for name in (GENERATIVE, "tiny-wplus")]
    assert isinstance(networks[0], GenerativeDecoder)
    assert isinstance(networks[1], GenerativeDecoder)
    assert networks[0].generator is networks[1].generator


def test_the_scheme_is_the_pairs_own_and_no_other(engine: ReceiverEngine) -> None:
    for scheme in (0, model_pb2.SCHEME_GENERATIVE_JSCC):
        response = answer(engine, request_for(engine, scheme=scheme))
        assert response.scheme == model_pb2.SCHEME_GENERATIVE_JSCC
        assert pixels(response).shape == (64, 64, 3)
    with pytest.raises(UnsupportedError, match=r"SCHEME_DEEP_JSCC; .* SCHEME_GENERATIVE_JSCC"):
        answer(engine, request_for(engine, scheme=model_pb2.SCHEME_DEEP_JSCC))
    with pytest.raises(UnsupportedError, match=f"model {SINGLE!r} offers SCHEME_DEEP_JSCC"):
        answer(engine, request_for(engine, SINGLE, scheme=model_pb2.SCHEME_GENERATIVE_JSCC))


def test_served_in_batches_as_alone(engine: ReceiverEngine) -> None:
    requests = [
        request_for(engine, name, seed=i, snr_db=float(i))
        for i, name in enumerate([GENERATIVE, SINGLE, GENERATIVE, "tiny-wplus", GENERATIVE])
    ]
    for request, response in zip(requests, answer_many(engine, requests, 16), strict=True):
        assert not isinstance(response, Exception)
        assert np.abs(pixels(response) - pixels(answer(engine, request))).max() <= 1


def test_only_the_generators_size_is_carried(engine: ReceiverEngine, root: Path) -> None:
    padded = answer(engine, request_for(engine, size=(60, 50)))
    assert pixels(padded).shape == (60, 50, 3)
    with pytest.raises(InvalidInputError, match=r"80x40 pixels; .* images of 64x64 only"):
        answer(engine, request_for(engine, size=(40, 80)))
    with (
        LocalLink(bundles=root) as link,
        pytest.raises(InvalidInputError, match=r"image: got 80x40 .* 64x64 only"),
    ):
        link.send(gradient(40, 80), model=GENERATIVE)


def test_the_whole_link_carries_it(root: Path) -> None:
    with LocalLink(bundles=root) as link:
        received = link.send(gradient(64, 64), model=GENERATIVE, scheme="generative", seed=1)
        assert received.image.shape == (64, 64, 3)
        assert received.codeword.k == 256
        info = {model.name: model for model in link.models()}[GENERATIVE]
    assert info.scheme == "generative"


def test_another_generator_than_the_one_of_the_training_is_refused(tmp_path: Path) -> None:
    config = write_tiny_generative(tmp_path)
    stored = load_file(tmp_path / GENERATIVE / "decoder.safetensors")
    assert not [name for name in stored if "generator" in name]
    (tmp_path / GENERATOR).rename(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match=f"{GENERATOR}.*No such file"):
        load_decoder(tmp_path, find_bundles(tmp_path)[GENERATIVE])
    assert config.generative is not None
    wrong = config.model_copy(
        update={
            "generative": config.generative.model_copy(
                update={"generator": "elsewhere", "generator_sha256": "0" * 64}
            )
        }
    )
    text = (tmp_path / "elsewhere" / "config.json").read_text()
    (tmp_path / "elsewhere" / "config.json").write_text(text.replace(GENERATOR, "elsewhere"))
    with pytest.raises(BundleError, match="needed is 0000"):
        load_decoder(tmp_path, wrong)
