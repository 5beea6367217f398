"""Downloads over real servers, on WSGI and ASGI."""
