# SPDX-License-Identifier: Apache-2.0
"""Image quality: PSNR, MS-SSIM, perceptual distances, Fréchet distances, confidence intervals.

Training minimises some of these, evaluation measures them, and an inversion at the receiver uses
them as its objective; so this package imports none of the three.
"""
