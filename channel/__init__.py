# SPDX-License-Identifier: Apache-2.0
"""The channel eta: complex channel symbols -> received symbols."""
