# SPDX-License-Identifier: Apache-2.0
"""Inversions through the receiver's engine, in process."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from channel.noise import unit_complex_gaussian
from genjscc.bundles.store import read_generator_config, write_declaration, write_weights
from genjscc.errors import (
    BundleError,
    InvalidInputError,
    MissingExtraError,
    ModelNotFoundError,
    UnsupportedError,
)
from genjscc.limits import Limits
from genjscc.serving.engine import answer, answer_many
from genjscc.serving.settings import ReceiverSettings
from genjscc.v1 import inversion_pb2, model_pb2, receiver_pb2, tensor_pb2
from genjscc.wire.codewords import Codeword, codeword_to_message
from genjscc.wire.images import rgb_from_message
from receiver.inverse import distances
from receiver.inverse.config import InverseConfig
from receiver.inverse.initialiser import START, LatentStart
from receiver.inverse.serving import overrides_from
from receiver.service import ReceiverEngine
from receiver.stylegan2.checkpoints import save_bundle
from tests.helpers.tiny_bundles import GENERATOR, MULTI, SINGLE, tiny_face_generator, write_both

PLAIN = {"perceptual_weight": 0.0, "image_perceptual_weight": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pairs and a generator."""
    root = tmp_path_factory.mktemp("bundles")
    write_both(root)
    save_bundle(tiny_face_generator(), root / GENERATOR, "# tiny\n")
    return root


@pytest.fixture(scope="module")
def engine(folder: Path) -> ReceiverEngine:
    return ReceiverEngine(ReceiverSettings(bundles=folder, inversion_max_steps=50))


def request_for(
    engine: ReceiverEngine, seed: int = 1, size: tuple[int, int] = (64, 64), **fields: Any
) -> receiver_pb2.DecodeRequest:
    pair_id = engine.catalogue.by_name(SINGLE).config.pair_id
    k = 8 * -(-size[0] // 16) * -(-size[1] // 16) // 2
    received = Codeword(unit_complex_gaussian(seed, k), pair_id, Fraction("1/192"), size, 0.0)
    return receiver_pb2.DecodeRequest(
        received=codeword_to_message(received),
        format=tensor_pb2.IMAGE_FORMAT_RAW,
        scheme=model_pb2.SCHEME_INVERSE_JSCC,
        inversion=inversion_pb2.InversionOptions(**{"steps": [2, 1], **PLAIN, **fields}),
    )


def pixels(response: receiver_pb2.DecodeResponse) -> Any:
    return rgb_from_message(response.image, limits=Limits()).astype(int)


def test_it_answers_an_image_and_how_it_was_found(engine: ReceiverEngine) -> None:
    response = answer(engine, request_for(engine, seed=5))
    assert pixels(response).shape == (64, 64, 3)
    assert response.scheme == model_pb2.SCHEME_INVERSE_JSCC
    assert response.model == SINGLE
    summary = response.inversion
    assert (summary.generator, summary.start, summary.steps) == (GENERATOR, "mean", 3)
    assert summary.losses.total > 0
    assert summary.losses.mse > 0
    assert response.compute_seconds > 0


def test_a_request_repeats_and_its_seed_matters(engine: ReceiverEngine) -> None:
    first, again, other = (
        pixels(answer(engine, request_for(engine, **{"seed": 3, **fields})))
        for fields in ({}, {}, {"noise_limits": [0, 0, 0, 0]})
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0
    one, two = request_for(engine), request_for(engine)
    two.inversion.seed = 7
    assert np.abs(pixels(answer(engine, one)) - pixels(answer(engine, two))).max() > 0


def test_together_they_are_as_each_alone(engine: ReceiverEngine) -> None:
    fields: list[dict[str, Any]] = [{}, {"steps": [1]}, {"steps": [0, 3]}, {"mse_weight": 9.0}]
    requests = [request_for(engine, seed=i, **own) for i, own in enumerate(fields)]
    together = answer_many(engine, requests, 8)
    for request, found in zip(requests, together, strict=True):
        assert isinstance(found, receiver_pb2.DecodeResponse)
        alone = answer(engine, request)
        assert found.inversion.steps == alone.inversion.steps
        assert found.inversion.losses.total == pytest.approx(alone.inversion.losses.total, abs=1e-3)
        assert np.abs(pixels(found) - pixels(alone)).max() <= 2


def test_step_by_step_is_the_same(engine: ReceiverEngine) -> None:
    request = request_for(engine)
    job = engine.prepare(request)
    assert engine.is_stepwise(job)
    course = engine.begin(job)
    reports = []
    while not reports or reports[-1].result is None:
        reports += engine.advance([course])
    assert [(r.steps_done, r.num_steps, r.stage) for r in reports] == [
        (1, 3, 1),
        (2, 3, 1),
        (3, 3, 2),
    ]
    assert reports[-1].result is not None
    stepped = engine.finish(job, reports[-1].result)
    np.testing.assert_array_equal(pixels(stepped), pixels(answer(engine, request)))


def test_the_perceptual_distance_is_part_of_it(engine: ReceiverEngine) -> None:
    fields = {"perceptual_weight": 1.0, "image_perceptual_weight": 0.5, "steps": [2]}
    response = answer(engine, request_for(engine, perceptual="st-lpips-alex", **fields))
    losses = response.inversion.losses
    assert losses.total == pytest.approx(
        losses.mse + losses.perceptual + 0.5 * losses.image_perceptual + 0.01 * losses.geodesic
    )
    assert losses.perceptual > 0


def test_deepjscc_goes_on_as_before(engine: ReceiverEngine) -> None:
    request = request_for(engine)
    request.ClearField("inversion")
    request.scheme = model_pb2.SCHEME_UNSPECIFIED
    response = answer(engine, request)
    assert response.scheme == model_pb2.SCHEME_DEEP_JSCC
    assert not response.HasField("inversion")


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"generator": "cats"}, ModelNotFoundError, f"got 'cats'; there are {GENERATOR}"),
        ({"preset": "slow"}, InvalidInputError, r"inversion\.preset: got 'slow'"),
        (
            {"steps": [40, 20]},
            InvalidInputError,
            r"inversion\.steps: got 60 in all; must be at most 50",
        ),
        ({"start": "learned"}, InvalidInputError, r"inversion\.start: got 'learned'"),
        ({"learning_rate": -1.0}, InvalidInputError, r"inversion\.learning_rate: got -1"),
        ({"betas": [0.9]}, InvalidInputError, r"inversion\.betas"),
        ({"cuts": [1, 2, 7], "steps": [1, 1, 1, 1]}, InvalidInputError, r"inversion\.cuts"),
        ({"channel_noise": "loud"}, InvalidInputError, r"inversion\.channel_noise"),
        ({"seed": 2**63}, InvalidInputError, r"inversion\.seed"),
    ],
)
def test_wrong_options_are_named(
    engine: ReceiverEngine, fields: dict[str, Any], error: type[Exception], text: str
) -> None:
    seed = fields.pop("seed", None)
    request = request_for(engine, **fields)
    if seed is not None:
        request.inversion.seed = seed
    with pytest.raises(error, match=text):
        engine.prepare(request)


def test_only_images_of_the_generators_size_can_be_inverted(engine: ReceiverEngine) -> None:
    with pytest.raises(InvalidInputError, match=r"60x64 pixels; generator .* images of 64x64 only"):
        engine.prepare(request_for(engine, size=(64, 60)))


def test_options_belong_to_the_scheme(engine: ReceiverEngine) -> None:
    request = request_for(engine)
    request.scheme = model_pb2.SCHEME_DEEP_JSCC
    with pytest.raises(InvalidInputError, match="inversion: is for the scheme inverse"):
        engine.prepare(request)


def test_what_diverges_is_an_error(engine: ReceiverEngine) -> None:
    wild = request_for(
        engine,
        learning_rate=100.0,
        feature_rate=100.0,
        mse_weight=1e6,
        latent_projection="none",
        noise_projection="none",
        noise_rate=100.0,
        steps=[6, 6],
        ramp_up=0.0,
    )
    job = engine.prepare(wild)
    (result,) = engine.run([job])
    broken = type(result)(None, result.seconds, result.summary)
    with pytest.raises(InvalidInputError, match="inversion: has diverged"):
        engine.finish(job, broken)


def test_symbols_beyond_the_arithmetic_are_an_error(engine: ReceiverEngine) -> None:
    request = request_for(engine)
    request.received.symbols.data = np.full(64, 3e38, np.float32).tobytes()
    with pytest.raises(InvalidInputError, match=r"received\.symbols"):
        answer(engine, request)


def test_which_generator(folder: Path, tmp_path: Path) -> None:
    write_both(tmp_path)
    bare = ReceiverEngine(ReceiverSettings(bundles=tmp_path))
    with pytest.raises(UnsupportedError, match=f"model '{SINGLE}' offers SCHEME_DEEP_JSCC"):
        bare.prepare(request_for(bare))
    for name in ("first", "second"):
        save_bundle(tiny_face_generator(), tmp_path / name, "")
    two = ReceiverEngine(ReceiverSettings(bundles=tmp_path))
    with pytest.raises(InvalidInputError, match="generator: is missing; there are first, second"):
        two.prepare(request_for(two))
    assert two.prepare(request_for(two, generator="second")).plan is not None
    chosen = ReceiverEngine(ReceiverSettings(bundles=tmp_path, inversion_generator="first"))
    plan = chosen.prepare(request_for(chosen)).plan
    assert plan is not None
    assert plan.generator == "first"
    with pytest.raises(BundleError, match=r"'third' of inversions is not in .*first, second"):
        ReceiverEngine(ReceiverSettings(bundles=tmp_path, inversion_generator="third"))
    assert MULTI in {model.name for model in two.catalogue.messages()}


def test_a_start_network_is_used_where_there_is_one(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "all")
    root = tmp_path / "all"
    generator = tiny_face_generator()
    start = LatentStart.for_generator(generator, torch.ones(16), 4)
    with torch.no_grad():
        start.linear.bias.fill_(0.5)
    sha256 = write_weights(start, root / GENERATOR / START, torch.float16)
    declared = read_generator_config(root / GENERATOR)
    files = {**declared.files, START: sha256}
    write_declaration(root / GENERATOR, declared.model_copy(update={"files": files}), "")
    engine = ReceiverEngine(ReceiverSettings(bundles=root))
    found = {
        where: answer(engine, request_for(engine, start=where, steps=[1], ramp_up=0.0))
        for where in ("mean", "learned", "auto")
    }
    assert [found[where].inversion.start for where in found] == ["mean", "learned", "learned"]
    np.testing.assert_array_equal(pixels(found["learned"]), pixels(found["auto"]))
    assert np.abs(pixels(found["learned"]) - pixels(found["mean"])).max() > 0
    (root / GENERATOR / START).write_bytes(b"something else")
    with pytest.raises(BundleError, match=r"start\.safetensors: SHA-256"):
        ReceiverEngine(ReceiverSettings(bundles=root, inversion_generator=GENERATOR))
    assert GENERATOR in ReceiverEngine(ReceiverSettings(bundles=root)).catalogue.left_out


def test_the_services_preset_is_used_where_none_is_asked_for(folder: Path) -> None:
    settings = ReceiverSettings(bundles=folder, inversion_preset="fast")
    engine = ReceiverEngine(settings)
    request = request_for(engine)
    request.inversion.ClearField("steps")
    with pytest.raises(InvalidInputError, match=r"'tiny-generator' has no initialiser; 'mean'"):
        engine.prepare(request)
    request.inversion.start = "mean"
    plan = engine.prepare(request).plan
    assert plan is not None
    assert plan.config.num_steps < InverseConfig().num_steps
    request.inversion.ClearField("start")
    request.inversion.preset = "paper"
    plan = engine.prepare(request).plan
    assert plan is not None
    assert plan.config == InverseConfig(**PLAIN)


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise MissingExtraError("ST-LPIPS needs stlpips-pytorch: pip install 'genjscc[inverse]'")

    monkeypatch.setattr(distances, "perceptual", missing)
    with pytest.raises(UnsupportedError, match=r"inversion\.perceptual: ST-LPIPS needs"):
        distances.Distances(torch.device("cpu")).get("st-lpips-alex")


def test_the_protocol_and_the_configuration_have_the_same_fields() -> None:
    wire = {field.name for field in inversion_pb2.InversionOptions.DESCRIPTOR.fields}
    assert wire - {"preset", "generator", "seed"} == set(InverseConfig.model_fields)
    defaults = InverseConfig().model_dump()
    message = inversion_pb2.InversionOptions(**defaults)
    # Doubles carry the numbers unchanged, lists come back as tuples.
    assert overrides_from(message) == defaults
    assert overrides_from(inversion_pb2.InversionOptions(preset="fast", seed=3)) == {}
