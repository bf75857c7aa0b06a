# SPDX-License-Identifier: Apache-2.0
"""Messages to arrays and back. Every check on foreign input is made here, once."""
