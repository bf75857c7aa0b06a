# SPDX-License-Identifier: Apache-2.0
"""`make docs`: builds without a warning, and what is generated is complete."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

import genjscc
from genjscc.repository import REPOSITORY
from genjscc.v1 import channel_pb2, codeword_pb2, inversion_pb2, model_pb2, receiver_pb2

from genjscc.v1 import tensor_pb2, transmitter_pb2  # isort: skip

DOCS = REPOSITORY / "docs"
PROTOS = (
    *(tensor_pb2, codeword_pb2, channel_pb2, inversion_pb2, model_pb2),
    *(receiver_pb2, transmitter_pb2),
)
BUNDLES = sorted(path.parent for path in (REPOSITORY / "models").glob("*/config.json"))


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """As the Makefile does."""
    line = next(
        line
        for line in (REPOSITORY / "Makefile").read_text().splitlines()
        if "sphinx-build" in line
    )
    options = re.findall(r"--[a-z-]+(?: auto)?", line)
    assert "--fail-on-warning" in options
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *" ".join(options).split(), str(source), str(target)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    done = build(DOCS, target)
    assert done.returncode == 0, done.stderr
    return target


def text_of(page: Path) -> str:
    """What a reader sees."""
    return " ".join(unescape(re.sub("<[^>]+>", " ", page.read_text())).split())


def test_the_protocol_page_has_everything(site: Path) -> None:
    page = text_of(site / "generated" / "protocol.html")
    for module in PROTOS:
        for message in module.DESCRIPTOR.message_types_by_name.values():
            assert f" {message.name} " in page
            for name in message.fields_by_name:
                assert f" {name} " in page, f"{message.name}.{name}"
        for enum in module.DESCRIPTOR.enum_types_by_name.values():
            assert all(f" {value.name} " in page for value in enum.values)
        for service in module.DESCRIPTOR.services_by_name.values():
            assert all(f" {method.name} " in page for method in service.methods)
    # Each comment of the files, as it stands there.
    comments = 0
    for proto in sorted((REPOSITORY / "protos").rglob("*.proto")):
        body = proto.read_text().partition("package ")[2]
        for found in re.finditer(r"(?:^ *// .*\n)+", body, re.MULTILINE):
            comment = " ".join(re.sub(r"^ *// ?", "", found[0], flags=re.MULTILINE).split())
            if not comment.startswith("Exactly one is set"):  # of a oneof, which is no field
                plain = re.sub(r"[`\s]", "", comment)  # code is set differently
                assert plain in re.sub(r"[`\s]", "", page), comment
                comments += 1
    assert comments > 100


def test_types_of_the_protocol_are_links_that_lead_somewhere(site: Path) -> None:
    page = (site / "generated" / "protocol.html").read_text()
    targets = set(re.findall(r'href="#(proto-[a-z]+)"', page))
    assert len(targets) > 20
    for target in targets:
        assert f'id="{target}"' in page


def test_everything_public_is_in_the_sdk_reference(site: Path) -> None:
    page = (site / "sdk.html").read_text()
    for name in genjscc.__all__:
        if name != "GenJSCCError":
            assert f'id="genjscc.{name}"' in page, name
    assert 'id="genjscc.errors.GenJSCCError"' in page
    assert 'id="genjscc.Link.send_many"' in page
    assert "shown larger" not in page  # what is private is not


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_every_bundle_has_its_card(site: Path, bundle: Path) -> None:
    config = json.loads((bundle / "config.json").read_text())
    page = text_of(site / "generated" / "models" / f"{bundle.name}.html")
    for digest in config["files"].values():
        assert digest in page
    for line in (bundle / "card.md").read_text().splitlines()[2:]:
        words = re.findall(r"[A-Za-z]{4,}", line)
        assert all(word in page for word in words), line
    overview = text_of(site / "generated" / "models" / "index.html")
    assert f" {bundle.name} " in overview


def test_equations_are_drawn_and_nothing_is_fetched(site: Path) -> None:
    concepts = (site / "concepts.html").read_text()
    assert concepts.count('<div class="math"') >= 15
    assert 'aria-label="\\rho = \\frac{k}{m}"' in concepts
    assert "$$" not in concepts
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)', page.read_text()
        )
        assert not loaded, f"{page.name} loads {loaded}"


def test_a_dead_link_fails_the_build(tmp_path: Path) -> None:
    source = tmp_path / "docs"
    source.mkdir()
    shutil.copy(DOCS / "conf.py", source)
    conf = source / "conf.py"
    conf.write_text(conf.read_text().replace('    "model_pages",\n    "protocol_page",\n', ""))
    (source / "extensions").symlink_to(DOCS / "extensions")
    (source / "index.md").write_text("# Here\n\n[there](nowhere.md)\n")
    done = build(source, tmp_path / "site")
    assert done.returncode != 0
    assert "nowhere.md" in done.stderr
