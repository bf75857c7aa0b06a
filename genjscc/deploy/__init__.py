# SPDX-License-Identifier: Apache-2.0
"""What the images and the Compose project need beside the services."""
