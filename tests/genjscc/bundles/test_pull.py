# SPDX-License-Identifier: Apache-2.0
"""Published bundles: from web servers, folders and the Hub's layout; whole, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genjscc import LocalLink
from genjscc.bundles import sources
from genjscc.bundles.config import NAME_PATTERN
from genjscc.bundles.pull import cache_folder, pull, push
from genjscc.bundles.sources import Folder, HttpFolder, HubRepository, source_of
from genjscc.bundles.store import (
    CARD,
    CONFIG,
    DECODER,
    ENCODER,
    find_bundles,
    find_generators,
    read_config,
)
from genjscc.errors import BundleError, DigestError, DownloadError, InvalidInputError
from genjscc.repository import REPOSITORY
from tests.helpers.command_line import genjscc
from tests.helpers.model_servers import Server, serving
from tests.helpers.tiny_bundles import (
    GENERATIVE,
    GENERATOR,
    SINGLE,
    write_tiny,
    write_tiny_decoder,
    write_tiny_generative,
)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("published")
    write_tiny(root, SINGLE)
    write_tiny_generative(root)
    return root


@pytest.fixture
def mirror(published: Path, tmp_path: Path) -> Path:
    """A copy to alter."""
    return Path(shutil.copytree(published, tmp_path / "mirror"))


@pytest.fixture
def web(mirror: Path) -> Iterator[Server]:
    with serving(mirror) as server:
        yield server


def alter(folder: Path, **changes: Any) -> None:
    path = folder / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def files_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


BUNDLE_FILES = {CARD, CONFIG, DECODER, ENCODER}


def test_a_pair_comes_from_a_web_server(web: Server, tmp_path: Path) -> None:
    (web.root / SINGLE / "run.py").write_text("raise SystemExit")
    told: list[tuple[str, int, int]] = []
    root = tmp_path / "models"
    (one,) = pull(source_of(f"{web.url}/{SINGLE}/"), root, progress=lambda *at: told.append(at))
    assert one.fetched
    assert one.sha256 == digest(web.root / SINGLE / CONFIG)
    assert files_below(root) == {f"{SINGLE}/{name}" for name in BUNDLE_FILES}
    for name in BUNDLE_FILES:
        assert digest(root / SINGLE / name) == digest(web.root / SINGLE / name)
    for name in (ENCODER, DECODER):
        length = (web.root / SINGLE / name).stat().st_size
        assert (name, length, length) in told
    asked = len(web.asked)
    (again,) = pull(HttpFolder(f"{web.url}/{SINGLE}"), root, sha256=one.sha256)
    assert not again.fetched
    assert len(web.asked) == asked + 1  # the declaration alone


def test_a_pair_brings_its_generator(web: Server, tmp_path: Path) -> None:
    names = [one.name for one in pull(HttpFolder(f"{web.url}/{GENERATIVE}"), tmp_path / "models")]
    assert names == [GENERATIVE, GENERATOR]
    assert find_generators(tmp_path / "models") == [GENERATOR]
    alter(web.root / GENERATOR, files={"generator.safetensors": "0" * 64})
    with pytest.raises(DigestError, match=r"is not the one that .* was trained with"):
        pull(HttpFolder(f"{web.url}/{GENERATIVE}"), tmp_path / "others")
    assert not (tmp_path / "others").exists()


def test_a_decoder_brings_the_bundle_whose_encoder_it_shares(mirror: Path, tmp_path: Path) -> None:
    write_tiny_decoder(mirror, "second", read_config(mirror / SINGLE))
    one, other = pull(Folder(mirror / "second"), tmp_path / "models")
    assert (one.name, other.name) == ("second", SINGLE)
    assert set(find_bundles(tmp_path / "models")) == {"second", SINGLE}
    assert not (tmp_path / "models" / "second" / ENCODER).exists()
    alter(mirror / SINGLE, files={ENCODER: "0" * 64, DECODER: "0" * 64})
    with pytest.raises(DigestError, match=f"{ENCODER} is not the one"):
        pull(Folder(mirror / "second"), tmp_path / "others")
    assert not (tmp_path / "others").exists()


def test_a_broken_download_resumes_within_a_call(
    web: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_ATTEMPTS", 1000)
    length = (web.root / SINGLE / DECODER).stat().st_size
    web.cut_after = length // 3 + 1
    pull(HttpFolder(f"{web.url}/{SINGLE}"), tmp_path / "models")
    ranges = [asked for path, asked in web.asked if path.endswith(DECODER)]
    assert ranges == ["", f"bytes={web.cut_after}-", f"bytes={2 * web.cut_after}-"]
    assert digest(tmp_path / "models" / SINGLE / DECODER) == digest(web.root / SINGLE / DECODER)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_resumes_in_the_next_call(
    ranges: bool, web: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, source = tmp_path / "models", HttpFolder(f"{web.url}/{SINGLE}")
    monkeypatch.setattr(sources, "_ATTEMPTS", 1)
    web.cut_after = 100
    with pytest.raises(DownloadError, match=r"ended early|IncompleteRead"):
        pull(source, root)
    with pytest.raises(BundleError, match="no bundle"):
        find_bundles(root)
    web.cut_after, web.ranges = None, ranges
    web.asked.clear()
    pull(source, root)
    assert (f"/{SINGLE}/{ENCODER}", "bytes=100-") in web.asked
    assert files_below(root) == {f"{SINGLE}/{name}" for name in BUNDLE_FILES}
    assert find_bundles(root)[SINGLE].name == SINGLE


def test_a_part_of_something_else_is_thrown_away(web: Server, tmp_path: Path) -> None:
    for part in (b"x" * 50, b"x" * 10_000_000):
        root = tmp_path / f"models{len(part)}"
        sha256 = json.loads((web.root / SINGLE / CONFIG).read_text())["files"][ENCODER]
        partial = root / f".{SINGLE}.partial"
        partial.mkdir(parents=True)
        (partial / f"{ENCODER}.{sha256[:16]}.part").write_bytes(part)
        (partial / "leftover").write_bytes(b"")
        pull(HttpFolder(f"{web.url}/{SINGLE}"), root)
        assert files_below(root) == {f"{SINGLE}/{name}" for name in BUNDLE_FILES}


def test_a_tampered_file_is_refused(web: Server, tmp_path: Path) -> None:
    path = web.root / SINGLE / DECODER
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DigestError, match=rf"{DECODER}: SHA-256 is .*, config.json says"):
        pull(HttpFolder(f"{web.url}/{SINGLE}"), tmp_path / "models")
    assert not (tmp_path / "models" / SINGLE).exists()
    # Declared, as an attacker would: the pair is another one, and a pinned digest is not met.
    files = json.loads((web.root / SINGLE / CONFIG).read_text())["files"]
    before = digest(web.root / SINGLE / CONFIG)
    alter(web.root / SINGLE, files=files | {DECODER: digest(path)})
    with pytest.raises(DigestError, match="pair_id"):
        pull(HttpFolder(f"{web.url}/{SINGLE}"), tmp_path / "models")
    with pytest.raises(DigestError, match=f"must be {before}"):
        pull(HttpFolder(f"{web.url}/{SINGLE}"), tmp_path / "models", sha256=before)
    assert not (tmp_path / "models" / SINGLE).exists()


def test_another_bundle_of_that_name_stays_unless_told(web: Server, tmp_path: Path) -> None:
    root, source = tmp_path / "models", HttpFolder(f"{web.url}/{SINGLE}")
    pull(source, root)
    before = digest(root / SINGLE / CONFIG)
    alter(web.root / SINGLE, domain="other noise")
    with pytest.raises(DigestError, match=r"holds another bundle .* --force replaces it"):
        pull(source, root)
    assert digest(root / SINGLE / CONFIG) == before
    pull(source, root, replace=True)
    assert find_bundles(root)[SINGLE].domain == "other noise"
    # A file that was damaged here is fetched again.
    (root / SINGLE / ENCODER).write_bytes(b"")
    (one,) = pull(source, root)
    assert one.fetched
    assert digest(root / SINGLE / ENCODER) == digest(web.root / SINGLE / ENCODER)


@pytest.mark.parametrize("missing", [CONFIG, ENCODER])
def test_a_missing_file_is_named(missing: str, web: Server, tmp_path: Path) -> None:
    (web.root / SINGLE / missing).unlink()
    for source in (HttpFolder(f"{web.url}/{SINGLE}"), Folder(web.root / SINGLE)):
        with pytest.raises(DownloadError, match=missing):
            pull(source, tmp_path / "models")
    assert not (tmp_path / "models" / SINGLE).exists()


@pytest.mark.parametrize(
    "name", ["../evil.safetensors", "/tmp/evil.safetensors", "a/b.safetensors", "run.py", "..", ""]
)
def test_nothing_is_written_outside(name: str, web: Server, tmp_path: Path) -> None:
    files = json.loads((web.root / SINGLE / CONFIG).read_text())["files"]
    alter(web.root / SINGLE, files={**files, name: "0" * 64})
    before = files_below(tmp_path)
    with pytest.raises(BundleError, match="files"):
        pull(HttpFolder(f"{web.url}/{SINGLE}"), tmp_path / "models")
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("name", ["../evil", "..", "/tmp/evil", ".hidden", "a/b"])
def test_names_of_bundles_are_no_paths(name: str, web: Server, tmp_path: Path) -> None:
    alter(web.root / SINGLE, name=name)
    before = files_below(tmp_path)
    with pytest.raises(BundleError, match="name"):
        pull(HttpFolder(f"{web.url}/{SINGLE}"), tmp_path / "models")
    alter(web.root / SINGLE, name=SINGLE)
    generative = json.loads((web.root / GENERATIVE / CONFIG).read_text())["generative"]
    alter(web.root / GENERATIVE, generative=generative | {"generator": name})
    with pytest.raises(BundleError, match="generator"):
        pull(HttpFolder(f"{web.url}/{GENERATIVE}"), tmp_path / "models")
    assert files_below(tmp_path) == before
    assert NAME_PATTERN.startswith("^[a-z0-9]")


def test_sizes_are_bounded(web: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genjscc.bundles.pull.LONGEST_WEIGHTS", 1000)
    for source in (HttpFolder(f"{web.url}/{SINGLE}"), Folder(web.root / SINGLE)):
        with pytest.raises(BundleError, match="must be at most 1000"):
            pull(source, tmp_path / "models")
    (web.root / SINGLE / CONFIG).write_bytes(b" " * (1024 * 1024 + 1))
    for source in (HttpFolder(f"{web.url}/{SINGLE}"), Folder(web.root / SINGLE)):
        with pytest.raises(BundleError, match="must be at most 1048576"):
            pull(source, tmp_path / "models")


def test_a_server_that_is_gone_is_named(mirror: Path, tmp_path: Path) -> None:
    with serving(mirror) as server:
        url = server.url
    with pytest.raises(DownloadError, match="Connection refused"):
        pull(HttpFolder(f"{url}/{SINGLE}"), tmp_path / "models")


@pytest.mark.parametrize(
    "text",
    ["faces64", "a/b/c", "../", "ftp://x/y", "file:///etc", "a/..", "org/name@", "", "a/b?c"],
)
def test_what_is_no_source_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises((InvalidInputError, DownloadError)):
        pull(source_of(text), tmp_path)


def test_sources_by_their_texts() -> None:
    assert source_of("org/name") == HubRepository("org/name", "main")
    assert source_of("org/name@v1") == HubRepository("org/name", "v1")
    assert source_of("./a/b") == Folder(Path("a/b"))
    assert source_of("https://x.org/a/") == HttpFolder("https://x.org/a")
    assert HttpFolder("https://x.org/a").beside("b") == HttpFolder("https://x.org/b")


def test_a_mirror_is_pushed_to_and_pulled_from(mirror: Path, tmp_path: Path) -> None:
    target = tmp_path / "public"
    push(mirror / GENERATIVE, Folder(target))
    assert {path.name for path in target.iterdir()} == {GENERATIVE, GENERATOR}
    pull(Folder(target / GENERATIVE), tmp_path / "models")
    assert find_bundles(tmp_path / "models")[GENERATIVE].name == GENERATIVE
    (mirror / SINGLE / ENCODER).write_bytes(b"other")
    with pytest.raises(DigestError):
        push(mirror / SINGLE, Folder(target))
    with pytest.raises(InvalidInputError, match="which any web server can offer"):
        push(mirror / SINGLE, HttpFolder("http://127.0.0.1/x"))


def test_a_local_link_finds_what_was_pulled_without_its_server(
    web: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url = f"{web.url}/{SINGLE}"
    image = np.full((32, 32, 3), 128, np.uint8)
    sent = {"snr_db": 5.0, "seed": 1}
    with LocalLink(model=url) as link:
        first = link.send(image, **sent)
        assert first.model == SINGLE
    assert cache_folder(source_of(url)).is_relative_to(tmp_path / "cache" / "genjscc")
    web.asked.clear()
    shutil.rmtree(web.root / SINGLE)
    with LocalLink(model=url) as link:
        assert np.array_equal(link.send(image, **sent).image, first.image)
    assert web.asked == []
    with pytest.raises(InvalidInputError, match="bundles"):
        LocalLink(model=url, bundles=tmp_path)
    with pytest.raises(BundleError, match="default model 'nonsense'"):
        LocalLink(model="nonsense", bundles=web.root)


def test_the_command_says_what_it_did(web: Server, tmp_path: Path) -> None:
    url, models = f"{web.url}/{SINGLE}", tmp_path / "models"
    done = genjscc("pull", url, "--bundles", str(models), "--json")
    assert done.returncode == 0, done.stderr
    (one,) = json.loads(done.stdout)["results"]
    assert one["sha256"] == digest(models / SINGLE / CONFIG)
    alter(web.root / SINGLE, domain="other noise")
    refused = genjscc("pull", url, "--bundles", str(models), "--json")
    assert refused.returncode == 1
    assert json.loads(refused.stdout)["error"]["type"] == "DigestError"
    assert genjscc("pull", url, "--bundles", str(models), "--force").returncode == 0
    pushed = genjscc("push", str(models / SINGLE), str(tmp_path / "public"))
    assert pushed.returncode == 0, pushed.stderr
    assert SINGLE in pushed.stdout
    cached = genjscc("pull", url, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert cached.returncode == 0
    assert f"{SINGLE}/{CONFIG}" in " ".join(files_below(tmp_path / "cache"))


# In a process of its own: the Hub's client reads its variables when it is imported.
HUB = """
import sys
from pathlib import Path
from huggingface_hub import constants
from genjscc.bundles.pull import pull, push
from genjscc.bundles.sources import source_of
from genjscc.errors import GenJSCCError
from tests.genjscc.bundles.test_pull import BUNDLE_FILES, DECODER, GENERATIVE, files_below

hub, mirror, work = map(Path, sys.argv[1:])
place = f"org/{GENERATIVE}"

def names(pulled):
    print(*(one.name for one in pulled))

def failure(source, root):
    try:
        pull(source_of(source), work / root)
    except GenJSCCError as error:
        print(type(error).__name__, error)

names(push(mirror / GENERATIVE, source_of(place)))
(hub / place / "payload.bin").write_bytes(b"not taken")
names(pull(source_of(f"{place}@v1"), work / "models"))
assert files_below(work / "models" / GENERATIVE) == BUNDLE_FILES
(hub / place / DECODER).write_bytes(b"x" * 100)
failure(place, "others")
failure("org/none", "others")
constants.HF_HUB_OFFLINE = True
failure(place, "others")
"""


def test_the_hub_is_pushed_to_and_pulled_from(mirror: Path, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    (tmp_path / "hub").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    with serving(tmp_path / "hub", hub=True) as server:
        variables = {"HF_ENDPOINT": server.url, "HF_TOKEN": "hf_test", "HF_HUB_DISABLE_XET": "1"}
        folders = (server.root, mirror, tmp_path / "work")
        done = subprocess.run(
            [sys.executable, "-c", HUB, *map(str, folders)],
            env={**kept, **variables, "HF_HOME": str(tmp_path / "home")},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    pushed, pulled, altered, missing, offline = done.stdout.splitlines()
    assert pushed == pulled == f"{GENERATIVE} {GENERATOR}"
    assert altered.startswith(f"DigestError org/{GENERATIVE}@main/{DECODER}")
    assert missing.startswith("DownloadError org/none@main")
    assert offline.startswith(f"DownloadError org/{GENERATIVE}@main")
    card = (server.root / "org" / GENERATIVE / "README.md").read_text()
    assert card.startswith("---\nlicense: other\n")
    assert f"# {GENERATIVE}" in card
    assert not any("payload" in path for path, _ in server.asked)


def test_without_the_hubs_client_its_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    done = genjscc("pull", "org/name", "--bundles", str(tmp_path))
    assert done.returncode == 1
    assert "pip install 'genjscc[hub]'" in done.stderr
