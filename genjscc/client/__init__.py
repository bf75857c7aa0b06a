# SPDX-License-Identifier: Apache-2.0
"""The SDK, which sends images over the link. Needs neither torch nor the services' code.

* `link`, `aio`, `local`: `Link`, `AsyncLink` and `LocalLink`
* `options`, `keywords`, `inversion`: request options and results
* `protocol`: requests and responses of a link, without I/O
* `transport`, `channel_options`, `security`: connections: replicas, retries, keepalive, TLS, tokens
* `pipeline`, `resumable`: many images over three streams that survive lost replicas
* `arrays`, `sigmf`: arrays and tensors as 8-bit RGB; codewords as SigMF
* `tracing`: OpenTelemetry spans
* `probe`: the health check of the container images
"""
