"""The simulated exchange over HTTP: start with `routes`.

Nothing here changes the exchange. Kept out: the WebSocket, and the life of markets.
"""
