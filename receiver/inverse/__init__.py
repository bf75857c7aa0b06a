# SPDX-License-Identifier: Apache-2.0
"""InverseJSCC: decoding by searching the generator for the image that explains the reception."""
