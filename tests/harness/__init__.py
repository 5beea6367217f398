"""Helpers of the tests: servers, proxies, child processes and the machine's components."""
