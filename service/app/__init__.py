"""Puts settings, adapters and jobs together by hand: the only package that knows every adapter.

Nothing is imported here: who needs only a database imports ``places``, and loads no HTTP client.
"""
