# SPDX-License-Identifier: Apache-2.0
"""f: image -> complex channel symbols.

* `encoder`: the network f (Fig. 4a), and `encode`: f with power normalisation
* `models`: load the encoder of a bundle
* `service`: the gRPC service and its engine
"""
