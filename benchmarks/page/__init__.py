# SPDX-License-Identifier: Apache-2.0
"""Write docs/benchmarks.md from the result files of the benchmarks."""
