# SPDX-License-Identifier: Apache-2.0
"""eta: complex channel symbols -> received symbols."""
