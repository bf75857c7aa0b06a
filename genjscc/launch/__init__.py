# SPDX-License-Identifier: Apache-2.0
"""Starting the three services: as processes of this machine, or as containers.

* `processes`: local processes, for `genjscc up`, the demo and the tests
* `containers`: the Compose project, for `genjscc up --docker` and the tests
"""
