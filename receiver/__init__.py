# SPDX-License-Identifier: Apache-2.0
"""g: received symbols -> image."""
