# SPDX-License-Identifier: Apache-2.0
"""One server frame for the three services."""
