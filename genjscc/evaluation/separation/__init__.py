# SPDX-License-Identifier: Apache-2.0
"""The separation baseline: an image codec, then a channel code.

* `sweep`: the baseline over rates and SNRs
* `codecs`: JPEG, JPEG 2000, WebP and AVIF, and the size of their headers
* `files`: the best file for a bit budget
* `capacity`, `ldpc`: transmission at capacity, and with 5G LDPC
* `records`: results of the baseline
"""
