# SPDX-License-Identifier: Apache-2.0
"""The StyleGAN2 generator: its networks, and checkpoints of other implementations."""
