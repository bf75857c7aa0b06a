# SPDX-License-Identifier: Apache-2.0
"""The channel eta: complex channel symbols -> received symbols.

* `physics`: power, noise, fading and measurement (eq. 3-5), for NumPy and PyTorch
* `noise`: draws of CN(0, 1) from a seed (Philox and Box-Muller)
* `radio`: OFDM over multipath, from symbols to equalised symbols; its parts are `ofdm` (grid),
  `tdl` (3GPP delay profiles), `estimation` (pilots), `impairments` (hardware)
* `blind`: SNR estimated from a codeword's power
* `plugins`: channels supplied by the operator as Python functions
* `backends`: NumPy, or PyTorch on a device
* `service`: the gRPC service and its engine
"""
