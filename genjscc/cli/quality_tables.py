# SPDX-License-Identifier: Apache-2.0
"""Tables of image quality, one for each scheme and model, narrow enough for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, TypeVar

from rich.box import SIMPLE_HEAD
from rich.table import Table

if TYPE_CHECKING:
    from genjscc.evaluation.records import Difference, Record
    from genjscc.quality.statistics import Mean

    Measured = TypeVar("Measured", Record, Difference)


def tables_of(records: Sequence[Record]) -> Iterator[Table]:
    """Format records, with the scales of MS-SSIM and the networks named."""
    scales = ", ".join(sorted({str(record.ms_ssim_scales) for record in records}))
    caption = (
        f"SNR and PSNR in dB; MS-SSIM over M = {scales} scales; VGG, Alex: ST-LPIPS; "
        "FD: FD-EffLite0; grid: largest share of the error that repeats every 2, 4, 8 or 16 pixels "
        "(visible from 0.02); ± 95 % interval"
    )
    names = ("rho", "SNR", "assumed", "PSNR", "MS-SSIM", "VGG", "Alex", "FD", "grid")
    for title, members in _families(records):
        rows = [
            (
                *_condition(record),
                interval(record.psnr_db, 2),
                interval(record.ms_ssim, 3),
                interval(record.st_lpips_vgg, 3),
                interval(record.st_lpips_alex, 3),
                "-" if record.fd_efflite0 is None else f"{record.fd_efflite0:.0f}",
                "-" if record.grid is None else f"{record.grid:.3f}",
            )
            for record in members
        ]
        yield _table(title, caption, names, rows)


def tables_of_differences(differences: Sequence[Difference]) -> Iterator[Table]:
    """Format paired differences, with a star if the interval excludes 0."""
    baselines = {f"{one.against_bundle} ({one.against_scheme})": None for one in differences}
    own = ", each from its own model" if len(baselines) > 1 else ""
    caption = (
        f"minus {', '.join(baselines)}{own}, image by image; "
        "± 95 % interval of the differences, * where it leaves 0 out"
    )
    for title, members in _families(differences):
        names = [*members[0].means]
        rows = [
            (
                *_condition(one),
                *(
                    f"{v.mean:+.3f}±{v.ci95:.3f}{'*' if abs(v.mean) > v.ci95 else ' '}"
                    for v in (one.means[name] for name in names)
                ),
            )
            for one in members
        ]
        yield _table(title, caption, ("rho", "SNR", "assumed", *names), rows)


def _families(measured: Sequence[Measured]) -> Iterator[tuple[str, list[Measured]]]:
    """Group records by scheme and model, sorted by ratio and SNR."""
    families: dict[str, list[Measured]] = {}
    for one in measured:
        families.setdefault(f"{one.scheme}, {one.bundle or 'no model'}", []).append(one)
    for title in sorted(families):
        members = families[title]
        yield title, sorted(members, key=lambda o: (Fraction(o.bandwidth_ratio), o.snr_db))


def _condition(one: Record | Difference) -> tuple[str, ...]:
    """Return bandwidth ratio, SNR and assumed SNR."""
    assumed = "-" if one.told_snr_db is None else f"{one.told_snr_db:+g}"
    return one.bandwidth_ratio, f"{one.snr_db:+g}", assumed


def _table(title: str, caption: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Build a table of the rows, without empty columns."""
    table = Table(title=title, caption=caption, box=SIMPLE_HEAD)
    kept = [i for i in range(len(names)) if any(row[i] != "-" for row in rows)]
    for i in kept:
        table.add_column(names[i], no_wrap=True)
    for row in rows:
        table.add_row(*(row[i] for i in kept))
    return table


def interval(value: Mean | None, digits: int) -> str:
    """Format a mean with its interval, or a dash."""
    return "-" if value is None else f"{value.mean:.{digits}f}±{value.ci95:.{digits}f}"
