"""The exchange over HTTPS: start with `client`.

Here belong endpoints, pages, retries and what answers look like. Kept out: storage of what comes back.
"""
