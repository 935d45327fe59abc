"""The decision, pure: no clock, no randomness, no I/O, no logging, no asyncio."""
