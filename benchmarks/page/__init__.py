# SPDX-License-Identifier: Apache-2.0
"""docs/benchmarks.md, from the results of the benchmarks."""
