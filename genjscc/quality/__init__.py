# SPDX-License-Identifier: Apache-2.0
"""Image quality: PSNR, MS-SSIM, perceptual distances, Fréchet distances, confidence intervals.

Training minimises some of these, evaluation reports them, and inversions at the receiver use them
as their objective, so this package imports none of the three.
"""
