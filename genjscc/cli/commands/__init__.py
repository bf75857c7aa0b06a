# SPDX-License-Identifier: Apache-2.0
"""The commands, one module each; `register` adds the commands of a module."""
