# SPDX-License-Identifier: Apache-2.0
"""One server frame for the three services.

* `settings`: flags and environment variables
* `engine`: the interface of an engine: prepare, run, finish
* `server`, `listener`: the process: gRPC server, health, reflection, metrics, drain
* `call_handler`, `streams`, `context`, `status`: every call: admission, request id, log, errors
* `admission`: limits on concurrent calls, streams and stream items
* `queue`, `batches`, `dispatcher`: batching, and engines on threads
* `stepwise`: scheduling of jobs with many steps
* `catalogue`: loaded models, by name and by pair
* `reload`: changed folders of models without a restart
* `security`: TLS, client certificates and tokens
* `health`, `reflection`, `metrics`, `logs`, `tracing`: standard services and observability
* `cores`, `memory`: CPU affinity and malloc settings
"""

import os

# gRPC's core would write lines of its own for what callers send, and wait for their reader. It
# reads the variable when it is loaded.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
