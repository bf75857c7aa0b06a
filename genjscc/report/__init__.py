# SPDX-License-Identifier: Apache-2.0
"""The report: one page with the paper's figures, built from result files.

* `build`, `page`, `book`: the page as Markdown and HTML
* `sources`, `files`, `selection`: read result files and select records
* `curves`, `plots`, `figures`, `tables`, `sheet`: curves, figures, tables and labelled pictures
* `summary`: the best scheme per operating point, and costs
* `gaps`: missing results, and the commands that produce them
* `sections`: the sections of the page
"""
