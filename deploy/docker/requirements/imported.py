# SPDX-License-Identifier: Apache-2.0
"""Imports, in the making of an image, what its program will import: their bytecode stays.

The argument is the variant of torch that must be there: cpu, cuda, or none.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module

MODULES = (
    *("array_api_compat.numpy", "array_api_compat.torch", "google.protobuf.json_format"),
    *("grpc.aio", "grpc_health.v1.health", "grpc_reflection.v1alpha.reflection"),
    *("hdrh.histogram", "matplotlib.figure", "nicegui", "numpy.testing"),
    *("opentelemetry.exporter.otlp.proto.grpc.trace_exporter", "opentelemetry.sdk.trace.export"),
    *("PIL.JpegImagePlugin", "PIL.PngImagePlugin", "PIL.WebPImagePlugin", "PIL.ImageFont"),
    *("prometheus_client", "pydantic_settings", "rich.table", "rich.progress"),
    *("stlpips_pytorch", "textual_image", "torchmetrics.functional.image"),
    *("safetensors.torch", "torch", "torch.nn.functional", "typer"),
)


def main(variant: str = "") -> None:
    for module in MODULES:
        with suppress(ModuleNotFoundError):  # not all of them are in each image
            import_module(module)
    if variant:
        import torch

        built = "cuda" if torch.version.cuda else "cpu"
        if built != variant:
            sys.exit(f"torch is built for {built}, wanted is {variant}")


if __name__ == "__main__":
    main(*sys.argv[1:])
