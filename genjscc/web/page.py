# SPDX-License-Identifier: Apache-2.0
"""The page of one visitor: its controls, and their actions."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import WeakMethod

from nicegui import context, ui
from nicegui.events import UploadEventArguments

from genjscc.client.aio import AsyncLink
from genjscc.client.availability import Place, for_photos, places
from genjscc.client.inversion import InversionOptions
from genjscc.client.keywords import SendKeywords
from genjscc.client.options import (
    Awgn,
    Channel,
    Fading,
    ModelInfo,
    Noiseless,
    Reception,
    SchemeName,
)
from genjscc.client.probe import problem
from genjscc.errors import GenJSCCError, UnavailableError
from genjscc.limits import MAX_SNR_DB, MIN_SNR_DB, Limits
from genjscc.photos import sample_photos, sample_scenes, square
from genjscc.web.address import read_settings, write_settings
from genjscc.web.cards import (
    InversionCard,
    OriginalCard,
    Plots,
    ReceptionCard,
    Rgb,
    box,
    png,
    say,
    words,
)
from genjscc.web.coalesce import Latest
from genjscc.web.messages import sentence
from genjscc.web.quality import Judge, Quality
from genjscc.wire.images import decode_file

MOST_FILE_BYTES = 32 * 1024 * 1024
SAMPLES_PATH = "/samples"
"""where the thumbnails are: /samples/1 and so on"""
_LIMITS = Limits(max_pixels=64_000_000, max_side=2**15, max_encoded_bytes=MOST_FILE_BYTES)
_LARGEST_SIDE = 1024
_ENLARGED = (1, 2, 4)
_CHANNELS = {
    "awgn": "AWGN",
    "rayleigh": "Rayleigh",
    "rician": "Rician",
    "noiseless": "Noiseless",
}
_FADING = ("rayleigh", "rician")
_BELOW_DB, _ABOVE_DB = 10, 15
_USUAL_RATE = "1/48"
# Models that were trained at this size or above see photographs, not pictures that small.
_WINDOW = 128
_FILES = ".png,.jpg,.jpeg,.webp"
_LOOK_EVERY_S = 4.0
_PREVIEW_EVERY = 5


@dataclass(frozen=True)
class Links:
    """Connections shared by all visitors.

    Attributes:
        quick: for images in one pass.
        patient: for inversions, which take minutes.
    """

    quick: AsyncLink
    patient: AsyncLink


@dataclass(frozen=True)
class Sample:
    """A photograph that ships with the package: uint8 [H, W, 3], and a PNG of its thumbnail."""

    pixels: Rgb
    thumbnail: bytes


@cache
def samples() -> list[Sample]:
    """Those on the page, once for all visitors."""
    found = []
    for path in (*sample_scenes(), *sample_photos()):
        pixels = decode_file(path.read_bytes(), limits=_LIMITS, field="photo")
        found.append(Sample(pixels, png(square(pixels, 96))))
    return found


class Bench:
    """The page: built once, then driven by what the visitor does.

    Args:
        links: to the services.
        query: of the page's address, which may hold settings; see `genjscc.web.address`.
    """

    def __init__(self, links: Links, query: Mapping[str, str] | None = None) -> None:
        self._links, self._client = links, context.client
        self._wanted = read_settings(query or {})
        self._models: Sequence[ModelInfo] = ()
        self._decoders: Sequence[ModelInfo] = ()
        self._sized_for = ""
        self._in_trouble = False
        self._judge: tuple[bytes, Judge] | None = None
        self._inversion: asyncio.Task[None] | None = None
        self._refresh = Latest(self._receive_all)
        self._seed = self._wanted.get("seed", _new_seed())
        number = self._wanted.get("sample", 1)
        self._sample_number: int | None = number if 1 <= number <= len(samples()) else 1
        self._photo = samples()[self._sample_number - 1].pixels
        self._build()
        self._timer = ui.timer(_LOOK_EVERY_S, self._look)

    # What one sees

    def _build(self) -> None:
        with box("header", "top"):
            with box():
                words("GenJSCC", "wordmark", kind="h1")
                words("A picture, a few hundred symbols, a noisy channel.", "tagline", kind="p")
            with box(classes="services", label="services"):
                self._lamps = {
                    role: self._lamp(role, address)
                    for role, address in self._links.quick.addresses.items()
                }
        self._banner = words(classes="banner").props('role="alert"')
        self._banner.set_visibility(False)
        with box(classes="desk"):
            with box("aside", label="settings"):
                self._build_settings()
            with box(classes="bench"):
                with box(classes="link"):
                    self._original = OriginalCard()
                    with box("section", "card channel", "Channel"):
                        self._build_channel()
                with box(classes="receptions"):
                    self._cards: dict[SchemeName, ReceptionCard] = {
                        "deepjscc": ReceptionCard("deepjscc"),
                        "generative": ReceptionCard("generative"),
                    }
                    self._inverse = InversionCard(self._start_inversion, self.stop_inversion)

    def _lamp(self, role: str, address: str) -> ui.element:
        with box("span", "lamp").props(f'title="{address}"') as lamp:
            words(role, kind="span")
        return lamp

    def _build_settings(self) -> None:
        with box("section"):
            words("Photo", kind="h2")
            with box(classes="samples"):
                for number, sample in enumerate(samples(), 1):
                    self._build_sample(number, sample)
            with box(classes="drop"):
                words("Drop a photo, or click", "invitation")
                words("PNG, JPEG or WebP, up to 32 MB", "small")
                # FastAPI remembers routes that are gone, and with them what their uploader holds.
                taken, refused = WeakMethod(self._uploaded), WeakMethod(self._refused)
                self._upload = ui.upload(
                    max_file_size=MOST_FILE_BYTES,
                    on_upload=lambda event: (alive := taken()) and alive(event),
                    on_rejected=lambda: (alive := refused()) and alive(),
                    auto_upload=True,
                ).props(f'accept="{_FILES}"')
        with box("section"):
            words("Model", kind="h2")
            self.model = ui.select([], on_change=self._model_chosen).props(
                'dense outlined options-dense aria-label="model"'
            )
            self._about_model = words(classes="small")
        with box("section"):
            words("Bandwidth ratio", kind="h2")
            self.rate = self._toggle([], "bandwidth ratio")
        with box("section"):
            words("Picture size", kind="h2")
            self.side = self._toggle([], "picture size")
        with box("section"):
            words("Channel", kind="h2")
            self.channel = self._toggle(_CHANNELS, "kind of channel", self._channel_chosen)
            with box(classes="pair") as self._fading:
                k_factor = min(max(self._wanted.get("k_factor", 4.0), 0.0), 1000.0)
                self.k_factor = ui.number(
                    "K, line of sight over scatter", value=k_factor, min=0, max=1000, step=1
                )
                block = self._wanted.get("block", 0)
                self.block = ui.number(
                    "Symbols per gain, 0: all", value=block, min=0, max=65536, step=1, precision=0
                )
                for one in (self.k_factor, self.block):
                    one.props("dense outlined").on_value_change(self._ask)

    def _toggle(
        self,
        options: list[str] | dict[Any, str],
        label: str,
        then: Callable[[], None] | None = None,
    ) -> ui.toggle:
        value = self._wanted.get("channel") if options is _CHANNELS else None
        if value not in options:
            value = next(iter(options), None)
        made = ui.toggle(options, value=value, on_change=then or self._ask)
        return made.props(f'no-caps unelevated spread aria-label="{label}"')

    def _build_sample(self, number: int, sample: Sample) -> None:
        with (
            box("button", "sample", f"sample {number}")
            .props('type="button"')
            .on("click", lambda: self._take(sample.pixels, number))
        ):
            box("img").props(f'alt="" src="{SAMPLES_PATH}/{number}"')

    def _build_channel(self) -> None:
        with box("header"):
            words("Channel", kind="h2")
            with box(classes="seed"):
                self._seed_note = words(classes="note")
                ui.button("New noise", on_click=self._new_noise).props(
                    "no-caps flat dense"
                ).classes("quiet")
        self._plots = Plots()
        with box(classes="snr"):
            with box():
                words("SNR", "label")
                self._measured = words(classes="small")
            self.snr = ui.slider(min=-15, max=20, step=0.5, value=0, on_change=self._ask)
            self.snr.props('aria-label="SNR in dB"')
            self._snr_note = words(classes="value")
        self._range_note = words(classes="small")
        self._show_channel()

    # What the visitor does

    def _ask(self) -> None:
        """Send the photo again with the present settings and the same noise."""
        self.stop_inversion()
        self._inverse.grow_stale()
        if self._models:
            for scheme, place in self._places().items():
                if place.model is not None and scheme in self._cards:
                    self._cards[scheme].wait()
        self._refresh.ask()

    def _take(self, photo: Rgb, number: int | None = None) -> None:
        self._photo, self._sample_number = photo, number
        self._untell()
        self._ask()

    async def _uploaded(self, event: UploadEventArguments) -> None:
        self._upload.reset()
        try:
            data = await event.file.read()
            photo = await asyncio.to_thread(decode_file, data, limits=_LIMITS, field="photo")
            side = min(_LARGEST_SIDE, *photo.shape[:2])
            self._take(await asyncio.to_thread(square, photo, side))
        except GenJSCCError as error:
            self._tell(f"{event.file.name}: {sentence(error).partition(': ')[2]}")

    def _refused(self) -> None:
        self._tell("Photo: must be a PNG, JPEG or WebP file of at most 32 MB.")

    def _new_noise(self) -> None:
        self._seed = _new_seed()
        self._ask()

    def _channel_chosen(self) -> None:
        self._show_channel()
        self._ask()

    def _show_channel(self) -> None:
        kind = self.channel.value
        self._fading.set_visibility(kind in _FADING)
        self.k_factor.set_visibility(kind == "rician")
        self.snr.set_enabled(kind != "noiseless")

    def _model_chosen(self) -> None:
        model = self._chosen()
        if model is None:
            return
        low, high = model.snr_db
        say(self._about_model, f"{model.domain}, {low:g} to {high:g} dB")
        lowest = max(low - _BELOW_DB, MIN_SNR_DB)
        highest = min(high + _ABOVE_DB, MAX_SNR_DB)
        # Numbers: the slider computes with them, which it cannot with text.
        self.snr.props["min"], self.snr.props["max"] = lowest, highest
        self.snr.update()
        snr_db = self._wanted.pop("snr_db", self.snr.value)
        self.snr.set_value(min(max(snr_db, lowest), highest))
        say(
            self._range_note,
            f"{model.name} was trained for {low:g} to {high:g} dB. "
            "The slider replays the same noise, weaker or stronger.",
        )
        rates = list(model.bandwidth_ratios)
        rate = self._wanted.pop("rate", self.rate.value)
        if rate not in rates:
            rate = _USUAL_RATE if _USUAL_RATE in rates else rates[-1]
        self.rate.set_options(rates, value=rate)
        scales = _ENLARGED if model.scheme == "deepjscc" else (1,)
        sides = {model.image_size * scale: str(model.image_size * scale) for scale in scales}
        side = self._wanted.pop("size", None)
        if side is None and self._sized_for == model.name:  # found again after an outage
            side = self.side.value
        self._sized_for = model.name
        self.side.set_options(sides, value=side if side in sides else _usual_side(model))
        self._ask()

    # What the services say

    async def _look(self) -> None:
        """Check which services are running, and list the models if they are not known yet."""
        addresses = self._links.quick.addresses
        found = await asyncio.gather(
            *(asyncio.to_thread(problem, address) for address in addresses.values())
        )
        down = [role for role, why_not in zip(addresses, found, strict=True) if why_not]
        for role, lamp in self._lamps.items():
            lamp.classes(add="dark" if role in down else "lit")
            lamp.classes(remove="lit" if role in down else "dark")
        if down:
            role = down[0]
            self._tell(sentence(UnavailableError(f"{role} at {addresses[role]}: down")))
            self._models = ()
        elif not self._models:
            await self._learn()

    async def _learn(self) -> None:
        try:
            self._models = await self._links.quick.models()
            self._decoders = await self._links.quick.decoders()
        except GenJSCCError as error:
            self._models = ()
            self._tell(sentence(error))
            return
        self._untell()
        names = [model.name for model in self._models]
        kept = self._wanted.pop("model", self.model.value)
        if kept not in names:
            kept = for_photos(self._models).name
        self.model.set_options(names, value=kept)
        self._model_chosen()

    def _chosen(self) -> ModelInfo | None:
        return next((one for one in self._models if one.name == self.model.value), None)

    def _places(self) -> dict[SchemeName, Place]:
        chosen = self._chosen()
        if chosen is None:
            return {}
        side = int(self.side.value)
        return places(self._models, self._decoders, chosen, str(self.rate.value), side)

    def _channel_kind(self) -> Channel:
        kind = self.channel.value
        if kind == "noiseless":
            return Noiseless()
        if kind in _FADING:
            k_factor = float(self.k_factor.value or 0) if kind == "rician" else 0.0
            return Fading(k_factor, int(self.block.value or 0))
        return Awgn()

    def _keywords(self, model: ModelInfo) -> SendKeywords:
        return SendKeywords(
            snr_db=float(self.snr.value),
            rate=str(self.rate.value),
            model=model.name,
            seed=self._seed,
            channel=self._channel_kind(),
        )

    async def _receive_all(self) -> None:
        chosen, found = self._chosen(), self._places()
        if chosen is None:
            return
        original = square(self._photo, int(self.side.value))
        self._original.show(original)
        say(self._seed_note, f"noise {self._seed:06d}")
        noiseless = self.channel.value == "noiseless"
        say(self._snr_note, "no noise" if noiseless else f"{self.snr.value:+.1f} dB")
        self._in_trouble = False
        for scheme, card in self._cards.items():
            reception = await self._receive(found[scheme], card, original)
            if reception is not None and found[scheme].model is chosen:
                self._show_link(reception, original)
        if not self._in_trouble:
            self._untell()
        self._write_address()
        place = found["inverse"]
        self._inverse.forbid(place.model is None)
        if place.model is None:
            self._inverse.clear(place.reason, absent=True)
        elif self._inverse.empty:
            self._inverse.clear("Press Refine and watch.")

    def _write_address(self) -> None:
        fading = self.channel.value in _FADING
        query = write_settings(
            {
                "sample": self._sample_number,
                "model": self.model.value,
                "rate": self.rate.value,
                "size": self.side.value,
                "channel": self.channel.value,
                "k_factor": self.k_factor.value if self.channel.value == "rician" else None,
                "block": int(self.block.value or 0) if fading else None,
                "snr_db": self.snr.value,
                "seed": self._seed,
            }
        )
        self._client.run_javascript(f"history.replaceState(null, '', {json.dumps('?' + query)})")

    def _how(self) -> str:
        """The settings in the name of a picture's file."""
        rate = str(self.rate.value).replace("/", "-")
        kind = self.channel.value
        level = "" if kind == "noiseless" else f"_{self.snr.value:g}dB"
        return f"{rate}_{kind}{level}_noise{self._seed}"

    def _show_link(self, reception: Reception, original: Rgb) -> None:
        self._plots.show(reception)
        self._original.show_cost(reception, original)
        measured = reception.measured_snr_db
        text = f"measured {measured:+.2f} dB" if math.isfinite(measured) else "nothing was added"
        say(self._measured, text)

    async def _receive(self, place: Place, card: ReceptionCard, original: Rgb) -> Reception | None:
        if place.model is None:
            card.clear(place.reason, absent=True)
            return None
        keywords, how = self._keywords(place.model), self._how()
        try:
            reception = await self._links.quick.send(original, **keywords)
            if card.empty:  # the first figures may take seconds
                card.show(reception.image, {}, place.model, how)
            quality = await self._judged(original, reception.image)
        except GenJSCCError as error:
            self._failed(error, card)
            return None
        card.show(reception.image, quality, place.model, how)
        return reception

    def _failed(self, error: GenJSCCError, card: ReceptionCard) -> None:
        card.grow_stale()
        self._in_trouble = True
        self._tell(sentence(error))
        if isinstance(error, UnavailableError):
            self._models = ()  # looked for again

    async def _judged(self, original: Rgb, received: Rgb) -> Quality:
        def judge() -> Quality:
            key = original.tobytes()
            if self._judge is None or self._judge[0] != key:
                self._judge = key, Judge(original)
            return self._judge[1](received)

        return await asyncio.to_thread(judge)

    # InverseJSCC

    def _start_inversion(self) -> None:
        place = self._places().get("inverse")
        if place is None or place.model is None:
            return
        self.stop_inversion()
        self._inversion = asyncio.create_task(self._invert(place.model))

    def stop_inversion(self) -> None:
        """Cancel the call, which also stops the receiver's work."""
        if self._inversion is not None:
            self._inversion.cancel()
            self._inversion = None

    async def _invert(self, model: ModelInfo) -> None:
        original = square(self._photo, int(self.side.value))
        keywords = self._keywords(model)
        preset, how = self._inverse.preset.value, self._how()
        # Not every generator has an initialiser; without one "fast" starts at the mean.
        start = "auto" if preset == "fast" else None
        keywords["inversion"] = InversionOptions(preset=str(preset), start=start)
        card, last = self._inverse, ""
        card.begin()
        try:
            events = self._links.patient.watch(original, preview_every=_PREVIEW_EVERY, **keywords)
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Reception):
                        quality = await self._judged(original, event.image)
                        card.show(event.image, quality, model, how)
                        report = event.inversion
                        last = f"done after {report.steps} steps" if report else "done"
                        continue
                    card.progress(event)
                    last = f"stopped at step {event.step} of {event.num_steps}"
                    if event.preview is not None:
                        quality = await self._judged(original, event.preview)
                        card.show(event.preview, quality, model, how)
            card.idle(last)
        except asyncio.CancelledError:
            card.idle(last or "stopped")
            raise
        except GenJSCCError as error:
            card.idle("")
            self._failed(error, card)

    # Words

    def _tell(self, text: str) -> None:
        say(self._banner, text)
        self._banner.set_visibility(True)

    def _untell(self) -> None:
        self._banner.set_visibility(False)

    def name_file_input(self) -> None:
        """Gives the input for files, which the page's library makes, a name for screen readers."""
        self._client.run_javascript(
            "document.querySelector('.drop input[type=file]')"
            "?.setAttribute('aria-label', 'photo from a file')"
        )

    def close(self) -> None:
        """Stop all work for a visitor who has left."""
        self._timer.cancel()
        self._refresh.close()
        self.stop_inversion()


def _new_seed() -> int:
    return random.randrange(1_000_000)  # noqa: S311 (of noise that is to be seen)


def _usual_side(model: ModelInfo) -> int:
    """The training size; twice that where windows of larger photographs were trained on."""
    whole = model.image_size < _WINDOW or model.scheme != "deepjscc"
    return model.image_size * (1 if whole else 2)
