# SPDX-License-Identifier: Apache-2.0
"""g: received symbols -> image.

* `deepjscc`: the decoder g (Fig. 4b)
* `generative`: the decoder around a frozen generator (Fig. 5)
* `forward`: A = g after eta after f (eq. 9-11), differentiable
* `models`: load decoders and generators of bundles, each once
* `jobs`: decoding jobs and their results
* `service`: the gRPC service and its engine
"""
