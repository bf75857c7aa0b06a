# SPDX-License-Identifier: Apache-2.0
"""The web page: a photo, a noisy channel, and what each scheme receives."""
