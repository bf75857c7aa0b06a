# SPDX-License-Identifier: Apache-2.0
"""InverseJSCC: decoding by searching the generator for the image that explains the reception.

* `config`: parameters and presets
* `objective`: eq. 12 and 13
* `schedule`: learning rates, and the end of a stage
* `variables`: latents, noise maps and stage inputs
* `optimiser`: many inversions at once, step by step
* `initialiser`: the network that predicts the initial latents
* `serving`: inversion runs of the receiver, and their limits
"""
