# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from genjscc.errors import InvalidInputError
from genjscc.repository import REPOSITORY
from receiver.stylegan2.generator import Generator, SynthesisState
from tests.helpers.tiny_generators import (
    ffhq_widths,
    reference_state,
    reference_values,
    tiny_generator,
)


@pytest.fixture(scope="module")
def reference() -> Generator:
    return Generator.from_state_dict(reference_state()).requires_grad_(False)


@pytest.fixture(scope="module")
def expected() -> dict[str, Tensor]:
    return reference_values()


@pytest.fixture
def generator() -> Generator:
    return tiny_generator().requires_grad_(False)


def relative_error(image: Tensor, expected: Tensor) -> float:
    return ((image - expected).abs().max() / expected.std()).item()


@pytest.mark.parametrize("threads", [1, 2])
def test_computes_what_the_reference_implementation_computes(
    reference: Generator, expected: dict[str, Tensor], threads: int
) -> None:
    torch.set_num_threads(threads)
    try:
        w = reference.mapping(expected["z"])
        image = reference.synthesis(w)
        image_ws = reference.synthesis(expected["ws"])
    finally:
        torch.set_num_threads(1)
    torch.testing.assert_close(w, expected["w"], rtol=1e-5, atol=1e-5)
    assert relative_error(image, expected["image"]) < 1e-4
    assert relative_error(image_ws, expected["image_ws"]) < 1e-4


def test_bfloat16_is_within_two_percent(reference: Generator, expected: dict[str, Tensor]) -> None:
    image = reference(expected["z"], dtype=torch.bfloat16)
    assert image.dtype == torch.float32
    deviation = (image - expected["image"]).square().mean().sqrt() / expected["image"].std()
    assert 1e-4 < deviation < 0.02  # above 0, or it was not bfloat16


def test_follows_autocast(reference: Generator, expected: dict[str, Tensor]) -> None:
    explicit = reference(expected["z"], dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        implied = reference(expected["z"])
    assert torch.equal(implied, explicit)


def test_batched_equals_alone(generator: Generator) -> None:
    z = torch.randn(3, 16)
    noise = generator.random_noise(3)
    together = generator(z, noise)
    for i in range(3):
        alone = generator(z[i : i + 1], [n[i : i + 1] for n in noise])
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-5)


def test_sizes(generator: Generator) -> None:
    assert (generator.size, generator.num_ws, generator.num_blocks) == (32, 8, 4)
    assert generator.noise_sizes == (4, 8, 8, 16, 16, 32, 32)
    assert generator(torch.randn(2, 16)).shape == (2, 3, 32, 32)


def test_w_is_w_plus_with_one_style(generator: Generator) -> None:
    w = torch.randn(2, 16)
    ws = w[:, None].repeat(1, 8, 1)
    assert torch.equal(generator.synthesis(w), generator.synthesis(ws))
    ws[:, 7] += 1
    assert not torch.equal(generator.synthesis(w), generator.synthesis(ws))


@pytest.mark.parametrize("index", range(7))
def test_every_noise_input_changes_the_image(generator: Generator, index: int) -> None:
    w = torch.randn(1, 16)
    noise: list[Tensor | None] = [None] * 7
    assert torch.equal(generator.synthesis(w, noise), generator.synthesis(w))
    side = generator.noise_sizes[index]
    noise[index] = torch.randn(1, 1, side, side)
    assert not torch.equal(generator.synthesis(w, noise), generator.synthesis(w))


@pytest.mark.parametrize("bounds", [(0, 1, 2, 3, 6), (0, 2, 3, 5, None)])
def test_the_four_stages_compose_to_synthesis(bounds: tuple[int | None, ...]) -> None:
    generator = tiny_generator((16, 16, 8, 8, 8, 8)).requires_grad_(False)
    ws, noise = torch.randn(2, 12, 16), generator.random_noise(2)
    state = None
    for start, stop in pairwise(bounds):
        state = generator.run_blocks(ws, noise, state=state, start=start or 0, stop=stop)
    assert state is not None
    assert torch.equal(state.rgb, generator.synthesis(ws, noise))


def test_an_intermediate_state_is_a_variable(generator: Generator) -> None:
    ws = torch.randn(1, 8, 16)
    first = generator.run_blocks(ws, stop=1)
    free = SynthesisState(first.features.requires_grad_(), first.rgb.requires_grad_())
    state = generator.run_blocks(ws, state=free, start=1)
    gradients = torch.autograd.grad(state.rgb.sum(), list(free))
    assert all(g.abs().sum() > 0 for g in gradients)


def test_gradients_reach_latents_and_noise(generator: Generator) -> None:
    ws = torch.randn(1, 8, 16, requires_grad=True)
    noise = [n.requires_grad_() for n in generator.random_noise(1)]
    gradients = torch.autograd.grad(generator.synthesis(ws, noise).square().sum(), [ws, *noise])
    assert (gradients[0].abs().sum(-1) > 0).all()
    assert all(g.abs().sum() > 0 for g in gradients[1:])


def test_truncation(generator: Generator) -> None:
    w = torch.randn(2, 16)
    torch.testing.assert_close(generator.truncate(w, 1.0), w)
    assert torch.equal(generator.truncate(w, 0.0), generator.latent_avg.expand(2, 16))


@pytest.mark.parametrize(
    ("ws", "noise", "field"),
    [
        (torch.zeros(1, 15), None, "ws"),
        (torch.zeros(1, 7, 16), None, "ws"),
        (torch.zeros(1, 16), [None] * 6, "noise"),
        (torch.zeros(1, 16), [torch.zeros(1, 1, 8, 8)] + [None] * 6, "noise"),
    ],
)
def test_wrong_shapes_are_named(
    generator: Generator, ws: Tensor, noise: list[Tensor | None] | None, field: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        generator.synthesis(ws, noise)
    assert caught.value.field == field


def test_a_wrong_z_and_a_missing_state_are_named(generator: Generator) -> None:
    with pytest.raises(InvalidInputError, match="z"):
        generator.mapping(torch.zeros(1, 15))
    with pytest.raises(InvalidInputError, match="state"):
        generator.run_blocks(torch.zeros(1, 16), start=1)


def test_is_one_graph_for_torch_compile(generator: Generator) -> None:
    w = torch.randn(1, 16)
    compiled = torch.compile(generator.synthesis, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(w), generator.synthesis(w))


LOAD_AND_RUN = """
import gc, os, sys
from pathlib import Path
import torch
from receiver.stylegan2.checkpoints import load_generator
from tests.helpers.memory import forget_peak, peak

torch.set_num_threads(1)
for path in sys.argv[1:]:
    gc.collect()
    forget_peak(os.getpid())
    generator = load_generator(Path(path)).requires_grad_(False)
    image = generator(torch.randn(1, 512))
    assert image.isfinite().all()
    print(*generator.sizes.widths, *image.shape, peak(os.getpid()) / 2**30)
    del generator, image
"""


def test_published_sizes_load_and_run_within_the_stated_memory(tmp_path: Path) -> None:
    stated = {(512, 1): 1.5, (512, 2): 1.5, (1024, 2): 2.0}  # GiB of the whole process
    files = []
    for size, multiplier in stated:
        state = Generator(ffhq_widths(size, multiplier)).state_dict()
        state.pop("latent_avg")
        files.append(tmp_path / f"{size}-{multiplier}.pt")
        torch.save({"g_ema": state}, files[-1])
    done = subprocess.run(
        [sys.executable, "-c", LOAD_AND_RUN, *map(str, files)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    for ((size, multiplier), gib), line in zip(
        stated.items(), done.stdout.splitlines(), strict=True
    ):
        *shapes, peak_gib = line.split()
        assert [*map(int, shapes)] == [*ffhq_widths(size, multiplier), 1, 3, size, size]
        assert float(peak_gib) < gib, (size, multiplier)
