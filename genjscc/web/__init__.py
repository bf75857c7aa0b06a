# SPDX-License-Identifier: Apache-2.0
"""The web page: a photo, a noisy channel, and the result of each scheme.

* `server`: the server, and access to it
* `page`: the state and the actions of one visitor
* `cards`, `constellation`: pictures, values and plots
* `availability`: the model that represents each scheme, or the reason why none does
* `quality`: quality of a reconstruction
* `coalesce`: requests that replace each other
* `messages`: errors as sentences
"""
