# SPDX-License-Identifier: Apache-2.0
"""The SDK: send images over the link. Needs neither torch nor the services' code."""
