"""Other libraries on the same problems. Each `<peer>.py` here runs in an environment of its own and is never imported.

A driver knows only its library, numpy and `benchmarks.peers.driver`; what it is asked, and answers, is a line of JSON.
"""
