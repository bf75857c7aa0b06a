# SPDX-License-Identifier: Apache-2.0
"""Metrics, sweeps, baselines and figures."""
