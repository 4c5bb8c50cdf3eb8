"""`kalshi-platform doctor`: what is wrong here, and what to do about it; start with `command`.

One module a subject, each a function from what there is to findings. Kept out: mending anything.
"""
