# SPDX-License-Identifier: Apache-2.0
"""The StyleGAN2 generator: networks, and import of other implementations' checkpoints."""
