# SPDX-License-Identifier: Apache-2.0
"""Evaluation: sweeps over rates and SNRs, baselines and result files.

* `sweep`: one scheme over rates and SNRs
* `records`: result files
* `paired`: differences between schemes, image by image
* `linear`: the linear baseline
* `separation`: the separation baseline
* `receiver_time`: decoding time per image
* `ceiling`: images in the latent space of a generator, without a channel
* `golden`: one PSNR per model, to compare installations
* `samples`: samples of a generator, compared with real images
"""
