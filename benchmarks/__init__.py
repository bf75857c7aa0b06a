# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of the services and of the training; `run.py` runs them."""
