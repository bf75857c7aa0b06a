# SPDX-License-Identifier: Apache-2.0
"""Training of the StyleGAN2 generator that the decoders use as a prior.

* `config`, `networks`: configuration and networks
* `fit`, `training`, `evaluation`: the loop, one step, and its evaluation
* `codes`: latent codes of real images
* `losses`: losses of generator and discriminator
* `frechet_matching`: the Fréchet distance of features as a loss
* `gradient_limit`: a limit on outlier gradients
"""
