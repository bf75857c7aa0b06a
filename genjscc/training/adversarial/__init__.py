# SPDX-License-Identifier: Apache-2.0
"""Adversarial training: a projected discriminator, and the loss term that it gives.

* `discriminator`: heads on features, their losses and augmentation
* `features`: the frozen features
* `term`: the term of a pair's loss, with the discriminator's own optimiser
"""
