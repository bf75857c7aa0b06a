# SPDX-License-Identifier: Apache-2.0
"""Messages to arrays and back. Every check on foreign input is made here, once.

* `codewords`, `tensors`, `images`: codewords, complex symbols and pictures
* `numbers`, `ratios`, `schemes`: seeds and SNRs, bandwidth ratios, schemes
"""
