# SPDX-License-Identifier: Apache-2.0
"""Evaluation: sweeps over rates and SNRs, baselines and result files."""
