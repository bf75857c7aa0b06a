# SPDX-License-Identifier: Apache-2.0
"""Load on running services, and how they bear it."""
