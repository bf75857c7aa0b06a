# SPDX-License-Identifier: Apache-2.0
"""Training of the schemes: data, losses and loops.

* `config`, `data`, `augmentation`, `draws`: configuration, images and random draws
* `loop`, `averaging`, `distributed`: the training loop, moving averages, several processes
* `run`: the folder of a run, with checkpoints and logs
* `deepjscc`, `generative`: the two schemes
* `codes_first`: a first stage that learns latent codes of a generator
* `initialiser`: the network that predicts initial latents of inversions
* `export`: a run to a bundle
* `stylegan2`: training of the generator
"""
