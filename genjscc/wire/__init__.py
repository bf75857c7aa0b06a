# SPDX-License-Identifier: Apache-2.0
"""Conversion between messages and arrays. All checks of untrusted input are here.

* `codewords`, `tensors`, `images`: codewords, complex symbols and pictures
* `numbers`, `ratios`, `schemes`: seeds and SNRs, bandwidth ratios, schemes
"""
