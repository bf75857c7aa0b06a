# SPDX-License-Identifier: Apache-2.0
"""From result files to one page with the paper's figures."""
