# SPDX-License-Identifier: Apache-2.0
"""Trained models on disk: config.json, safetensors and a card.

* `config`: the content of `config.json`
* `store`: find, verify, load and write bundles
* `sources`, `pull`: published bundles: the Hugging Face Hub, web servers, folders, the cache
"""
