# SPDX-License-Identifier: Apache-2.0
"""The report: one page with the paper's figures, built from result files."""
