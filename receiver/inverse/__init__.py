# SPDX-License-Identifier: Apache-2.0
"""InverseJSCC: decoding by a search for the generator's image that explains the reception."""
