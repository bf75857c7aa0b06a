# SPDX-License-Identifier: Apache-2.0
"""Sections of the report, one module each; a section without records says so."""
