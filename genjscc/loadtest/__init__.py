# SPDX-License-Identifier: Apache-2.0
"""Load tests of running services."""
