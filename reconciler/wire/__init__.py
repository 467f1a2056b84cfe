"""What reconciler and agents say to each other: messages, versions, certificates, tokens.

`agent.proto` is the source of the generated modules beside it; `make proto` makes them again, byte for byte.
"""
