# SPDX-License-Identifier: Apache-2.0
"""Parts of the page: pictures with their measures, symbols, states."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable

import numpy as np
from nicegui import ui
from numpy.typing import NDArray
from PIL import Image

from genjscc.client.availability import TITLES
from genjscc.client.inversion import InversionStep
from genjscc.client.options import ModelInfo, Reception, SchemeName
from genjscc.web.constellation import scatter, span_of
from genjscc.web.quality import Quality, available

Rgb = NDArray[np.uint8]
_FIRST_WORDS = "Asking the services ..."
_ABOUT: dict[SchemeName, str] = {
    "deepjscc": "A network decodes in one pass.",
    "generative": "A StyleGAN2 generator paints what the symbols describe.",
    "inverse": "An optimisation searches for a picture that would have been received like this.",
}


def png(pixels: Rgb) -> bytes:
    """Encode a picture uint8 [H, W, 3] as PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def data_url(pixels: Rgb) -> str:
    """Return a picture uint8 [H, W, 3] as a URL for `src`."""
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode()


def box(kind: str = "div", classes: str = "", label: str = "") -> ui.element:
    """Create an HTML element."""
    made = ui.element(kind).classes(classes)
    return made.props(f'aria-label="{label}"') if label else made


def words(text: str = "", classes: str = "", kind: str = "div") -> ui.html:
    """Create an element with text, which is never parsed as HTML."""
    return ui.html(_escaped(text), sanitize=False, tag=kind).classes(classes)


def say(place: ui.html, text: str) -> None:
    """Replace the text of an element made by `words`."""
    place.set_content(_escaped(text))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Picture:
    """A square with a picture, or with the reason why there is none."""

    def __init__(self, alt: str) -> None:
        with box(classes="picture"):
            self._image = box("img").props(f'alt="{alt}"')
            self._image.set_visibility(False)
            self._word = words(_FIRST_WORDS, "placeholder")

    def show(self, pixels: Rgb) -> None:
        """Show a picture uint8 [H, W, 3]."""
        self._image.props["src"] = data_url(pixels)
        self._image.update()
        self._image.set_visibility(True)
        self._word.set_visibility(False)

    def clear(self, reason: str) -> None:
        """Show a text in place of a picture."""
        self._image.set_visibility(False)
        say(self._word, reason)
        self._word.set_visibility(True)


class Figures:
    """Labels and values in a row; what each one means shows when it is pointed at."""

    def __init__(self, labels: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, ui.html] = {}
        with box("dl", "figures"):
            for label, meaning in labels:
                with box().props(f'title="{meaning}"'):
                    words(label, kind="dt")
                    self._values[label] = words("-", kind="dd")

    def show(self, values: Quality) -> None:
        """Show the given values, and dashes for the others."""
        for label, place in self._values.items():
            say(place, values.get(label, "-"))


class ReceptionCard:
    """Card of one scheme's reception; `empty` until one is shown."""

    def __init__(self, scheme: SchemeName) -> None:
        self.empty = True
        self._scheme = scheme
        self._file: tuple[Rgb, str] | None = None
        title = TITLES[scheme]
        with box("article", f"card scheme {scheme}", title) as self.element:
            with box("header"):
                words(title, kind="h2")
                self._model = words(classes="model")
            self._about = words(_ABOUT[scheme], "about", kind="p")
            self._picture = Picture(f"reception by {title}")
            self._figures = Figures((one.text, one.meaning) for one in available())
            self._save = ui.button("Save picture", on_click=self._download)
            self._save.props("no-caps flat dense").classes("quiet save").set_visibility(False)

    def wait(self) -> None:
        """A reception is under way; until it is there, what is shown is of other settings."""
        if self.empty:
            self._picture.clear("Receiving ...")
            self.element.classes(remove="absent")
        else:
            self.grow_stale()

    def show(self, pixels: Rgb, quality: Quality, model: ModelInfo, how: str) -> None:
        """A reception with its figures.

        Args:
            pixels: uint8 [H, W, 3].
            quality: figures by label; dashes for those that are not there (yet).
            model: whose codeword it is.
            how: rate, SNR and so on, for the name of its file.
        """
        self.empty = False
        self.element.classes(remove="stale absent")
        self._picture.show(pixels)
        self._figures.show({one.text: quality.get(one.label, "-") for one in available()})
        say(self._model, model.name)
        say(self._about, f"{_ABOUT[self._scheme]} Trained on: {model.domain}.")
        self._file = pixels, f"{model.name}_{self._scheme}_{how}.png"
        self._save.set_visibility(True)

    def _download(self) -> None:
        if self._file is not None:
            pixels, name = self._file
            ui.download(png(pixels), name)

    def clear(self, reason: str, *, absent: bool = False) -> None:
        """Show a text in place of a reception; `absent` if the scheme is unavailable."""
        self.empty = True
        self.element.classes(remove="stale absent")
        if absent:
            self.element.classes(add="absent")
        self._picture.clear(f"Not on offer. {reason}" if absent else reason)
        self._figures.show({})
        say(self._model, "")
        say(self._about, _ABOUT[self._scheme])
        self._file = None
        self._save.set_visibility(False)

    def grow_stale(self) -> None:
        """Mark the reception as outdated: the settings have changed, or a service has gone."""
        self.element.classes(add="stale")


class InversionCard(ReceptionCard):
    """Card of InverseJSCC, with a button that starts an inversion and its progress."""

    def __init__(self, start: Callable[[], None], stop: Callable[[], None]) -> None:
        super().__init__("inverse")
        with self.element, box(classes="refine"):
            with box(classes="buttons"):
                self.preset = ui.toggle(["fast", "paper"], value="fast").props(
                    'no-caps unelevated aria-label="preset"'
                )
                self._start = ui.button("Refine", on_click=start).props("no-caps unelevated")
                self._stop = ui.button("Stop", on_click=stop).props("no-caps outline")
            self._bar = ui.linear_progress(0, show_value=False).props(
                'instant-feedback aria-label="progress"'
            )
            self._state = words(classes="state").props('role="status"')
        self.idle("")

    def idle(self, text: str) -> None:
        """Show that no inversion is running."""
        self._start.set_visibility(True)
        self._stop.set_visibility(False)
        self.preset.enable()
        say(self._state, text)

    def forbid(self, forbidden: bool) -> None:
        """Disable the button if there is nothing to invert."""
        self._start.set_enabled(not forbidden)

    def begin(self) -> None:
        """Show that an inversion is running."""
        self.element.classes(remove="stale")
        self._start.set_visibility(False)
        self._stop.set_visibility(True)
        self.preset.disable()
        self._bar.set_value(0)
        say(self._state, "asking the receiver")

    def progress(self, step: InversionStep) -> None:
        """Show the progress of an inversion."""
        self._bar.set_value(step.step / max(1, step.num_steps))
        say(
            self._state,
            f"step {step.step} of {step.num_steps}, stage {step.stage}, "
            f"loss {step.losses.total:.4f}",
        )


class OriginalCard:
    """Card of the original photo, with the cost of sending it."""

    def __init__(self) -> None:
        with box("section", "card original", "Original"):
            words("Original", kind="h2")
            self._picture = Picture("the photo that is sent")
            self._note = words(classes="note")
            self._figures = Figures(
                [
                    ("symbols k", "complex channel symbols that carry the picture"),
                    ("rho = k/m", "complex symbols per source sample"),
                    ("as a PNG", "size of the same picture as a lossless file"),
                ]
            )

    def show(self, original: Rgb) -> None:
        """Show the picture uint8 [H, W, 3] that is to be sent."""
        height, width, _ = original.shape
        self._picture.show(original)
        say(self._note, f"{width} x {height} pixels, m = {original.size:,} samples")

    def show_cost(self, reception: Reception, original: Rgb) -> None:
        """Show the number of symbols, rho, and the size of the photo as a PNG file."""
        size = len(png(original))
        self._figures.show(
            {
                "symbols k": f"{reception.codeword.k:,}",
                "rho = k/m": str(reception.codeword.bandwidth_ratio),
                "as a PNG": f"{size:,} B",
            }
        )


class Plots:
    """Constellations of the sent and of the received symbols."""

    def __init__(self) -> None:
        with box(classes="plots"):
            with box("figure"):
                self._sent = ui.html("", sanitize=False)
                words("sent", kind="figcaption")
            words("→", "arrow").props('aria-hidden="true"')
            with box("figure", "received"):
                self._received = ui.html("", sanitize=False)
                words("received", kind="figcaption")

    def show(self, reception: Reception) -> None:
        """Plot the symbols of a reception."""
        sent, received = reception.codeword.symbols, reception.transmission.received.symbols
        span = span_of(sent, received)
        self._sent.set_content(scatter(sent, span, "constellation of the symbols sent"))
        self._received.set_content(scatter(received, span, "constellation of the symbols received"))
