# SPDX-License-Identifier: Apache-2.0
"""Load tests of running services.

* `mix`: sizes, rates, schemes and SNRs of the requests
* `loops`: closed and open loops
* `recorder`: latencies, statuses and the timeline
* `report`: results as JSON and as a plot
"""
