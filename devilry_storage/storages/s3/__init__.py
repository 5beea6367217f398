"""Delivery store on S3 and compatible servers; needs the extra ``s3``."""

try:
    from .store import S3DeliveryStore
except ModuleNotFoundError as exception:
    raise ImportError(
        f"S3DeliveryStore needs {exception.name!r}: pip install 'devilry-storage[s3]'."
    ) from exception

__all__ = ["S3DeliveryStore"]
