# SPDX-License-Identifier: Apache-2.0
"""Training of the StyleGAN2 generator that the decoders use as a prior."""
