"""`kalshi-platform status`: how the platform stands; start with `facts`.

Kept out: what of it is a problem, and what to do then (`doctor`).
"""
