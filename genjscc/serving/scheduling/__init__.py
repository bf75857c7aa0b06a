# SPDX-License-Identifier: Apache-2.0
"""Scheduling, from an accepted call to its result: limits, queue, batches and jobs of many steps.

* `admission`: limits on concurrent calls, streams and stream items
* `dispatcher`: runs an engine's requests, single and streamed, on its threads
* `queue`, `batches`: which jobs run together, and when
* `stepwise`: scheduling of jobs with many steps
* `tiled`: large images, a tile at a time
"""
