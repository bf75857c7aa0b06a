# SPDX-License-Identifier: Apache-2.0
"""The StyleGAN2 generator: networks, and import of other implementations' checkpoints.

* `generator`: mapping and synthesis, with noise inputs as arguments and stages G1 to G4 (eq. 14)
* `names`: parameter names of rosinality and BasicSR
* `checkpoints`: read their files (tensors only) and our bundles
"""
