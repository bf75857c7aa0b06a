# SPDX-License-Identifier: Apache-2.0
"""f: image -> complex channel symbols."""
