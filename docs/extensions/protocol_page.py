# SPDX-License-Identifier: Apache-2.0
"""The protocol reference, from the descriptors and comments of protos/."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
PAGE = Path("generated", "protocol.md")
PACKAGE = "genjscc.v1"
_SERVICES, _MESSAGES, _ENUMS = 6, 4, 5  # fields of FileDescriptorProto, in comments' paths
_INTRODUCTION = f"""# Protocol

gRPC with protocol buffers, package `{PACKAGE}`. This page is generated from the files in `protos/`.
Running services describe their protocol by reflection. Errors are gRPC statuses. INVALID_ARGUMENT
names the field, its value and a valid alternative; [the SDK's errors](../sdk.md#errors) list the
other codes.
"""


def read_descriptors(protos: Path) -> FileDescriptorSet:
    """Parse the files of a folder, with their comments, with protoc."""
    from grpc_tools import protoc

    names = sorted(str(path.relative_to(protos)) for path in protos.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary, "descriptors")
        google = resources.files("grpc_tools") / "_proto"
        options = [f"--descriptor_set_out={output}", "--include_source_info"]
        code = protoc.main(["protoc", f"-I{protos}", f"-I{google}", *options, *names])
        if code:
            sys.exit(code)
        return FileDescriptorSet.FromString(output.read_bytes())


def render(descriptors: FileDescriptorSet) -> str:
    """Render the page as Markdown."""
    files = [file for file in descriptors.file if file.package == PACKAGE]
    parts = [_INTRODUCTION, "## Services"]
    for file in files:
        parts += _services(file)
    parts.append("## Messages")
    for file in files:
        comments = _comments(file)
        parts.append(f"### {Path(file.name).name}")
        for number, message in enumerate(file.message_type):
            parts += _message(message, comments, (_MESSAGES, number))
        for number, enum in enumerate(file.enum_type):
            parts += [*_heading(enum.name), comments.get((_ENUMS, number), "")]
            rows = [
                (f"`{value.name}`", str(value.number), comments.get((_ENUMS, number, 2, i), ""))
                for i, value in enumerate(enum.value)
            ]
            parts.append(_table(("value", "number", "meaning"), rows))
    return "\n\n".join(part for part in parts if part) + "\n"


def _comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    """What stands before each element, by its path in the descriptor."""
    return {
        tuple(location.path): " ".join(location.leading_comments.split())
        for location in file.source_code_info.location
        if location.leading_comments
    }


def _services(file: FileDescriptorProto) -> Iterator[str]:
    comments = _comments(file)
    for number, service in enumerate(file.service):
        yield from (f"### {service.name}", comments.get((_SERVICES, number), ""))
        for i, method in enumerate(service.method):
            asked = _stream(method.client_streaming) + _link(method.input_type)
            answered = _stream(method.server_streaming) + _link(method.output_type)
            meaning = comments.get((_SERVICES, number, 2, i), "")
            yield f"* **`{method.name}`**: {asked} → {answered}\n\n  {meaning}"


def _stream(streaming: bool) -> str:
    return "stream of " if streaming else ""


def _message(
    message: DescriptorProto, comments: dict[tuple[int, ...], str], path: tuple[int, ...]
) -> Iterator[str]:
    yield from _heading(message.name)
    yield comments.get(path, "")
    maps = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
    rows = []
    for number, field in enumerate(message.field):
        meaning = comments.get((*path, 2, number), "")
        if field.HasField("oneof_index") and not field.proto3_optional:
            meaning = f"(one of `{message.oneof_decl[field.oneof_index].name}`) {meaning}"
        rows.append((f"`{field.name}`", str(field.number), _type(field, maps), meaning))
    if rows:
        yield _table(("field", "number", "type", "meaning"), rows)


def _heading(name: str) -> tuple[str, str]:
    return f"(proto-{name.lower()})=", f"#### {name}"


def _type(field: FieldDescriptorProto, maps: dict[str, DescriptorProto]) -> str:
    entry = maps.get(field.type_name.rpartition(".")[2])
    if entry is not None:
        key, value = (_type(part, {}) for part in entry.field)
        return f"map from {key} to {value}"
    name = _link(field.type_name) if field.type_name else _scalar(field)
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    return f"optional {name}" if field.proto3_optional else name


def _scalar(field: FieldDescriptorProto) -> str:
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def _link(type_name: str) -> str:
    name = type_name.rpartition(".")[2]
    return f"[{name}](#proto-{name.lower()})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([re.sub(r"\|", r"\\|", c) for c in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(app: Sphinx) -> None:
    target = Path(app.srcdir, PAGE)
    text = render(read_descriptors(ROOT / "protos"))
    target.parent.mkdir(exist_ok=True)
    if not target.exists() or target.read_text() != text:
        target.write_text(text)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
