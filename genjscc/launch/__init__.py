# SPDX-License-Identifier: Apache-2.0
"""Starting the three services: as processes of this machine, or as containers."""
