"""Order flow over REST and FIX, watched over WebSocket, that accounts for every order at the end."""
