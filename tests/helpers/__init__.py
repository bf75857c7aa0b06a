# SPDX-License-Identifier: Apache-2.0
"""Services, bundles, pictures and files that several tests share."""
