# SPDX-License-Identifier: Apache-2.0
"""The separation baseline: an image codec, then a channel code."""
