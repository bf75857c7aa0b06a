# SPDX-License-Identifier: Apache-2.0
"""Evaluation during a StyleGAN2 run: FD-EffLite0, coverage, reconstruction, a sheet, an export."""

from __future__ import annotations

import torch
from torch import Tensor

from genjscc.quality.frechet import EffLite0Features, Reference
from genjscc.quality.perceptual import mse
from genjscc.training.data import ImageFolder
from genjscc.training.distributed import rows_of_processes, sum_over_processes
from genjscc.training.stylegan2.training import StyleGAN2Training
from receiver.stylegan2.checkpoints import save_bundle
from receiver.stylegan2.generator import Generator

_BATCH = 50
_REBUILT = 256
_SHEET_COLUMNS, _SHEET_ROWS = 16, 3
# Separates the draws of evaluations from those of the steps.
_DRAWS = 2**61


class Evaluation:
    """Evaluation of the averaged generator, distributed over the processes."""

    def __init__(self, training: StyleGAN2Training) -> None:
        self.training = training
        self.val = ImageFolder(training.config.val, training.config.image_size)
        self.features = EffLite0Features().to(training.fabric.device)
        draws = torch.Generator().manual_seed(0)
        self.order = torch.randperm(len(self.val), generator=draws).tolist()
        self._reference: Reference | None = None

    @torch.no_grad()
    def run(self) -> dict[str, float]:
        """Measure one row of validation.csv; the first process also writes sheet and export."""
        training = self.training
        with training.fabric.autocast():
            reference = self._get_reference()
            samples = reference.compare(self._gather([*self._samples()]))
            decoded = reference.compare(self._gather([*self._decoded()]))
            psnr_db, st_lpips, rebuilt = self._reconstruction()
            sheet = self._sheet(rebuilt)
        z = torch.randn(4096, training.config.style_dim, generator=self._draws(0))
        latents = training.networks.averaged_codes(z)
        parameters = training.networks.average.named_parameters()
        strengths = [p.item() for name, p in parameters if name.endswith("noise.weight")]
        row = {
            "fd_efflite0": samples.frechet,
            "coverage": samples.coverage,
            "density": samples.density,
            "fd_efflite0_codes": decoded.frechet,
            "coverage_codes": decoded.coverage,
            "psnr_db": psnr_db,
            "st_lpips_alex": st_lpips,
            # Below 1 the mapping does not cover all codes of real images.
            "latent_spread": (latents.std(0) / training.queue.std(0).clamp(min=1e-6)).mean().item(),
            "noise_strength_mean": sum(strengths) / len(strengths),
            "noise_strength_max": max(strengths),
        }
        if training.fabric.is_global_zero:
            training.run.log("validation", training.images, row)
            training.run.sheet(training.images, sheet)
            folder = training.run.path / "generator"
            save_bundle(
                training.exported(),
                folder,
                _card(training, row),
                codes=training.networks.encoder,
            )
        return row

    def _draws(self, batch: int) -> torch.Generator:
        rank = self.training.fabric.global_rank
        return torch.Generator().manual_seed(_DRAWS + 1000 * rank + batch)

    def _share(self, count: int) -> list[range]:
        """Split off this process's part of `count` images, in batches equal on all processes."""
        fabric = self.training.fabric
        part = count // fabric.world_size
        start = part * fabric.global_rank
        return [range(i, min(i + _BATCH, start + part)) for i in range(start, start + part, _BATCH)]

    def _gather(self, features: list[Tensor]) -> Tensor:
        return rows_of_processes(self.training.fabric, torch.cat(features))

    def _images(self, data: ImageFolder, indices: list[int]) -> Tensor:
        pixels = torch.stack([data[i] for i in indices])
        return pixels.to(self.training.fabric.device).float() / 255

    def _get_reference(self) -> Reference:
        if self._reference is None:
            features = [
                self.features(self._images(self.val, [self.order[i] for i in batch]))
                for batch in self._share(min(self.training.config.reference_images, len(self.val)))
            ]
            self._reference = Reference(self._gather(features))
        return self._reference

    def _synthesis(self, codes: Tensor, draws: torch.Generator | None) -> Tensor:
        """Decode codes to [B, 3, S, S] near [0, 1]; noise maps are fresh, or zero without draws."""
        generator: Generator = self.training.networks.average
        noise = generator.random_noise(len(codes), draws)
        if draws is None:
            noise = [torch.zeros_like(maps) for maps in noise]
        return (generator.synthesis(codes, noise) + 1) / 2

    def _samples(self) -> list[Tensor]:
        training = self.training
        found = []
        for i, batch in enumerate(self._share(training.config.evaluate_images)):
            draws = self._draws(i)
            z = torch.randn(len(batch), training.config.style_dim, generator=draws)
            codes = training.networks.averaged_codes(z)
            found.append(self.features(self._synthesis(codes, draws)))
        return found

    def _decoded(self) -> list[Tensor]:
        """Compute features of decoded training codes: the bound for a perfect mapping."""
        training = self.training
        count = min(training.config.evaluate_images, len(training.data))
        stride = len(training.data) // count
        found = []
        for i, batch in enumerate(self._share(count)):
            images = self._images(training.data, [j * stride for j in batch])
            codes, _ = training.networks.encoder(2 * images - 1)
            found.append(self.features(self._synthesis(codes, self._draws(i))))
        return found

    def _reconstruction(self) -> tuple[float, float, list[Tensor]]:
        """Measure PSNR and ST-LPIPS of decoded validation codes; return them with sheet rows."""
        training = self.training
        sums = torch.zeros(3, device=training.fabric.device)
        shown: list[Tensor] = []
        for batch in self._share(min(_REBUILT, len(self.val))):
            images = self._images(self.val, [self.order[j] for j in batch])
            codes, _ = training.networks.encoder(2 * images - 1)
            rebuilt = self._synthesis(codes, None).clamp(0, 1)
            features = training.networks.perceptual
            distance = features.distance(features(2 * rebuilt - 1), features(2 * images - 1))
            psnr_db = -10 * torch.log10(mse(rebuilt, images))
            sums += torch.stack([psnr_db.sum(), distance.sum(), sums.new_tensor(len(batch))])
            shown = shown or [images[:_SHEET_COLUMNS], rebuilt[:_SHEET_COLUMNS]]
        total = sum_over_processes(training.fabric, sums).tolist()
        return total[0] / total[2], total[1] / total[2], shown

    def _sheet(self, rebuilt: list[Tensor]) -> list[Tensor]:
        """Return rows of samples from fixed z, then images above their reconstructions."""
        columns = len(rebuilt[0])
        rows = []
        for row in range(_SHEET_ROWS):
            draws = torch.Generator().manual_seed(_DRAWS + row)
            z = torch.randn(columns, self.training.config.style_dim, generator=draws)
            rows.append(self._synthesis(self.training.networks.averaged_codes(z), draws))
        return [*rows, *rebuilt]


def _card(training: StyleGAN2Training, row: dict[str, float]) -> str:
    values = "\n".join(f"* {name}: {value:.4g}" for name, value in row.items())
    count = training.config.evaluate_images
    return (
        f"# StyleGAN2 generator, {training.config.image_size}x{training.config.image_size}\n\n"
        f"Trained with `genjscc.training.stylegan2`: {training.images} images "
        f"through the generator, averaged weights.\n\n"
        f"Measured with {count} samples against the validation images:\n\n{values}\n"
    )
