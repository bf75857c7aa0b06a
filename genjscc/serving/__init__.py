# SPDX-License-Identifier: Apache-2.0
"""The server shared by the three services.

* `settings`: flags and environment variables
* `engine`: the interface of an engine: prepare, run, finish
* `server`, `listener`: the process: gRPC server, health, reflection, metrics, drain
* `call_handler`, `streams`, `context`, `status`: every call: admission, request id, log, errors
* `scheduling`: admission, queue, batches, and jobs of many steps
* `catalogue`: loaded models, by name and by pair
* `security`, `certificates`: TLS, client certificates and tokens
* `health`, `reflection`, `metrics`, `logs`, `tracing`: standard services and observability
* `cores`, `memory`, `temporary`: CPU affinity, malloc settings, a temporary folder
"""

import os

# gRPC's core would write lines of its own for what callers send, and wait for their reader. It
# reads the variable when it is loaded.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
