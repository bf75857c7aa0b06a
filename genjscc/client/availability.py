# SPDX-License-Identifier: Apache-2.0
"""What can be compared side by side: which model stands for which scheme, or why none does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genjscc.client.options import ModelInfo, SchemeName

TITLES: dict[SchemeName, str] = {
    "deepjscc": "DeepJSCC",
    "generative": "GenerativeJSCC",
    "inverse": "InverseJSCC",
}


@dataclass(frozen=True)
class Place:
    """A scheme's place in a comparison.

    Attributes:
        scheme: how it decodes.
        model: whose symbols it decodes; None where it is not on offer.
        reason: why it is not, as a sentence.
    """

    scheme: SchemeName
    model: ModelInfo | None
    reason: str = ""


def for_photos(offered: Sequence[ModelInfo]) -> ModelInfo:
    """The DeepJSCC model that was trained on the largest pictures."""
    return max(offered, key=lambda m: (m.scheme == "deepjscc", m.image_size, m.is_default))


def places(
    models: Sequence[ModelInfo],
    decoders: Sequence[ModelInfo],
    chosen: ModelInfo,
    rate: str,
    side: int,
) -> dict[SchemeName, Place]:
    """Choose a model for each of the three schemes, for images of side x side pixels.

    The chosen model stands for its own scheme; the one most like it stands for the other.

    Args:
        models: what the transmitter offers.
        decoders: what the receiver can decode.
        chosen: the model that was chosen.
        rate: bandwidth ratio as "1/48".
        side: of the image, in pixels.
    """
    deep = _place("deepjscc", models, decoders, chosen, rate, side)
    return {
        "deepjscc": deep,
        "generative": _place("generative", models, decoders, chosen, rate, side),
        "inverse": _inverse(deep, decoders, side),
    }


def _place(
    scheme: SchemeName,
    models: Sequence[ModelInfo],
    decoders: Sequence[ModelInfo],
    chosen: ModelInfo,
    rate: str,
    side: int,
) -> Place:
    title = TITLES[scheme]
    known = {decoder.pair_id for decoder in decoders}
    own = [model for model in models if model.scheme == scheme]
    if not own:
        return Place(scheme, None, f"There is no {title} model at the transmitter.")
    own = [model for model in own if model.pair_id in known]
    if not own:
        return Place(scheme, None, f"The receiver has no decoder of a {title} model.")
    model = max(own, key=lambda one: _likeness(one, chosen, rate))
    if rate not in model.bandwidth_ratios:
        return Place(scheme, None, f"{model.name} does not offer rho = {rate}.")
    if scheme == "generative" and side != model.image_size:
        only = f"{model.image_size}x{model.image_size}"
        return Place(scheme, None, f"{model.name} carries images of {only} pixels only.")
    return Place(scheme, model)


def _likeness(model: ModelInfo, chosen: ModelInfo, rate: str) -> tuple[bool, ...]:
    return (
        model.name == chosen.name,
        rate in model.bandwidth_ratios,
        model.domain == chosen.domain,
        model.image_size == chosen.image_size,
        model.is_default,
    )


def _inverse(deep: Place, decoders: Sequence[ModelInfo], side: int) -> Place:
    model = deep.model
    if model is None:
        return Place("inverse", None, f"It inverts a DeepJSCC model. {deep.reason}")
    decoder = next(one for one in decoders if one.pair_id == model.pair_id)
    if "inverse" not in decoder.schemes:
        return Place(
            "inverse", None, "The receiver has no StyleGAN2 generator beside its models to invert."
        )
    sizes = decoder.inversion_sizes
    if sizes and side not in sizes:  # services of before say none
        shown = " or ".join(f"{one}x{one}" for one in sizes)
        return Place("inverse", None, f"The receiver's generator shows {shown} pixels only.")
    return Place("inverse", model)
