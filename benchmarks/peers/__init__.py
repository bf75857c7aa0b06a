# SPDX-License-Identifier: Apache-2.0
"""Other model servers, measured beside the services."""
