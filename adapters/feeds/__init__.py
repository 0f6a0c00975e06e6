"""Feeds: day-ahead prices, tariffs, weather, and PV power from weather. One folder per source.

`client` asks, `mapping` has every name, sign and unit of the source, `emulator` is the source on loopback. What a
source answers becomes prices only by `adapters.feeds.acceptance`. Nothing is contacted unless somebody configures it.
"""
